// A signature packet read field by field (RFC 9580, section 5.2; version 3: RFC 4880, section 5.2.2), each bounded
// before anything else looks at it. Nothing in it is vouched for by anybody yet.
import { MAX_MPI_BITS, MAX_SIGNATURE_PACKET_BYTES } from '../domain/limits.ts';

export const SIGNATURE_TYPE = {
  binary: 0x00,
  text: 0x01,
  directKey: 0x1f,
  subkeyBinding: 0x18,
  keyBinding: 0x19,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
  certificationRevocation: 0x30,
} as const;

export const KEY_ALGORITHM = { rsa: 1, rsaSign: 3, dsa: 17, ecdsa: 19, eddsa: 22 } as const;

const SUBPACKET = {
  created: 2,
  expires: 3,
  keyExpires: 9,
  issuerKeyId: 16,
  notation: 20,
  keyFlags: 27,
  revocationReason: 29,
  embeddedSignature: 32,
  issuerFingerprint: 33,
} as const;

/** In the hashed part: of two, some readers follow the first and others the last. */
const AT_MOST_ONCE: readonly number[] = [
  SUBPACKET.created,
  SUBPACKET.expires,
  SUBPACKET.keyExpires,
  SUBPACKET.keyFlags,
];

/** Marked critical, these are understood by gpg 2.2, which refuses a signature with any other (tried one by one). */
const UNDERSTOOD: readonly number[] = [
  2, 3, 4, 5, 6, 7, 9, 11, 12, 16, 21, 22, 24, 25, 26, 27, 29, 30, 32, 33,
];

export interface ReadSignature {
  readonly version: 3 | 4;
  readonly type: number;
  readonly keyAlgorithm: number;
  readonly hashAlgorithm: number;
  readonly createdAt: Date;
  /** After its creation; null = never. */
  readonly expiresSeconds: number | null;
  /** 16 upper-case hex digits. */
  readonly issuerKeyId: string;
  /** 40 upper-case hex digits; null when it names a key ID alone. */
  readonly issuerFingerprint: string | null;
  /** What it must not be taken without understanding, in words; null when there is nothing such. */
  readonly notUnderstood: string | null;
  /** Hashed after the content, but for the trailer of version 4. */
  readonly hashedPart: Uint8Array;
  readonly leftHashBytes: Uint8Array;
  /** Null when the algorithm's are not known. */
  readonly mpis: readonly Uint8Array[] | null;
  /** The whole packet's. */
  readonly body: Uint8Array;
  /** Of self-signatures, from the hashed area alone; null when it does not say. */
  readonly keyExpiresSeconds: number | null;
  readonly keyFlags: number | null;
  readonly revocationReason: number | null;
  /** Wherever it stands: it vouches for itself. */
  readonly embeddedSignature: Uint8Array | null;
}

/** A version that nobody could verify today; `issuer` is a fingerprint, when it names one. */
export interface UnsupportedSignature {
  readonly unsupportedVersion: number;
  readonly type: number | null;
  readonly keyAlgorithm: number | null;
  readonly hashAlgorithm: number | null;
  readonly issuer: string | null;
}

/** Thrown for bytes that are no signature packet; the message says why, as part of a sentence. */
export class MalformedPacket extends Error {}

/** @throws MalformedPacket */
export function readSignaturePacket(body: Uint8Array): ReadSignature | UnsupportedSignature {
  if (body.length > MAX_SIGNATURE_PACKET_BYTES) {
    throw new MalformedPacket(
      `its signature packet has ${body.length} bytes, more than the ${MAX_SIGNATURE_PACKET_BYTES} that gpg reads`,
    );
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
      return { unsupportedVersion: version, ...NOTHING_KNOWN };
  }
}

const NOTHING_KNOWN = { type: null, keyAlgorithm: null, hashAlgorithm: null, issuer: null } as const;

