import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { constants, deflateRawSync, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { isWholeSignature, walkPackets } from '../../src/openpgp/packets.ts';
import { tagged } from './tagged.ts';

const MIB = 1024 * 1024;

describe('the walk over packets', () => {
  test('any bytes have an answer, and packets never reach past the end', () => {
    const header = fc.constantFrom(0x88, 0x8b, 0x90, 0xa3, 0xc2, 0xc4, 0xc8, 0xcb, 0xa0, 0x00);
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(header, fc.uint8Array({ maxLength: 200 }))
        .map(([first, rest]) => Uint8Array.of(first, ...rest)),
      fc
        .tuple(fc.constantFrom(1, 2, 3), fc.uint8Array({ maxLength: 60 }))
        .map(([method, data]) =>
          Uint8Array.of(0xa3, method, ...(method === 1 ? deflateRawSync(data) : data)),
        ),
      fc
        .tuple(fc.constantFrom('simple-signing', 'sigstore-json', 'other'), fc.uint8Array({ maxLength: 60 }))
        .map(([tag, data]) => tagged(tag, data)),
    );
    fc.assert(
      fc.property(bytes, (given) => {
        assert.equal(typeof isWholeSignature(given), 'boolean');
        const size = (walkPackets(given) ?? []).reduce((sum, { body }) => sum + body.length, 0);
        assert.ok(size <= given.length);
      }),
      { numRuns: 3000 },
    );
  });

  const lengths = fc.oneof(
    fc.nat({ max: 300 }),
    fc.constantFrom(191, 192, 193, 8383, 8384, 8385, 65_535, 65_536),
  );
  const packet = fc.record({
    tag: fc.integer({ min: 1, max: 15 }),
    length: lengths,
    form: fc.constantFrom('old', 'new', 'new-long', 'partial'),
  });

  test('packets of every form of length are found as they were written', () => {
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 5 }), (packets) => {
        const written = Buffer.concat(packets.map(({ tag, length, form }) => write(tag, body(length), form)));
        assert.deepEqual(
          walkPackets(written)?.map(({ tag, body }) => ({ tag, body: Buffer.from(body) })),
          packets.map(({ tag, length }) => ({ tag, body: body(length) })),
        );
      }),
    );
  });

  test('a packet that is cut anywhere is none', () => {
    fc.assert(
      fc.property(packet, fc.nat(), ({ tag, length, form }, at) => {
        const written = write(tag, body(length), form);
        const cut = 1 + (at % (written.length - 1));
        assert.equal(walkPackets(written.subarray(0, cut)), null);
      }),
    );
  });

  test('what does not begin like a packet is none', () => {
    for (let first = 0; first < 128; first += 1) assert.equal(walkPackets(Uint8Array.of(first, 0)), null);
    assert.deepEqual(walkPackets(new Uint8Array()), []);
  });
});

