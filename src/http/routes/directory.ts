// Directory pages: HTML for people, JSON for scripts.
import type { Request } from 'express';
import type { DirectoryPage } from '../../service/browse.ts';
import { nextHref, PAGE_SECURITY_POLICY, renderDirectoryPage, topHref } from '../directory-page.ts';
import type { Exchange } from '../exchange.ts';
import { jsonReply, type Reply, textReply } from '../reply.ts';
import type { RouteRequest, RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { NOT_THERE } from '../signature-reply.ts';
import { READ } from './lookaside.ts';

export const directory: RouteSpec = { ...READ, name: 'directory', route: serveDirectory };

const MAX_AFTER_CHARACTERS = 512;

async function serveDirectory(services: Services, { req, exchange, query }: RouteRequest): Promise<Reply> {
  const { listing } = services.settings();
  const { prefix } = exchange;
  const page = listing ? await findPage(services, exchange, query.get('after')) : hiddenPage(exchange.target);
  if (page === null) return NOT_THERE;
  const vary = { Vary: 'Accept' };
  // Express parses the Accept header; a client without a preference gets the page for people
  if ((req as Request).accepts(['html', 'json']) === 'json') {
    const next = page.next === null ? null : nextHref(page.next);
    return jsonReply(200, { path: page.path, entries: page.entries, next }, vary);
  }
  const note = listing ? 'No signature has been stored here yet.' : 'Listing is switched off on this server.';
  // a browser counts folders in the path as it was sent: `//` are two slashes to it
  const isAsWritten = slashesOf((req as Request).originalUrl) === slashesOf(prefix + page.path);
  const top = isAsWritten ? topHref(page.path) : `${prefix}/`;
  return textReply(200, renderDirectoryPage(page, top, note, pagesHref(services, exchange, top)), {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy': PAGE_SECURITY_POLICY,
    ...vary,
  });
}

/** From the site's top up to the server's, behind any prefix that a proxy has cut off. */
function pagesHref({ pages, settings }: Services, { site }: Exchange, top: string): string | null {
  if (pages === null || !settings().ui) return null;
  if (top.startsWith('/')) return `${settings().prefix}/ui/`;
  return `${top}${'../'.repeat((site?.prefix ?? '').split('/').length - 1)}ui/`;
}

function slashesOf(target: string): number {
  return (target.split('?')[0] ?? '').split('/').length;
}

async function findPage(
  { browser }: Services,
  { site, target }: Exchange,
  after: string | null,
): Promise<DirectoryPage | null> {
  if (site === null) return null;
  if (after !== null && after.length > MAX_AFTER_CHARACTERS) return null; // longer than any name
  switch (target.kind) {
    case 'image-page':
      return browser.imagePage(target.image);
    case 'folder-page':
      return browser.folderPage(site, target.folder, after);
    default:
      return null;
  }
}

/** The top of a site is always there: it tells that the server is. */
function hiddenPage(target: Exchange['target']): DirectoryPage | null {
  const isTop = target.kind === 'folder-page' && target.folder === '';
  return isTop ? { path: '/', entries: [], next: null } : null;
}
