// Remaps: images that are pulled by another name than the one that was signed, as `remapIdentity` of policy.json allows them.
import type { Warning } from './receipt.ts';
import { formatReference, parseReference } from './reference.ts';
import type { Claim } from './verdict.ts';

/** What stands below `prefix` here was signed below `signedPrefix`. */
export interface Remap {
  /** As it was written: `mirror/quay=quay.io`. */
  readonly text: string;
  /** A repository path without its registry, `mirror/quay`; empty: all of a registry. */
  readonly prefix: string;
  /** With its registry, in full: `quay.io`, `docker.io/library`. */
  readonly signedPrefix: string;
}

export const REMAP_WANTED =
  'wanted PREFIX=SIGNED_PREFIX, like mirror/quay=quay.io: the repository path here, and the signed name with its registry in full, neither with tag or digest';

/**
 * Null when the text is none. The prefix may begin with a registry, which is a first part with a dot, a colon or a capital,
 * or `localhost`: as in a policy, so that what it says can be copied.
 */
export function parseRemap(text: string): Remap | null {
  const [prefix, signedPrefix, ...rest] = text.split('=');
  if (prefix === undefined || signedPrefix === undefined || rest.length > 0) return null;
  const path = placePathOf(prefix);
  return path === null || !isFullPrefix(signedPrefix) ? null : { text, prefix: path, signedPrefix };
}

/** Null when it is no prefix of a name. Empty: a registry's name alone. */
function placePathOf(prefix: string): string | null {
  if (isRegistry(prefix)) return '';
  // a tag or digest would be behind the last slash
  const parsed = parseReference(`${prefix}/x`);
  return parsed?.path.endsWith('/x') === true ? parsed.path.slice(0, -2) : null;
}

/** A registry, or a name that is written as clients compare it. */
function isFullPrefix(prefix: string): boolean {
  if (isRegistry(prefix)) return true;
  // a tag or digest would be behind the last slash
  const parsed = parseReference(`${prefix}/x`);
  return parsed !== null && formatReference(parsed) === `${prefix}/x`;
}

function isRegistry(text: string): boolean {
  return parseReference(`${text}/a/b`)?.domain === text;
}

/** Whether the remap makes the claimed name one for this repository path: prefixes end where a part of the name ends. */
export function isRemapped(
  path: string,
  { dockerReference }: Claim,
  { prefix, signedPrefix }: Remap,
): boolean {
  const name = nameOf(dockerReference);
  return name !== null && name === signedPrefix + (rest(path, prefix) ?? '\0');
}

/** What clients need to accept it there. */
export function remapWarning(remap: string | null): readonly Warning[] {
  const parsed = remap === null ? null : parseRemap(remap);
  if (parsed === null) return [];
  const { text, prefix, signedPrefix } = parsed;
  const pulled = prefix === '' ? 'the registry' : `<registry>/${prefix}`;
  return [
    {
      code: 'REMAPPED',
      message: `signed for another name and taken by the remap ${text}; only clients accept it whose policy has {"signedIdentity":{"type":"remapIdentity","prefix":"${pulled}","signedPrefix":"${signedPrefix}"}}`,
    },
  ];
}

/** What follows the prefix, with the slash before it; null when the path is not below it. */
function rest(path: string, prefix: string): string | null {
  if (prefix === '') return `/${path}`;
  if (path === prefix) return '';
  return path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : null;
}

/** The widest remap that makes the name one for the path; null when the reference names no repository. */
export function fittingRemap(path: string, dockerReference: string): string | null {
  const name = nameOf(dockerReference);
  if (name === null) return null;
  const placed = path.split('/');
  const signed = name.split('/');
  let shared = 0;
  // what is left of each is never empty: the first part of a name is its registry
  const most = Math.min(placed.length, signed.length) - 1;
  while (shared < most && placed.at(-1 - shared) === signed.at(-1 - shared)) shared += 1;
  return `${withoutLast(placed, shared)}=${withoutLast(signed, shared)}`;
}

function withoutLast(parts: readonly string[], count: number): string {
  return parts.slice(0, parts.length - count).join('/');
}

/** The full name without tag and digest: `docker.io/library/busybox`. */
function nameOf(dockerReference: string): string | null {
  const parsed = parseReference(dockerReference);
  return parsed === null ? null : formatReference({ ...parsed, tag: null, digest: null });
}
