// Writes certificates packet by packet, right ones and such as no program would make.
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as signContent,
} from 'node:crypto';

export const HASH_IDS = { md5: 1, sha1: 2, sha256: 8, sha384: 9, sha512: 10 } as const;
export type HashName = keyof typeof HASH_IDS;

export const TAGS = {
  signature: 2,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  userId: 13,
  subkey: 14,
} as const;
export const TAG_USER_ATTRIBUTE = 17;

export const TYPES = {
  certification: 0x13,
  binding: 0x18,
  backSignature: 0x19,
  direct: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
  certificationRevocation: 0x30,
} as const;

export const FLAGS = { certifyAndSign: 0x03, certify: 0x01, sign: 0x02, encrypt: 0x0c, authenticate: 0x20 };

export interface WrittenKey {
  readonly body: Uint8Array;
  readonly algorithm: number;
  readonly fingerprint: string;
  readonly keyId: string;
  /** Seconds since 1970. */
  readonly createdAt: number;
  /** What it signs over where nothing else is said: gpg verifies ECDSA over no hash that is shorter than the curve. */
  readonly hash: HashName;
  sign(hash: HashName, content: Uint8Array): readonly Uint8Array[];
}

export type KeyKind = 'ed25519' | 'nistp256' | 'nistp384' | 'nistp521' | `rsa${number}`;

/** 2020-09-13T12:26:40Z. */
export const T0 = 1_600_000_000;

const CURVES = {
  nistp256: { name: 'P-256', oid: '2a8648ce3d030107', size: 32, hash: 'sha256' },
  nistp384: { name: 'P-384', oid: '2b81040022', size: 48, hash: 'sha384' },
  nistp521: { name: 'P-521', oid: '2b81040023', size: 66, hash: 'sha512' },
} as const;
const ED25519_OID = '2b06010401da470f01';

export function makeKey(kind: KeyKind = 'ed25519', createdAt = T0): WrittenKey {
  if (kind === 'ed25519') return ed25519(createdAt);
  if (kind in CURVES) return ecdsa(kind as keyof typeof CURVES, createdAt); // `in` does not narrow
  return rsa(Number(kind.slice(3)), createdAt);
}

/** A key from the numbers of its packet; it signs only when it has a way to. */
export function keyOf(
  algorithm: number,
  material: Uint8Array,
  createdAt = T0,
  sign: WrittenKey['sign'] = () => {
    throw new Error('this key cannot sign');
  },
): WrittenKey {
  const body = Buffer.concat([Uint8Array.of(4), uint32(createdAt), Uint8Array.of(algorithm), material]);
  const hashed = Buffer.concat([Uint8Array.of(0x99), uint16(body.length), body]);
  const fingerprint = createHash('sha1').update(hashed).digest('hex').toUpperCase();
  return { body, algorithm, fingerprint, keyId: fingerprint.slice(-16), createdAt, hash: 'sha256', sign };
}

function ed25519(createdAt: number): WrittenKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  const point = Buffer.concat([Uint8Array.of(0x40), jwkNumber(privateKey, 'x')]);
  return keyOf(22, Buffer.concat([oid(ED25519_OID), mpi(point)]), createdAt, (hash, content) => {
    const signature = signContent(null, createHash(hash).update(content).digest(), privateKey);
    return [signature.subarray(0, 32), signature.subarray(32)];
  });
}

function ecdsa(kind: keyof typeof CURVES, createdAt: number): WrittenKey {
  const { name, oid: curve, size, hash } = CURVES[kind];
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: name });
  const point = Buffer.concat([Uint8Array.of(4), jwkNumber(privateKey, 'x'), jwkNumber(privateKey, 'y')]);
  const sign: WrittenKey['sign'] = (hash, content) => {
    const signature = signContent(hash, content, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    return [signature.subarray(0, size), signature.subarray(size)];
  };
  return { ...keyOf(19, Buffer.concat([oid(curve), mpi(point)]), createdAt, sign), hash };
}

function rsa(modulusLength: number, createdAt: number): WrittenKey {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
  const material = Buffer.concat([mpi(jwkNumber(privateKey, 'n')), mpi(jwkNumber(privateKey, 'e'))]);
  return keyOf(1, material, createdAt, (hash, content) => [signContent(hash, content, privateKey)]);
}

function jwkNumber(key: KeyObject, name: 'n' | 'e' | 'x' | 'y'): Buffer {
  return Buffer.from(createPublicKey(key).export({ format: 'jwk' })[name] ?? '', 'base64url');
}

export interface SignatureOptions {
  readonly type: number;
  readonly createdAt?: number;
  readonly hash?: HashName;
  /** Further hashed subpackets. */
  readonly hashed?: readonly Uint8Array[];
  /** Instead of the key ID of the signer. */
  readonly unhashed?: readonly Uint8Array[];
  /** Numbers in place of the right ones, as a forger has them. */
  readonly forged?: readonly Uint8Array[];
  /** What stands for the first two bytes of the digest. */
  readonly digestStart?: number;
  /** A version 3 signature. */
  readonly version?: 3 | 4;
}

