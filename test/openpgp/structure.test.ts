// One message and nothing else: every other shape is refused, however right the signature in it is.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { constants, deflateRawSync, deflateSync } from 'node:zlib';
import type { RefusalCode } from '../../src/domain/errors.ts';
import { MAX_VERSION_6_PACKET_BYTES } from '../../src/domain/limits.ts';
import type { SignatureForm, Verdict } from '../../src/domain/verdict.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { walkPackets } from '../../src/openpgp/packets.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import {
  certificate,
  compressed,
  created,
  issuerFingerprint,
  issuerKeyId,
  literal,
  makeKey,
  message,
  messageParts,
  notation,
  number,
  onePass,
  packet,
  SIGNED_AT,
  signatureBody,
  subpacket,
} from './packet-writer.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const PAYLOAD = Buffer.from(
  JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/team/app:v1' },
      image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
      type: 'atomic container signature',
    },
    optional: { creator: 'atomic' },
  }),
);

const key = makeKey('ed25519');
const other = makeKey('ed25519');
const rsa = makeKey('rsa2048');
const keyring = createKeyring([key, other, rsa].map((each) => certificate(each)));

const right = message(key, PAYLOAD);
const parts = messageParts(key, PAYLOAD);
const second = messageParts(other, PAYLOAD);
const join = (...pieces: readonly Uint8Array[]) => Buffer.concat(pieces);
const tagged = (data: Uint8Array, name = 'simple-signing') => join(Buffer.from(`\0${name}\n`), data);
const signature = (options = {}) => packet(2, signatureBody(key, PAYLOAD, options), 'old');
const withSignature = (made: Uint8Array) => join(parts.onePass, parts.literal, made);
const body = signatureBody(key, PAYLOAD);
const marker = packet(10, Buffer.from('PGP'));
const padding = packet(21, Buffer.alloc(20));
const armor = (kind: string, data: Uint8Array) =>
  Buffer.from(`-----BEGIN PGP ${kind}-----\n\n${data.toString()}\n-----END PGP ${kind}-----\n`);
const armored = (data: Buffer) => armor('MESSAGE', Buffer.from(data.toString('base64')));
const clear = (text: string, made: Buffer, head = 'Hash: SHA256\n') =>
  Buffer.from(
    `-----BEGIN PGP SIGNED MESSAGE-----\n${head}\n${text}\n-----BEGIN PGP SIGNATURE-----\n\n${made.toString('base64')}\n-----END PGP SIGNATURE-----\n`,
  );
const CLEAR = clear(PAYLOAD.toString(), signature());
// 2 MiB of zeros
const BZIP2_BOMB = Buffer.from('QlpoOTFBWSZTWX7hkbEAEBBgAMAAAAQACCAAMMwFKaYEA2IIB4u5IpwoSD9wyNiA', 'base64');

type Row = readonly [
  what: string,
  bytes: Uint8Array,
  verdict: Verdict,
  code: RefusalCode | null,
  form: SignatureForm | null,
];

const good = (what: string, bytes: Uint8Array, form: SignatureForm = 'binary'): Row => [
  what,
  bytes,
  'good',
  null,
  form,
];
const invalid = (what: string, bytes: Uint8Array, form: SignatureForm | null = 'binary'): Row => [
  what,
  bytes,
  'unreadable',
  'STRUCTURE_INVALID',
  form,
];
const notInline = (what: string, bytes: Uint8Array, form: SignatureForm | null = 'binary'): Row => [
  what,
  bytes,
  'unreadable',
  'NOT_INLINE_SIGNED',
  form,
];
const bomb = (what: string, bytes: Uint8Array): Row => [
  what,
  bytes,
  'unreadable',
  'DECOMPRESSION_LIMIT',
  'binary',
];

