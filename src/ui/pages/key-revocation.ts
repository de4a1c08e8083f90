// The revocation of a key: which images nobody accepts any more stands ahead of the question.
import { isLookasideError } from '../../domain/errors.ts';
import {
  type BrokenImage,
  MAX_REASON_CHARACTERS,
  type RevocationPart,
  type RevokedKey,
} from '../../domain/revocation.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { ADMINS, actorOf, type Content, formToken, type Page, type PageContext } from '../page.ts';
import { clip, count, fingerprint, word } from '../show.ts';
import { imageLink } from './places.ts';

export const keyRevocation: readonly Page[] = [
  {
    path: 'keys/*/revoke',
    roles: ADMINS,
    answer: (context) => askRevoke(context, NOTHING),
    submit: { roles: ADMINS, answer: revoke },
  },
];

/** All of them are listed by `lookaside key revoke --dry-run`. */
const SHOWN_IMAGES = 50;

interface Impact {
  readonly key: Extract<RevocationPart, { fingerprint: string }>;
  /** All of them, or the first ones. */
  readonly broken: readonly BrokenImage[];
}

async function impactOf({ services, request, rest }: PageContext): Promise<Impact> {
  let key: Impact['key'] | null = null;
  const broken: BrokenImage[] = [];
  for await (const part of services.administration(actorOf(request)).keys.revocation(rest)) {
    if ('fingerprint' in part) key = part;
    else if ('images' in part) broken.push(...part.images.slice(0, SHOWN_IMAGES - broken.length));
    if (broken.length >= SHOWN_IMAGES) break;
  }
  if (key === null) throw new Error('what a revocation breaks has no first part');
  return { key, broken };
}

async function askRevoke(context: PageContext, note: Html, status = 200): Promise<Content> {
  const { request, link } = context;
  const { form } = request;
  const { key, broken } = await impactOf(context);
  const name = key.fingerprint;
  const isChecked = form.get('withdraw') === 'yes';
  return {
    title: 'Revoke this key?',
    status,
    body: html`<div class="narrow"><div class="head"><h1>Revoke this key?</h1></div>
${note}
<form class="card stack" method="post" action="${link(`keys/${name}/revoke`)}">${formToken(request)}<ul class="consequences">
<li><bdi>${clip(key.userIds[0] ?? 'no user ID')}</bdi> ${fingerprint(name)}</li>
<li>${count(key.signatures, 'signature')} of ${count(key.images, 'image')} verified by it, and count as revoked from then on.</li>
<li>${weight(key)}</li>
${
  key.refused > 0 &&
  html`<li>${count(key.refused, 'more signature')} that ${key.refused === 1 ? 'names' : 'name'} it ${key.refused === 1 ? 'is' : 'are'} refused already, for what the certificate says of the key.</li>
`
}<li>New uploads signed by it are refused. This cannot be undone.</li>
${key.gaps.map((gap) => html`<li>More may break: ${clip(gap, 300)}.</li>`)}</ul>
${brokenList(context, { key, broken })}
<label>Reason, which is kept and shown<textarea name="reason" rows="2" required maxlength="${MAX_REASON_CHARACTERS}">${clip(form.get('reason') ?? '', MAX_REASON_CHARACTERS)}</textarea></label>
<label class="choice"><input type="checkbox" name="withdraw" value="yes"${isChecked && html` checked`}> Also withdraw all that it has signed: clients do not get it any more, and the same bytes are refused</label>
<details><summary>The revocation that the key has signed itself, if you have it</summary><label>As <code>gpg --gen-revoke KEY</code> writes it: clients that fetch the key from here learn of it<textarea name="certificate" rows="6" maxlength="50000" spellcheck="false" placeholder="-----BEGIN PGP PUBLIC KEY BLOCK-----">${clip(form.get('certificate') ?? '', 50_000)}</textarea></label></details>
<div class="actions"><button class="first danger">Revoke it</button><a class="button" href="${link(`keys/${name}`)}">Cancel</a></div></form></div>`,
  };
}

function weight({ images, broken }: Impact['key']): Html {
  if (images === 0) return html`No image loses a verified signature.`;
  return broken === 0
    ? html`Each of these images has another verified signature.`
    : html`<strong>${count(broken, 'image')} ${broken === 1 ? 'has' : 'have'} no other verified signature</strong>: clients that require one refuse ${broken === 1 ? 'it' : 'them'} once they know of the revocation, or at once if the signatures are withdrawn.`;
}

function brokenList(context: PageContext, { key, broken }: Impact): Html {
  if (broken.length === 0) return NOTHING;
  const more = key.broken - broken.length;
  return html`<details open><summary>Images without another verified signature</summary><ul class="plain">${broken.map(({ site, image }) => html`<li><a href="${imageLink(context, { site, name: image })}">${clip(image.replace(/(:[0-9a-f]{12})[0-9a-f]+$/, '$1…'))}</a></li>`)}</ul>${more > 0 && html`<p class="quiet">And ${more} more: <code>lookaside key revoke ${key.fingerprint} --dry-run</code> lists all.</p>`}</details>`;
}

async function revoke(context: PageContext): Promise<Content> {
  const { services, request, rest, link } = context;
  const { form } = request;
  const text = (form.get('certificate') ?? '').trim();
  // gpg puts a colon in front of the armour of the revocations that it keeps, so that none is imported by mistake
  const certificate = text === '' ? null : Buffer.from(text.replace(/^:(?=-----BEGIN PGP)/m, ''), 'utf8');
  const wanted = {
    reason: (form.get('reason') ?? '').trim(),
    withdraw: form.get('withdraw') === 'yes',
    certificate,
  };
  try {
    const { fingerprint: name } = await services.keys.find(rest);
    const revoked = await services.administration(actorOf(request)).keys.revoke(name, wanted);
    return {
      title: 'The key is revoked',
      body: html`<div class="narrow"><div class="head"><p class="crumbs"><a href="${link('keys')}">Keys</a></p><h1>The key is revoked</h1></div>${revocationResult(revoked)}
<div class="actions"><a class="button" href="${link(`keys/${name}`)}">To the key</a></div></div>`,
    };
  } catch (error) {
    if (!isLookasideError(error) || !MENDABLE.includes(error.code)) throw error;
    const { message } = error;
    const note = html`<div class="note wrong" role="alert"><p>${word('wrong', 'Nothing was changed')}</p><p>${message.slice(0, 1).toUpperCase()}${message.slice(1)}.</p></div>`;
    return askRevoke(context, note, 422);
  }
}

const MENDABLE: readonly string[] = ['REQUEST_INVALID', 'APPEND_ONLY', 'TOO_LARGE'];

function revocationResult({ changed, withdrawn, left }: RevokedKey): Html {
  return html`<div class="note good" role="status"><p>${word('good', changed ? 'It is in force' : 'It was revoked so already')}</p>${withdrawn !== null && html`<p>${count(withdrawn, 'signature')} ${withdrawn === 1 ? 'is' : 'are'} withdrawn.</p>`}</div>${left.map((one) => html`<div class="note open"><p>Some may be left, and are withdrawn later by themselves: ${clip(one, 300)}.</p></div>`)}`;
}
