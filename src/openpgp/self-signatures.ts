// Signatures inside a certificate (RFC 9580, section 5.2): what they say, whether its own primary key made them, and
// how they are written again. Only the hashed part is believed, and only once the signature has been checked.
import { createHash, type Hash } from 'node:crypto';
import { LookasideError } from '../domain/errors.ts';
import { MAX_SIGNATURE_PACKET_BYTES } from '../domain/limits.ts';
import { HASHES, type HashName, numberAt, type PublicKey, readMpis, writeMpi } from './public-key.ts';

/** Signature types (RFC 9580, section 5.2.1). */
export const CERTIFICATIONS: ReadonlySet<number> = new Set([0x10, 0x11, 0x12, 0x13]);
export const SUBKEY_BINDING = 0x18;
export const BACK_SIGNATURE = 0x19;
export const DIRECT_KEY = 0x1f;
export const KEY_REVOCATION = 0x20;
export const SUBKEY_REVOCATION = 0x28;
export const CERTIFICATION_REVOCATION = 0x30;

/** What a signature says of itself, in words that its key may have written or not. */
export interface UntrustedSignature {
  readonly type: number;
  /** Null: not one that we check. */
  readonly hash: HashName | null;
  /** Seconds since 1970. */
  readonly createdAt: number;
  /** Hashed after what is signed. */
  readonly trailer: Uint8Array;
  /** The first two bytes of the digest. */
  readonly digestStart: number;
  readonly mpis: readonly Uint8Array[];
  readonly algorithm: number;
  /** Key IDs and fingerprints that it names as its maker, upper-case hex. */
  readonly issuers: readonly string[];
  /** It asks not to be believed by programs that do not know something in it. */
  readonly isBeyondUs: boolean;
  readonly facts: Facts;
  /** Bodies of signatures inside, hashed or not. */
  readonly embedded: readonly Uint8Array[];
  /** Whether one of `embedded` is in the hashed part, and so goes with it. */
  readonly hasHashedEmbedded: boolean;
  /** The body as it is kept, but for what is not hashed: the same signature always has the same. */
  readonly core: Buffer;
  readonly coreHeadBytes: number;
  readonly version: 3 | 4;
}

/** From hashed subpackets; null = not said. */
export interface Facts {
  /** Seconds after its own creation. */
  readonly expiresAfter: number | null;
  /** Seconds after the key's creation. */
  readonly keyExpiresAfter: number | null;
  readonly keyFlags: number | null;
  readonly isPrimaryUserId: boolean;
  readonly revocationReason: number | null;
}

interface Subpackets {
  createdAt: number | null;
  expiresAfter: number | null;
  keyExpiresAfter: number | null;
  keyFlags: number | null;
  isPrimaryUserId: boolean;
  revocationReason: number | null;
  isBeyondUs: boolean;
  issuers: string[];
  embedded: Uint8Array[];
}

/** So that a binding with its back-signature inside stays below the MAX_SIGNATURE_PACKET_BYTES that gpg takes. */
const MAX_CORE_BYTES = 8000;
const VERSION_4_HEAD_BYTES = 6;
const CURVE_ALGORITHMS: ReadonlySet<number> = new Set([17, 19, 22]);

/** Null: not whole, larger than gpg takes, or of a version that says nothing to today's clients. */
export function parseSignature(body: Uint8Array): UntrustedSignature | null {
  if (body.length > MAX_SIGNATURE_PACKET_BYTES) return null;
  const parsed = body[0] === 4 ? parseVersion4(body) : body[0] === 3 ? parseVersion3(body) : null;
  return parsed !== null && parsed.core.length <= MAX_CORE_BYTES ? parsed : null;
}

function parseVersion4(body: Uint8Array): UntrustedSignature | null {
  const [version, type = 0, algorithm = 0, hashId = 0] = body;
  const hashed = sized(body, 4);
  const unhashed = hashed === null ? null : sized(body, hashed.end);
  if (version !== 4 || hashed === null || unhashed === null) return null;
  const said = readSubpackets(hashed.bytes);
  const hinted = readSubpackets(unhashed.bytes);
  const digestStart = numberAt(body, unhashed.end, 2);
  const mpis = readSignatureMpis(body, unhashed.end + 2, algorithm);
  if (said === null || said.createdAt === null || hinted === null) return null;
  if (digestStart === null || mpis === null) return null;
  const head = body.subarray(0, VERSION_4_HEAD_BYTES + hashed.bytes.length);
  return {
    type,
    algorithm,
    mpis,
    digestStart,
    version: 4,
    hash: HASHES.get(hashId) ?? null,
    createdAt: said.createdAt,
    trailer: Buffer.concat([head, Uint8Array.of(4, 0xff), uint32(head.length)]),
    issuers: [...said.issuers, ...hinted.issuers],
    isBeyondUs: said.isBeyondUs,
    facts: said,
    embedded: [...said.embedded, ...hinted.embedded],
    hasHashedEmbedded: said.embedded.length > 0,
    core: Buffer.concat([head, uint16(digestStart), ...mpis.map(writeMpi)]),
    coreHeadBytes: head.length,
  };
}

