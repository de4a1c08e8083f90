// The only code that reads public key packets of version 4 (RFC 9580, section 5.5.2): which keys we accept, what their
// fingerprints are, and whether they have signed a digest. OpenSSL does the cryptography: docs/decisions/one-reading.md.
import { constants, createHash, createPublicKey, type KeyObject, publicDecrypt, verify } from 'node:crypto';
import { type RefusalCode, systemCode } from '../domain/errors.ts';
import { bitLength, Fields, hex, uint16, withoutLeadingZeros } from './fields.ts';
import { KEY_ALGORITHM } from './signature-packet.ts';

/** The hash algorithms that we check, by their OpenPGP number. SHA-1 is there because old release keys are bound by it. */
export const HASHES: ReadonlyMap<number, HashName> = new Map([
  [2, 'sha1'],
  [8, 'sha256'],
  [9, 'sha384'],
  [10, 'sha512'],
  [11, 'sha224'],
]);
export type HashName = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';

/** What was signed: the bytes themselves, and their digest by `hash`. */
export interface Signed {
  readonly hash: HashName;
  readonly content: () => Uint8Array;
  readonly digest: Uint8Array;
}

export interface PublicKey {
  /** The packet's body. */
  readonly body: Uint8Array;
  readonly createdAt: Date;
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  readonly fingerprintBytes: Uint8Array;
  /** As gpg names it. */
  readonly algorithm: string;
  /** The OpenPGP number, which the key's signatures carry too. */
  readonly keyAlgorithm: number;
  /** The size of the shortest hash that it may sign. gpg refuses ECDSA over hashes that are shorter than the curve. */
  readonly minHashBytes: number;
  /** Whether numbers of these lengths could be its signature at all: costs nothing, unlike `hasSigned`. */
  fits(numbers: readonly Uint8Array[]): boolean;
  /** How many microseconds hasSigned takes on a slow machine; the first time takes longer. Checks are rationed by this. */
  cost(contentBytes: number): number;
  hasSigned(signed: Signed, numbers: readonly Uint8Array[]): boolean;
}

export interface UnusableKey {
  /** 40 or 64 (version 5 and 6) upper-case hex digits; null when we cannot compute one. */
  readonly fingerprint: string | null;
  readonly code: RefusalCode;
  /** Why, as the end of a sentence that begins with the key. */
  readonly why: string;
}

type Algorithm = Omit<PublicKey, 'body' | 'createdAt' | 'fingerprint' | 'fingerprintBytes'>;

export const MIN_RSA_BITS = 2048;
/** MAX_MPI_BITS of domain/limits.ts: larger numbers only cost time. */
const MAX_RSA_BITS = 8192;
/** OpenSSL refuses larger ones (OPENSSL_RSA_MAX_PUBEXP_BITS). */
const MAX_EXPONENT_BITS = 64;
/** One random number in 2^64 is shorter than its range by this much. */
const SHORTER_BY_BYTES = 8;
const V4_HEADER_BYTES = 6;
/** A version 4 fingerprint hashes the body's length as two bytes. */
const MAX_BODY_BYTES = 0xffff;

/** The key of a public key or subkey packet, if we accept its kind. Cheap: OpenSSL does not look at its numbers yet. */
export function parsePublicKey(body: Uint8Array): PublicKey | UnusableKey {
  const fingerprint = fingerprintOf(body);
  const unusable = (code: RefusalCode, why: string): UnusableKey => ({ fingerprint, code, why });
  const version = body[0];
  if (version === 2 || version === 3) {
    return unusable('ALGORITHM_WEAK', `is of version ${version}, named by MD5; make a new key`);
  }
  if (version !== 4) {
    return unusable(
      'ALGORITHM_UNSUPPORTED',
      `is of version ${version ?? 'none'}, and today's clients cannot verify with it; sign with a version 4 key`,
    );
  }
  if (fingerprint === null) return unusable('STRUCTURE_INVALID', 'is cut short or too long');
  const parsed = parseAlgorithm(body);
  if ('code' in parsed) return unusable(parsed.code, parsed.why);
  const createdAt = new Date(new Fields(body.subarray(1, 5)).number(4) * 1000);
  return { body, createdAt, fingerprint, fingerprintBytes: Buffer.from(fingerprint, 'hex'), ...parsed };
}

