// The only code that reads signature packets (RFC 9580, section 5.2; version 3: RFC 4880, section 5.2.2). It bounds them
// before other code looks at them. Nobody vouches yet for what they say, and for what is not hashed nobody ever will.
import { MAX_MPI_BITS, MAX_SIGNATURE_PACKET_BYTES, MAX_VERSION_6_PACKET_BYTES } from '../domain/limits.ts';
import { Fields, withoutLeadingZeros } from './fields.ts';

/** Signature types (RFC 9580, section 5.2.1). */
export const SIGNATURE_TYPE = {
  binary: 0x00,
  text: 0x01,
  /** The four types differ in how well the signer checked the user ID. */
  certification: [0x10, 0x11, 0x12, 0x13],
  subkeyBinding: 0x18,
  backSignature: 0x19,
  directKey: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
  certificationRevocation: 0x30,
} as const;

export const KEY_ALGORITHM = { rsa: 1, rsaEncrypt: 2, rsaSign: 3, dsa: 17, ecdsa: 19, eddsa: 22 } as const;

export const SUBPACKET = {
  created: 2,
  expires: 3,
  keyExpires: 9,
  issuerKeyId: 16,
  notation: 20,
  primaryUserId: 25,
  keyFlags: 27,
  revocationReason: 29,
  embeddedSignature: 32,
  issuerFingerprint: 33,
} as const;

export interface EmbeddedSignature {
  readonly body: Uint8Array;
  readonly isHashed: boolean;
}

/** What its subpackets say: the hashed ones alone, except where noted. */
export interface Said {
  readonly createdAt: Date;
  /** Counted from its creation; null = never. */
  readonly expiresSeconds: number | null;
  /** When the key expires, counted from the key's creation; null = never, or not stated. */
  readonly keyExpiresSeconds: number | null;
  readonly keyFlags: number | null;
  readonly isPrimaryUserId: boolean;
  readonly revocationReason: number | null;
  /** The keys that it names as its maker, hashed or not: key IDs (8 bytes), fingerprints (20), empty for any other name. */
  readonly issuers: readonly Uint8Array[];
  /** Signatures inside, hashed or not: each vouches for itself. */
  readonly embedded: readonly EmbeddedSignature[];
  /** A critical subpacket that we do not understand, in words: the signature must then not be accepted. */
  readonly notUnderstood: string | null;
  /** The same for subpackets that are not hashed. */
  readonly notUnderstoodUnhashed: string | null;
  /** The type of a subpacket that matters and is there twice: some readers follow the first, others the last. */
  readonly repeated: number | null;
}

export interface ReadSignature extends Said {
  readonly kind: 'read';
  readonly version: 3 | 4;
  readonly type: number;
  readonly keyAlgorithm: number;
  readonly hashAlgorithm: number;
  /** What is hashed after the content, without the trailer of version 4. */
  readonly hashedPart: Uint8Array;
  /** The first two bytes of the digest. */
  readonly digestStart: Uint8Array;
  /** Without leading zeros; null when we do not know how many the algorithm has. */
  readonly numbers: readonly Uint8Array[] | null;
  /** Its numbers were written with leading zeros, which no program does. */
  readonly isPadded: boolean;
  /** Its unhashed part says more than who made it. gpg writes nothing more there, and Go's reader stops at some of it. */
  readonly hasOtherUnhashed: boolean;
  /** The body of the whole packet. */
  readonly body: Uint8Array;
}

/** A signature of a version that nobody can verify today. `issuer`: a fingerprint, when it names one. */
export interface UnsupportedSignature {
  readonly kind: 'unsupported';
  readonly version: number;
  readonly type: number | null;
  readonly keyAlgorithm: number | null;
  readonly hashAlgorithm: number | null;
  readonly issuer: Uint8Array | null;
}

/** Bytes that are not a signature packet. `why`: part of a sentence. */
export interface MalformedSignature {
  readonly kind: 'malformed';
  readonly why: string;
}

export function readSignaturePacket(
  body: Uint8Array,
): ReadSignature | UnsupportedSignature | MalformedSignature {
  const isVersion6 = body[0] === 6;
  const most = isVersion6 ? MAX_VERSION_6_PACKET_BYTES : MAX_SIGNATURE_PACKET_BYTES;
  if (body.length > most) {
    const why = isVersion6 ? 'any signature of version 6 has' : 'gpg reads';
    return malformed(`its signature packet has ${body.length} bytes, more than the ${most} that ${why}`);
  }
  const fields = new Fields(body);
  const version = fields.octet();
  switch (version) {
    case 3:
      return readVersion3(fields, body);
    case 4:
      return readVersion4(fields, body);
    case 6:
      return readVersion6(fields);
    default:
      if (fields.isCut) return malformed(CUT);
      return { kind: 'unsupported', version, ...NOTHING_KNOWN };
  }
}