const SHAPES: readonly Row[] = [
  good('one-pass, literal, signature', right),
  good('a literal packet in the old format', message(key, PAYLOAD, { literal: { form: 'old' } })),
  good('a literal packet in parts', message(key, PAYLOAD, { literal: { form: 'parts' } })),
  good('a literal packet with a file name', message(key, PAYLOAD, { literal: { name: 'payload.json' } })),
  good('a literal packet of text', message(key, PAYLOAD, { literal: { format: 't' } })),
  good('a literal packet of UTF-8', message(key, PAYLOAD, { literal: { format: 'u' } })),
  good('a signature packet in the new format', message(key, PAYLOAD, { signatureForm: 'new' })),
  good('a text signature over one line', message(key, PAYLOAD, { type: 1, literal: { format: 't' } })),
  good('a version 3 signature', message(rsa, PAYLOAD, { version: 3 })),
  good('zip without a length', compressed(right)),
  good('zip in the new format', compressed(right, 'zip', 'new')),
  good('zip in parts', compressed(right, 'zip', 'parts')),
  good('zlib', compressed(right, 'zlib')),
  good('compressed by no method', compressed(right, 'none')),
  good('the tagged form', tagged(right), 'tagged'),
  good('the tagged form, compressed', tagged(compressed(right)), 'tagged'),
  ['the tagged form of clear-signed text', tagged(CLEAR), 'good', 'NOT_INLINE_SIGNED', 'tagged-cleartext'],
  [
    'clear-signed text with a text signature',
    tagged(clear(PAYLOAD.toString(), signature({ type: 1 }))),
    'good',
    'NOT_INLINE_SIGNED',
    'tagged-cleartext',
  ],

  ['nothing', Buffer.alloc(0), 'unreadable', 'EMPTY', null],
  ['more than 4 MiB', Buffer.alloc(4 * 1024 * 1024 + 1, 0xc4), 'unreadable', 'TOO_LARGE', null],
  ['HTML', Buffer.from('<html>'), 'unreadable', 'FIRST_BYTE', null],
  ['JSON', PAYLOAD, 'unreadable', 'FIRST_BYTE', null],
  ['a line feed before the message', join(Buffer.from('\n'), right), 'unreadable', 'FIRST_BYTE', null],
  ['a marker before the message', join(marker, right), 'unreadable', 'FIRST_BYTE', null],
  ['a literal packet alone', parts.literal, 'unreadable', 'FIRST_BYTE', null],
  ['a public key', certificate(key), 'unreadable', 'FIRST_BYTE', null],
  [
    'an armoured public key',
    armor('PUBLIC KEY BLOCK', Buffer.from('mQ==')),
    'unreadable',
    'FIRST_BYTE',
    null,
  ],
  ['an armoured message', armored(right), 'unreadable', 'ARMORED', null],
  ['an armoured signature', armor('SIGNATURE', Buffer.from('iQ==')), 'unreadable', 'ARMORED', null],
  ['armour behind blanks', join(Buffer.from(' \r\n\t'), armored(right)), 'unreadable', 'ARMORED', null],
  [
    'armour behind a byte order mark',
    join(Buffer.from('\ufeff'), armored(right)),
    'unreadable',
    'ARMORED',
    null,
  ],
  ['armour in the tagged form', tagged(armored(right)), 'unreadable', 'ARMORED', 'tagged'],
  notInline('clear-signed text', CLEAR, null),
  invalid('the byte that clients let through by a slip', Buffer.from('=93')),
  ['an unknown tag', tagged(right, 'other'), 'unreadable', 'FORMAT_UNSUPPORTED', null],
  ['a zero byte alone', Buffer.of(0), 'unreadable', 'FORMAT_UNSUPPORTED', null],
  [
    'a cosign signature',
    tagged(Buffer.from('{"payload":"e30="}'), 'sigstore-json'),
    'unsupported',
    'FORMAT_UNSUPPORTED',
    'cosign',
  ],
  [
    'JSON that is no cosign signature',
    tagged(right, 'sigstore-json'),
    'unreadable',
    'FORMAT_UNSUPPORTED',
    null,
  ],
  invalid('a tag with nothing behind it', tagged(Buffer.alloc(0)), 'tagged'),
  ['a tag with text behind it', tagged(Buffer.from('text')), 'unreadable', 'FIRST_BYTE', 'tagged'],
  ['a tag behind the tag', tagged(tagged(right)), 'unreadable', 'FIRST_BYTE', 'tagged'],

  notInline('a detached signature', parts.signature),
  notInline('two detached signatures', join(parts.signature, second.signature)),
  notInline('a compressed detached signature', compressed(parts.signature)),
  notInline(
    'two signers',
    join(onePass(other, { nested: 0 }), parts.onePass, parts.literal, parts.signature, second.signature),
  ),
  notInline('two signatures for one one-pass packet', join(right, second.signature)),
  invalid('a signature before the literal packet', join(parts.signature, parts.literal)),
  invalid('no one-pass packet', compressed(join(parts.literal, parts.signature))),
  invalid('no signature', join(parts.onePass, parts.literal)),
  invalid('a one-pass packet alone', parts.onePass),
  invalid('no literal packet', join(parts.onePass, parts.signature)),
  invalid(
    'an unsigned literal packet before the message, compressed',
    compressed(join(literal(PAYLOAD), right)),
  ),
  invalid('an unsigned literal packet behind the message', join(right, literal(PAYLOAD))),
  invalid('two literal packets', join(parts.onePass, parts.literal, parts.literal, parts.signature)),
  invalid('a second message', join(right, right)),
  invalid('a line feed behind the message', join(right, Buffer.from('\n'))),
  invalid('zeros behind the message', join(right, Buffer.alloc(3))),
  invalid('a marker inside', join(parts.onePass, marker, parts.literal, parts.signature)),
  invalid('a marker behind', join(right, marker)),
  invalid('padding inside', join(parts.onePass, parts.literal, padding, parts.signature)),
  invalid('padding behind', join(right, padding)),
  invalid('an unknown packet behind', join(right, packet(60, Buffer.of(1)))),
  invalid('a user id behind', join(right, packet(13, Buffer.from('x')))),
  invalid('a key behind', join(right, certificate(key))),
  invalid('a packet behind the compressed one', join(compressed(right, 'zip', 'new'), parts.literal)),
  invalid('two compressed packets', join(compressed(right, 'zip', 'new'), compressed(right))),
  invalid('compressed twice', compressed(compressed(right, 'zip', 'new'))),
  invalid(
    'a compressed message inside a signed one',
    join(parts.onePass, compressed(right, 'zip', 'new'), parts.signature),
  ),
  invalid('a marker in the compressed packet', compressed(join(marker, right))),
  invalid('trailing bytes in the compressed packet', compressed(join(right, Buffer.from('\n')))),
  invalid(
    'bytes behind the deflated ones',
    packet(8, join(Buffer.of(1), deflateRawSync(right), Buffer.from('x')), 'end'),
  ),
  invalid(
    'bytes behind the zlib checksum',
    packet(8, join(Buffer.of(2), deflateSync(right), Buffer.from('x')), 'end'),
  ),
  invalid('compressed data that is cut', compressed(right).subarray(0, -4)),
  invalid('compressed data of a method that nobody knows', packet(8, Buffer.of(99, 1), 'end')),
  invalid('a compressed packet without anything', packet(8, Buffer.alloc(0), 'end')),
  invalid('compressed nothing', compressed(Buffer.alloc(0))),
  invalid('bytes that are no bzip2', packet(8, Buffer.from('\x03BZh9nothing'), 'end')),
  invalid('a message that is cut', right.subarray(0, -1)),
  invalid('a signature packet without a length', message(key, PAYLOAD, { signatureForm: 'end' })),
  invalid('a signature packet in parts', message(key, PAYLOAD, { signatureForm: 'parts' })),

  invalid('a one-pass packet of version 6', message(key, PAYLOAD, { onePass: { version: 6 } })),
  invalid('a one-pass packet of another type', message(key, PAYLOAD, { onePass: { type: 1 } })),
  invalid('a one-pass packet of another hash', message(key, PAYLOAD, { onePass: { hash: 'sha512' } })),
  invalid('a one-pass packet of another key algorithm', message(key, PAYLOAD, { onePass: { algorithm: 1 } })),
  invalid('a one-pass packet of another key', message(key, PAYLOAD, { onePass: { keyId: other.keyId } })),
  invalid('a one-pass packet of no key', message(key, PAYLOAD, { onePass: { keyId: '0'.repeat(16) } })),
  invalid('a one-pass packet that announces another', message(key, PAYLOAD, { onePass: { nested: 0 } })),
  invalid(
    'a one-pass packet that is too long',
    join(packet(4, join(parts.onePass.subarray(2), Buffer.of(0))), parts.literal, parts.signature),
  ),
  invalid(
    'a one-pass packet that is cut',
    join(packet(4, parts.onePass.subarray(2, -1)), parts.literal, parts.signature),
  ),

  invalid('a standalone signature', message(key, PAYLOAD, { type: 2 })),
  invalid('a certification in place of a signature', message(key, PAYLOAD, { type: 0x13 })),
  invalid('a timestamp', message(key, PAYLOAD, { type: 0x40 })),
  invalid(
    'a signature without a time',
    withSignature(signature({ onlyHashed: [issuerFingerprint(key.fingerprint)] })),
  ),
  invalid(
    'a signature whose time is not hashed',
    withSignature(
      signature({ onlyHashed: [issuerFingerprint(key.fingerprint)], unhashed: [created(SIGNED_AT)] }),
    ),
  ),
  invalid('a signature with two times', withSignature(signature({ hashed: [created(NOW)] }))),
  invalid(
    'a signature with two ends',
    withSignature(signature({ hashed: [subpacket(3, number(1e9, 4)), subpacket(3, number(2e9, 4))] })),
  ),
  invalid(
    'a signature whose time has three bytes',
    withSignature(
      signature({ onlyHashed: [subpacket(2, Buffer.alloc(3)), issuerFingerprint(key.fingerprint)] }),
    ),
  ),
  invalid(
    'a signature of no key',
    withSignature(signature({ onlyHashed: [created(SIGNED_AT)], onlyUnhashed: [] })),
  ),
  invalid('a signature of two keys', withSignature(signature({ onlyUnhashed: [issuerKeyId(other.keyId)] }))),
  invalid(
    'a signature of two fingerprints',
    withSignature(signature({ unhashed: [issuerFingerprint(other.fingerprint)] })),
  ),
  invalid('an empty subpacket', withSignature(signature({ hashed: [Buffer.of(0)] }))),
  invalid(
    'a subpacket that reaches out of its area',
    withSignature(signature({ hashed: [Buffer.of(10, 20)] })),
  ),
  invalid(
    'bytes behind the numbers of the signature',
    withSignature(packet(2, join(body, Buffer.of(0)), 'old')),
  ),
  invalid('a signature packet that is cut', withSignature(packet(2, body.subarray(0, -1), 'old'))),
  invalid('an empty signature packet', withSignature(packet(2, Buffer.alloc(0), 'old'))),
  invalid(
    'a number of 8193 bits',
    withSignature(signature({ numbers: () => join(number(8193, 2), Buffer.alloc(1025, 1), number(0, 2)) })),
  ),
  invalid(
    'a signature packet over 16 KiB',
    withSignature(signature({ unhashed: [notation('a@b', 'x'.repeat(17_000), false)] })),
  ),
  invalid(
    'a version 3 signature that hashes more than five bytes',
    withSignature(packet(2, Buffer.of(3, 6, 0), 'old')),
  ),
  invalid(
    'a literal packet that is neither binary nor text',
    message(key, PAYLOAD, { literal: { format: 'x' } }),
  ),
  invalid(
    'a literal packet that is cut',
    join(parts.onePass, packet(11, Buffer.from('b\x09abc')), parts.signature),
  ),
  invalid('an empty literal packet', join(parts.onePass, packet(11, Buffer.alloc(0)), parts.signature)),

  [
    'a signature of version 6',
    message(key, PAYLOAD, { version: 6 }),
    'unsupported',
    'ALGORITHM_UNSUPPORTED',
    'binary',
  ],
  invalid(
    'a one-pass packet of version 3 with a signature of version 6',
    message(key, PAYLOAD, { version: 6, onePass: { version: 3 } }),
  ),
  [
    'a signature of version 5',
    withSignature(packet(2, Buffer.of(5, 0, 0))),
    'unsupported',
    'ALGORITHM_UNSUPPORTED',
    'binary',
  ],
  [
    'a signature of version 2',
    withSignature(packet(2, Buffer.of(2, 5, 0))),
    'unsupported',
    'ALGORITHM_UNSUPPORTED',
    'binary',
  ],

  invalid(
    'clear-signed text with a header that is not Hash',
    tagged(clear(PAYLOAD.toString(), signature(), 'Comment: x\n')),
    'tagged-cleartext',
  ),
  invalid(
    'clear-signed text with text in place of a header',
    tagged(clear(PAYLOAD.toString(), signature(), 'Hash: SHA256\n\v\n')),
    'tagged-cleartext',
  ),
  invalid(
    'clear-signed text with a dash that is not escaped',
    tagged(clear('-x', signature())),
    'tagged-cleartext',
  ),
  invalid(
    'clear-signed text without a signature',
    tagged(Buffer.from('-----BEGIN PGP SIGNED MESSAGE-----\n\ntext\n')),
    'tagged-cleartext',
  ),
  invalid(
    'clear-signed text with something behind it',
    tagged(join(CLEAR, Buffer.from('x\n'))),
    'tagged-cleartext',
  ),
  invalid('clear-signed text over a message', tagged(clear(PAYLOAD.toString(), right)), 'tagged-cleartext'),
  notInline(
    'clear-signed text by two',
    tagged(clear(PAYLOAD.toString(), join(parts.signature, second.signature))),
    'tagged-cleartext',
  ),
  [
    'clear-signed text that was changed',
    tagged(clear(PAYLOAD.toString().replace('v1', 'v2'), signature())),
    'bad',
    'SIGNATURE_BAD',
    'tagged-cleartext',
  ],

  bomb('zip of 128 KiB that holds 126 MiB', packet(8, join(Buffer.of(1), zeros(126)), 'end')),
  bomb(
    'zlib of 2 MiB of zeros',
    packet(8, join(Buffer.of(2), deflateSync(Buffer.alloc(2 * 1024 * 1024))), 'end'),
  ),
  bomb('bzip2 of 2 MiB of zeros', packet(8, join(Buffer.of(3), BZIP2_BOMB), 'end')),
  bomb('a literal packet of more than 1 MiB', message(key, Buffer.alloc(1024 * 1024 + 1, ' '))),
  bomb(
    'a message of more than 1 MiB that is compressed by no method',
    compressed(message(key, Buffer.alloc(1024 * 1024)), 'none'),
  ),
];

