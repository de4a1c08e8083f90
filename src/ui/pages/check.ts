// Check a pull: what this server knows about an image that a client refuses, and what to do where the server cannot know.
import { LookasideError } from '../../domain/errors.ts';
import type { StoredSignature } from '../../domain/stored-signature.ts';
import { quoted } from '../../domain/text.ts';
import { SERVER } from '../../service/audit.ts';
import {
  type AskedOf,
  examineImage,
  parseAsked,
  type ServerDiagnosis,
  type ServerDoctorPorts,
  type ServerFinding,
} from '../../service/server-doctor.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { actorOf, type Content, mayAudit, mayList, type Page, type PageContext } from '../page.ts';
import { block, clip, type Kind, state, word } from '../show.ts';
import { imageLink } from './places.ts';
import { shellWord } from './shell.ts';

export const check: readonly Page[] = [{ path: 'check', roles: 'reader', answer: showCheck }];

const MAX_TEXT = 512;
const MAX_ROWS = 20;

async function showCheck(context: PageContext): Promise<Content> {
  const { request, link } = context;
  const text = (request.query.get('image') ?? '').slice(0, MAX_TEXT).trim();
  const head = html`<div class="head"><h1>Check a pull</h1><p class="lead">A client refuses an image, or accepts it and you want to know why. Name it as it is pulled; a digest makes the answer certain.</p></div>
<form class="card" method="get" action="${link('check')}"><label>Image<input name="image" value="${text}" placeholder="registry.example.com/team/app:v1" required maxlength="${MAX_TEXT}" autocomplete="off" spellcheck="false"></label><div class="actions"><button class="first">Check</button></div></form>`;
  if (text === '')
    return { title: 'Check a pull', body: html`${head}${digestHelp('registry.example.com/team/app:v1')}` };
  const asked = parseAsked(text);
  if (asked === null)
    throw new LookasideError(
      'REQUEST_INVALID',
      `${quoted(text)} names no image, expected one like registry.example.com/team/app:v1, team/app@sha256:<64 hex digits> or sha256:<64 hex digits>`,
    );
  const diagnosis = await examine(context, asked);
  return {
    title: 'Check a pull',
    body: html`${head}${findings(diagnosis.findings)}${signatures(context, diagnosis)}${asked.kind === 'tag' && digestHelp(text)}${elsewhere(context, text)}${diagnosis.findings[0]?.code !== 'SERVED' && otherKind()}`,
  };
}

/** To visitors it tells neither why something was withdrawn, nor how often it was asked for, nor where mirrors fetch. */
async function examine({ services, request }: PageContext, asked: AskedOf): Promise<ServerDiagnosis> {
  const { viewer, signal } = request;
  if (viewer.kind === 'session') {
    const ports: ServerDoctorPorts = mayAudit(viewer)
      ? services
      : { ...services, withdrawals: withoutReasons(services) };
    return examineImage(ports, asked, { actor: actorOf(request), signal });
  }
  const mirrors = { ofImage: async () => null };
  const ports = { ...services, withdrawals: withoutReasons(services), records: null, mirrors };
  const diagnosis = await examineImage(ports, asked, { actor: SERVER, signal });
  return mayList(request) ? diagnosis : withoutOtherNames(diagnosis);
}

/** Who may not list what there is finds no names here either. */
function withoutOtherNames(diagnosis: ServerDiagnosis): ServerDiagnosis {
  const findings = diagnosis.findings.map((finding): ServerFinding => {
    if (finding.code === 'OTHER_TAG')
      return {
        ...finding,
        message: 'no signature is for this tag, and other tags of the repository are signed',
      };
    if (finding.code === 'OTHER_NAME')
      return {
        ...finding,
        message: 'what is served is signed for another name, which a client does not accept for this one',
        remedy: 'pull it by the name that it is signed for, or ask who signs it for a signature of this name',
      };
    if (finding.code === 'OTHER_PATH')
      return { ...finding, message: 'the digest is signed under another path' };
    return finding;
  });
  return { ...diagnosis, findings };
}

function withoutReasons({
  withdrawals,
}: Pick<ServerDoctorPorts, 'withdrawals'>): ServerDoctorPorts['withdrawals'] {
  const reason = 'auditors see the reason on the page of the image';
  return {
    ofImage: async (image) => (await withdrawals.ofImage(image)).map((gone) => ({ ...gone, reason })),
  };
}