const CUT = 'one of its packets ends too early';
const NOTHING_KNOWN = { type: null, keyAlgorithm: null, hashAlgorithm: null, issuer: null } as const;

function malformed(why: string): MalformedSignature {
  return { kind: 'malformed', why };
}

function readVersion3(fields: Fields, body: Uint8Array): ReadSignature | MalformedSignature {
  const draft = newDraft(3, body);
  if (fields.octet() !== 5) return malformed('its version 3 signature does not hash 5 bytes');
  draft.hashedPart = fields.take(5);
  draft.type = draft.hashedPart[0] ?? 0;
  draft.createdAt = dateOf(draft.hashedPart.subarray(1));
  draft.issuers.push(fields.take(8));
  draft.keyAlgorithm = fields.octet();
  draft.hashAlgorithm = fields.octet();
  return readEnd(fields, draft);
}

function readVersion4(fields: Fields, body: Uint8Array): ReadSignature | MalformedSignature {
  const draft = newDraft(4, body);
  draft.type = fields.octet();
  draft.keyAlgorithm = fields.octet();
  draft.hashAlgorithm = fields.octet();
  const hashed = readArea(fields.take(fields.number(2)), hearHashed(draft));
  draft.hashedPart = body.subarray(0, fields.position);
  const unhashed = readArea(fields.take(fields.number(2)), (type, length, area) => {
    draft.hasOtherUnhashed ||= type !== SUBPACKET.issuerKeyId && type !== SUBPACKET.issuerFingerprint;
    return hearHint(draft, type, length, area, false);
  });
  const why = hashed.why ?? unhashed.why;
  if (why !== null) return malformed(why);
  if (draft.createdAt === UNSAID) {
    return malformed('its signature does not say in its hashed part when it was made');
  }
  draft.notUnderstood = hashed.notUnderstood;
  draft.notUnderstoodUnhashed = unhashed.notUnderstood;
  return readEnd(fields, draft);
}

function readVersion6(fields: Fields): UnsupportedSignature | MalformedSignature {
  const [type, keyAlgorithm, hashAlgorithm] = [fields.octet(), fields.octet(), fields.octet()];
  let issuer: Uint8Array | null = null;
  const hashed = readArea(fields.take(fields.number(4)), (subpacket, length, area) => {
    if (subpacket !== SUBPACKET.issuerFingerprint || length !== 33) return null;
    issuer ??= area.take(length).subarray(1);
    return null;
  });
  const unhashed = readArea(fields.take(fields.number(4)), () => null);
  const why = hashed.why ?? unhashed.why ?? (fields.isCut ? CUT : null);
  if (why !== null) return malformed(why);
  return { kind: 'unsupported', version: 6, type, keyAlgorithm, hashAlgorithm, issuer };
}

/** Reads the start of the digest and as many numbers as signatures of the algorithm have. */
function readEnd(fields: Fields, draft: Draft): ReadSignature | MalformedSignature {
  draft.digestStart = fields.take(2);
  const count = NUMBER_COUNTS.get(draft.keyAlgorithm);
  if (count !== undefined) {
    const numbers: Uint8Array[] = [];
    while (numbers.length < count) {
      const written = fields.mpi();
      if (written.length * 8 > MAX_MPI_BITS) {
        return malformed(`its signature has a number of more than ${MAX_MPI_BITS} bits`);
      }
      draft.isPadded ||= written[0] === 0;
      numbers.push(withoutLeadingZeros(written));
    }
    draft.numbers = numbers;
    if (!fields.isAtEnd) return malformed('bytes follow the numbers of its signature');
  }
  return fields.isCut ? malformed(CUT) : draft;
}

const NUMBER_COUNTS: ReadonlyMap<number, number> = new Map([
  [KEY_ALGORITHM.rsa, 1],
  [KEY_ALGORITHM.rsaSign, 1],
  [KEY_ALGORITHM.dsa, 2],
  [KEY_ALGORITHM.ecdsa, 2],
  [KEY_ALGORITHM.eddsa, 2],
]);

// --- subpackets

/**
 * The subpackets that gpg 2.2 understands when they are marked critical. It refuses a signature with any other; each was
 * tried. A key that may revoke (12) is left out: we accept no revocations by other keys.
 */
const UNDERSTOOD: ReadonlySet<number> = new Set([
  2, 3, 4, 5, 6, 7, 9, 11, 16, 21, 22, 24, 25, 26, 27, 29, 30, 32, 33,
]);

const TIMES: ReadonlySet<number> = new Set([SUBPACKET.created, SUBPACKET.expires, SUBPACKET.keyExpires]);
const AT_MOST_ONCE: ReadonlySet<number> = new Set([...TIMES, SUBPACKET.keyFlags, SUBPACKET.revocationReason]);

/** Shorter than any signature that is worth a look. */
const MIN_EMBEDDED_BYTES = 40;