/** The body of a signature by the key over the content. */
export function signatureBody(
  key: WrittenKey,
  content: readonly Uint8Array[],
  options: SignatureOptions,
): Uint8Array {
  const { type, createdAt = T0 + 60, hash = key.hash, hashed = [], version = 4 } = options;
  const { unhashed = [issuer(key.keyId)] } = options;
  const said = Buffer.concat([subpacket(2, uint32(createdAt)), ...hashed]);
  const head = Buffer.concat([
    Uint8Array.of(4, type, key.algorithm, HASH_IDS[hash]),
    uint16(said.length),
    said,
  ]);
  const trailer =
    version === 4
      ? Buffer.concat([head, Uint8Array.of(4, 0xff), uint32(head.length)])
      : Buffer.concat([Uint8Array.of(type), uint32(createdAt)]);
  const all = Buffer.concat([...content, trailer]);
  const digest = createHash(hash).update(all).digest();
  const mpis = (options.forged ?? key.sign(hash, all)).map(mpi);
  const start = uint16(options.digestStart ?? digest.readUInt16BE(0));
  if (version === 3) {
    const ids = [Buffer.from(key.keyId, 'hex'), Uint8Array.of(key.algorithm, HASH_IDS[hash])];
    return Buffer.concat([Uint8Array.of(3, 5), trailer, ...ids, start, ...mpis]);
  }
  const hints = Buffer.concat(unhashed);
  return Buffer.concat([head, uint16(hints.length), hints, start, ...mpis]);
}

/** What is signed of a key, and of a user ID beside it. */
export function overKey({ body }: WrittenKey): readonly Uint8Array[] {
  return [Uint8Array.of(0x99), uint16(body.length), body];
}

export function overUserId(key: WrittenKey, userId: string | Uint8Array): readonly Uint8Array[] {
  const body = Buffer.from(userId);
  return [...overKey(key), Uint8Array.of(0xb4), uint32(body.length), body];
}

export function overSubkey(key: WrittenKey, subkey: WrittenKey): readonly Uint8Array[] {
  return [...overKey(key), ...overKey(subkey)];
}

/** A packet with the new header. */
export function packet(tag: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0xc0 | tag, 0xff), uint32(body.length), body]);
}

export function subpacket(type: number, data: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0xff), uint32(data.length + 1), Uint8Array.of(type), data]);
}

export const keyFlags = (flags: number) => subpacket(27, Uint8Array.of(flags));
export const keyExpiresAfter = (seconds: number) => subpacket(9, uint32(seconds));
export const signatureExpiresAfter = (seconds: number) => subpacket(3, uint32(seconds));
export const revocationReason = (code: number) => subpacket(29, Uint8Array.of(code));
export const issuer = (keyId: string) => subpacket(16, Buffer.from(keyId, 'hex'));
export const embedded = (body: Uint8Array) => subpacket(32, body);

export type PartOptions = Partial<SignatureOptions> & { readonly flags?: number | null };

/** The packet of a signature over the key itself: direct-key or revocation. */
export function onKey(key: WrittenKey, options: SignatureOptions, signer = key): Uint8Array {
  return packet(TAGS.signature, signatureBody(signer, overKey(key), options));
}

export function primaryPacket(key: WrittenKey): Uint8Array {
  return packet(TAGS.publicKey, key.body);
}

/** A self-certification, or another signature over the user ID as `options` say. */
export function onUserId(
  key: WrittenKey,
  userId: string | Uint8Array,
  { flags = FLAGS.certifyAndSign, ...options }: PartOptions = {},
  signer = key,
): Uint8Array {
  const hashed = [...(flags === null ? [] : [keyFlags(flags)]), ...(options.hashed ?? [])];
  const body = signatureBody(signer, overUserId(key, userId), {
    type: TYPES.certification,
    ...options,
    hashed,
  });
  return packet(TAGS.signature, body);
}

export function userIdPacket(userId: string | Uint8Array): Uint8Array {
  return packet(TAGS.userId, Buffer.from(userId));
}

export function subkeyPacket(subkey: WrittenKey): Uint8Array {
  return packet(TAGS.subkey, subkey.body);
}

export interface BindingOptions extends PartOptions {
  /** The body of another back-signature than the right one; null: none. */
  readonly back?: Uint8Array | null;
  readonly isBackHashed?: boolean;
}

/** A binding of the subkey, with its back-signature when it lets it sign. */
export function binding(key: WrittenKey, subkey: WrittenKey, options: BindingOptions = {}): Uint8Array {
  const { flags = FLAGS.sign, isBackHashed = false, ...rest } = options;
  const maySign = flags === null || (flags & FLAGS.sign) !== 0;
  const back = options.back === undefined && maySign ? backSignature(key, subkey) : (options.back ?? null);
  const inside = back === null ? [] : [embedded(back)];
  const said = [...(flags === null ? [] : [keyFlags(flags)]), ...(rest.hashed ?? [])];
  const body = signatureBody(key, overSubkey(key, subkey), {
    type: TYPES.binding,
    unhashed: [issuer(key.keyId), ...(isBackHashed ? [] : inside)],
    ...rest,
    hashed: [...said, ...(isBackHashed ? inside : [])],
  });
  return packet(TAGS.signature, body);
}

export function backSignature(
  key: WrittenKey,
  subkey: WrittenKey,
  options: Partial<SignatureOptions> = {},
): Uint8Array {
  return signatureBody(subkey, overSubkey(key, subkey), { type: TYPES.backSignature, ...options });
}

/** A primary key and one user ID that it certifies. */
export function simpleCertificate(key: WrittenKey, userId = 'alice', options: PartOptions = {}): Uint8Array {
  return Buffer.concat([primaryPacket(key), userIdPacket(userId), onUserId(key, userId, options)]);
}

export function mpi(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  const value = first === -1 ? new Uint8Array() : bytes.subarray(first);
  const bits = value.length === 0 ? 0 : value.length * 8 - Math.clz32(value[0] ?? 0) + 24;
  return Buffer.concat([uint16(bits), value]);
}

export function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

export function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function oid(hex: string): Uint8Array {
  const bytes = Buffer.from(hex, 'hex');
  return Buffer.concat([Uint8Array.of(bytes.length), bytes]);
}
