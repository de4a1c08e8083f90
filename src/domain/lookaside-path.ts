// What a request target asks for. Pure and total: any string has an answer, and equal resources give equal answers.
import {
  type ImageId,
  isNamespaceFolder,
  parseImageFolder,
  parseLongImageFolder,
  whyTooLong,
} from './image.ts';
import { MAX_NAME_BYTES, MAX_TARGET_BYTES } from './limits.ts';
import { RESERVED_SEGMENTS } from './reserved-segments.ts';
import { createSiteFinder, type SitePlace, type View } from './site.ts';
import { viewed } from './view.ts';

export type Target =
  /** `number` is null for a name that no client can fetch (`signature-0`, `signature-01`, `index.json`). */
  | { readonly kind: 'signature'; readonly image: ImageId; readonly number: number | null }
  /** The page of an image's set. */
  | { readonly kind: 'image-page'; readonly image: ImageId }
  /** An image's folder without the final slash: nothing to read, but a place to upload to. */
  | { readonly kind: 'image'; readonly image: ImageId }
  /** The page of a folder above images; empty at the site's top. */
  | { readonly kind: 'folder-page'; readonly folder: string }
  /**
   * One of the server's own routes: the path decoded, with single slashes, without the prefix. `image` is set where the
   * path is also an image's folder, with or without the final slash, because a repository is named like one of our
   * segments.
   */
  | { readonly kind: 'own'; readonly path: string; readonly image: ImageId | null }
  /** `tooLong`, in words for people: a shorter path of this form would be a signature's or an image's. */
  | { readonly kind: 'nothing'; readonly tooLong?: string };

const NOTHING: Target = { kind: 'nothing' };

const SIGNATURE = 'signature-';
const MOST_DIGITS = 9;

/** The signature's number in `signature-N`, or null: plain decimal from 1, no padding. */
export function parseSignatureName(name: string): number | null {
  const digits = name.length - SIGNATURE.length;
  // without an expression, because every read asks
  if (digits < 1 || digits > MOST_DIGITS || !name.startsWith(SIGNATURE)) return null;
  let number = 0;
  for (let at = SIGNATURE.length; at < name.length; at += 1) {
    const digit = name.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9 || (digit === 0 && number === 0)) return null;
    number = 10 * number + digit;
  }
  return number;
}

export interface SiteTarget {
  /** In which it is; null when it is in none. The server's own routes are in the site without a prefix. */
  readonly site: SitePlace | null;
  readonly target: Target;
}

const NOWHERE: SiteTarget = { site: null, target: NOTHING };

/**
 * Returns what a raw request target names, and in which of the sites; of several prefixes the longest wins. The target is decoded
 * once; runs of slashes become one; the query is ignored; `%2F` is neither a slash nor part of a name. `prefix` is empty or
 * `/like/this`; it stands before the prefixes of the sites, and is removed from the front.
 * Rules: signature-protocols.md of containers/image, "Path structure"; `..` and hidden names never parse.
 */
export function createTargetParser(
  sites: readonly SitePlace[],
  prefix: string,
): (rawTarget: string) => SiteTarget {
  const findSite = createSiteFinder(sites);
  return (rawTarget) => {
    const path = rawTarget.length > MAX_TARGET_BYTES ? null : decodePath(rawTarget);
    if (path === null || !path.startsWith(`${prefix}/`)) return NOWHERE;
    const belowServer = path.slice(prefix.length);
    const site = findSite(belowServer);
    if (site === null) return NOWHERE;
    const target = targetIn(site, belowServer.slice(site.prefix.length + 1));
    return { site, target: site.view === undefined ? target : targetThrough(site.view, target) };
  };
}

/** What is meant below a view's prefix. Where paths are rewritten no folder has a page: its names would be others. */
function targetThrough(view: View, target: Target): Target {
  switch (target.kind) {
    case 'signature':
    case 'image-page':
    case 'image': {
      const image = viewed(target.image, view);
      return image === null ? NOTHING : { ...target, image };
    }
    case 'folder-page':
      return view.strip === '' && view.add === '' ? target : NOTHING;
    default:
      return target;
  }
}

/** As createTargetParser, for a site without a prefix. */
export function parseTarget(site: string, prefix: string, rawTarget: string): Target {
  return createTargetParser([{ name: site, prefix: '' }], prefix)(rawTarget).target;
}

function targetIn({ name: site, prefix }: SitePlace, below: string): Target {
  const lastSlash = below.lastIndexOf('/');
  const parent = lastSlash === -1 ? null : parseImageFolder(site, below.slice(0, lastSlash));
  const name = below.slice(lastSlash + 1);
  if (parent !== null && name !== '') {
    return { kind: 'signature', image: parent, number: parseSignatureName(name) };
  }
  const image = name === '' ? parent : parseImageFolder(site, below);
  const tooLong = image === null ? whyNoImage(below) : null;
  if (tooLong !== null) return { kind: 'nothing', tooLong };

  const firstSegment = below.slice(0, below.indexOf('/') === -1 ? undefined : below.indexOf('/'));
  if (prefix === '' && RESERVED_SEGMENTS.has(firstSegment)) return { kind: 'own', path: `/${below}`, image };
  if (image !== null) return { kind: name === '' ? 'image-page' : 'image', image };
  if (below === '') return { kind: 'folder-page', folder: '' };
  if (name !== '') return NOTHING;
  const folder = below.slice(0, -1);
  return isNamespaceFolder(folder) ? { kind: 'folder-page', folder } : NOTHING;
}

/** Why neither the path nor its parent is an image's folder, if length is the only reason; else null. */
function whyNoImage(below: string): string | null {
  // most unknown paths are short, so this check costs them nothing
  if (below.length <= MAX_NAME_BYTES || !below.includes('=')) return null;
  for (const folder of [below.slice(0, below.lastIndexOf('/')), below]) {
    if (parseLongImageFolder('', folder) !== null) return whyTooLong(folder);
  }
  return null;
}

/** The target's decoded path with single slashes; null when it is no path, or when an escape hides a slash or NUL. */
function decodePath(rawTarget: string): string | null {
  const query = rawTarget.indexOf('?');
  const encoded = withoutAuthority(query === -1 ? rawTarget : rawTarget.slice(0, query));
  if (!encoded.startsWith('/')) return null;
  const decoded = encoded.includes('%') ? percentDecode(encoded) : encoded;
  if (decoded === null || decoded.includes('\0')) return null;
  return decoded.includes('//') ? decoded.replace(/\/{2,}/g, '/') : decoded;
}

// RFC 9112 section 3.2.2: a server must accept the absolute form of a target.
function withoutAuthority(target: string): string {
  if (target.startsWith('/')) return target;
  const authority = /^https?:\/\/[^/]+/i.exec(target)?.[0];
  if (authority === undefined) return target;
  return target.slice(authority.length) || '/';
}

function percentDecode(encoded: string): string | null {
  if (/%2f/i.test(encoded)) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null; // only URIError: a malformed escape names nothing
  }
}