/** The fingerprint of a public key packet, 40 or 64 upper-case hex digits; null for versions without one. */
export function fingerprintOf(body: Uint8Array): string | null {
  const version = body[0];
  if (version === 4) {
    if (body.length <= V4_HEADER_BYTES || body.length > MAX_BODY_BYTES) return null;
    return hexDigest('sha1', hashedKey(body));
  }
  if (version !== 5 && version !== 6) return null;
  const head = Buffer.from([version === 5 ? 0x9a : 0x9b, 0, 0, 0, 0]);
  head.writeUInt32BE(body.length, 1);
  return hexDigest('sha256', [head, body]);
}

/** How a key is hashed (RFC 9580, section 5.2.4). */
export function hashedKey(body: Uint8Array): readonly Uint8Array[] {
  return [Uint8Array.of(0x99), uint16(body.length), body];
}

/** The fingerprint of the public half of a secret key packet; null when we cannot tell where that half ends. */
export function fingerprintOfSecretKey(body: Uint8Array): string | null {
  const version = body[0];
  if (version === 4) {
    const end = endOfMaterial(body);
    return end === null ? null : fingerprintOf(body.subarray(0, end));
  }
  if (version !== 6) return null;
  const fields = new Fields(body);
  fields.skip(V4_HEADER_BYTES);
  fields.skip(fields.number(4));
  return fields.isCut ? null : fingerprintOf(body.subarray(0, fields.position));
}

function endOfMaterial(body: Uint8Array): number | null {
  const fields = new Fields(body);
  fields.skip(V4_HEADER_BYTES);
  const algorithm = body[5];
  const isCurve = algorithm === KEY_ALGORITHM.ecdsa || algorithm === KEY_ALGORITHM.eddsa;
  if (isCurve) fields.skip(fields.octet());
  const numbers = isCurve ? 1 : algorithm === KEY_ALGORITHM.dsa ? 4 : 2;
  for (let read = 0; read < numbers; read += 1) fields.mpi();
  return fields.isCut ? null : fields.position;
}

function hexDigest(hash: 'sha1' | 'sha256', chunks: readonly Uint8Array[]): string {
  const state = createHash(hash);
  for (const chunk of chunks) state.update(chunk);
  return hex(state.digest());
}

type Unusable = Omit<UnusableKey, 'fingerprint'>;

function parseAlgorithm(body: Uint8Array): Algorithm | Unusable {
  const material = new Fields(body.subarray(V4_HEADER_BYTES));
  const algorithm = body[5];
  switch (algorithm) {
    case KEY_ALGORITHM.rsa:
    case KEY_ALGORITHM.rsaSign:
      return parseRsa(material, algorithm);
    case KEY_ALGORITHM.ecdsa:
    case KEY_ALGORITHM.eddsa:
      return parseCurve(material, algorithm);
    case KEY_ALGORITHM.dsa:
      return { code: 'ALGORITHM_WEAK', why: 'is a DSA key; make an RSA, EdDSA or ECDSA key' };
    case KEY_ALGORITHM.rsaEncrypt:
      return { code: 'KEY_UNUSABLE', why: 'can only encrypt; send the key that signs' };
    default:
      return {
        code: 'ALGORITHM_UNSUPPORTED',
        why: `has the public-key algorithm ${algorithm}, and today's clients cannot verify with it; wanted RSA, EdDSA or ECDSA`,
      };
  }
}