/** Filled in while it is read, so that each of the many signatures in a poisoned certificate costs only one object. */
type Draft = { -readonly [Name in keyof ReadSignature]: ReadSignature[Name] } & {
  readonly issuers: Uint8Array[];
  readonly embedded: EmbeddedSignature[];
};

const NOTHING = new Uint8Array();
const UNSAID = new Date(0);

function newDraft(version: 3 | 4, body: Uint8Array): Draft {
  return {
    kind: 'read',
    version,
    body,
    type: 0,
    keyAlgorithm: 0,
    hashAlgorithm: 0,
    hashedPart: NOTHING,
    digestStart: NOTHING,
    numbers: null,
    isPadded: false,
    hasOtherUnhashed: false,
    createdAt: UNSAID,
    expiresSeconds: null,
    keyExpiresSeconds: null,
    keyFlags: null,
    isPrimaryUserId: false,
    revocationReason: null,
    issuers: [],
    embedded: [],
    notUnderstood: null,
    notUnderstoodUnhashed: null,
    repeated: null,
  };
}

/** Reads what it needs of the `length` bytes of one subpacket, perhaps nothing. Returns what is wrong with it, or null. */
type Hear = (type: number, length: number, area: Fields) => string | null;

interface Area {
  /** What is wrong with it, or null. */
  readonly why: string | null;
  readonly notUnderstood: string | null;
}

/** An area may be full of subpackets that nobody needs, so no object is made for them. */
function readArea(bytes: Uint8Array, hear: Hear): Area {
  const area = new Fields(bytes);
  let notUnderstood: string | null = null;
  while (!area.isAtEnd) {
    const length = readSubpacketLength(area) - 1;
    if (length < 0) return { why: 'its signature has an empty subpacket', notUnderstood };
    const octet = area.octet();
    const type = octet & 0x7f;
    if (octet !== type && !UNDERSTOOD.has(type)) notUnderstood ??= nameOf(type); // the first bit: critical
    const end = area.position + length;
    const why = hear(type, length, area);
    if (why !== null) return { why, notUnderstood };
    area.skip(end - area.position);
  }
  return { why: area.isCut ? CUT : null, notUnderstood };
}

/** Unlike packets, subpackets have no partial lengths (RFC 9580, section 5.2.3.7). */
function readSubpacketLength(area: Fields): number {
  const first = area.octet();
  if (first < 192) return first;
  return first < 255 ? (first - 192) * 256 + area.octet() + 192 : area.number(4);
}

function nameOf(type: number): string {
  return type === SUBPACKET.notation ? 'a critical notation' : `a critical subpacket of type ${type}`;
}

function hearHashed(draft: Draft): Hear {
  const heard = new Set<number>();
  return (type, length, area) => {
    if (AT_MOST_ONCE.has(type)) {
      if (heard.has(type)) draft.repeated ??= type;
      heard.add(type);
    }
    if (TIMES.has(type) && length !== 4) {
      return `its signature's subpacket of type ${type} has ${length} bytes`;
    }
    switch (type) {
      case SUBPACKET.created:
        draft.createdAt = dateOf(area.take(4));
        break;
      case SUBPACKET.expires:
        draft.expiresSeconds = area.number(4) || null; // zero means never, as absence does
        break;
      case SUBPACKET.keyExpires:
        draft.keyExpiresSeconds = area.number(4) || null;
        break;
      case SUBPACKET.keyFlags:
        draft.keyFlags = firstOf(length, area);
        break;
      case SUBPACKET.primaryUserId:
        draft.isPrimaryUserId = firstOf(length, area) !== 0;
        break;
      case SUBPACKET.revocationReason:
        draft.revocationReason = firstOf(length, area);
        break;
      default:
        return hearHint(draft, type, length, area, true);
    }
    return null;
  };
}

/** Zero when the subpacket is empty, as in gpg: no flag is set then. */
function firstOf(length: number, area: Fields): number {
  return length === 0 ? 0 : area.octet();
}

/** Subpackets that nobody needs to vouch for: each proves right or wrong by itself. */
function hearHint(draft: Draft, type: number, length: number, area: Fields, isHashed: boolean): null {
  switch (type) {
    case SUBPACKET.issuerKeyId:
      draft.issuers.push(length === 8 ? area.take(8) : NOTHING);
      break;
    case SUBPACKET.issuerFingerprint:
      draft.issuers.push(length === 21 && area.octet() === 4 ? area.take(20) : NOTHING);
      break;
    case SUBPACKET.embeddedSignature:
      if (length >= MIN_EMBEDDED_BYTES) draft.embedded.push({ body: area.take(length), isHashed });
      break;
    default: // we use no others
  }
  return null;
}

/** Four octets of seconds since 1970. */
function dateOf(octets: Uint8Array): Date {
  return new Date(new Fields(octets).number(4) * 1000);
}
