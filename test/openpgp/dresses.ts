// Every way that we know to write one signature with other bytes, without its key.
import {
  compressed,
  issuerFingerprint,
  issuerKeyId,
  literal,
  notation,
  number,
  onePass,
  type PacketForm,
  packet,
  signatureBody,
  subpacket,
  type WriterKey,
} from './packet-writer.ts';

export interface Dress {
  readonly what: string;
  readonly bytes: Buffer;
  /** Some readers may stop at it, so that it takes a number beside a plain one only when it was there first. */
  readonly isOdd: boolean;
}

const FORMS: readonly PacketForm[] = ['old', 'new', 'new-long'];

/** `body`: of the signature packet, version 4, with an issuer's key ID as its only unhashed subpacket. */
export function* dressesOf(
  key: WriterKey,
  content: Uint8Array,
  body = signatureBody(key, content),
): Generator<Dress> {
  const unhashed: readonly (readonly [string, readonly Uint8Array[]])[] = [
    ['no unhashed subpacket', []],
    ['the key ID twice', [issuerKeyId(key.keyId), issuerKeyId(key.keyId)]],
    ['key ID and fingerprint unhashed', [issuerKeyId(key.keyId), issuerFingerprint(key.fingerprint)]],
    ['fingerprint and key ID unhashed', [issuerFingerprint(key.fingerprint), issuerKeyId(key.keyId)]],
  ];
  const odd: readonly (readonly [string, readonly Uint8Array[]])[] = [
    ['an unhashed notation', [issuerKeyId(key.keyId), notation('n@example.test', 'x', false)]],
    ['an unhashed creation time', [issuerKeyId(key.keyId), subpacket(2, number(1, 4))]],
    ['an unhashed expiry', [issuerKeyId(key.keyId), subpacket(3, number(1, 4))]],
    ['unhashed bytes for nobody', [issuerKeyId(key.keyId), subpacket(100, Buffer.from('for nobody'))]],
  ];
  for (const [isOdd, areas] of [
    [false, unhashed],
    [true, odd],
  ] as const) {
    for (const [what, subpackets] of areas) {
      yield { what, isOdd, bytes: wrapped(withUnhashed(body, subpackets)) };
    }
  }
  for (const form of FORMS)
    yield { what: `a signature packet written ${form}`, isOdd: false, bytes: wrapped(body, { form }) };
  for (const form of [...FORMS, 'parts'] as const) {
    yield {
      what: `literal data written ${form}`,
      isOdd: false,
      bytes: wrapped(body, { literal: literal(content, { form }) }),
    };
  }
  for (const name of ['', 'a', '_CONSOLE']) {
    yield {
      what: `the file name ${name}`,
      isOdd: false,
      bytes: wrapped(body, { literal: literal(content, { name }) }),
    };
  }
  for (const method of ['none', 'zip', 'zlib'] as const) {
    for (const form of ['end', 'old', 'new', 'new-long', 'parts'] as const) {
      yield {
        what: `compressed by ${method}, written ${form}`,
        isOdd: false,
        bytes: compressed(wrapped(body), method, form),
      };
    }
  }

  function wrapped(
    signature: Uint8Array,
    { form = 'old' as PacketForm, literal: data = literal(content) } = {},
  ): Buffer {
    return Buffer.concat([onePass(key), data, packet(2, signature, form)]);
  }
}

/** The body of a version 4 signature packet with these in the place of its unhashed subpackets. */
function withUnhashed(body: Buffer, subpackets: readonly Uint8Array[]): Buffer {
  const hashedEnd = 6 + body.readUInt16BE(4);
  const area = Buffer.concat(subpackets);
  const rest = body.subarray(hashedEnd + 2 + body.readUInt16BE(hashedEnd));
  return Buffer.concat([body.subarray(0, hashedEnd), number(area.length, 2), area, rest]);
}