const KINDS: Readonly<Partial<Record<ServerFinding['code'], Kind>>> = {
  SERVED: 'good',
  KEY_UNKNOWN: 'open',
  NOT_JUDGED: 'open',
  KEY_RETIRED: 'open',
  GONE_UPSTREAM: 'open',
  UPSTREAM_SILENT: 'open',
  ASKED_IN_VAIN: 'open',
};

const TITLES: Readonly<Partial<Record<ServerFinding['code'], string>>> = {
  OTHER_NAME: 'Clients refuse it under this name',
  UPSTREAM_SILENT: 'Clients cannot learn whether it is signed',
  KEY_REVOKED: 'Clients that know of the revocation refuse it',
};
const TITLES_OF_KINDS: Readonly<Record<Kind, string>> = {
  good: 'This server has what a client needs',
  open: 'This server cannot vouch for it',
  wrong: 'Clients that want a signature refuse it',
};

function findings([first, ...others]: readonly ServerFinding[]): Html {
  if (first === undefined) return NOTHING;
  const kind = KINDS[first.code] ?? 'wrong';
  const title = TITLES[first.code] ?? TITLES_OF_KINDS[kind];
  const said = ({ message, remedy }: ServerFinding) =>
    html`<p>${sentence(message)}</p>${remedy !== null && html`<p><strong>To do:</strong> ${sentence(remedy)}</p>`}`;
  return html`<div class="note ${kind}" role="status"><p>${word(kind, title)}</p>${said(first)}</div>${others.map((one) => html`<div class="note ${KINDS[one.code] ?? 'wrong'}">${said(one)}</div>`)}`;
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${clip(text.slice(1), 900)}.`;
}

function signatures(context: PageContext, { signatures: rows }: ServerDiagnosis): Html {
  if (rows.length === 0) return NOTHING;
  const row = (one: StoredSignature) =>
    html`<tr><th scope="row"><a href="${imageLink(context, { site: one.site, name: one.image })}">${clip(one.image.replace(/(:[0-9a-f]{12})[0-9a-f]+$/, '$1…'))}</a></th><td>${state(one.state)}</td><td data-of="For">${clip(one.dockerReference ?? '', 200)}</td></tr>`;
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Signature of</th><th>State</th><th>Signed for</th></tr></thead><tbody>${rows.slice(0, MAX_ROWS).map(row)}</tbody></table></div>`;
}

function digestHelp(reference: string): Html {
  const name = shellWord(`docker://${reference.replace(/^docker:\/\//, '')}`);
  return html`<section class="card"><h2>A tag may have moved</h2><p>This server does not ask the registry. What a tag names there now may be another image than the one that was signed. This tells the digest; check that one too:</p>${block(`skopeo inspect --format '{{.Digest}}' ${name}`)}</section>`;
}

/** GPG and cosign both call what they make a signature, and clients tell only that there is none. */
export function otherKind(): Html {
  return html`<section class="card"><h2>Signed by cosign?</h2><p>Signatures of cosign (“sigstore”) are other ones: they lie in the registry beside the image, and a policy asks for them by <code>sigstoreSigned</code>. This server holds GPG signatures (“simple signing”), which a policy asks for by <code>signedBy</code>.</p><p>An image that cosign alone has signed is refused where the policy says <code>signedBy</code>. <strong>To do:</strong> have it signed with GPG too, or have the policy ask for <code>sigstoreSigned</code>.</p></section>`;
}

function elsewhere({ request, link }: PageContext, text: string): Html {
  const reference = text.replace(/^docker:\/\//, '');
  const registry = /^((?:localhost|[^/]*[.:][^/]*)\/.*?)(?::[^/:@]*)?(?:@.*)?$/.exec(reference)?.[1] ?? null;
  return html`<section class="card"><h2>What only the client knows</h2><p>Its policy, its keys, and where it looks for signatures. On the client, this follows the pull step by step and says what to change:</p>${block(`lookaside doctor ${shellWord(reference)} --server ${shellWord(request.url)}`)}${registry !== null && html`<p>A client that was never told of this server looks elsewhere: <a href="${link('set-up', { registry })}">set it up for ${clip(registry, 120)}</a>.</p>`}</section>`;
}