function readVersion3(fields: Fields, body: Uint8Array): ReadSignature {
  if (fields.octet() !== 5) throw new MalformedPacket('its version 3 signature does not hash 5 bytes');
  const hashedPart = fields.take(5);
  const [type = 0] = hashedPart;
  const issuerKeyId = hex(fields.take(8));
  const keyAlgorithm = fields.octet();
  return {
    version: 3,
    type,
    keyAlgorithm,
    hashAlgorithm: fields.octet(),
    createdAt: dateOf(hashedPart.subarray(1)),
    expiresSeconds: null,
    issuerKeyId,
    issuerFingerprint: null,
    notUnderstood: null,
    hashedPart,
    leftHashBytes: fields.take(2),
    mpis: readMpis(fields, keyAlgorithm),
    body,
    keyExpiresSeconds: null,
    keyFlags: null,
    revocationReason: null,
    embeddedSignature: null,
  };
}

function readVersion4(fields: Fields, body: Uint8Array): ReadSignature {
  const [type, keyAlgorithm, hashAlgorithm] = [fields.octet(), fields.octet(), fields.octet()];
  const hashed = readSubpackets(fields.take(fields.number(2)));
  const hashedPart = body.subarray(0, fields.position);
  const unhashed = readSubpackets(fields.take(fields.number(2)));
  const leftHashBytes = fields.take(2);
  const all = [...hashed, ...unhashed];
  for (const once of AT_MOST_ONCE) {
    if (hashed.filter(({ type }) => type === once).length > 1) {
      throw new MalformedPacket(`its signature has two hashed subpackets of type ${once}`);
    }
  }
  const created = find(hashed, SUBPACKET.created, 4);
  if (created === null)
    throw new MalformedPacket('its signature does not say in its hashed part when it was made');
  const reason = hashed.find(({ type }) => type === SUBPACKET.revocationReason);
  const embedded = all.find(({ type }) => type === SUBPACKET.embeddedSignature);
  return {
    version: 4,
    type,
    keyAlgorithm,
    hashAlgorithm,
    createdAt: dateOf(created),
    expiresSeconds: secondsOf(find(hashed, SUBPACKET.expires, 4)),
    ...readIssuer(all),
    notUnderstood: findNotUnderstood(all),
    hashedPart,
    leftHashBytes,
    mpis: readMpis(fields, keyAlgorithm),
    body,
    keyExpiresSeconds: secondsOf(find(hashed, SUBPACKET.keyExpires, 4)),
    keyFlags: hashed.find(({ type }) => type === SUBPACKET.keyFlags)?.body[0] ?? null,
    revocationReason: reason?.body[0] ?? null,
    embeddedSignature: embedded?.body ?? null,
  };
}

function readVersion6(fields: Fields): UnsupportedSignature {
  const [type, keyAlgorithm, hashAlgorithm] = [fields.octet(), fields.octet(), fields.octet()];
  const hashed = readSubpackets(fields.take(fields.number(4)));
  readSubpackets(fields.take(fields.number(4)));
  const issuer = hashed.find(({ type, body }) => type === SUBPACKET.issuerFingerprint && body.length === 33);
  return {
    unsupportedVersion: 6,
    type,
    keyAlgorithm,
    hashAlgorithm,
    issuer: issuer === undefined ? null : hex(issuer.body.subarray(1)),
  };
}

/**
 * Every subpacket that names the key must name the same one: clients differ in which they follow. Unhashed ones are
 * hints like all of them: the key that is found so must have made the signature.
 */
function readIssuer(
  subpackets: readonly Subpacket[],
): Pick<ReadSignature, 'issuerKeyId' | 'issuerFingerprint'> {
  const fingerprints = subpackets
    .filter(({ type }) => type === SUBPACKET.issuerFingerprint)
    .map(({ body }) => (body.length === 21 && body[0] === 4 ? hex(body.subarray(1)) : 'unknown'));
  const keyIds = subpackets
    .filter(({ type }) => type === SUBPACKET.issuerKeyId)
    .map(({ body }) => (body.length === 8 ? hex(body) : 'unknown'));
  const named = new Set([...keyIds, ...fingerprints.map((fingerprint) => fingerprint.slice(-16))]);
  const [issuerKeyId] = named;
  if (issuerKeyId === undefined)
    throw new MalformedPacket('its signature does not name the key that made it');
  if (named.size > 1 || new Set(fingerprints).size > 1 || named.has('unknown')) {
    throw new MalformedPacket('its signature names more than one key, or none that version 4 knows');
  }
  return { issuerKeyId, issuerFingerprint: fingerprints[0] ?? null };
}

