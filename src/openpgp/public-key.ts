// Public key packets of version 4 (RFC 9580, section 5.5.2): which of them we take, and checks of what they signed.
import { constants, createHash, createPublicKey, type KeyObject, publicDecrypt, verify } from 'node:crypto';
import { type ErrorCode, systemCode } from '../domain/errors.ts';

/** The hash algorithms that bind parts of a certificate, by their OpenPGP number. SHA-1: old release keys have it. */
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
  /** Of the packet. */
  readonly body: Uint8Array;
  /** Seconds since 1970. */
  readonly createdAt: number;
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  readonly fingerprintBytes: Uint8Array;
  /** The last 16 of them. */
  readonly keyId: string;
  /** As gpg names it. */
  readonly algorithm: string;
  /** Public-key algorithm numbers that its signatures may carry. */
  readonly signatureAlgorithms: readonly number[];
  /** Whether numbers of these lengths could be its signature at all: costs nothing, unlike `isSignedBy`. */
  fits(mpis: readonly Uint8Array[]): boolean;
  /** Microseconds that isSignedBy takes on a slow machine, the first time longer: what checks are rationed by. */
  cost(contentBytes: number): number;
  isSignedBy(signed: Signed, mpis: readonly Uint8Array[]): boolean;
}

export interface UnusableKey {
  /** 40 or 64 (version 5 and 6) upper-case hex digits; null when it has none that we could tell. */
  readonly fingerprint: string | null;
  readonly code: ErrorCode;
  /** Why, as the end of a sentence that begins with the key. */
  readonly why: string;
}

type Algorithm = Pick<PublicKey, 'algorithm' | 'signatureAlgorithms' | 'fits' | 'cost' | 'isSignedBy'>;

const RSA = 1;
const RSA_ENCRYPT = 2;
const RSA_SIGN = 3;
const DSA = 17;
const ECDSA = 19;
const EDDSA = 22;

const MIN_RSA_BITS = 2048;
/** MAX_MPI_BITS of domain/limits.ts: larger numbers only cost time. */
const MAX_RSA_BITS = 8192;
/** OpenSSL refuses larger ones (OPENSSL_RSA_MAX_PUBEXP_BITS). */
const MAX_EXPONENT_BITS = 64;
/** Random numbers are shorter than their range by so much once in 2^64. */
const SHORTER_BY_BYTES = 8;
const V4_HEADER_BYTES = 6;
/** The two bytes of the length that is hashed into a version 4 fingerprint. */
const MAX_BODY_BYTES = 0xffff;

/** The key of a public key or subkey packet, if we take its kind. Cheap: no number is looked at by OpenSSL yet. */
export function parsePublicKey(body: Uint8Array): PublicKey | UnusableKey {
  const fingerprint = fingerprintOf(body);
  const unusable = (code: ErrorCode, why: string): UnusableKey => ({ fingerprint, code, why });
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
  const createdAt = numberAt(body, 1, 4) ?? 0; // there: the fingerprint could be made
  const fingerprintBytes = Buffer.from(fingerprint, 'hex');
  return { body, createdAt, fingerprint, fingerprintBytes, keyId: fingerprint.slice(-16), ...parsed };
}

/** The fingerprint of a public key packet, 40 or 64 upper-case hex digits; null for versions without one. */
export function fingerprintOf(body: Uint8Array): string | null {
  const version = body[0];
  if (version === 4) {
    if (body.length <= V4_HEADER_BYTES || body.length > MAX_BODY_BYTES) return null;
    return hexDigest('sha1', [Uint8Array.of(0x99, body.length >> 8, body.length & 0xff), body]);
  }
  if (version !== 5 && version !== 6) return null;
  const head = Buffer.from([version === 5 ? 0x9a : 0x9b, 0, 0, 0, 0]);
  head.writeUInt32BE(body.length, 1);
  return hexDigest('sha256', [head, body]);
}

/** The fingerprint of the public half of a secret key packet; null when that half cannot be told. */
export function fingerprintOfSecretKey(body: Uint8Array): string | null {
  const version = body[0];
  if (version === 4) {
    const end = endOfMaterial(body);
    return end === null ? null : fingerprintOf(body.subarray(0, end));
  }
  const materialBytes = numberAt(body, V4_HEADER_BYTES, 4);
  if (version !== 6 || materialBytes === null) return null;
  const end = V4_HEADER_BYTES + 4 + materialBytes;
  return end > body.length ? null : fingerprintOf(body.subarray(0, end));
}