function parseRsa(material: Fields, algorithm: number): Algorithm | Unusable {
  const [n, e] = [withoutLeadingZeros(material.mpi()), withoutLeadingZeros(material.mpi())];
  if (material.isCut || !material.isAtEnd) return UNREADABLE;
  const bits = bitLength(n);
  if (bits < MIN_RSA_BITS) {
    return { code: 'ALGORITHM_WEAK', why: `is an RSA key of ${bits} bits; wanted at least ${MIN_RSA_BITS}` };
  }
  if (bits > MAX_RSA_BITS) {
    return {
      code: 'ALGORITHM_UNSUPPORTED',
      why: `is an RSA key of ${bits} bits; wanted at most ${MAX_RSA_BITS}`,
    };
  }
  if (!isOdd(n)) return { code: 'KEY_UNUSABLE', why: 'has an even modulus, which no RSA key has' };
  if (!isOdd(e) || bitLength(e) < 2 || bitLength(e) > MAX_EXPONENT_BITS) {
    return {
      code: 'KEY_UNUSABLE',
      why: `has an exponent that is even, 1 or over ${MAX_EXPONENT_BITS} bits; wanted an odd one from 3 on`,
    };
  }
  return rsa(n, e, algorithm);
}

function rsa(n: Uint8Array, e: Uint8Array, keyAlgorithm: number): Algorithm {
  const bits = bitLength(n);
  const jwk = { kty: 'RSA', n: base64Url(n), e: base64Url(e) };
  const key = once(() => createPublicKey({ key: jwk, format: 'jwk' }));
  const multiplications = bitLength(e) * 2;
  const cost = 40 + 0.2 * (bits / 1024) ** 2 * multiplications;
  return {
    algorithm: `rsa${bits}`,
    keyAlgorithm,
    minHashBytes: 0,
    fits: ([s, ...more]) => more.length === 0 && s !== undefined && isAbout(s, n.length),
    cost: () => cost,
    // RFC 8017, section 8.2.2: the message is encoded and compared, so there is no padding to be lenient about
    hasSigned({ hash, digest }, [s]) {
      if (s === undefined) return false;
      const sized = leftPad(s, n.length);
      if (Buffer.compare(sized, n) >= 0) return false;
      const padding = constants.RSA_NO_PADDING;
      return holds(() =>
        publicDecrypt({ key: key.get(), padding }, sized).equals(encodePkcs1(hash, digest, n.length)),
      );
    },
  };
}

interface Curve {
  readonly name: string;
  /** The size of one number, in bytes. */
  readonly size: number;
  readonly algorithm: number;
  readonly cost: number;
  /** Hex of what stands before the point in a SubjectPublicKeyInfo. */
  readonly spki: string;
}

/** By object identifier in hex (RFC 9580, section 9.2). Costs measured with Node.js 20. */
const CURVES: ReadonlyMap<string, Curve> = new Map([
  [
    '2A8648CE3D030107',
    {
      name: 'nistp256',
      size: 32,
      algorithm: KEY_ALGORITHM.ecdsa,
      cost: 120,
      spki: '3059301306072a8648ce3d020106082a8648ce3d030107034200',
    },
  ],
  [
    '2B81040022',
    {
      name: 'nistp384',
      size: 48,
      algorithm: KEY_ALGORITHM.ecdsa,
      cost: 1000,
      spki: '3076301006072a8648ce3d020106052b81040022036200',
    },
  ],
  [
    '2B81040023',
    {
      name: 'nistp521',
      size: 66,
      algorithm: KEY_ALGORITHM.ecdsa,
      cost: 2000,
      spki: '30819b301006072a8648ce3d020106052b8104002303818600',
    },
  ],
  [
    '2B06010401DA470F01',
    {
      name: 'ed25519',
      size: 32,
      algorithm: KEY_ALGORITHM.eddsa,
      cost: 150,
      spki: '302a300506032b6570032100',
    },
  ],
]);

function parseCurve(material: Fields, algorithm: number): Algorithm | Unusable {
  const curve = CURVES.get(hex(material.take(material.octet())));
  if (curve?.algorithm !== algorithm) {
    return {
      code: 'ALGORITHM_UNSUPPORTED',
      why: 'is on a curve that is not supported; wanted Ed25519, NIST P-256, P-384 or P-521',
    };
  }
  const point = withoutLeadingZeros(material.mpi());
  if (material.isCut || !material.isAtEnd) return UNREADABLE;
  return algorithm === KEY_ALGORITHM.eddsa ? ed25519(curve, point) : ecdsa(curve, point);
}

