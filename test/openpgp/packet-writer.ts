// Writes OpenPGP packets of any shape, right or wrong, with signatures that real keys have made: so that a test can
// have a message whose signature is right and whose shape is not.

import { createHash, generateKeyPairSync, type KeyObject, sign as signByNode } from 'node:crypto';
import { deflateRawSync, deflateSync } from 'node:zlib';

/** `parts`: the new format with partial lengths; `end`: the old one without a length. */
export type PacketForm = 'old' | 'new' | 'new-long' | 'parts' | 'end';

export function packet(tag: number, body: Uint8Array, form: PacketForm = 'new'): Buffer {
  const { length } = body;
  switch (form) {
    case 'end':
      return Buffer.concat([Buffer.of(0x80 | (tag << 2) | 3), body]);
    case 'old': {
      const octets = length < 256 ? 1 : length < 65_536 ? 2 : 4;
      return Buffer.concat([Buffer.of(0x80 | (tag << 2) | (octets >> 1)), number(length, octets), body]);
    }
    case 'new':
      return Buffer.concat([Buffer.of(0xc0 | tag), newLength(length), body]);
    case 'new-long':
      return Buffer.concat([Buffer.of(0xc0 | tag, 0xff), number(length, 4), body]);
    case 'parts': {
      const power = Math.floor(Math.log2(length / 2 + 1));
      const first = body.subarray(0, 2 ** power);
      const rest = body.subarray(first.length);
      return Buffer.concat([Buffer.of(0xc0 | tag, 0xe0 | power), first, newLength(rest.length), rest]);
    }
  }
}

export function number(value: number, octets: number): Buffer {
  const buffer = Buffer.alloc(octets);
  buffer.writeUIntBE(value, 0, octets);
  return buffer;
}

function newLength(length: number): Buffer {
  if (length < 192) return Buffer.of(length);
  if (length < 8384) return Buffer.of(((length - 192) >> 8) + 192, (length - 192) & 0xff);
  return Buffer.concat([Buffer.of(0xff), number(length, 4)]);
}

export function mpi(value: Uint8Array): Buffer {
  const first = value.findIndex((octet) => octet !== 0);
  const significant = first === -1 ? value.subarray(value.length) : value.subarray(first);
  const bits = significant.length * 8 - Math.clz32(significant[0] ?? 0) + 24;
  return Buffer.concat([number(significant.length === 0 ? 0 : bits, 2), significant]);
}

export const METHODS = { none: 0, zip: 1, zlib: 2 } as const;
export type Method = keyof typeof METHODS;

/** As gpg writes it by default: in the old format without a length. */
export function compressed(content: Uint8Array, method: Method = 'zip', form: PacketForm = 'end'): Buffer {
  return packet(8, Buffer.concat([Buffer.of(METHODS[method]), compress(content, method)]), form);
}

function compress(content: Uint8Array, method: Method): Uint8Array {
  switch (method) {
    case 'none':
      return content;
    case 'zip':
      return deflateRawSync(content);
    case 'zlib':
      return deflateSync(content);
  }
}

export interface LiteralOptions {
  readonly format?: string;
  readonly name?: string;
  readonly form?: PacketForm;
}

export function literal(
  content: Uint8Array,
  { format = 'b', name = '', form = 'new' }: LiteralOptions = {},
): Buffer {
  const head = Buffer.concat([Buffer.from(format), Buffer.of(name.length), Buffer.from(name), number(0, 4)]);
  return packet(11, Buffer.concat([head, content]), form);
}

export const HASH_NUMBERS = {
  md5: 1,
  sha1: 2,
  ripemd160: 3,
  sha256: 8,
  sha384: 9,
  sha512: 10,
  sha224: 11,
  'sha3-256': 12,
} as const;
export type HashName = keyof typeof HASH_NUMBERS;

const CURVES = {
  nistp256: { node: 'prime256v1', oid: '2a8648ce3d030107', octets: 32, hash: 'sha256' },
  nistp384: { node: 'secp384r1', oid: '2b81040022', octets: 48, hash: 'sha384' },
  nistp521: { node: 'secp521r1', oid: '2b81040023', octets: 66, hash: 'sha512' },
  brainpoolP256r1: { node: 'brainpoolP256r1', oid: '2b2403030208010107', octets: 32, hash: 'sha256' },
  secp256k1: { node: 'secp256k1', oid: '2b8104000a', octets: 32, hash: 'sha256' },
} as const;