function endOfMaterial(body: Uint8Array): number | null {
  const algorithm = body[5];
  const isCurve = algorithm === ECDSA || algorithm === EDDSA;
  const numbers = isCurve ? 1 : algorithm === DSA ? 4 : 2;
  const from = isCurve ? V4_HEADER_BYTES + 1 + (body[V4_HEADER_BYTES] ?? 0) : V4_HEADER_BYTES;
  return readMpis(body, from, numbers)?.end ?? null;
}

function hexDigest(hash: 'sha1' | 'sha256', chunks: readonly Uint8Array[]): string {
  const state = createHash(hash);
  for (const chunk of chunks) state.update(chunk);
  return state.digest('hex').toUpperCase();
}

type Unusable = Omit<UnusableKey, 'fingerprint'>;

function parseAlgorithm(body: Uint8Array): Algorithm | Unusable {
  const algorithm = body[5];
  switch (algorithm) {
    case RSA:
    case RSA_SIGN:
      return parseRsa(body);
    case ECDSA:
    case EDDSA:
      return parseCurve(body, algorithm);
    case DSA:
      return { code: 'ALGORITHM_WEAK', why: 'is a DSA key; make an RSA, EdDSA or ECDSA key' };
    case RSA_ENCRYPT:
      return { code: 'KEY_UNUSABLE', why: 'can only encrypt; send the key that signs' };
    default:
      return {
        code: 'ALGORITHM_UNSUPPORTED',
        why: `has the public-key algorithm ${algorithm}, and today's clients cannot verify with it; wanted RSA, EdDSA or ECDSA`,
      };
  }
}

function parseRsa(body: Uint8Array): Algorithm | Unusable {
  const material = readMpis(body, V4_HEADER_BYTES, 2);
  const [n, e] = material?.mpis ?? [];
  if (material?.end !== body.length || n === undefined || e === undefined) return UNREADABLE;
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
  return rsa(n, e);
}

