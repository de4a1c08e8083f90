// What is stored, repository by repository, and the images of one repository.
import { LookasideError } from '../../domain/errors.ts';
import { DEFAULT_SITE, isNamespaceFolder } from '../../domain/image.ts';
import type { IndexedRepository } from '../../domain/ports.ts';
import type { StoredSignature } from '../../domain/stored-signature.ts';
import { quoted } from '../../domain/text.ts';
import { MOST_COUNTED_IMAGES } from '../../service/repositories.ts';
import { type Html, html } from '../html.ts';
import { type Content, mayList, type Page, type PageContext } from '../page.ts';
import { clip, count, empty, more, time } from '../show.ts';
import { askedNote } from './asked.ts';
import { statesOf } from './images.ts';
import { imageLink, placed, repositoryAt, repositoryLink, siteNames, siteOf } from './places.ts';

export const repositories: readonly Page[] = [
  { path: '', roles: 'reader', answer: listFolder },
  { path: 'repositories', roles: 'reader', answer: listFolder },
  { path: 'repositories/*', roles: 'reader', answer: showRepository },
];

// the look-ups of a page run on the thread that serves reads
const SIGNATURES_A_PAGE = 100;
const REPOSITORIES_A_PAGE = 100;

/** @throws LookasideError DENIED */
function requireListing({ request }: PageContext): void {
  if (mayList(request)) return;
  throw new LookasideError(
    'DENIED',
    'this server lists nothing to visitors (LOOKASIDE_LISTING is off); search for what you know, or log in',
  );
}

async function listFolder(context: PageContext): Promise<Content> {
  requireListing(context);
  const site = siteOf(context);
  const sites = siteNames(context);
  const siteLinks =
    sites.length > 1 &&
    html`<p class="actions"><span class="quiet">Site:</span>${sites.map((name) => (name === site ? html`<strong>${name}</strong>` : html`<a href="${context.link('repositories', { site: name })}">${name}</a>`))}</p>`;
  const none = empty('Nothing is stored here yet', ...firstSteps(site));
  return {
    title: 'Repositories',
    body: html`<div class="head"><h1>Repositories</h1><p class="lead">What is signed here. A pull was refused? <a href="${context.link('check')}">Check a pull</a> says why, and what to change.</p></div>${siteLinks}${(await tree(context, site, '')) ?? none}`,
  };
}

/** The commands by which the first signature comes. */
function firstSteps(site: string): readonly Html[] {
  if (site !== DEFAULT_SITE)
    return [html`Fetch what a file names: <code>lookaside mirror sync ${site} FILE</code>`];
  return [
    html`On the server, add the signer's key and make a token:<pre tabindex="0">lookaside key add signer.asc
lookaside token create --name pipeline --output token</pre>`,
    html`On the signer's machine, send the folder into which podman and skopeo sign:<pre tabindex="0">lookaside push --server URL --token-file token FOLDER</pre>`,
    html`Where this server shares a tree with podman, <code>podman push --sign-by</code> is enough.`,
  ];
}

/** The repositories below a folder, those of one folder together. Null: there are none. */
async function tree(context: PageContext, site: string, below: string): Promise<Html | null> {
  const { services, request } = context;
  const contains = clip(request.query.get('filter') ?? '', 255);
  const after = request.query.get('after');
  const { repositories, next, isComplete } = await services.repositories.page({
    ...{ site, below, contains, after },
    limit: REPOSITORIES_A_PAGE,
  });
  if (repositories.length === 0 && next === null && contains === '' && after === null && isComplete)
    return null;
  const here = (query: Record<string, string | null>) =>
    below === ''
      ? context.link('repositories', { ...placed(site), ...query })
      : repositoryLink(context, site, below, query);
  const none = `No repository ${contains === '' ? 'on this page' : 'here'} holds that text`;
  return html`${!isComplete && html`<p class="note open">The index is being built: repositories are still missing here. Load this page again in a moment.</p>`}
<form class="filter" method="get" action="${here({})}"${(next !== null || after !== null || contains !== '') && html` data-pages`}>${site !== DEFAULT_SITE && html`<input type="hidden" name="site" value="${site}">`}
<label>Filter <input type="search" name="filter" value="${contains}" data-filters="#repositories" maxlength="255" autocomplete="off" spellcheck="false"></label><button>Filter</button>${contains !== '' && html`<a class="button" href="${here({})}">Show all</a>`}</form>
<div class="part" id="repositories">${
    repositories.length > 0 &&
    html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Repository</th><th class="n">Images</th><th>Newest signature</th></tr></thead><tbody>
${repositories.map((one, position) => treeRows(context, site, one, repositories[position - 1]?.path ?? null))}
</tbody></table></div>`
  }<p class="quiet" data-no-row${repositories.length > 0 && html` hidden`}>${none}${next !== null && '; with Enter all pages are looked through'}.</p>
