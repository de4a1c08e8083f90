// What a signature site's own listing names: pages of HTML as mirror.openshift.com and web servers write them, XML of S3 and Google's
// storage, and JSON of a lookaside.
import { parseImageFolder } from './image.ts';
import type { NamedImage } from './sync-source.ts';
import { toUrl } from './url.ts';

export interface ListingPage {
  readonly images: readonly NamedImage[];
  /** URLs below the listing that may hold more images, without a query. */
  readonly folders: readonly string[];
  /** The URL of the page that goes on; null at the end. */
  readonly next: string | null;
}

/** `at`: the URL of the page, after redirects. `base`: the URL of the listing, whose path ends in a slash: nothing outside of it counts. */
export function readListing(text: string, at: URL, base: URL): ListingPage {
  const trimmed = text.trimStart();
  if (trimmed.startsWith('{')) return fromJson(trimmed, at);
  if (/^(?:<\?xml[^>]*>\s*)?<ListBucketResult\b/.test(trimmed)) return fromBucket(trimmed, at);
  return fromHtml(trimmed, at, base);
}

function fromJson(text: string, at: URL): ListingPage {
  const value = JSON.parse(text) as { readonly signatures?: unknown; readonly next?: unknown };
  const rows = Array.isArray(value.signatures) ? (value.signatures as readonly unknown[]) : [];
  const images = rows.flatMap((row) => {
    const name = typeof row === 'object' && row !== null && 'image' in row ? row.image : null;
    return typeof name === 'string' ? imagesIn(name.replace(':', '=')) : [];
  });
  return {
    images,
    folders: [],
    next: typeof value.next === 'string' ? withQuery(at, 'cursor', value.next) : null,
  };
}

function fromBucket(text: string, at: URL): ListingPage {
  const textOf = (name: string) => entities(new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1] ?? '');
  const keys = [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) => entities(key));
  const prefix = at.searchParams.get('prefix') ?? '';
  const images = keys.flatMap((key) => imagesIn(key.startsWith(prefix) ? key.slice(prefix.length) : key));
  if (textOf('IsTruncated') !== 'true') return { images, folders: [], next: null };
  const token = textOf('NextContinuationToken');
  const marker = textOf('NextMarker') || (keys.at(-1) ?? '');
  const next = token === '' ? withQuery(at, 'marker', marker) : withQuery(at, 'continuation-token', token);
  return { images, folders: [], next: marker === '' && token === '' ? null : next };
}

function fromHtml(text: string, at: URL, base: URL): ListingPage {
  const images: NamedImage[] = [];
  const folders = new Set<string>();
  let next: string | null = null;
  // the end of the attribute may be missing where a page was cut: such a link counts for nothing
  for (const [, quoted, single] of text.matchAll(/<a\b[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)) {
    const url = toUrl(entities(quoted ?? single ?? ''), at);
    if (url === null || url.origin !== base.origin) continue;
    if (url.pathname === at.pathname) {
      // mirror.openshift.com cuts its pages, and the link to the rest stands above the rows
      if (url.searchParams.has('entry') || url.searchParams.has('after')) next = url.href;
      continue;
    }
    const below = pathBelow(url, base);
    if (below === null) continue;
    const named = imagesIn(below);
    images.push(...named);
    if (named.length === 0 && below.endsWith('/') && url.pathname.startsWith(at.pathname))
      folders.add(url.origin + url.pathname);
  }
  return { images, folders: [...folders], next };
}

/** Decoded, without a slash in front; null outside of the base, and where no path is meant. */
function pathBelow({ pathname }: URL, base: URL): string | null {
  if (!pathname.startsWith(base.pathname) || pathname === base.pathname) return null;
  try {
    return decodeURIComponent(pathname.slice(base.pathname.length));
  } catch {
    return null; // only URIError: a path that is no text names no image
  }
}

/** The image in a path like `…/sha256=<hex>/` or `…@sha256=<hex>/signature-1`. */
function imagesIn(path: string): readonly NamedImage[] {
  const folder = path.replace(/^\/+/, '').replace(/\/(?:signature-\d+)?$/, '');
  const image = parseImageFolder('', folder);
  if (image === null) return [];
  const { layout, path: repository, algorithm, hex } = image;
  return [{ repository: layout === 'repository' ? repository : null, digest: `${algorithm}:${hex}` }];
}

function withQuery(url: URL, name: string, value: string): string {
  const next = new URL(url);
  next.searchParams.set(name, value);
  return next.href;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function entities(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(\w+));/gi, (whole, hex, decimal, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
