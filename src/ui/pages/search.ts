// The search box's page: says what it understood, and goes straight to the one thing when there is one.
import { imageName } from '../../domain/image.ts';
import type { PageReply } from '../../domain/web-page.ts';
import { type Finding, find, type Hit } from '../../service/find.ts';
import { parseAsked } from '../../service/server-doctor.ts';
import { type Html, html } from '../html.ts';
import { type Content, mayAudit, type Page, type PageContext, redirect } from '../page.ts';
import { block, clip, empty, fingerprint } from '../show.ts';
import { folderUrl, imageLink, repositoryLink } from './places.ts';

export const search: readonly Page[] = [{ path: 'search', roles: 'reader', answer: showFound }];

const MAX_TEXT = 512;
const EXAMPLES = [
  ['a reference', 'registry.example.com/team/app:v1'],
  ['a digest', 'sha256: and 64 hex digits'],
  ['a key', 'a fingerprint, a key ID, or a part of a user ID'],
  ['a path', '/team/app@sha256=…/signature-1, or the whole URL'],
] as const;

async function showFound(context: PageContext): Promise<Content | PageReply> {
  const { services, request } = context;
  const asked = (request.query.get('q') ?? '').slice(0, MAX_TEXT).trim();
  const title = 'Search';
  if (asked === '') return { title, body: html`<div class="head"><h1>Search</h1></div>${examples()}` };
  const finding = await find(asked, services);
  const [only, ...others] = finding.hits;
  if (only !== undefined && others.length === 0) {
    return redirect(addressOf(context, only, { asked: clip(asked, 120), as: finding.understood }));
  }
  if (finding.address !== null && mayAudit(request.viewer))
    return redirect(context.link('access', { address: finding.address, asked, as: finding.understood }));
  const head = html`<div class="head"><h1>Search</h1><p role="status">Understood <span class="tag">${clip(asked, 120)}</span> as ${finding.understood}.</p></div>`;
  if (only === undefined)
    return {
      title,
      status: 404,
      body: html`${head}${(await mayLack(context, finding)) && html`<p class="note open">The index is being built: what it does not have yet is not found. Search again in a moment.</p>`}${nothing(context, finding, asked)}`,
    };
  return {
    title,
    body: html`${head}<div class="tablewrap"><table class="stacks"><thead><tr><th>Found</th><th>What</th></tr></thead><tbody>${finding.hits.map((hit) => row(context, hit))}</tbody></table></div>`,
  };
}

/** Whether the index of a site is still being built: what is asked for may lie there. Keys and addresses are not in it. */
async function mayLack({ services }: PageContext, finding: Finding): Promise<boolean> {
  if (finding.address !== null || isOfKeys(finding)) return false;
  for (const { name: site } of services.places()) {
    const { isComplete } = await services.repositories.page({
      ...{ site, below: '', contains: '', after: null },
      limit: 1,
    });
    if (!isComplete) return true;
  }
  return false;
}

function addressOf(context: PageContext, hit: Hit, query: Record<string, string> = {}): string {
  switch (hit.kind) {
    case 'image':
      return imageLink(context, hit, query);
    case 'repository':
      return repositoryLink(context, hit.site, hit.path, query);
    case 'key':
      return context.link(`keys/${hit.fingerprint}`, query);
  }
}

function row(context: PageContext, hit: Hit): Html {
  const address = addressOf(context, hit);
  switch (hit.kind) {
    case 'image':
      return html`<tr><th scope="row"><a href="${address}">${hit.name}</a></th><td>image ${hit.references.slice(0, 4).map((one) => html`<span class="tag">${clip(one, 120)}</span> `)}</td></tr>`;
    case 'repository':
      return html`<tr><th scope="row"><a href="${address}">${hit.path}</a></th><td>repository</td></tr>`;
    case 'key':
      return html`<tr><th scope="row"><a href="${address}">${clip(hit.userIds[0] ?? 'no user ID')}</a></th><td>key ${fingerprint(hit.fingerprint)}</td></tr>`;
  }
}

function isOfKeys({ understood }: Finding): boolean {
  return understood.includes('key') || understood === 'a fingerprint';
}

function nothing(context: PageContext, finding: Finding, asked: string): Html {
  const { image, address } = finding;
  if (address !== null) {
    return empty(
      'What came from an address is in the record of reads',
      html`Visitors do not see it. An administrator or auditor asks on the server:${block(`lookaside access query --address ${address}`)}`,
    );
  }
  if (image !== null) {
    return empty(
      'No signature is stored for this image',
      html`A client that wants one refuses it with “A signature was required, but no signature exists”. It asks for <code>${folderUrl(context, image)}/signature-1</code>.`,
      html`<a href="${imageLink(context, { site: image.site, name: imageName(image) })}">What to do about it</a>, or <a href="${repositoryLink(context, image.site, image.path)}">what else is signed in ${image.path === '' ? 'this folder' : image.path}</a>.`,
    );
  }
  if (isOfKeys(finding)) {
    return empty(
      'No registered key has that name',
      html`Signatures by it are of an unknown key. On the server, <code>lookaside key add FILE</code> registers it.`,
      html`<a href="${context.link('keys')}">All registered keys</a>`,
    );
  }
  return empty(
    'Nothing is stored under that name',
    html`If it is an image that a client refuses: no signature says this name. A signature is for one digest and the name that it was signed under, so search for the digest that the client reports, or for the repository without a tag.`,
    ...(parseAsked(asked) === null
      ? []
      : [
          html`<a class="button" href="${context.link('check', { image: asked })}">Check the pull of ${clip(asked, 120)}</a>`,
        ]),
    examples(),
  );
}

function examples(): Html {
  return html`<dl class="facts">${EXAMPLES.map(([what, text]) => html`<dt>${what}</dt><dd>${text}</dd>`)}</dl>`;
}