function rsa(n: Uint8Array, e: Uint8Array): Algorithm {
  const bits = bitLength(n);
  const jwk = { kty: 'RSA', n: base64Url(n), e: base64Url(e) };
  const key = once(() => createPublicKey({ key: jwk, format: 'jwk' }));
  const multiplications = bitLength(e) * 2;
  const cost = 40 + 0.2 * (bits / 1024) ** 2 * multiplications;
  return {
    algorithm: `rsa${bits}`,
    signatureAlgorithms: [RSA, RSA_SIGN],
    fits: ([s, ...more]) => more.length === 0 && s !== undefined && isAbout(s, n.length),
    cost: () => cost,
    // RFC 8017, section 8.2.2: the message is encoded and compared, so there is no padding to be lenient about
    isSignedBy({ hash, digest }, [s]) {
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
  /** Of one number, in bytes. */
  readonly size: number;
  readonly algorithm: number;
  readonly cost: number;
  /** Hex of what stands before the point in a SubjectPublicKeyInfo. */
  readonly spki: string;
}

/** By object identifier in hex (RFC 9580, section 9.2). Costs measured with Node.js 20. */
const CURVES: ReadonlyMap<string, Curve> = new Map([
  [
    '2a8648ce3d030107',
    {
      name: 'nistp256',
      size: 32,
      algorithm: ECDSA,
      cost: 120,
      spki: '3059301306072a8648ce3d020106082a8648ce3d030107034200',
    },
  ],
  [
    '2b81040022',
    {
      name: 'nistp384',
      size: 48,
      algorithm: ECDSA,
      cost: 1000,
      spki: '3076301006072a8648ce3d020106052b81040022036200',
    },
  ],
  [
    '2b81040023',
    {
      name: 'nistp521',
      size: 66,
      algorithm: ECDSA,
      cost: 2000,
      spki: '30819b301006072a8648ce3d020106052b8104002303818600',
    },
  ],
  [
    '2b06010401da470f01',
    { name: 'ed25519', size: 32, algorithm: EDDSA, cost: 150, spki: '302a300506032b6570032100' },
  ],
]);

function parseCurve(body: Uint8Array, algorithm: number): Algorithm | Unusable {
  const from = V4_HEADER_BYTES + 1;
  const oidEnd = from + (body[V4_HEADER_BYTES] ?? 0);
  const curve = CURVES.get(Buffer.from(body.subarray(from, oidEnd)).toString('hex'));
  if (curve?.algorithm !== algorithm) {
    return {
      code: 'ALGORITHM_UNSUPPORTED',
      why: 'is on a curve that is not supported; wanted Ed25519, NIST P-256, P-384 or P-521',
    };
  }
  const material = readMpis(body, oidEnd, 1);
  const point = material?.mpis[0];
  if (material?.end !== body.length || point === undefined) return UNREADABLE;
  return curve.algorithm === EDDSA ? ed25519(curve, point) : ecdsa(curve, point);
}

function ed25519(curve: Curve, point: Uint8Array): Algorithm | Unusable {
  if (point.length !== 1 + curve.size || point[0] !== 0x40) return UNREADABLE;
  const key = keyOnCurve(curve, point.subarray(1));
  return {
    ...onCurve(curve, key),
    // RFC 9580, section 5.2.3.3: what Ed25519 signs here is the digest
    isSignedBy: ({ digest }, mpis) => holds(() => verify(null, digest, key.get(), joined(mpis, curve.size))),
  };
}

function ecdsa(curve: Curve, point: Uint8Array): Algorithm | Unusable {
  if (point.length !== 1 + 2 * curve.size || point[0] !== 0x04) return UNREADABLE;
  const key = keyOnCurve(curve, point);
  return {
    ...onCurve(curve, key),
    isSignedBy: ({ hash, content }, mpis) =>
      holds(() =>
        verify(hash, content(), { key: key.get(), dsaEncoding: 'ieee-p1363' }, joined(mpis, curve.size)),
      ),
  };
}

// not as a JSON Web Key, of which OpenSSL checks the order of the point too: on these curves every point has the same
function keyOnCurve({ spki }: Curve, point: Uint8Array): Once<KeyObject> {
  const der = Buffer.concat([Buffer.from(spki, 'hex'), point]);
  return once(() => createPublicKey({ key: der, format: 'der', type: 'spki' }));
}

/** How many bytes OpenSSL hashes in a microsecond, at least. */
const HASHED_PER_US = 200;
/** What it takes OpenSSL to read a key on a curve. */
const READING_US = 500;

function onCurve(
  { name, size, algorithm, cost }: Curve,
  key: Once<KeyObject>,
): Omit<Algorithm, 'isSignedBy'> {
  return {
    algorithm: name,
    signatureAlgorithms: [algorithm],
    fits: (mpis) => mpis.length === 2 && mpis.every((mpi) => isAbout(mpi, size)),
    cost: (contentBytes) => cost + contentBytes / HASHED_PER_US + (key.isMade ? 0 : READING_US),
  };
}

const UNREADABLE: Unusable = { code: 'KEY_UNUSABLE', why: 'has numbers that cannot be read' };

/** False also when OpenSSL will not work with these numbers at all: a point that is not on its curve. */
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

/** `count` multiprecision integers without leading zeros, and where they end; null when they are cut short. */
export function readMpis(
  bytes: Uint8Array,
  from: number,
  count: number,
): { readonly mpis: readonly Uint8Array[]; readonly end: number } | null {
  const mpis: Uint8Array[] = [];
  let at = from;
  while (mpis.length < count) {
    const bits = numberAt(bytes, at, 2);
    if (bits === null) return null;
    const end = at + 2 + Math.ceil(bits / 8);
    if (end > bytes.length) return null;
    mpis.push(withoutLeadingZeros(bytes.subarray(at + 2, end)));
    at = end;
  }
  return { mpis, end: at };
}

/** The integer with its length in bits before it. */
export function writeMpi(mpi: Uint8Array): Uint8Array {
  const bits = bitLength(mpi);
  return Buffer.concat([Uint8Array.of(bits >> 8, bits & 0xff), mpi]);
}

/** Big-endian; null beyond the end. */
export function numberAt(bytes: Uint8Array, at: number, octets: number): number | null {
  if (at + octets > bytes.length) return null;
  let value = 0;
  for (let i = at; i < at + octets; i += 1) value = value * 256 + (bytes[i] ?? 0);
  return value;
}

function withoutLeadingZeros(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? bytes.subarray(bytes.length) : bytes.subarray(first);
}

/** Of a number without leading zeros. */
function bitLength(number: Uint8Array): number {
  return number.length === 0 ? 0 : number.length * 8 - Math.clz32(number[0] ?? 0) + 24;
}

function isOdd(number: Uint8Array): boolean {
  return ((number.at(-1) ?? 0) & 1) === 1;
}

function isAbout(mpi: Uint8Array, size: number): boolean {
  return mpi.length <= size && mpi.length >= size - SHORTER_BY_BYTES;
}

function joined(mpis: readonly Uint8Array[], size: number): Buffer {
  return Buffer.concat(mpis.map((mpi) => leftPad(mpi, size)));
}

function leftPad(number: Uint8Array, size: number): Buffer {
  return Buffer.concat([Buffer.alloc(size - number.length), number]);
}

function base64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
