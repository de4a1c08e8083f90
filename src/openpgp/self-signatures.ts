// Signatures inside a certificate (RFC 9580, section 5.2): what they say, whether its own primary key made them, and
// how they are written again. Only the hashed part is believed, and only once the signature has been checked.
import { createHash, type Hash, hash } from 'node:crypto';
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

/** Where the fields of a signature packet stand, and what can be read of it at no cost. */
export interface Glance {
  readonly body: Uint8Array;
  readonly version: 3 | 4;
  readonly type: number;
  readonly algorithm: number;
  /** Null: not one that we check. */
  readonly hash: HashName | null;
  /** Everything before what is not hashed. */
  readonly headBytes: number;
  /** Where the first two bytes of the digest stand. */
  readonly digestStartAt: number;
}

/** What a signature says of itself, in words that its key may have written or not. */
export interface UntrustedSignature {
  readonly glance: Glance;
  readonly type: number;
  /** Seconds since 1970. */
  readonly createdAt: number;
  readonly mpis: readonly Uint8Array[];
  /** It asks not to be believed by programs that do not know something in it. */
  readonly isBeyondUs: boolean;
  readonly facts: Facts;
  /** Bodies of signatures inside, hashed or not. */
  readonly embedded: readonly Uint8Array[];
  /** Whether one of `embedded` is in the hashed part, and so goes with it. */
  readonly hasHashedEmbedded: boolean;
  /** The body as it is kept, but for what is not hashed: the same signature always has the same. */
  readonly core: Buffer;
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

/** So that a binding with its back-signature inside stays below the MAX_SIGNATURE_PACKET_BYTES that gpg takes. */
const MAX_CORE_BYTES = 8000;
const VERSION_4_HEAD_BYTES = 6;
/** Of version 3: all but the digest's start and the numbers. Nothing of it is unhashed in our sense. */
const VERSION_3_HEAD_BYTES = 17;
const TWO_NUMBERS: ReadonlySet<number> = new Set([17, 19, 22]);

/** Null: not whole, larger than gpg takes, or of a version that says nothing to today's clients. */
export function glanceAt(body: Uint8Array): Glance | null {
  if (body.length > MAX_SIGNATURE_PACKET_BYTES) return null;
  if (body[0] === 3) return glanceAtVersion3(body);
  const hashedBytes = numberAt(body, 4, 2);
  if (body[0] !== 4 || hashedBytes === null) return null;
  const headBytes = VERSION_4_HEAD_BYTES + hashedBytes;
  const unhashedBytes = numberAt(body, headBytes, 2);
  if (unhashedBytes === null) return null;
  return {
    body,
    headBytes,
    version: 4,
    type: body[1] ?? 0,
    algorithm: body[2] ?? 0,
    hash: HASHES.get(body[3] ?? 0) ?? null,
    digestStartAt: headBytes + 2 + unhashedBytes,
  };
}

function glanceAtVersion3(body: Uint8Array): Glance | null {
  if (body[1] !== 5) return null;
  return {
    body,
    headBytes: VERSION_3_HEAD_BYTES,
    version: 3,
    type: body[2] ?? 0,
    algorithm: body[15] ?? 0,
    hash: HASHES.get(body[16] ?? 0) ?? null,
    digestStartAt: VERSION_3_HEAD_BYTES,
  };
}

/** All that a signature says; null when it is not whole. */
export function parseSignature(glance: Glance): UntrustedSignature | null {
  const { body, headBytes, digestStartAt } = glance;
  const mpis = mpisOf(glance);
  const digestStart = body.subarray(digestStartAt, digestStartAt + 2);
  if (mpis === null) return null;
  const core = Buffer.concat([body.subarray(0, headBytes), digestStart, ...mpis.map(writeMpi)]);
  if (core.length > MAX_CORE_BYTES) return null;
  const base = { glance, type: glance.type, mpis, core };
  if (glance.version === 3) {
    // RFC 9580, section 5.2.2: type and time are all that it says
    const createdAt = numberAt(body, 3, 4) ?? 0;
    return {
      ...base,
      createdAt,
      facts: newFacts(),
      isBeyondUs: false,
      embedded: [],
      hasHashedEmbedded: false,
    };
  }
  const said = readSubpackets(body.subarray(VERSION_4_HEAD_BYTES, headBytes));
  const hinted = readSubpackets(body.subarray(headBytes + 2, digestStartAt));
  if (said === null || said.createdAt === null || hinted === null) return null;
  return {
    ...base,
    createdAt: said.createdAt,
    facts: said.facts,
    isBeyondUs: said.isBeyondUs,
    embedded: [...said.embedded, ...hinted.embedded],
    hasHashedEmbedded: said.embedded.length > 0,
  };
}

function mpisOf({ body, digestStartAt, algorithm }: Glance): readonly Uint8Array[] | null {
  const read = readMpis(body, digestStartAt + 2, TWO_NUMBERS.has(algorithm) ? 2 : 1);
  return read?.end === body.length ? read.mpis : null;
}

const CREATED = 2;
const EXPIRES = 3;
const KEY_EXPIRES = 9;
const ISSUER = 16;
const PRIMARY_USER_ID = 25;
const KEY_FLAGS = 27;
const REVOCATION_REASON = 29;
const EMBEDDED_SIGNATURE = 32;
const ISSUER_FINGERPRINT = 33;

/**
 * Types that RFC 9580, section 5.2.3.7 names: the others are unknown, and matter when they are critical. So do
 * notations (20), none of which we know.
 */
const KNOWN_SUBPACKETS: ReadonlySet<number> = new Set(
  [CREATED, EXPIRES, 4, 5, 6, 7, KEY_EXPIRES, 11, 12, ISSUER, 21, 22, 23, 24, PRIMARY_USER_ID, 26].concat([
    KEY_FLAGS,
    28,
    REVOCATION_REASON,
    30,
    31,
    EMBEDDED_SIGNATURE,
    ISSUER_FINGERPRINT,
    34,
    35,
    39,
  ]),
);

/** Goes through the subpackets of an area; thousands of signatures are, so it makes no objects on its way. */
class SubpacketCursor {
  readonly #area: Uint8Array;
  #next: number;
  readonly #end: number;
  type = 0;
  isCritical = false;
  /** Where the data stand. */
  from = 0;
  to = 0;
  isBroken = false;