export type KeyKind =
  | 'rsa1024'
  | 'rsa2048'
  | 'rsa3072'
  | 'rsa4096'
  | 'rsa2048-e3'
  | 'ed25519'
  | keyof typeof CURVES;

export interface WriterKey {
  readonly createdAt: Date;
  /** OpenPGP's number. */
  readonly algorithm: number;
  /** The body of its public key packet, version 4. */
  readonly body: Buffer;
  /** Upper-case hex. */
  readonly fingerprint: string;
  readonly keyId: string;
  readonly publicKey: KeyObject;
  /** What it signs over where nothing else is said: gpg verifies ECDSA over no hash that is shorter than the curve. */
  readonly hash: HashName;
  /** The numbers of a signature over `data`. */
  sign(hash: HashName, data: Uint8Array): Buffer;
}

export const KEYS_MADE_AT = new Date('2020-01-01T00:00:00Z');

export function makeKey(kind: KeyKind, createdAt = KEYS_MADE_AT): WriterKey {
  const { numbers, ...material } = keyMaterial(kind);
  const body = Buffer.concat([Buffer.of(4), time(createdAt), Buffer.of(material.algorithm), numbers]);
  const fingerprint = createHash('sha1').update(hashedKey(body)).digest('hex').toUpperCase();
  return { createdAt, body, fingerprint, keyId: fingerprint.slice(-16), ...material };
}

function keyMaterial(kind: KeyKind) {
  if (kind === 'ed25519') return ed25519();
  return kind.startsWith('rsa') ? rsa(kind) : ecdsa(kind as keyof typeof CURVES); // the rest are curves
}

function rsa(kind: string) {
  const modulusLength = Number(kind.slice(3, 7));
  const publicExponent = kind.endsWith('-e3') ? 3 : 65_537;
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength, publicExponent });
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
  return {
    publicKey,
    hash: 'sha256' as const,
    algorithm: 1,
    numbers: Buffer.concat([mpi(Buffer.from(n, 'base64url')), mpi(Buffer.from(e, 'base64url'))]),
    sign: (hash: HashName, data: Uint8Array) => mpi(signByNode(hash, data, privateKey)),
  };
}

function ed25519() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const point = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  return {
    publicKey,
    hash: 'sha256' as const,
    algorithm: 22,
    numbers: Buffer.concat([oid('2b06010401da470f01'), mpi(Buffer.concat([Buffer.of(0x40), point]))]),
    sign: (hash: HashName, data: Uint8Array) =>
      halves(signByNode(null, createHash(hash).update(data).digest(), privateKey)),
  };
}

function ecdsa(kind: keyof typeof CURVES) {
  const curve = CURVES[kind];
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curve.node });
  const point = publicKey.export({ format: 'der', type: 'spki' }).subarray(-1 - 2 * curve.octets);
  return {
    publicKey,
    hash: curve.hash,
    algorithm: 19,
    numbers: Buffer.concat([oid(curve.oid), mpi(point)]),
    sign: (hash: HashName, data: Uint8Array) =>
      halves(signByNode(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
  };
}

function oid(digits: string): Buffer {
  return Buffer.concat([Buffer.of(digits.length / 2), Buffer.from(digits, 'hex')]);
}

function halves(signature: Uint8Array): Buffer {
  const middle = signature.length / 2;
  return Buffer.concat([mpi(signature.subarray(0, middle)), mpi(signature.subarray(middle))]);
}

function hashedKey(body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(0x99), number(body.length, 2), body]);
}

export function time(at: Date): Buffer {
  return number(Math.floor(at.getTime() / 1000), 4);
}

export function subpacket(type: number, body: Uint8Array, isCritical = false): Buffer {
  return Buffer.concat([newLength(body.length + 1), Buffer.of(isCritical ? type | 0x80 : type), body]);
}

export const created = (at: Date) => subpacket(2, time(at));
export const issuerKeyId = (keyId: string) => subpacket(16, Buffer.from(keyId, 'hex'));
export const issuerFingerprint = (fingerprint: string) =>
  subpacket(33, Buffer.concat([Buffer.of(4), Buffer.from(fingerprint, 'hex')]));
export const notation = (name: string, value: string, isCritical: boolean) =>
  subpacket(
    20,
    Buffer.concat([
      Buffer.of(0x80, 0, 0, 0),
      number(name.length, 2),
      number(value.length, 2),
      Buffer.from(name + value),
    ]),
    isCritical,
  );

