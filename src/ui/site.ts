// The web pages: finds the page of a path, asks who may see it, and puts the frame around what it answers.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { leastRole } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';
import type { PageReply, PageRequest, WebPages } from '../domain/web-page.ts';
import { type AssetName, type Assets, readAssets } from './assets.ts';
import { type FrameOptions, failure, framed, type Section } from './frame.ts';
import { html } from './html.ts';
import {
  ANYBODY,
  AUDITORS,
  type Content,
  goOn,
  linkFrom,
  logInAddress,
  maySee,
  PAGE_HEADERS,
  type Page,
  redirect,
  requireOwnForm,
} from './page.ts';
import { check } from './pages/check.ts';
import { images } from './pages/images.ts';
import { keyChanges } from './pages/key-changes.ts';
import { keyRefresh } from './pages/key-refresh.ts';
import { keyRevocation } from './pages/key-revocation.ts';
import { keyRotation } from './pages/key-rotation.ts';
import { keys } from './pages/keys.ts';
import { logIn } from './pages/log-in.ts';
import { mirrors } from './pages/mirrors.ts';
import { neverSigned } from './pages/never-signed.ts';
import { overview } from './pages/overview.ts';
import { proof } from './pages/proof.ts';
import { live, records } from './pages/records.ts';
import { repositories } from './pages/repositories.ts';
import { search } from './pages/search.ts';
import { setUp } from './pages/set-up.ts';
import { signers } from './pages/signers.ts';
import { system } from './pages/system.ts';
import { tokens } from './pages/tokens.ts';
import { UPLOADERS, upload } from './pages/upload.ts';
import type { PageServices } from './services.ts';

/** In the order of the navigation. */
const SECTIONS: readonly Section[] = [
  { path: 'overview', title: 'Overview', roles: AUDITORS },
  { path: 'repositories', title: 'Repositories', roles: 'reader' },
  { path: 'keys', title: 'Keys', roles: 'reader' },
  { path: 'check', title: 'Check a pull', roles: 'reader' },
  { path: 'set-up', title: 'Set up a client', roles: 'reader' },
  { path: 'upload', title: 'Upload', roles: UPLOADERS },
  { path: 'audit', title: 'Audit', roles: AUDITORS },
  { path: 'access', title: 'Access', roles: AUDITORS },
  { path: 'never-signed', title: 'Never signed', roles: AUDITORS },
  { path: 'signers', title: 'Signers', roles: ANYBODY },
  { path: 'tokens', title: 'Tokens', roles: ANYBODY },
  { path: 'mirrors', title: 'Mirrors', roles: AUDITORS },
  { path: 'system', title: 'System', roles: AUDITORS },
];

/** When two fit an address, the first is meant. */
const PAGES: readonly Page[] = [
  ...repositories,
  ...images,
  ...keyChanges,
  ...keyRefresh,
  ...keyRevocation,
  ...keyRotation,
  ...keys,
  ...search,
  ...check,
  ...setUp,
  ...records,
  ...live,
  ...proof,
  ...overview,
  ...neverSigned,
  ...upload,
  ...signers,
  ...tokens,
  ...mirrors,
  ...system,
  ...logIn,
];

export function createPages(services: PageServices): WebPages {
  const assets = readAssets();
  const options: FrameOptions = { assets, sections: SECTIONS, version: services.about.version };

  async function answer(request: PageRequest): Promise<PageReply> {
    const asset = assetAt(assets, request.path);
    if (asset !== null) return asset;
    const match = findPage(request.path);
    if (match === null) throw new LookasideError('NOT_FOUND', `there is no page ${quoted(request.path)}`);
    const { page, rest } = match;
    const part = request.method === 'POST' ? page.submit : page;
    if (part === undefined)
      throw new LookasideError('METHOD_NOT_ALLOWED', 'this page takes no form; ask for it with GET');
    if (!maySee(request, part.roles)) return refuse(request, part.roles);
    if (part === page.submit && part.roles !== 'open') requireOwnForm(request);
    const link = linkFrom(request.base);
    const given = await part.answer({ services, request, rest, now: services.clock.now(), link });
    return isReply(given)
      ? { ...given, headers: { ...PAGE_HEADERS, ...given.headers } }
      : framed(given, request, options);
  }

  return {
    answer,
    failed(request, error, status) {
      const { base } = request;
      const message = isLookasideError(error)
        ? error.message
        : 'the server failed at this page; its log says why';
      const title =
        status === 404
          ? 'Not found'
          : status >= 500
            ? 'This page cannot be shown right now'
            : 'This cannot be done';
      const next = html`<a href="${base}">Go to the first page</a>${maySee(request, 'reader') && html`, or search above for a reference, a digest, a key or a path`}.`;
      const reply = framed({ title, status, body: failure(title, message, next) }, request, options);
      return status === 503 || status === 429
        ? { ...reply, headers: { ...reply.headers, 'Retry-After': retryAfterSeconds(error) } }
        : reply;
    },
  };
}

function retryAfterSeconds(error: unknown): number {
  const seconds = isLookasideError(error) ? error.detail?.retryAfterSeconds : undefined;
  return typeof seconds === 'number' ? seconds : 5;
}

/** A visitor without a log-in is asked to log in; one with a log-in has the wrong role. */
function refuse(request: PageRequest, roles: Page['roles']): PageReply {
  const { viewer, isFromElsewhere, cookie } = request;
  if (viewer.kind === 'anonymous') {
    const to = logInAddress(request);
    return isFromElsewhere && cookie === null ? goOn(to) : redirect(to);
  }
  const wanted = typeof roles === 'string' ? roles : roles.join(' or ');
  throw new LookasideError(
    'DENIED',
    `${quoted(viewer.shownName)} has the role ${viewer.role}, and this page is for ${wanted}; log in with a token of such a role, or ask an administrator for one: lookaside token create --name NAME --role ${typeof roles === 'string' ? roles : leastRole(roles)}`,
  );
}

interface FoundPage {
  readonly page: Page;
  readonly rest: string;
}

function findPage(path: string): FoundPage | null {
  const exact = PAGES.find((page) => page.path === path);
  if (exact !== undefined) return { page: exact, rest: '' };
  for (const page of PAGES) {
    const rest = starOf(page.path, path);
    if (rest !== null) return { page, rest };
  }
  return null;
}

/** What stands for the `*`; null when the path is another. */
function starOf(pattern: string, path: string): string | null {
  const [before = '', after] = pattern.split('*');
  if (after === undefined || path.length <= before.length + after.length) return null;
  if (!path.startsWith(before) || !path.endsWith(after)) return null;
  const rest = path.slice(before.length, path.length - after.length);
  return after !== '' && rest.includes('/') ? null : rest;
}

function assetAt(assets: Assets, path: string): PageReply | null {
  if (!path.startsWith('assets/')) return null;
  const name = path.slice(path.lastIndexOf('/') + 1) as AssetName;
  const asset = Object.hasOwn(assets, name) ? assets[name] : null;
  if (asset === null) return null;
  return {
    status: 200,
    headers: {
      'Content-Type': asset.type,
      'Content-Length': asset.bytes.length,
      'X-Content-Type-Options': 'nosniff',
      'Cross-Origin-Resource-Policy': 'same-origin',
      // its address changes with its content; an old address gets the content of now, which nobody may keep
      'Cache-Control': path === asset.path ? 'public, max-age=31536000, immutable' : 'no-cache',
    },
    body: asset.bytes,
  };
}

function isReply(given: Content | PageReply): given is PageReply {
  return 'headers' in given;
}
