// The frame around every page: name, search box, sections, who is logged in.
import type { PageReply, PageRequest } from '../domain/web-page.ts';
import type { Assets } from './assets.ts';
import { type Html, html, NOTHING, render } from './html.ts';
import {
  type Content,
  formToken,
  isLogIn,
  linkFrom,
  logInAddress,
  maySee,
  PAGE_HEADERS,
  type Page,
} from './page.ts';
import { clip, word } from './show.ts';

export interface Section {
  readonly path: string;
  readonly title: string;
  readonly roles: Page['roles'];
}

export interface FrameOptions {
  readonly assets: Assets;
  readonly sections: readonly Section[];
  readonly version: string;
}

/** The whole page as an answer. */
export function framed(
  { title, body, status = 200, retryAfterSeconds }: Content,
  request: PageRequest,
  options: FrameOptions,
): PageReply {
  const text = render(frame(title, body, request, options));
  return {
    status,
    headers: {
      ...PAGE_HEADERS,
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Length': Buffer.byteLength(text),
      Vary: 'Cookie',
      ...(retryAfterSeconds === undefined ? {} : { 'Retry-After': retryAfterSeconds }),
    },
    body: text,
  };
}

function frame(title: string, body: Html, request: PageRequest, options: FrameOptions): Html {
  const { base, query, path } = request;
  const { assets, version } = options;
  const asked = path === 'search' || query.has('asked') ? (query.get('q') ?? query.get('asked') ?? '') : '';
  const canRead = maySee(request, 'reader');
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · lookaside</title>
<link rel="stylesheet" href="${base}${assets['page.css'].path}">
<link rel="icon" type="image/svg+xml" href="${base}${assets['icon.svg'].path}">
<script src="${base}${assets['page.js'].path}"></script>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="top">
<div class="wide bar">
<a class="name" href="${base}"><img src="${base}${assets['icon.svg'].path}" alt="" width="24" height="24">lookaside</a>
${canRead && searchBox(base, asked.slice(0, 512))}
${whoAmI(request)}
</div>
${canRead && html`<nav class="main wide" aria-label="Sections">${sectionLinks(request, options.sections)}</nav>`}
</header>
<main id="content" class="wide" tabindex="-1">
${body}
</main>
<footer><div class="wide"><span>lookaside ${version}, the signature server for container images</span><span class="only-js"><span>Times are in the zone <span data-zone>of this browser</span>; a time that is pointed at says its UTC.</span></span></div></footer>
</body>
</html>
`;
}

function searchBox(base: string, asked: string): Html {
  const hint = 'Reference, digest, key, user ID, address or path';
  return html`<form class="search" role="search" action="${base}search" method="get"><input type="search" name="q" value="${asked}" placeholder="${hint}" aria-label="${hint}" maxlength="512" autocomplete="off" spellcheck="false" aria-keyshortcuts="/"><button>Search</button></form>`;
}

function whoAmI(request: PageRequest): Html {
  const { viewer, base, path } = request;
  if (viewer.kind === 'anonymous') {
    return isLogIn(path)
      ? NOTHING
      : html`<div class="who"><a href="${logInAddress(request)}">Log in</a></div>`;
  }
  return html`<form class="who" method="post" action="${base}log-out">${formToken(request)}<span title="${viewer.name}"><strong>${clip(viewer.shownName, 24)}</strong> <small>${viewer.role}</small></span><button class="link">Log out</button></form>`;
}

function sectionLinks(request: PageRequest, sections: readonly Section[]): readonly Html[] {
  const { base, path } = request;
  const here = path.split('/', 1)[0];
  return sections
    .filter(({ roles }) => maySee(request, roles))
    .map((section) => {
      const href = section.path === '' ? base : linkFrom(base)(section.path);
      const isHere =
        section.path === (here || 'repositories') || (section.path === 'repositories' && here === 'images');
      return isHere
        ? html`<a href="${href}" aria-current="page">${section.title}</a>`
        : html`<a href="${href}">${section.title}</a>`;
    });
}

/** What a page says when something went wrong. */
export function failure(title: string, message: string, next: Html): Content['body'] {
  return html`<div class="head"><h1>${title}</h1></div><div class="note wrong"><p>${word('wrong', message.slice(0, 1).toUpperCase() + message.slice(1))}</p></div><p>${next}</p>`;
}
