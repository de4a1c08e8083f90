// What a client is to be told: which registries, whose keys, where the signatures lie.
import { LookasideError } from '../errors.ts';
import type { IdentityRule } from '../policy/policy.ts';
import { quoted } from '../text.ts';

export interface TrustedKey {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  /** Hostile text: escape where shown. */
  readonly userIds: readonly string[];
  /** Binary, cleaned. */
  readonly certificate: Uint8Array;
}

/** A registry or a part of it, and whose signatures are taken there: one by any of these keys is enough. */
export interface TrustedScope {
  /** As policies and registries.d name it: `registry.example.com:5000/team`, `*.example.com`. */
  readonly registry: string;
  /** At least one. */
  readonly keys: readonly TrustedKey[];
  /** Null: the rule that clients take when none is written, matchRepoDigestOrExact. */
  readonly identity: IdentityRule | null;
}

export interface WantedConfig {
  readonly scopes: readonly TrustedScope[];
  /** Base URL of the signatures, without a slash at its end. */
  readonly lookaside: string;
  /** Where signers' tools write: `file:///…`; null: named nowhere. */
  readonly staging: string | null;
  /** `files`: one a key. `keyring`: one for all keys of a scope, which clients read that know no keyPaths. `inline`: in the policy. */
  readonly keysIn: 'files' | 'keyring' | 'inline';
}

// keep in sync with distribution's reference/regexp.go, as domain/reference.ts; a host needs a dot, a port, or to be localhost
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const PART = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const HOST = `(?:localhost|${LABEL}(?:\\.${LABEL})+|(?:${LABEL}|\\[[a-fA-F0-9:]+\\])(?=:[0-9]))`;
const SCOPE = new RegExp(`^${HOST}(?::[0-9]{1,5})?(?:/${PART})*$`);
const WILDCARD = new RegExp(`^\\*(?:\\.${LABEL})+$`);

export const SCOPE_WANTED =
  'wanted a registry or a part of it, as images are named: registry.example.com, registry.example.com:5000/team or *.example.com; no https://, no tag';

/** Whether policies and registries.d can have a section of that name. */
export function isRegistryScope(text: string): boolean {
  return text.length <= 255 && (SCOPE.test(text) || WILDCARD.test(text));
}

/** @throws LookasideError CONFIG_INVALID */
export function requireRegistryScope(text: string): string {
  if (isRegistryScope(text)) return text;
  throw new LookasideError('CONFIG_INVALID', `--registry is ${quoted(text)}; ${SCOPE_WANTED}`);
}

/** The part behind the host, by which grants name repositories; empty for a whole registry. */
export function repositoryPrefixOf(registry: string): string {
  const slash = registry.indexOf('/');
  return slash === -1 ? '' : registry.slice(slash + 1);
}

/** Files that hold keys get names by what they hold, so that one name never comes to mean another key. */
export function keyFileName(fingerprint: string): string {
  return `${fingerprint}.gpg`;
}
