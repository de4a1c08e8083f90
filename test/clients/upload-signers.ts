// Whose signatures the corpus of uploads has: keys of every kind and in every state, written packet by packet.
import {
  type CertificateOptions,
  certificate,
  KEYS_MADE_AT,
  type KeyKind,
  makeKey,
  notation,
  number,
  SIGNED_AT,
  type SubkeyStatement,
  subpacket,
  type WriterKey,
} from '../openpgp/packet-writer.ts';

/** `stranger`: nobody has added the key, though it could be; `unfit`: `key add` refuses it. */
export type Standing = 'registered' | 'stranger' | 'unfit';

export interface Signer {
  readonly name: string;
  /** The one that signs: the primary key, or a subkey. */
  readonly key: WriterKey;
  /** The fingerprint of the primary key, upper-case hex. */
  readonly fingerprint: string;
  readonly certificate: Buffer;
  readonly standing: Standing;
}

const DAY_MS = 24 * 3600 * 1000;
export const BEFORE_SIGNING = new Date(SIGNED_AT.getTime() - DAY_MS);
export const SINCE_SIGNING = new Date(SIGNED_AT.getTime() + DAY_MS);
const FAR_FUTURE = new Date('2090-01-01T00:00:00Z');

const all: Signer[] = [];

/** In the order of making. */
export const SIGNERS: readonly Signer[] = all;

function add(signer: Signer): Signer {
  all.push(signer);
  return signer;
}

const userIdOf = (name: string) => `${name} <${name}@example.invalid>`;

interface SignerOptions extends CertificateOptions {
  readonly kind?: KeyKind;
  readonly standing?: Standing;
  readonly createdAt?: Date;
}

/** One whose primary key signs. */
function signer(name: string, options: SignerOptions = {}): Signer {
  const { kind = 'ed25519', standing = 'registered', createdAt = KEYS_MADE_AT, ...statement } = options;
  const key = makeKey(kind, createdAt);
  const made = certificate(key, { userId: userIdOf(name), ...statement });
  return add({ name, key, fingerprint: key.fingerprint, certificate: made, standing });
}

interface SubkeySignerOptions {
  readonly primary?: CertificateOptions;
  readonly subkey?: Omit<SubkeyStatement, 'key'>;
}

/** One whose subkey signs. */
function subkeySigner(name: string, { primary = {}, subkey = {} }: SubkeySignerOptions = {}): Signer {
  const [top, key] = [makeKey('ed25519'), makeKey('ed25519')];
  const made = certificate(top, { userId: userIdOf(name), ...primary, subkeys: [{ key, ...subkey }] });
  return add({ name, key, fingerprint: top.fingerprint, certificate: made, standing: 'registered' });
}

export const ALGORITHM_SIGNERS = {
  ed25519: signer('ed25519'),
  rsa2048: signer('rsa2048', { kind: 'rsa2048' }),
  rsa3072: signer('rsa3072', { kind: 'rsa3072' }),
  rsa4096: signer('rsa4096', { kind: 'rsa4096' }),
  'rsa2048-e3': signer('rsa-e3', { kind: 'rsa2048-e3' }),
  nistp256: signer('nistp256', { kind: 'nistp256' }),
  nistp384: signer('nistp384', { kind: 'nistp384', hash: 'sha384' }),
  nistp521: signer('nistp521', { kind: 'nistp521', hash: 'sha512' }),
} as const;

/** Those that gpg has and the server has not: nobody has added the strangers, and the others cannot be. */
export const UNREGISTERED = {
  stranger: signer('stranger', { standing: 'stranger' }),
  strangerRsa: signer('stranger-rsa', { kind: 'rsa2048', standing: 'stranger' }),
  rsa1024: signer('rsa1024', { kind: 'rsa1024', standing: 'unfit' }),
  brainpool: signer('brainpool', { kind: 'brainpoolP256r1', standing: 'unfit' }),
  secp256k1: signer('secp256k1', { kind: 'secp256k1', standing: 'unfit' }),
} as const;

const { ed25519 } = ALGORITHM_SIGNERS;