export interface SignatureOptions {
  readonly version?: 3 | 4 | 6;
  readonly type?: number;
  readonly hash?: HashName;
  readonly at?: Date;
  /** More hashed subpackets, after the time and the issuer's fingerprint. */
  readonly hashed?: readonly Uint8Array[];
  /** More unhashed ones, after the issuer's key ID. */
  readonly unhashed?: readonly Uint8Array[];
  /** All the hashed, and all the unhashed ones. */
  readonly onlyHashed?: readonly Uint8Array[];
  readonly onlyUnhashed?: readonly Uint8Array[];
  /** Changes the finished numbers. */
  readonly numbers?: (right: Buffer) => Uint8Array;
}

export const SIGNED_AT = new Date('2024-06-01T12:00:00Z');

/** The body of a signature packet by `key` over `data`. */
export function signatureBody(key: WriterKey, data: Uint8Array, options: SignatureOptions = {}): Buffer {
  const { version = 4, type = 0, hash = key.hash, at = SIGNED_AT, numbers = (right) => right } = options;
  const finish = (signed: Buffer) => {
    const left = createHash(hash).update(signed).digest().subarray(0, 2);
    return Buffer.concat([left, numbers(key.sign(hash, signed))]);
  };
  if (version === 3) {
    const hashed = Buffer.concat([Buffer.of(type), time(at)]);
    const head = [Buffer.of(3, 5), hashed, Buffer.from(key.keyId, 'hex')];
    const rest = [Buffer.of(key.algorithm, HASH_NUMBERS[hash]), finish(Buffer.concat([data, hashed]))];
    return Buffer.concat([...head, ...rest]);
  }
  const octets = version === 6 ? 4 : 2;
  const issuer = version === 6 ? issuer6(key) : issuerFingerprint(key.fingerprint);
  const area = (subpackets: readonly Uint8Array[]) => {
    const content = Buffer.concat(subpackets);
    return Buffer.concat([number(content.length, octets), content]);
  };
  const hashed = area(options.onlyHashed ?? [created(at), issuer, ...(options.hashed ?? [])]);
  const own = version === 6 ? [] : [issuerKeyId(key.keyId)];
  const unhashed = area(options.onlyUnhashed ?? [...own, ...(options.unhashed ?? [])]);
  const head = Buffer.concat([Buffer.of(version, type, key.algorithm, HASH_NUMBERS[hash]), hashed]);
  const trailer = Buffer.concat([Buffer.of(version, 0xff), number(head.length, 4)]);
  const salt = version === 6 ? SALT : Buffer.alloc(0);
  const signed = finish(Buffer.concat([salt, data, head, trailer]));
  if (version === 4) return Buffer.concat([head, unhashed, signed]);
  return Buffer.concat([
    head,
    unhashed,
    signed.subarray(0, 2),
    Buffer.of(SALT.length),
    SALT,
    signed.subarray(2),
  ]);
}

const SALT = Buffer.alloc(16, 'salt');

function fingerprint6(key: WriterKey): Buffer {
  const material = key.body.subarray(6);
  const body = Buffer.concat([Buffer.of(6), key.body.subarray(1, 6), number(material.length, 4), material]);
  return createHash('sha256').update(Buffer.of(0x9b)).update(number(body.length, 4)).update(body).digest();
}

function issuer6(key: WriterKey): Buffer {
  return subpacket(33, Buffer.concat([Buffer.of(6), fingerprint6(key)]));
}

export interface OnePassOptions {
  readonly version?: number;
  readonly type?: number;
  readonly hash?: HashName;
  readonly algorithm?: number;
  readonly keyId?: string;
  /** 1: no other one-pass packet follows. */
  readonly nested?: number;
}

export function onePass(key: WriterKey, options: OnePassOptions = {}): Buffer {
  const {
    version = 3,
    type = 0,
    hash = key.hash,
    algorithm = key.algorithm,
    keyId = key.keyId,
    nested = 1,
  } = options;
  const head = Buffer.of(version, type, HASH_NUMBERS[hash], algorithm);
  const issuer =
    version === 6
      ? Buffer.concat([Buffer.of(SALT.length), SALT, fingerprint6(key)])
      : Buffer.from(keyId, 'hex');
  return packet(4, Buffer.concat([head, issuer, Buffer.of(nested)]), 'old');
}

export interface MessageOptions extends SignatureOptions {
  readonly onePass?: OnePassOptions;
  readonly literal?: LiteralOptions;
  readonly signatureForm?: PacketForm;
}

export interface MessageParts {
  readonly onePass: Buffer;
  readonly literal: Buffer;
  readonly signature: Buffer;
}

