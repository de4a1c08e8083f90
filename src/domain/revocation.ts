// The revocation of a key by an administrator: what it breaks, and what it withdraws.
import { LookasideError, type RefusalCode } from './errors.ts';
import type { KeyState, RegisteredKey, ShownKey } from './key.ts';
import { keyState } from './key-expiry.ts';
import { isPlain } from './text.ts';

export interface RevocationCounts {
  /** Stored signatures that verified by the key. */
  readonly signatures: number;
  /** Images with such signatures. */
  readonly images: number;
  /** Those of them that have no other signature which is verified now. */
  readonly broken: number;
  /**
   * Those that name the key and are refused already, for what its certificate says: no client accepts them, and `--withdraw` takes
   * away the ones that it has made. Not among `signatures`.
   */
  readonly refused: number;
}

/** Reasons of a signature whose own numbers may be right. */
export const REASONS_OF_KEYS: readonly (string | null)[] = [
  'KEY_REVOKED',
  'KEY_EXPIRED',
  'KEY_UNUSABLE',
] satisfies readonly RefusalCode[];

export interface BrokenImage {
  readonly site: string;
  /** `team/app@sha256:…`. */
  readonly image: string;
}

/** The first part says how many, parts with images follow, and the last part is `end`: an answer without it was cut off. */
export type RevocationPart =
  | (RevocationCounts & {
      readonly fingerprint: string;
      /** Hostile text: escape where shown. */
      readonly userIds: readonly string[];
      readonly state: KeyState;
      /** In words for people, what may be missing. */
      readonly gaps: readonly string[];
    })
  | { readonly images: readonly BrokenImage[] }
  | { readonly end: { readonly images: number } };

/** Where the next piece begins: behind this image of that site. Null: at the beginning. */
export type ImagePlace =
  | readonly [site: string, path: string, layout: string, algorithm: string, hex: string]
  | null;

/** The keys whose signatures are verified now, unless the signature itself has expired. */
export interface UsableKeys {
  /** Fingerprints of primary keys. */
  readonly keys: readonly string[];
  /** Fingerprints of their subkeys by which no signature is verified any more. */
  readonly endedSubkeys: readonly string[];
}

export interface WantedRevocation {
  readonly reason: string;
  /** Whether every signature by the key is withdrawn. */
  readonly withdraw: boolean;
  /** A file with the revocation that the key itself has signed, to be merged; null: none. */
  readonly certificate: Uint8Array | null;
}

export interface RevocationProgress {
  readonly images: number;
  readonly signatures: number;
}

export interface RevocationFollowing {
  readonly onProgress?: (progress: RevocationProgress) => void;
}

export interface RevokedKey {
  readonly key: ShownKey;
  /** False: it was revoked so already, and no event was written. */
  readonly changed: boolean;
  /** How many signatures this request has withdrawn; null: none were to be. */
  readonly withdrawn: number | null;
  /** In words for people, what may be left and is withdrawn later by itself. */
  readonly left: readonly string[];
}

export const MAX_REASON_CHARACTERS = 500;

/** @throws LookasideError REQUEST_INVALID */
export function checkRevocationReason(reason: string): void {
  if (reason.trim() !== '' && reason.length <= MAX_REASON_CHARACTERS && isPlain(reason)) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `a revocation needs a reason of 1 to ${MAX_REASON_CHARACTERS} characters without control characters, which is kept and shown; give --reason TEXT`,
  );
}

/** As stateOf() decides, of all keys but that one. */
export function usableWithout(
  fingerprint: string,
  keys: readonly Pick<RegisteredKey, 'fingerprint' | 'subkeys' | 'revokedAt' | 'expiresAt'>[],
  now: Date,
): UsableKeys {
  const usable = keys.filter(
    (key) => key.fingerprint !== fingerprint && key.revokedAt === null && !isOver(key.expiresAt, now),
  );
  return {
    keys: usable.map((key) => key.fingerprint),
    endedSubkeys: usable.flatMap(({ subkeys }) =>
      subkeys.filter((subkey) => keyState(subkey, now) !== 'valid').map((subkey) => subkey.fingerprint),
    ),
  };
}

function isOver(at: Date | null, now: Date): boolean {
  return at !== null && at.getTime() <= now.getTime();
}