function ed25519(curve: Curve, point: Uint8Array): Algorithm | Unusable {
  if (point.length !== 1 + curve.size || point[0] !== 0x40) return UNREADABLE;
  const key = keyOnCurve(curve, point.subarray(1));
  return {
    ...onCurve(curve, key),
    // RFC 9580, section 5.2.3.3: what Ed25519 signs here is the digest
    hasSigned: ({ digest }, numbers) =>
      holds(() => verify(null, digest, key.get(), joined(numbers, curve.size))),
  };
}

function ecdsa(curve: Curve, point: Uint8Array): Algorithm | Unusable {
  if (point.length !== 1 + 2 * curve.size || point[0] !== 0x04) return UNREADABLE;
  const key = keyOnCurve(curve, point);
  return {
    ...onCurve(curve, key),
    hasSigned: ({ hash, content }, numbers) =>
      holds(() =>
        verify(hash, content(), { key: key.get(), dsaEncoding: 'ieee-p1363' }, joined(numbers, curve.size)),
      ),
  };
}

// not as a JSON Web Key: OpenSSL would check the order of the point too, which is the same for all points of these curves
function keyOnCurve({ spki }: Curve, point: Uint8Array): Once<KeyObject> {
  const der = Buffer.concat([Buffer.from(spki, 'hex'), point]);
  return once(() => createPublicKey({ key: der, format: 'der', type: 'spki' }));
}

/** How many bytes OpenSSL hashes in a microsecond, at least. */
const HASHED_PER_US = 200;
/** How long OpenSSL takes to read a key on a curve. */
const READING_US = 500;

/** SHA-512, which P-521 signs too, although that curve is longer. */
const LONGEST_HASH_BYTES = 64;

function onCurve({ name, size, algorithm, cost }: Curve, key: Once<KeyObject>): Omit<Algorithm, 'hasSigned'> {
  return {
    algorithm: name,
    keyAlgorithm: algorithm,
    minHashBytes: Math.min(size, LONGEST_HASH_BYTES),
    fits: (numbers) => numbers.length === 2 && numbers.every((number) => isAbout(number, size)),
    cost: (contentBytes) => cost + contentBytes / HASHED_PER_US + (key.isMade ? 0 : READING_US),
  };
}

const UNREADABLE: Unusable = { code: 'KEY_UNUSABLE', why: 'has numbers that cannot be read' };

/** False also when OpenSSL refuses the numbers themselves, such as a point that is not on its curve. */
function holds(check: () => boolean): boolean {
  try {
    return check();
  } catch (error) {
    if (systemCode(error)?.startsWith('ERR_') === true) return false;
    throw error;
  }
}

interface Once<T> {
  readonly isMade: boolean;
  get(): T;
}

function once<T>(make: () => T): Once<T> {
  let made: { readonly value: T } | null = null;
  return {
    get isMade() {
      return made !== null;
    },
    get() {
      made ??= { value: make() };
      return made.value;
    },
  };
}

/** RFC 8017, section 9.2, note 1: what stands before the digest. */
const DIGEST_INFO: Readonly<Record<HashName, string>> = {
  sha1: '3021300906052b0e03021a05000414',
  sha224: '302d300d06096086480165030402040500041c',
  sha256: '3031300d060960864801650304020105000420',
  sha384: '3041300d060960864801650304020205000430',
  sha512: '3051300d060960864801650304020305000440',
};

function encodePkcs1(hash: HashName, digest: Uint8Array, length: number): Buffer {
  const info = Buffer.concat([Buffer.from(DIGEST_INFO[hash], 'hex'), digest]);
  const filling = Buffer.alloc(length - info.length - 3, 0xff);
  return Buffer.concat([Uint8Array.of(0, 1), filling, Uint8Array.of(0), info]);
}

function isOdd(number: Uint8Array): boolean {
  return ((number.at(-1) ?? 0) & 1) === 1;
}

function isAbout(number: Uint8Array, size: number): boolean {
  return number.length <= size && number.length >= size - SHORTER_BY_BYTES;
}

function joined(numbers: readonly Uint8Array[], size: number): Buffer {
  return Buffer.concat(numbers.map((number) => leftPad(number, size)));
}

function leftPad(number: Uint8Array, size: number): Buffer {
  return Buffer.concat([Buffer.alloc(size - number.length), number]);
}

function base64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
