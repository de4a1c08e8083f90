// What the names in a staging folder say about the signatures there.
import { ALGORITHMS, type Digest, type ImageId, parseDigest, parseImageFolder, whyTooLong } from './image.ts';
import { parseSignatureName } from './lookaside-path.ts';
import { naturalKey } from './natural-order.ts';
import { quoted } from './text.ts';

export type FolderMeaning =
  | { readonly kind: 'image'; readonly image: ImageId }
  /** It looks like an image's folder but cannot be one: `message` says why and what to do. */
  | { readonly kind: 'no-image-name'; readonly message: string }
  | { readonly kind: 'other' };

const LIKE_IMAGE = /(?:^|@)(?<algorithm>[a-z0-9]+)[=:](?<hex>[^@=:]*)$/i;

/** Whether a single name is meant to be an image's folder, well-formed or not. */
export function looksLikeImageFolder(name: string): boolean {
  const algorithm = LIKE_IMAGE.exec(name)?.groups?.algorithm?.toLowerCase();
  return ALGORITHMS.some((known) => known === algorithm);
}

/** What a folder is, judged by its path below the staging folder: slashes between names, no slash at either end. */
export function folderMeaning(site: string, relative: string): FolderMeaning {
  const image = parseImageFolder(site, relative);
  if (image !== null) return { kind: 'image', image };
  const name = relative.slice(relative.lastIndexOf('/') + 1);
  if (!looksLikeImageFolder(name)) return { kind: 'other' };
  return { kind: 'no-image-name', message: whyNoImage(site, relative, name) };
}

function whyNoImage(site: string, relative: string, name: string): string {
  const tooLong = whyTooLong(relative);
  if (tooLong !== null) return tooLong;
  const digest = name.slice(name.lastIndexOf('@') + 1);
  if (parseDigest(digest) !== null) {
    return `${quoted(name)} has a colon before the digits, and folders have =; rename it`;
  }
  if (parseImageFolder(site, digest) === null) {
    return `${quoted(digest)} is not a digest: expected sha256=, sha384= or sha512= and 64, 96 or 128 lower-case hex digits; rename the folder, or sign again`;
  }
  const repository = relative.slice(0, -digest.length).replace(/[@/]$/, '');
  return `${quoted(repository)} is not a repository path: expected names of letters, digits, . _ ~ + and - that begin with a letter, a digit or _; rename the folders`;
}

/** The digest in the bare name of an image's folder (`app@sha256=<hex>`, `sha256=<hex>`), or null. */
export function digestOfFolderName(site: string, name: string): Digest | null {
  const image = parseImageFolder(site, name);
  return image === null ? null : { algorithm: image.algorithm, hex: image.hex };
}

export interface StagedName {
  /** The digest in the file's own name, as `dir:` images have it for the entries of a manifest list; else null. */
  readonly digest: Digest | null;
  readonly number: number;
  /** True when the file's name also gives the image: the digest in the release layout. */
  readonly isRelease: boolean;
}

const WITH_DIGEST = /^(?:(?<algorithm>[a-z0-9]+)-)?(?<hex>[0-9a-f]+)\.(?<rest>signature-.*)$/;

/**
 * oc-mirror asks for signature-1 alone, so such a file is always signature-1. Source: oc-mirror
 * internal/pkg/release/signature.go
 */
const CACHED_RELEASE = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}-sha256-(?<hex>[0-9a-f]{64})$/;

/**
 * Parses `signature-2`; `<hex>.signature-2` (sha256) and `<algorithm>-<hex>.signature-2`, as in `dir:` images; and
 * `<tag>-sha256-<hex>`, as oc-mirror names signatures of releases. Null for every other name. Source: containers/image
 * directory/directory_transport.go, signaturePath
 */
export function parseStagedName(name: string): StagedName | null {
  const plain = parseSignatureName(name);
  if (plain !== null) return { digest: null, number: plain, isRelease: false };
  return parseCachedRelease(name) ?? parseDirName(name);
}

function parseCachedRelease(name: string): StagedName | null {
  const hex = CACHED_RELEASE.exec(name)?.groups?.hex;
  const digest = hex === undefined ? null : parseDigest(`sha256:${hex}`);
  return digest === null ? null : { digest, number: 1, isRelease: true };
}

function parseDirName(name: string): StagedName | null {
  const { algorithm = 'sha256', hex, rest } = WITH_DIGEST.exec(name)?.groups ?? {};
  if (hex === undefined || rest === undefined) return null;
  const digest = parseDigest(`${algorithm}:${hex}`);
  const number = parseSignatureName(rest);
  return digest === null || number === null ? null : { digest, number, isRelease: false };
}

/** The image of the release layout at the top of the tree, which is where OpenShift asks. */
export function releaseImage(site: string, { algorithm, hex }: Digest): ImageId {
  return { site, layout: 'release', path: '', algorithm, hex };
}

export const DIR_MANIFEST = 'manifest.json';
export const DIR_VERSION = 'version';

/** What the file `version` of a `dir:` image begins with. Source: directory_transport.go, versionPath; directory_dest.go */
export const DIR_VERSION_TEXT = 'Directory Transport Version';

const DIR_PART = /^(?:[a-z0-9]+-)?[0-9a-f]{64,128}(?:\.manifest\.json)?$/;

/** Whether a `dir:` image has files with such a name beside its signatures. */
export function isDirImagePart(name: string): boolean {
  return name === DIR_MANIFEST || name === DIR_VERSION || DIR_PART.test(name);
}

/** A key whose plain order is folder by folder in natural order, each folder before the folders in it. */
export function pathKey(relative: string): string {
  return relative.split('/').map(naturalKey).join('\0');
}