function findNotUnderstood(subpackets: readonly Subpacket[]): string | null {
  const found = subpackets.find(({ type, isCritical }) => isCritical && !UNDERSTOOD.includes(type));
  if (found === undefined) return null;
  return found.type === SUBPACKET.notation
    ? 'a critical notation'
    : `a critical subpacket of type ${found.type}`;
}

/** As many as signatures of the algorithm have; null when it is not known, and its bytes are not looked at. */
function readMpis(fields: Fields, keyAlgorithm: number): readonly Uint8Array[] | null {
  const count = MPI_COUNTS.get(keyAlgorithm);
  if (count === undefined) return null;
  const mpis = Array.from({ length: count }, () => {
    const bits = fields.number(2);
    if (bits > MAX_MPI_BITS) {
      throw new MalformedPacket(`its signature has a number of ${bits} bits, more than ${MAX_MPI_BITS}`);
    }
    return fields.take(Math.ceil(bits / 8));
  });
  if (!fields.isAtEnd) throw new MalformedPacket('bytes follow the numbers of its signature');
  return mpis;
}

const MPI_COUNTS: ReadonlyMap<number, number> = new Map([
  [KEY_ALGORITHM.rsa, 1],
  [KEY_ALGORITHM.rsaSign, 1],
  [KEY_ALGORITHM.dsa, 2],
  [KEY_ALGORITHM.ecdsa, 2],
  [KEY_ALGORITHM.eddsa, 2],
]);

interface Subpacket {
  readonly type: number;
  readonly isCritical: boolean;
  readonly body: Uint8Array;
}

function readSubpackets(area: Uint8Array): readonly Subpacket[] {
  const fields = new Fields(area);
  const subpackets: Subpacket[] = [];
  while (!fields.isAtEnd) {
    const content = fields.take(readSubpacketLength(fields));
    const [type] = content;
    if (type === undefined) throw new MalformedPacket('its signature has an empty subpacket');
    subpackets.push({ type: type & 0x7f, isCritical: (type & 0x80) !== 0, body: content.subarray(1) });
  }
  return subpackets;
}

function readSubpacketLength(fields: Fields): number {
  const first = fields.octet();
  if (first < 192) return first;
  return first < 255 ? (first - 192) * 256 + fields.octet() + 192 : fields.number(4);
}

function find(subpackets: readonly Subpacket[], type: number, length: number): Uint8Array | null {
  const found = subpackets.find((subpacket) => subpacket.type === type);
  if (found === undefined) return null;
  if (found.body.length !== length) {
    throw new MalformedPacket(`its signature's subpacket of type ${type} has ${found.body.length} bytes`);
  }
  return found.body;
}

/** Reads on from the start; every read past the end is a MalformedPacket. */
export class Fields {
  readonly #bytes: Uint8Array;
  position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.position === this.#bytes.length;
  }

  take(count: number): Uint8Array {
    const end = this.position + count;
    if (end > this.#bytes.length) throw new MalformedPacket('one of its packets ends too early');
    const taken = this.#bytes.subarray(this.position, end);
    this.position = end;
    return taken;
  }

  octet(): number {
    return this.number(1);
  }

  number(octets: number): number {
    return this.take(octets).reduce((value, octet) => value * 256 + octet, 0);
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.position);
  }
}

/** Upper case. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').toUpperCase();
}

/** Four octets of seconds since 1970. */
function dateOf(octets: Uint8Array): Date {
  return new Date(new Fields(octets).number(4) * 1000);
}

/** Zero is never, as absence is. */
function secondsOf(octets: Uint8Array | null): number | null {
  return octets === null ? null : new Fields(octets).number(4) || null;
}