describe('a whole file', () => {
  const SIGNATURE = write(2, body(70), 'old');
  const ONE_PASS = write(4, body(13), 'old');
  const LITERAL = write(11, body(200), 'new');
  const MESSAGE = Buffer.concat([ONE_PASS, LITERAL, SIGNATURE]);
  const CERTIFICATE = write(6, body(40), 'old');

  const FILES: readonly (readonly [what: string, bytes: Uint8Array, isWhole: boolean])[] = [
    ['a signed message', MESSAGE, true],
    ['a detached signature', SIGNATURE, true],
    ['nothing', new Uint8Array(), false],
    ['a message without its signature', Buffer.concat([ONE_PASS, LITERAL]), false],
    ['a key', CERTIFICATE, false],
    ['a message with a byte behind it', Buffer.concat([MESSAGE, Buffer.of(0)]), false],
    ['compressed data without a method', Buffer.of(0xa3), false],
    ['compressed data of no method', compressed(0, MESSAGE), true],
    ['compressed data of no method, cut', compressed(0, MESSAGE.subarray(0, -1)), false],
    [
      'raw deflate in a packet with a length',
      write(8, Buffer.concat([Buffer.of(1), deflateRawSync(MESSAGE)]), 'new'),
      true,
    ],
    [
      'raw deflate in parts',
      write(8, Buffer.concat([Buffer.of(1), deflateRawSync(MESSAGE)]), 'partial'),
      true,
    ],
    ['zlib', compressed(2, deflateSync(MESSAGE)), true],
    ['zlib without its checksum', compressed(2, deflateSync(MESSAGE).subarray(0, -4)), false],
    ['zlib that says it is raw', compressed(1, deflateSync(MESSAGE)), false],
    ['a compressed message without its signature', compressed(1, deflateRawSync(LITERAL)), false],
    ['compressed bytes that are no packets', compressed(1, deflateRawSync(Buffer.from('text'))), false],
    ['a method that nobody knows', compressed(110, Buffer.from('x')), true],
    ['cosign JSON', tagged('sigstore-json', Buffer.from('{"payload":"e30="}')), true],
    ['cosign JSON, cut', tagged('sigstore-json', Buffer.from('{"payload":"e30="')), false],
    ['a tag without data', tagged('simple-signing', new Uint8Array()), false],
    ['a tag without its end', Buffer.from('\0simple-signing'), false],
    ['a tag that nobody knows', tagged('other', MESSAGE), false],
    ['text', Buffer.from('<html>'), false],
  ];
  for (const [what, bytes, isWhole] of FILES) {
    test(`${what} is ${isWhole ? '' : 'not '}one`, () => assert.equal(isWholeSignature(bytes), isWhole));
  }

  test('a gibibyte of zeros in a mebibyte is not unpacked', () => {
    const bomb = compressed(1, zeros(1024));
    assert.ok(bomb.length < 4 * MIB);
    const before = process.resourceUsage().maxRSS;
    assert.equal(isWholeSignature(bomb), true, 'nothing says that it is cut');
    const grownKiB = process.resourceUsage().maxRSS - before;
    assert.ok(grownKiB < 256 * 1024, `${grownKiB} KiB more memory`);
  });

  test('a signed message in parts of 512 bytes is whole up to 4 MiB', () => {
    const part = Buffer.concat([Buffer.of(0xe9), Buffer.alloc(512)]);
    const literal = Buffer.concat([
      Buffer.of(0xcb),
      ...Array.from({ length: 8175 }, () => part),
      Buffer.of(0),
    ]);
    const message = Buffer.concat([ONE_PASS, literal, SIGNATURE]);
    assert.ok(message.length > 3.99 * MIB && message.length <= 4 * MIB);
    assert.equal(isWholeSignature(message), true);
  });

  // walked one by one, they would hold up every other reader for seconds
  test('millions of empty packets or parts are no signature', () => {
    assert.equal(walkPackets(Buffer.alloc(20_000, Buffer.of(0x88, 0)))?.length, 10_000);
    const packets = Buffer.alloc(4 * MIB, Buffer.of(0x88, 0));
    const parts = Buffer.concat([Buffer.of(0xc2), Buffer.alloc(4 * MIB - 2, 0xe0), Buffer.of(0)]);
    for (const many of [packets, parts]) {
      assert.equal(walkPackets(many), null);
      assert.equal(isWholeSignature(many), false);
    }
    assert.equal(isWholeSignature(compressed(1, deflateRawSync(packets.subarray(0, MIB / 2)))), false);
  });
});

function compressed(method: number, data: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.of(0xa3, method), data]);
}

/** Raw deflate of that many MiB of zeros, made without having them. */
function zeros(mebibytes: number): Uint8Array {
  // each part ends on a byte's boundary and looks back on nothing, so that parts can stand in a row
  const part = deflateRawSync(Buffer.alloc(MIB), { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  return Buffer.concat([...Array.from({ length: mebibytes }, () => part), deflateRawSync(Buffer.alloc(0))]);
}

function body(length: number): Buffer {
  return Buffer.alloc(length, 'body');
}

/** A packet as RFC 9580 section 4.2 has it written. */
function write(tag: number, content: Uint8Array, form: 'old' | 'new' | 'new-long' | 'partial'): Buffer {
  const { length } = content;
  if (form === 'old') {
    const octets = length < 256 ? 1 : length < 65_536 ? 2 : 4;
    const size = Buffer.alloc(octets);
    size.writeUIntBE(length, 0, octets);
    return Buffer.concat([Buffer.of(0x80 | (tag << 2) | (octets === 4 ? 2 : octets - 1)), size, content]);
  }
  const header = Buffer.of(0xc0 | tag);
  if (form === 'partial' && length >= 2) {
    const power = Math.floor(Math.log2(length / 2 + 1));
    const first = content.subarray(0, 2 ** power);
    return Buffer.concat([
      header,
      Buffer.of(0xe0 | power),
      first,
      newLength(length - first.length),
      content.subarray(first.length),
    ]);
  }
  return Buffer.concat([header, form === 'new-long' ? longLength(length) : newLength(length), content]);
}

function newLength(length: number): Buffer {
  if (length < 192) return Buffer.of(length);
  if (length < 8384) return Buffer.of(((length - 192) >> 8) + 192, (length - 192) & 0xff);
  return longLength(length);
}

function longLength(length: number): Buffer {
  const size = Buffer.alloc(5, 0xff);
  size.writeUInt32BE(length, 1);
  return size;
}
