// A key: an OpenPGP certificate, named by its primary fingerprint (40 upper-case hex digits; only version 4).
import { type ErrorCode, LookasideError } from './errors.ts';

export interface KeyPart {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  /** As gpg names it: `rsa3072`, `ed25519`, `nistp256`. */
  readonly algorithm: string;
  readonly createdAt: Date;
  /** Null = never. */
  readonly expiresAt: Date | null;
  /** Null = not revoked. */
  readonly revokedAt: Date | null;
  readonly canSign: boolean;
}

/** What a cleaned certificate holds: only what its own primary key vouches for. */
export interface KeyDetails extends KeyPart {
  /** The primary one first. Hostile text: escape where shown. */
  readonly userIds: readonly string[];
  readonly subkeys: readonly KeyPart[];
}

export interface RegisteredKey extends KeyDetails {
  readonly addedAt: Date;
  readonly changedAt: Date;
  /** Binary, cleaned. */
  readonly certificate: Uint8Array;
}

/** Warnings about an accepted key: which parts were left out, and which clients cannot use it. */
export const KEY_WARNING_CODES = ['SUBKEY_LEFT_OUT', 'GPG_CANNOT_IMPORT', 'BOUND_BY_SHA1'] as const;

export interface KeyWarning {
  readonly code: (typeof KEY_WARNING_CODES)[number];
  readonly message: string;
}

/** A revoked key is never valid again; an expired one may be extended. */
export type KeyState = 'valid' | 'expired' | 'revoked';

export interface ShownPart extends KeyPart {
  readonly state: KeyState;
}

/** A key as answers show it to people and programs. */
export interface ShownKey extends ShownPart {
  /** The primary one first. Hostile text: escape where shown. */
  readonly userIds: readonly string[];
  readonly subkeys: readonly ShownPart[];
  readonly addedAt: Date;
  readonly changedAt: Date;
}

export interface ExportedKey extends ShownKey {
  readonly warnings: readonly KeyWarning[];
  /** ASCII armour without comments. */
  readonly armored: string;
}

/** What the removal of a key has changed. */
export interface RemovedKey {
  readonly fingerprint: string;
  /** Hostile text: escape where shown. */
  readonly userIds: readonly string[];
  /** How many stored signatures it verified until now; null when the index could not answer. */
  readonly signatures: number | null;
}

/** What became of one certificate of a file. */
export type KeyResult =
  | {
      readonly result: 'added' | 'updated' | 'unchanged';
      readonly fingerprint: string;
      readonly userIds: readonly string[];
      readonly state: KeyState;
      /** Null = never. */
      readonly expiresAt: Date | null;
      readonly warnings: readonly KeyWarning[];
    }
  | {
      readonly result: 'refused';
      /** Null when it could not be read. */
      readonly fingerprint: string | null;
      readonly code: ErrorCode;
      readonly message: string;
    };

const FINGERPRINT = /^[0-9A-F]{40}$/;
const KEY_NAME = /^(?:[0-9A-F]{16}|[0-9A-F]{40})$/;
const SHOWN_CHARACTERS = 80;

/** Whether the text is the fingerprint of a version 4 key: 40 upper-case hex digits. */
export function isFingerprint(text: string): boolean {
  return FINGERPRINT.test(text);
}

/** Whether the text names a key in a form that parseKeyName() reads. */
export function isKeyName(text: string): boolean {
  return KEY_NAME.test(plainName(text));
}

function plainName(name: string): string {
  return name.replace(/\s/g, '').replace(/^0x/i, '').toUpperCase();
}

/** The error NOT_FOUND for a key that is not registered. */
export function unknownKey(wanted: string): LookasideError {
  const what = isFingerprint(wanted) ? `no key ${wanted}` : `no key with the ID ${wanted}`;
  return new LookasideError('NOT_FOUND', `${what} is registered; see: lookaside key list`);
}

/**
 * The fingerprint (40 upper-case hex digits) or key ID (16) in the text, which may have either case, and spaces as gpg
 * prints them.
 * @throws LookasideError REQUEST_INVALID when it is neither
 */
export function parseKeyName(name: string): string {
  const wanted = plainName(name);
  if (KEY_NAME.test(wanted)) return wanted;
  throw new LookasideError(
    'REQUEST_INVALID',
    `"${name.slice(0, SHOWN_CHARACTERS)}" names no key; wanted a fingerprint of 40 hex digits or a key ID of 16`,
  );
}
