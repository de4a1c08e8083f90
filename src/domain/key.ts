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

/** With the certificate, binary and cleaned, that says so. */
export interface CertifiedKey extends KeyDetails {
  readonly certificate: Uint8Array;
}

/** An administrator's word that the key is trusted no longer, whatever its certificate says. */
export interface KeyRevocation {
  readonly at: Date;
  /** Name of the token, or `administrator`. */
  readonly by: string;
  /** Hostile text: escape where shown. */
  readonly reason: string;
  /** Number of its audit event. */
  readonly auditSeq: number;
  /** Whether every signature by the key is withdrawn, also one that comes later. */
  readonly withdraws: boolean;
  /** Whether the certificate says it too: then clients learn of it from the certificate, and else it is not given out. */
  readonly isInCertificate: boolean;
}

export interface RegisteredKey extends KeyDetails {
  readonly addedAt: Date;
  readonly changedAt: Date;
  /** Since when no new upload by it is taken; null = uploads are taken. States of signatures do not depend on it. */
  readonly retiredAt: Date | null;
  /** An administrator's revocation, which `revokedAt` counts too; null or left out: none. */
  readonly revocation?: KeyRevocation | null;
  /** Name of the token, or `administrator`; null or left out: it is not known any more. */
  readonly addedBy?: string | null;
  /** Binary, cleaned. */
  readonly certificate: Uint8Array;
}

/** Warnings about an accepted key: which parts were left out, and which clients cannot use it. */
const KEY_WARNING_CODES = [
  'SUBKEY_LEFT_OUT',
  'PARTS_LEFT_OUT',
  'GPG_CANNOT_IMPORT',
  'BOUND_BY_SHA1',
] as const;

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
  /** Since when no new upload by it is taken; null = uploads are taken. */
  readonly retiredAt: Date | null;
  /** An administrator's revocation; null = none, and then `revokedAt` is of the certificate. */
  readonly revocation: KeyRevocation | null;
}

/** By the codes of RFC 9580, section 5.2.3.31, in words. */
export const REVOCATION_REASONS: Readonly<Record<number, string>> = {
  0: 'none given',
  1: 'superseded',
  2: 'compromised',
  3: 'no longer used',
  32: 'the user ID is no longer valid',
};

export type KeyUse = 'certify' | 'sign' | 'encrypt' | 'authenticate';

export interface KeyPartUse {
  /** The fingerprint of the primary key or of a subkey. */
  readonly fingerprint: string;
  readonly uses: readonly KeyUse[];
  /** In words, as the certificate has it; null: its certificate does not revoke it. */
  readonly revocationReason: string | null;
}

/** How many stored signatures a part of a key made. */
export interface PartSignatures {
  readonly fingerprint: string;
  readonly signatures: number;
}

export interface ExportedKey extends ShownKey {
  /** Name of the token, or `administrator`; null: it is not known any more. */
  readonly addedBy: string | null;
  /** The primary key first. */
  readonly parts: readonly KeyPartUse[];
  readonly warnings: readonly KeyWarning[];
  /** ASCII armour without comments. */
  readonly armored: string;
}

/** Whether clients must not get it: an administrator has revoked it, and its certificate does not say so. */
export function isWithheld({ revocation = null }: Pick<RegisteredKey, 'revocation'>): boolean {
  return revocation !== null && !revocation.isInCertificate;
}

/** What became of the registered keys of a file; nothing else of it was taken. */
export interface RefreshedKeys {
  readonly results: readonly KeyResult[];
  /** How many certificates of the file were of other keys. */
  readonly ignored: number;
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

/** Fingerprints and key IDs that signatures by the key may name. */
export function issuersOf({
  fingerprint,
  subkeys,
}: Pick<RegisteredKey, 'fingerprint' | 'subkeys'>): readonly string[] {
  return [fingerprint, ...subkeys.map((subkey) => subkey.fingerprint)].flatMap((name) => [
    name,
    name.slice(-16),
  ]);
}
