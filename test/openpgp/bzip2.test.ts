// Unpacking bzip2: what the program of that name packs, and what nobody does.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { unpackBzip2 } from '../../src/openpgp/bzip2.ts';

const MIB = 1024 * 1024;

/** Packed by bzip2 1.0.8, the last row with -1. */
const PACKED: readonly (readonly [what: string, content: Uint8Array, packed: string])[] = [
  ['nothing', Buffer.alloc(0), 'QlpoORdyRThQkAAAAAA='],
  ['one byte', Buffer.from('a'), 'QlpoOTFBWSZTWRmTm2sAAAABACAAIAAhGEaC7kinChIDMnNtYA=='],
  ['four equal bytes', Buffer.alloc(4, 'a'), 'QlpoOTFBWSZTWYgSM6YAAAJBAEAAIAAgACEAggsXckU4UJCIEjOm'],
  ['five equal bytes', Buffer.alloc(5, 'a'), 'QlpoOTFBWSZTWUSkMD0AAAJBACAAIAAgACEAggsXckU4UJBEpDA9'],
  [
    'a run of 255 and four',
    Buffer.alloc(259, 'a'),
    'QlpoOTFBWSZTWUutlGwAAALBAMAAIAAACCAAIKptQZjFR4u5IpwoSCXWyjYA',
  ],
  ['a run of 600', Buffer.alloc(600, 'a'), 'QlpoOTFBWSZTWetqKmUAAAMDAIEAIAAACCAAMMwFU2piUPF3JFOFCQ62oqZQ'],
  [
    'every byte',
    Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
    'QlpoOTFBWSZTWba17pUAAAB/////////////////////////////////////////////sADFUgAAAAAAAAAAAAAAAAAAAAABMAmAAAAAAAAAAAAAAEwABMAEmAAmAAJgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAkwAEwABMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPwCAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RhYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8fX5/gIGCg4SFhoeIiYqLjI2Oj5CRkpWWl5iZmpucnZ6foKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vr/AwcLDxMXGxcbHyMnKy8zNzs/Q0dLT1NXW19jZ2tvc3d7f4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9F3JFOFCQtrXulQ=',
  ],
  [
    'exactly 1 MiB',
    Buffer.alloc(MIB, 'sixteen letters '),
    'QlpoOTFBWSZTWaKg+aUEuHgRgEAAAiUcQDAAuAgyYggyYgTVSYE0oQicqEInVCETShCJhQhE4oQiZUIRNqEImlQhE7UIRMfVCETyhCJxQhEyoQieUIRPzFBWSZTWfUvXhoAtWORgEAAAiUcQDAAuAgyYggyYgKVI9TEyoQjYiEcqEIyoQjVQhG6hCPahCPqhCMVCEa4IhGqhCO1CEbqEIyoQjtQhH4u5IpwoSFg3VqiA',
  ],
  [
    'several blocks',
    Buffer.alloc(300_000, 'ab'),
    'QlpoMTFBWSZTWfFLiycAYaMBADAAIAAwgCkZQlBaoSguYoKyTKayA328+ADDRgIAYABAAGEAUjVCUFlCUFzFBWSZTWfFLiycAYaMBADAAIAAwgCkZQlBaoSguYoKyTKazmx+FDgAAHAIAYABAAGEAmoyNRxdyRThQkKO/9Ac',
  ],
];

const SMALL = PACKED.filter(([, content]) => content.length < 1000);

/** 1 MiB and one byte. */
const TOO_LARGE =
  'QlpoOTFBWSZTWaKg+aUEuHgRgEAAAiUcQDAAuAgyYggyYgTVSYE0oQicqEInVCETShCJhQhE4oQiZUIRNqEImlQhE7UIRMfVCETyhCJxQhEyoQieUIRPzFBWSZTWcZoPHYAo0ARgEAAAiUcQDAAuAgyYggyYgKVJtTTTKhCOCIR9UIRlQhGqhCOVCEbqEI9qEIyoQjuqhCOiIRuoQjdQhHKhCMqEI32oQj8XckU4UJCDKc89';

describe('bzip2', () => {
  for (const [what, content, packed] of PACKED) {
    test(`of ${what} is unpacked to its end`, () => {
      const bytes = Buffer.from(packed, 'base64');
      const outcome = unpackBzip2(Buffer.concat([bytes, Buffer.from('behind')]), MIB);
      assert.ok(typeof outcome !== 'string', `${outcome}`);
      assert.equal(Buffer.compare(outcome.content, content), 0);
      assert.equal(outcome.usedBytes, bytes.length);
    });
  }

  test('takes no memory of its own for each stream, and leaves what it unpacked before as it was', () => {
    const [, content, packed] = PACKED[0] ?? assert.fail();
    const bytes = Buffer.from(packed, 'base64');
    const first = unpackBzip2(bytes, MIB);
    const heldBytes = process.memoryUsage().arrayBuffers;
    for (let stream = 0; stream < 8; stream += 1) unpackBzip2(Buffer.from(TOO_LARGE, 'base64'), MIB);
    const moreBytes = process.memoryUsage().arrayBuffers - heldBytes;
    assert.ok(moreBytes < MIB, `${moreBytes} bytes more`);
    assert.ok(typeof first !== 'string');
    assert.equal(Buffer.compare(first.content, content), 0);
  });

  test('of one byte more than the limit is too large', () => {
    assert.equal(unpackBzip2(Buffer.from(TOO_LARGE, 'base64'), MIB), 'too-large');
  });

  test('that is cut anywhere is none', () => {
    for (const [what, , packed] of SMALL) {
      const bytes = Buffer.from(packed, 'base64');
      for (let length = 0; length < bytes.length; length += 1) {
        assert.equal(unpackBzip2(bytes.subarray(0, length), MIB), 'cut', `${length} bytes of ${what}`);
      }
    }
  });

  test('that was changed unpacks to nothing else', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...SMALL),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (row, at, change) => {
          const [, content, packed] = row;
          const bytes = Buffer.from(packed, 'base64');
          bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ change;
          const outcome = unpackBzip2(bytes, MIB);
          // bits that nothing reads stand behind the end
          if (typeof outcome !== 'string') assert.equal(Buffer.compare(outcome.content, content), 0);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('any bytes have an answer', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom('', 'BZh9', 'BZh11AY&SY'),
        (rest, start) => {
          const outcome = unpackBzip2(Buffer.concat([Buffer.from(start), rest]), MIB);
          assert.ok(outcome === 'cut' || outcome === 'too-large' || typeof outcome !== 'string');
        },
      ),
      { numRuns: 1000 },
    );
  });
});