${more(next === null ? null : here({ filter: contains, after: next }), repositories.length === 0 ? 'Look through further repositories' : 'Next page')}</div>`;
}

function treeRows(
  context: PageContext,
  site: string,
  { path, images, newestAt }: IndexedRepository,
  before: string | null,
): Html {
  const folder = folderAbove(path);
  const isNew = folder !== '' && (before === null || folderAbove(before) !== folder);
  const number =
    images > MOST_COUNTED_IMAGES
      ? `more than ${count(MOST_COUNTED_IMAGES, 'image')}`
      : count(images, 'image');
  return html`${isNew && html`<tr class="folder"><th scope="rowgroup" colspan="3"><a href="${repositoryLink(context, site, folder)}">${folder}/</a></th></tr>`}
<tr data-text="${path.toLowerCase()}"><th scope="row"${folder !== '' && html` class="below"`}><a href="${repositoryLink(context, site, path)}">${folder !== '' && html`<span class="quiet">${folder}/</span>`}${path === '' ? 'top (images without a repository)' : path.slice(folder === '' ? 0 : folder.length + 1)}</a></th><td class="n">${number}</td><td>${time(newestAt)}</td></tr>`;
}

function folderAbove(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

async function showRepository(context: PageContext): Promise<Content> {
  requireListing(context);
  const { services, rest, request } = context;
  const site = siteOf(context);
  const path = repositoryAt(rest);
  if (path !== '' && !isNamespaceFolder(path))
    throw new LookasideError(
      'NOT_FOUND',
      `${quoted(path)} names no repository; expected a path like team/app`,
    );
  const { signatures, next } = await services.signatures.search({
    site,
    filter: {
      path,
      digest: null,
      fingerprint: null,
      tag: request.query.get('tag'),
      since: null,
      until: null,
    },
    uploader: null,
    state: null,
    order: 'newest',
    limit: SIGNATURES_A_PAGE,
    cursor: request.query.get('cursor'),
  });
  const below = path === '' ? null : await tree(context, site, path);
  const title = path === '' ? 'Top' : path;
  const isEmpty = signatures.length === 0 && below === null;
  const trail = trailOf(context, site, path);
  return {
    title,
    status: isEmpty ? 404 : 200,
    body: html`${askedNote(request)}<div class="head"><p class="crumbs"><a href="${context.link('repositories')}">Repositories</a>${trail}</p><h1>${title}</h1></div>
${signatures.length > 0 && html`<h2>Images</h2>${imageTable(context, signatures)}${more(next === null ? null : repositoryLink(context, site, path, { cursor: next }), 'Older signatures')}`}
${below !== null && html`<h2>Below it</h2>${below}`}
${isEmpty && empty('Nothing is stored in this repository', html`Clients that want a signature refuse all of its images. Sign one and send its signature with <code>lookaside push</code>.`)}`,
  };
}

function trailOf(context: PageContext, site: string, path: string): readonly Html[] {
  const names = path.split('/').slice(0, -1);
  return names.map(
    (name, position) =>
      html` / <a href="${repositoryLink(context, site, names.slice(0, position + 1).join('/'))}">${name}</a>`,
  );
}

function imageTable(context: PageContext, signatures: readonly StoredSignature[]): Html {
  const byImage = grouped(signatures);
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Digest</th><th>States</th><th>Signed for</th><th>Newest</th></tr></thead><tbody>
${[...byImage].map(([name, signatures]) => {
  const references = [...new Set(signatures.flatMap(({ dockerReference }) => dockerReference ?? []))];
  const digest = name.slice(name.lastIndexOf('sha'));
  return html`<tr><th scope="row"><a href="${imageLink(context, { site: signatures[0]?.site ?? 'default', name })}"><code title="${digest}">${digest.slice(0, 23)}…</code></a></th><td>${statesOf(signatures)}</td><td>${references.slice(0, 4).map((one) => html`<span class="tag">${clip(one, 120)}</span> `)}${references.length > 4 && html`<small>and ${references.length - 4} more</small>`}</td><td>${time(signatures[0]?.storedAt ?? null)}</td></tr>`;
})}
</tbody></table></div>`;
}

function grouped(signatures: readonly StoredSignature[]): ReadonlyMap<string, StoredSignature[]> {
  const byImage = new Map<string, StoredSignature[]>();
  for (const signature of signatures) {
    const known = byImage.get(signature.image);
    if (known === undefined) byImage.set(signature.image, [signature]);
    else known.push(signature);
  }
  return byImage;
}