const NOTHING_SAID: Facts = {
  expiresAfter: null,
  keyExpiresAfter: null,
  keyFlags: null,
  isPrimaryUserId: false,
  revocationReason: null,
};

// RFC 9580, section 5.2.2: what is hashed is the type and the time
function parseVersion3(body: Uint8Array): UntrustedSignature | null {
  const [, hashedBytes, type = 0] = body;
  const createdAt = numberAt(body, 3, 4);
  const digestStart = numberAt(body, 17, 2);
  if (hashedBytes !== 5 || createdAt === null || digestStart === null) return null;
  const [algorithm = 0, hashId = 0] = body.subarray(15);
  const mpis = readSignatureMpis(body, 19, algorithm);
  if (mpis === null) return null;
  return {
    type,
    algorithm,
    mpis,
    digestStart,
    createdAt,
    version: 3,
    hash: HASHES.get(hashId) ?? null,
    trailer: body.subarray(2, 7),
    issuers: [upperHex(body.subarray(7, 15))],
    isBeyondUs: false,
    facts: NOTHING_SAID,
    embedded: [],
    hasHashedEmbedded: false,
    core: Buffer.concat([body.subarray(0, 19), ...mpis.map(writeMpi)]),
    coreHeadBytes: 17,
  };
}

function readSignatureMpis(body: Uint8Array, from: number, algorithm: number): readonly Uint8Array[] | null {
  const read = readMpis(body, from, CURVE_ALGORITHMS.has(algorithm) ? 2 : 1);
  return read?.end === body.length ? read.mpis : null;
}

function sized(body: Uint8Array, at: number) {
  const length = numberAt(body, at, 2);
  const from = at + 2;
  if (length === null || from + length > body.length) return null;
  return { bytes: body.subarray(from, from + length), end: from + length };
}

/** Types that RFC 9580, section 5.2.3.7 names: the others are unknown, and matter when they are critical. */
const KNOWN_SUBPACKETS: ReadonlySet<number> = new Set([
  2, 3, 4, 5, 6, 7, 9, 11, 12, 16, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 39,
]);
const NOTATION = 20;
const EMBEDDED_SIGNATURE = 32;

function readSubpackets(area: Uint8Array): Subpackets | null {
  const found: Subpackets = {
    ...NOTHING_SAID,
    createdAt: null,
    isBeyondUs: false,
    issuers: [],
    embedded: [],
  };
  let at = 0;
  while (at < area.length) {
    const length = readSubpacketLength(area, at);
    if (length === null || length.value === 0 || length.next + length.value > area.length) return null;
    at = length.next + length.value;
    const type = area[length.next] ?? 0;
    if (!take(found, type & 0x7f, area.subarray(length.next + 1, at))) return null;
    const isUnknown = !KNOWN_SUBPACKETS.has(type & 0x7f) || (type & 0x7f) === NOTATION;
    if ((type & 0x80) !== 0 && isUnknown) found.isBeyondUs = true;
  }
  return found;
}

/** RFC 9580, section 5.2.3.7: unlike packets there are no partial lengths. */
function readSubpacketLength(area: Uint8Array, at: number) {
  const first = area[at] ?? 0;
  if (first < 192) return { value: first, next: at + 1 };
  if (first === 255) {
    const value = numberAt(area, at + 1, 4);
    return value === null ? null : { value, next: at + 5 };
  }
  const second = area[at + 1];
  return second === undefined ? null : { value: (first - 192) * 256 + second + 192, next: at + 2 };
}

/** False when the subpacket is too short for what it should say. */
function take(found: Subpackets, type: number, data: Uint8Array): boolean {
  switch (type) {
    case 2:
      found.createdAt = numberAt(data, 0, 4);
      return found.createdAt !== null;
    case 3:
      found.expiresAfter = numberAt(data, 0, 4);
      return found.expiresAfter !== null;
    case 9:
      found.keyExpiresAfter = numberAt(data, 0, 4);
      return found.keyExpiresAfter !== null;
    case 16:
      found.issuers.push(upperHex(data));
      return data.length === 8;
    case 33:
      found.issuers.push(upperHex(data.subarray(1)));
      return data.length > 1;
    case 25:
      found.isPrimaryUserId = (data[0] ?? 0) !== 0;
      return data.length > 0;
    case 27:
      found.keyFlags = data[0] ?? 0;
      return true;
    case 29:
      found.revocationReason = data[0] ?? 0;
      return true;
    case EMBEDDED_SIGNATURE:
      found.embedded.push(data);
      return true;
    default:
      return true;
  }
}