/** The packets of a message that `key` has signed; the one-pass packet goes with the signature where nothing else is said. */
export function messageParts(
  key: WriterKey,
  content: Uint8Array,
  options: MessageOptions = {},
): MessageParts {
  const { version, type = 0, hash = key.hash } = options;
  return {
    onePass: onePass(key, { version: version === 6 ? 6 : 3, type, hash, ...options.onePass }),
    literal: literal(content, options.literal),
    signature: packet(2, signatureBody(key, content, options), options.signatureForm ?? 'old'),
  };
}

export function message(key: WriterKey, content: Uint8Array, options: MessageOptions = {}): Buffer {
  const parts = messageParts(key, content, options);
  return Buffer.concat([parts.onePass, parts.literal, parts.signature]);
}

export interface KeyStatement {
  /** The value of the flags subpacket; null leaves it out. Default 0x03: certify and sign; 0x02 for subkeys. */
  readonly flags?: number | null;
  /** When its self-signature or binding was made; default with the key. */
  readonly at?: Date;
  readonly expiresAt?: Date;
  readonly revoked?: { readonly at: Date; readonly reason: number | null };
  readonly hash?: HashName;
  readonly hashed?: readonly Uint8Array[];
}

export interface SubkeyStatement extends KeyStatement {
  readonly key: WriterKey;
  /** False: the subkey has not signed that it belongs here. A key: that one has signed it in its place. */
  readonly backedBy?: WriterKey | false;
  /** False: no binding at all. A key: that one has bound it in place of the primary key. */
  readonly boundBy?: WriterKey | false;
}

export interface CertificateOptions extends KeyStatement {
  /** Null: none, and with it no self-signature. */
  readonly userId?: string | null;
  readonly subkeys?: readonly SubkeyStatement[];
  /** By whom the user id is certified; default the key itself. */
  readonly certifiedBy?: WriterKey;
}

/** A certificate in binary. */
export function certificate(key: WriterKey, options: CertificateOptions = {}): Buffer {
  const { userId = 'Signer <signer@example.invalid>', certifiedBy = key } = options;
  const packets = [packet(6, key.body)];
  if (options.revoked !== undefined)
    packets.push(revocation(key, 0x20, hashedKey(key.body), options.revoked));
  if (userId !== null) {
    const text = Buffer.from(userId);
    const certified = Buffer.concat([hashedKey(key.body), Buffer.of(0xb4), number(text.length, 4), text]);
    packets.push(packet(13, text));
    packets.push(
      packet(2, signatureBody(certifiedBy, certified, { type: 0x13, ...statement(key, options, 0x03) })),
    );
  }
  for (const subkey of options.subkeys ?? []) packets.push(...boundSubkey(key, subkey));
  return Buffer.concat(packets);
}

function boundSubkey(primary: WriterKey, options: SubkeyStatement): Buffer[] {
  const { key, backedBy = key, boundBy = primary, revoked } = options;
  const bound = Buffer.concat([hashedKey(primary.body), hashedKey(key.body)]);
  const packets = [packet(14, key.body)];
  if (revoked !== undefined) packets.push(revocation(primary, 0x28, bound, revoked));
  if (boundBy === false) return packets;
  const own = statement(key, options, 0x02);
  const backing =
    backedBy === false ? [] : [subpacket(32, signatureBody(backedBy, bound, { type: 0x19, at: own.at }))];
  const hashed = [...own.hashed, ...backing];
  packets.push(packet(2, signatureBody(boundBy, bound, { type: 0x18, ...own, hashed })));
  return packets;
}

function statement(key: WriterKey, options: KeyStatement, ordinaryFlags: number) {
  const { flags = ordinaryFlags, at = key.createdAt, expiresAt, hash, hashed = [] } = options;
  const seconds = expiresAt === undefined ? 0 : (expiresAt.getTime() - key.createdAt.getTime()) / 1000;
  return {
    at,
    ...(hash === undefined ? {} : { hash }),
    hashed: [
      ...(flags === null ? [] : [subpacket(27, Buffer.of(flags))]),
      ...(seconds === 0 ? [] : [subpacket(9, number(seconds, 4))]),
      ...hashed,
    ],
  };
}

function revocation(
  by: WriterKey,
  type: number,
  data: Uint8Array,
  { at, reason }: { readonly at: Date; readonly reason: number | null },
): Buffer {
  const hashed = reason === null ? [] : [subpacket(29, Buffer.of(reason))];
  return packet(2, signatureBody(by, data, { type, at, hashed }));
}