test('a signature packet of version 6 may be as large as those of SLH-DSA, and no larger', async () => {
  const sized = (bytes: number) => {
    const small = message(key, PAYLOAD, { version: 6, numbers: () => Buffer.alloc(0) });
    const packets = walkPackets(small);
    const rest = bytes - (packets?.at(-1)?.body.length ?? 0);
    return message(key, PAYLOAD, { version: 6, numbers: () => Buffer.alloc(rest, 1) });
  };
  for (const [bytes, verdict, code] of [
    [17_400, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [MAX_VERSION_6_PACKET_BYTES, 'unsupported', 'ALGORITHM_UNSUPPORTED'],
    [MAX_VERSION_6_PACKET_BYTES + 1, 'unreadable', 'STRUCTURE_INVALID'],
  ] as const) {
    const judged = await examineMessage(sized(bytes), keyring, NOW);
    assert.deepEqual([judged.verdict, judged.refusal?.code], [verdict, code], judged.refusal?.message);
  }
});

describe('base64', () => {
  const encoded = right.toString('base64');
  for (const [how, text] of [
    ['in one line', encoded],
    ['in lines', `${encoded.replace(/.{76}/g, '$&\n')}\n`],
  ] as const) {
    test(`of a message ${how} is told as that`, async () => {
      const { refusal } = await examineMessage(Buffer.from(text), keyring, NOW);
      assert.equal(refusal?.code, 'FIRST_BYTE');
      assert.match(refusal.message, /encoded in base64/);
    });
  }

  test('JSON, as cosign writes it, is told as that', async () => {
    const { refusal } = await examineMessage(Buffer.from('{"critical":{}}'), keyring, NOW);
    assert.equal(refusal?.code, 'FIRST_BYTE');
    assert.match(refusal.message, /0x7b.* JSON: .* cosign .*Expected one binary inline-signed message/);
  });

  test('of anything else is told by its first byte', async () => {
    for (const text of ['hello world', Buffer.from('<html></html>').toString('base64'), 'yyyy!']) {
      const { refusal } = await examineMessage(Buffer.from(text), keyring, NOW);
      assert.match(refusal?.message ?? '', /begins with the byte 0x/, text);
    }
  });
});

describe('the structure of a signature', () => {
  for (const [what, bytes, verdict, code, form] of SHAPES) {
    test(`${what}: ${code ?? verdict}`, async () => {
      const judged = await examineMessage(bytes, keyring, NOW);
      const judgement = { verdict: judged.verdict, code: judged.refusal?.code ?? null, form: judged.form };
      assert.deepEqual(judgement, { verdict, code, form }, judged.refusal?.message);
    });
  }

  test('there are names for at least 60 shapes, each its own', () => {
    assert.ok(new Set(SHAPES.map(([what]) => what)).size === SHAPES.length && SHAPES.length >= 60);
  });
});

test('a signature is looked into exactly when clients would look into it', async () => {
  const looked: number[] = [];
  for (let first = 1; first < 256; first += 1) {
    const { verdict, refusal } = await examineMessage(Buffer.of(first, 1, 2, 3), keyring, NOW);
    assert.equal(verdict, 'unreadable');
    if (refusal?.code !== 'FIRST_BYTE') looked.push(first);
  }
  // containers/image internal/signature/signature.go, FromBlob
  const table = [0x3d, 0x88, 0x89, 0x8a, 0x8b, 0x90, 0x91, 0x92, 0xa0, 0xa1, 0xa2, 0xa3, 0xc2, 0xc4, 0xc8];
  assert.deepEqual(looked, table);
});

test('a decompression bomb of 128 KiB costs neither time nor memory', async () => {
  const bytes = packet(8, join(Buffer.of(1), zeros(126)), 'end');
  assert.ok(bytes.length < 131_072 && bytes.length > 120_000, `${bytes.length} bytes`);
  const before = process.resourceUsage();
  const { refusal } = await examineMessage(bytes, keyring, NOW);
  const after = process.resourceUsage();
  assert.equal(refusal?.code, 'DECOMPRESSION_LIMIT');
  const grownKiB = after.maxRSS - before.maxRSS;
  assert.ok(grownKiB < 32 * 1024, `${grownKiB} KiB more memory`);
  const usedMs = (after.userCPUTime - before.userCPUTime) / 1000;
  assert.ok(usedMs < 500, `${usedMs} ms of a processor`);
});

test('an armoured signature is answered with the lines that make it right', async () => {
  const { refusal } = await examineMessage(armored(right), keyring, NOW);
  assert.match(refusal?.message ?? '', /gpg --dearmor < in > out.*gpg --sign.*skopeo standalone-sign/);
});

/** Raw deflate of that many MiB of zeros, made without having them. */
function zeros(mebibytes: number): Uint8Array {
  const part = deflateRawSync(Buffer.alloc(1024 * 1024), { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  return join(...Array.from({ length: mebibytes }, () => part), deflateRawSync(Buffer.alloc(0)));
}