/** Whether the key may be its maker as far as it says so itself: no name at all may be any key's. */
export function namesKey({ issuers }: UntrustedSignature, { fingerprint, keyId }: PublicKey): boolean {
  return issuers.every((issuer) => issuer === keyId || issuer === fingerprint);
}

/**
 * The signature as it is kept: of what is not hashed only the key ID of its maker, which gpg asks for, and the
 * back-signature that was found good.
 */
export function writeSignature(
  { core, coreHeadBytes, version, hasHashedEmbedded }: UntrustedSignature,
  maker: PublicKey,
  backSignature: Uint8Array | null = null,
): Uint8Array {
  if (version === 3) return core;
  const hints = [subpacket(16, Buffer.from(maker.keyId, 'hex'))];
  if (backSignature !== null && !hasHashedEmbedded) hints.push(subpacket(32, backSignature));
  const unhashed = Buffer.concat(hints);
  return Buffer.concat([
    core.subarray(0, coreHeadBytes),
    uint16(unhashed.length),
    unhashed,
    core.subarray(coreHeadBytes),
  ]);
}

function subpacket(type: number, data: Uint8Array): Uint8Array {
  const length = data.length + 1;
  const head = length < 192 ? [length] : [((length - 192) >> 8) + 192, (length - 192) & 0xff];
  return Buffer.concat([Uint8Array.from(head), Uint8Array.of(type), data]);
}

/** What parts of a certificate are signed: hashed once, however many signatures are held against it. */
export interface SignedPart {
  digest(hash: HashName, trailer: Uint8Array): Buffer;
  content(trailer: Uint8Array): Buffer;
  readonly bytes: number;
}

export function signedPart(chunks: readonly Uint8Array[]): SignedPart {
  const states = new Map<HashName, Hash>();
  const stateOf = (hash: HashName): Hash => {
    const known = states.get(hash);
    if (known !== undefined) return known;
    const state = createHash(hash);
    for (const chunk of chunks) state.update(chunk);
    states.set(hash, state);
    return state;
  };
  return {
    digest: (hash, trailer) => stateOf(hash).copy().update(trailer).digest(),
    content: (trailer) => Buffer.concat([...chunks, trailer]),
    bytes: chunks.reduce((sum, { length }) => sum + length, 0),
  };
}

/** How a key is hashed (RFC 9580, section 5.2.4). */
export function hashedKey(body: Uint8Array): readonly Uint8Array[] {
  return [Uint8Array.of(0x99, body.length >> 8, body.length & 0xff), body];
}

export function hashedUserId(body: Uint8Array): readonly Uint8Array[] {
  return [Uint8Array.of(0xb4), uint32(body.length), body];
}

/** Rations public-key checks, so that no file makes us work for longer than we mean to. */
export interface Budget {
  /** @throws LookasideError TOO_LARGE */
  spend(microseconds: number): void;
  readonly left: number;
}

export function createBudget(microseconds: number): Budget {
  let left = microseconds;
  return {
    spend(amount) {
      left -= amount;
      if (left >= 0) return;
      throw new LookasideError(
        'TOO_LARGE',
        'holds more signatures that might be its own than are checked for one key, so some are forged; export it anew from a clean keyring: gpg --export-options export-minimal --export FINGERPRINT',
      );
    },
    get left() {
      return Math.max(left, 0);
    },
  };
}

/** Whether the key made this signature over the part. The digest's first bytes come first: they cost one hash. */
export function isMadeBy(
  key: PublicKey,
  part: SignedPart,
  { hash, trailer, digestStart, mpis, algorithm }: UntrustedSignature,
  budget: Budget,
): boolean {
  if (hash === null || !key.signatureAlgorithms.includes(algorithm) || !key.fits(mpis)) return false;
  const digest = part.digest(hash, trailer);
  if (digest.readUInt16BE(0) !== digestStart) return false;
  budget.spend(key.cost(part.bytes + trailer.length));
  return key.isSignedBy({ hash, digest, content: () => part.content(trailer) }, mpis);
}

function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function upperHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').toUpperCase();
}