  constructor(area: Uint8Array, from = 0, end = area.length) {
    this.#area = area;
    this.#next = from;
    this.#end = end;
    this.isBroken = end > area.length;
  }

  advance(): boolean {
    if (this.isBroken || this.#next >= this.#end) return false;
    const first = this.#area[this.#next] ?? 0;
    const lengthBytes = first < 192 ? 1 : first < 255 ? 2 : 5;
    const length = this.#length(first, lengthBytes);
    const typeAt = this.#next + lengthBytes;
    this.to = typeAt + length;
    this.isBroken = length === 0 || this.to > this.#end;
    if (this.isBroken) return false;
    const type = this.#area[typeAt] ?? 0;
    this.type = type & 0x7f;
    this.isCritical = (type & 0x80) !== 0;
    this.from = typeAt + 1;
    this.#next = this.to;
    return true;
  }

  get data(): Uint8Array {
    return this.#area.subarray(this.from, this.to);
  }

  // RFC 9580, section 5.2.3.7: unlike packets there are no partial lengths
  #length(first: number, lengthBytes: number): number {
    if (lengthBytes === 1) return first;
    if (lengthBytes === 2) return (first - 192) * 256 + (this.#area[this.#next + 1] ?? 0) + 192;
    return numberAt(this.#area, this.#next + 1, 4) ?? 0;
  }
}

/** Whether the key may be its maker as far as it says so itself: no name at all may be any key's. */
export function namesKey({ version, body, headBytes, digestStartAt }: Glance, key: PublicKey): boolean {
  if (version === 3) return endsWith(key, body, 7, 15);
  return (
    areaNamesKey(new SubpacketCursor(body, VERSION_4_HEAD_BYTES, headBytes), body, key) &&
    areaNamesKey(new SubpacketCursor(body, headBytes + 2, digestStartAt), body, key)
  );
}

function areaNamesKey(cursor: SubpacketCursor, body: Uint8Array, key: PublicKey): boolean {
  while (cursor.advance()) {
    if (cursor.type === ISSUER && !endsWith(key, body, cursor.from, cursor.to)) return false;
    // the first byte is the version of the key
    if (cursor.type === ISSUER_FINGERPRINT && !endsWith(key, body, cursor.from + 1, cursor.to)) return false;
  }
  return !cursor.isBroken;
}

/** Whether these bytes are the key's fingerprint or key ID. */
function endsWith({ fingerprintBytes }: PublicKey, bytes: Uint8Array, from: number, to: number): boolean {
  const length = to - from;
  if (length !== 8 && length !== fingerprintBytes.length) return false;
  const skipped = fingerprintBytes.length - length;
  for (let i = 0; i < length; i += 1) {
    if (bytes[from + i] !== fingerprintBytes[skipped + i]) return false;
  }
  return true;
}

/** Key IDs and fingerprints that it names as its maker, upper-case hex. */
export function issuersOf({ version, body, headBytes, digestStartAt }: Glance): readonly string[] {
  if (version === 3) return [upperHex(body.subarray(7, 15))];
  const issuers: string[] = [];
  for (const [from, to] of [
    [VERSION_4_HEAD_BYTES, headBytes],
    [headBytes + 2, digestStartAt],
  ]) {
    const cursor = new SubpacketCursor(body, from, to);
    while (cursor.advance()) {
      if (cursor.type === ISSUER) issuers.push(upperHex(cursor.data));
      if (cursor.type === ISSUER_FINGERPRINT) issuers.push(upperHex(cursor.data.subarray(1)));
    }
  }
  return issuers;
}

interface Said {
  createdAt: number | null;
  readonly facts: { -readonly [Name in keyof Facts]: Facts[Name] };
  isBeyondUs: boolean;
  readonly embedded: Uint8Array[];
}

function newFacts(): Said['facts'] {
  return {
    expiresAfter: null,
    keyExpiresAfter: null,
    keyFlags: null,
    isPrimaryUserId: false,
    revocationReason: null,
  };
}

function readSubpackets(area: Uint8Array): Said | null {
  const said: Said = { createdAt: null, facts: newFacts(), isBeyondUs: false, embedded: [] };
  const cursor = new SubpacketCursor(area);
  while (cursor.advance()) {
    if (!take(said, cursor.type, cursor.data)) return null;
    if (cursor.isCritical && !KNOWN_SUBPACKETS.has(cursor.type)) said.isBeyondUs = true;
  }
  return cursor.isBroken ? null : said;
}

/** False when the subpacket is too short for what it should say. */
function take(said: Said, type: number, data: Uint8Array): boolean {
  const { facts } = said;
  switch (type) {
    case CREATED:
      said.createdAt = numberAt(data, 0, 4);
      return said.createdAt !== null;
    case EXPIRES:
      facts.expiresAfter = numberAt(data, 0, 4);
      return facts.expiresAfter !== null;
    case KEY_EXPIRES:
      facts.keyExpiresAfter = numberAt(data, 0, 4);
      return facts.keyExpiresAfter !== null;
    case PRIMARY_USER_ID:
      facts.isPrimaryUserId = (data[0] ?? 0) !== 0;
      return true;
    case KEY_FLAGS:
      facts.keyFlags = data[0] ?? 0;
      return true;
    case REVOCATION_REASON:
      facts.revocationReason = data[0] ?? 0;
      return true;
    case EMBEDDED_SIGNATURE:
      said.embedded.push(data);
      return true;
    default:
      return true;
  }
}

/**
 * The signature as it is kept: of what is not hashed only the key ID of its maker, which gpg asks for, and the
 * back-signature that was found good.
 */
export function writeSignature(
  { glance, core, hasHashedEmbedded }: UntrustedSignature,
  maker: PublicKey,
  backSignature: Uint8Array | null = null,
): Uint8Array {
  if (glance.version === 3) return core;
  const hints = [subpacket(ISSUER, Buffer.from(maker.keyId, 'hex'))];
  if (backSignature !== null && !hasHashedEmbedded) hints.push(subpacket(EMBEDDED_SIGNATURE, backSignature));
  const unhashed = Buffer.concat(hints);
  return Buffer.concat([
    core.subarray(0, glance.headBytes),
    uint16(unhashed.length),
    unhashed,
    core.subarray(glance.headBytes),
  ]);
}

function subpacket(type: number, data: Uint8Array): Uint8Array {
  const length = data.length + 1;
  const head = length < 192 ? [length] : [((length - 192) >> 8) + 192, (length - 192) & 0xff];
  return Buffer.concat([Uint8Array.from(head), Uint8Array.of(type), data]);
}

/** What a signature over parts of a certificate covers. */
export interface SignedPart {
  readonly bytes: number;
  digest(hash: HashName, trailer: Uint8Array): Buffer;
  content(trailer: Uint8Array): Buffer;
}

/** Larger parts are hashed once for all signatures, smaller ones anew: that takes less than the bookkeeping. */
const SMALL_PART_BYTES = 2048;

export function signedPart(chunks: readonly Uint8Array[]): SignedPart {
  const prefix = Buffer.concat(chunks);
  const states = new Map<HashName, Hash>();
  const stateOf = (name: HashName): Hash => {
    const state = states.get(name) ?? createHash(name).update(prefix);
    states.set(name, state);
    return state;
  };
  const content = (trailer: Uint8Array) => Buffer.concat([prefix, trailer]);
  return {
    content,
    bytes: prefix.length,
    digest: (name, trailer) =>
      prefix.length <= SMALL_PART_BYTES
        ? hash(name, content(trailer), 'buffer')
        : stateOf(name).copy().update(trailer).digest(),
  };
}

// What is hashed after the part: RFC 9580, section 5.2.4
function trailerOf({ version, body, headBytes }: Glance): Uint8Array {
  if (version === 3) return body.subarray(2, 7);
  const trailer = Buffer.allocUnsafe(headBytes + 6);
  trailer.set(body.subarray(0, headBytes));
  trailer[headBytes] = 4;
  trailer[headBytes + 1] = 0xff;
  trailer.writeUInt32BE(headBytes, headBytes + 2);
  return trailer;
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
  /** One more signature that may be the key's own. @throws LookasideError TOO_LARGE */
  consider(): void;
  /** For one check. @throws LookasideError TOO_LARGE */
  spend(microseconds: number): void;
  readonly left: number;
}

/** Of one certificate. Twenty user IDs that are renewed every month for twenty years are 4,800. */
const MAX_CANDIDATES = 5000;

export function createBudget(microseconds: number): Budget {
  let left = microseconds;
  let candidates = 0;
  return {
    consider() {
      candidates += 1;
      if (candidates > MAX_CANDIDATES) throw poisoned();
    },
    spend(amount) {
      left -= amount;
      if (left < 0) throw poisoned();
    },
    get left() {
      return Math.max(left, 0);
    },
  };
}

// refused as a whole: what was looked at by then may lack a revocation
function poisoned(): LookasideError {
  return new LookasideError(
    'TOO_LARGE',
    'the certificate holds more signatures that may be its own than are checked for one key, so most are forged; have gpg drop those: gpg --import it, then gpg --export-options export-minimal --export FINGERPRINT',
  );
}

/**
 * Whether the key may have made this signature over the part, by the sizes of its numbers and the first bytes of the
 * digest beside them: one hash tells most forgeries, where a check of the numbers costs fifty.
 */
export function mayBeMadeBy(key: PublicKey, part: SignedPart, glance: Glance): boolean {
  const { hash: name, algorithm, body, digestStartAt } = glance;
  if (name === null || !key.signatureAlgorithms.includes(algorithm)) return false;
  const mpis = mpisOf(glance);
  if (mpis === null || !key.fits(mpis)) return false;
  const digest = part.digest(name, trailerOf(glance));
  return digest[0] === body[digestStartAt] && digest[1] === body[digestStartAt + 1];
}

/** Whether the key made this signature over the part; for such as may be alone. */
export function isMadeBy(
  key: PublicKey,
  part: SignedPart,
  { glance, mpis }: UntrustedSignature,
  budget: Budget,
): boolean {
  const { hash: name, headBytes } = glance;
  if (name === null) return false;
  const trailer = trailerOf(glance);
  budget.spend(key.cost(part.bytes + headBytes));
  const signed = { hash: name, digest: part.digest(name, trailer), content: () => part.content(trailer) };
  return key.isSignedBy(signed, mpis);
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
