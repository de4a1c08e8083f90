// Names and texts that several kinds of clients share.
import { LookasideError } from '../errors.ts';
import type { KindFile } from './kind.ts';
import type { TrustedKey, TrustedScope } from './wanted.ts';

export function textFile(path: string, text: string): KindFile {
  return { path, content: new TextEncoder().encode(text), keys: null };
}

export function keyringFile(path: string, keys: readonly TrustedKey[]): KindFile {
  return { path, content: certificatesOf(keys), keys: keys.map(({ fingerprint }) => fingerprint) };
}

/** All in one, as gpg --export writes them. */
export function certificatesOf(keys: readonly TrustedKey[]): Uint8Array {
  return Uint8Array.from(keys.flatMap(({ certificate }) => [...certificate]));
}

/** Also of two registries that differ in what names cannot hold: no two names are the same. */
export function nameOf(registry: string, sha256: (bytes: Uint8Array) => string): string {
  const safe = registry
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  const digest = sha256(new TextEncoder().encode(registry)).slice(0, 8);
  return `${safe.slice(0, 40).replace(/-$/, '')}-${digest}`;
}

/**
 * Each with its registry as a file's name, with `filler` for what such names do not hold.
 * @throws LookasideError CONFIG_INVALID where two would have one name
 */
export function withFileNames(
  scopes: readonly TrustedScope[],
  filler: '-' | '_',
): readonly { readonly scope: TrustedScope; readonly name: string }[] {
  const registries = new Map<string, string>();
  return scopes.map((scope) => {
    const name = scope.registry.replaceAll(/[^A-Za-z0-9._-]/g, filler);
    const other = registries.get(name);
    if (other !== undefined)
      throw new LookasideError(
        'CONFIG_INVALID',
        `${other} and ${scope.registry} would both have the file name ${name}; write them with one command each, into two folders`,
      );
    registries.set(name, scope.registry);
    return { scope, name };
  });
}

/** Host and path. @throws LookasideError CONFIG_INVALID for `*.example.com` */
export function requireOneHost(
  kind: string,
  { registry }: TrustedScope,
): { readonly host: string; readonly repository: string | null } {
  if (registry.startsWith('*'))
    throw new LookasideError(
      'CONFIG_INVALID',
      `${kind} asks one registry, and ${registry} stands for many; name a registry like registry.example.com`,
    );
  const slash = registry.indexOf('/');
  if (slash === -1) return { host: registry, repository: null };
  return { host: registry.slice(0, slash), repository: registry.slice(slash + 1) };
}

/** @throws LookasideError CONFIG_INVALID for a URL that this kind does not ask */
export function requireWebUrl(kind: string, lookaside: string): void {
  if (/^https?:/.test(lookaside)) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    `${kind} finds signatures at https:// or http:// alone, and the lookaside is ${lookaside}; name another with --lookaside`,
  );
}

/** @throws LookasideError CONFIG_INVALID for a mirror's section */
export function refuseRemapped(kind: string, { registry, identity }: TrustedScope): void {
  if (identity === null) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    `${registry} is a mirror, and ${kind} cannot be told that its images were signed under another name; leave out --registries-conf`,
  );
}

/** A word of a shell command. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