export const PRIMARY_STATES = {
  expiresLater: signer('expires-later', { expiresAt: FAR_FUTURE }),
  expiredSince: signer('expired-since', { expiresAt: SINCE_SIGNING }),
  expiredBefore: signer('expired-before', { expiresAt: BEFORE_SIGNING }),
  retiredSince: signer('retired-since', { revoked: { at: SINCE_SIGNING, reason: 3 } }),
  replacedSince: signer('replaced-since', { revoked: { at: SINCE_SIGNING, reason: 1 } }),
  retiredBefore: signer('retired-before', { revoked: { at: BEFORE_SIGNING, reason: 3 } }),
  compromised: signer('compromised', { revoked: { at: SINCE_SIGNING, reason: 2 } }),
  revokedSilently: signer('revoked-silently', { revoked: { at: SINCE_SIGNING, reason: null } }),
  withoutFlags: signer('without-flags', { flags: null }),
  selfSignedLate: signer('self-signed-late', { at: SINCE_SIGNING }),
  selfSignedSha1: signer('self-signed-sha1', { kind: 'rsa2048', hash: 'sha1' }),
  /** The self-signature expired a minute after it was made. */
  lapsed: signer('lapsed', { hashed: [subpacket(3, number(60, 4))] }),
  bornLater: signer('born-later', { createdAt: SINCE_SIGNING }),
} as const;

/** Certificates that `key add` refuses for what they say of themselves. */
export const UNVOUCHED = {
  certifiesOnly: signer('certifies-only', { flags: 0x01, standing: 'unfit' }),
  anonymous: signer('anonymous', { userId: null, standing: 'unfit' }),
  certifiedByAnother: signer('certified-by-another', { certifiedBy: ed25519.key, standing: 'unfit' }),
  md5: signer('self-signed-md5', { hash: 'md5', standing: 'unfit' }),
  notUnderstood: signer('not-understood', {
    hashed: [notation('x@example.invalid', 'y', true)],
    standing: 'unfit',
  }),
} as const;

const adopted = subkeySigner('adopted-owner');

export const SUBKEY_STATES = {
  good: subkeySigner('subkey'),
  ofPrimaryThatOnlyCertifies: subkeySigner('subkey-of-certifier', { primary: { flags: 0x01 } }),
  withoutFlag: subkeySigner('subkey-without-flag', { subkey: { flags: 0x0c } }),
  withoutBackSignature: subkeySigner('subkey-without-back', { subkey: { backedBy: false } }),
  backedByAnother: subkeySigner('subkey-backed-by-another', { subkey: { backedBy: ed25519.key } }),
  unbound: subkeySigner('subkey-unbound', { subkey: { boundBy: false } }),
  boundByAnother: subkeySigner('subkey-bound-by-another', { subkey: { boundBy: ed25519.key } }),
  expiredSince: subkeySigner('subkey-expired-since', { subkey: { expiresAt: SINCE_SIGNING } }),
  expiredBefore: subkeySigner('subkey-expired-before', { subkey: { expiresAt: BEFORE_SIGNING } }),
  retiredSince: subkeySigner('subkey-retired', { subkey: { revoked: { at: SINCE_SIGNING, reason: 3 } } }),
  compromised: subkeySigner('subkey-compromised', {
    subkey: { revoked: { at: SINCE_SIGNING, reason: 2 } },
  }),
  primaryExpired: subkeySigner('subkey-of-expired', { primary: { expiresAt: SINCE_SIGNING } }),
  primaryRevoked: subkeySigner('subkey-of-revoked', {
    primary: { revoked: { at: SINCE_SIGNING, reason: 2 } },
  }),
  adopted,
} as const;

const thief = makeKey('ed25519');
const captive = makeKey('ed25519');

/** A thief who says that a key of somebody else is his: once its owner is registered too, once he is not. */
export const THIEF: Signer = add({
  name: 'thief',
  key: captive,
  fingerprint: thief.fingerprint,
  certificate: certificate(thief, {
    userId: userIdOf('thief'),
    subkeys: [
      { key: adopted.key, backedBy: thief },
      { key: captive, backedBy: thief },
    ],
  }),
  standing: 'registered',
});
