import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Unreadable, whyUnreadable } from '../../src/domain/readable.ts';

const MIB = 1024 * 1024;

// What containers/image since 5.22 takes as the first byte of an OpenPGP blob: compressed data, one-pass signature,
// signature, and the 0x3D that stands where 0x93 was meant.
const OPENPGP = [
  ...[0xa0, 0xa1, 0xa2, 0xa3, 0xc8],
  ...[0x90, 0x91, 0x92, 0x3d, 0xc4],
  ...[0x88, 0x89, 0x8a, 0x8b, 0xc2],
];

describe('what clients can read', () => {
  test('a first byte is read if a binary OpenPGP signature may begin with it, and no other', () => {
    for (let first = 0; first < 256; first += 1) {
      const why = whyUnreadable(Uint8Array.of(first, 1, 2, 3));
      const wanted = first === 0 ? 'format' : OPENPGP.includes(first) ? null : 'first-byte';
      assert.equal(why, wanted, `0x${first.toString(16)}`);
    }
  });

  test('an empty file is never read', () => {
    assert.equal(whyUnreadable(new Uint8Array()), 'empty');
  });

  test('4 MiB are read, one byte more is too large, whatever it holds', () => {
    const bytes = Buffer.alloc(4 * MIB + 1, 0xa3);
    assert.equal(whyUnreadable(bytes.subarray(0, 4 * MIB)), null);
    assert.equal(whyUnreadable(bytes), 'too-large');
    bytes[0] = 0x3c;
    assert.equal(whyUnreadable(bytes), 'too-large');
    bytes[0] = 0;
    assert.equal(whyUnreadable(bytes), 'too-large');
  });

  const TEXTS: readonly (readonly [what: string, text: string])[] = [
    ['ASCII armour', '-----BEGIN PGP MESSAGE-----\n'],
    ['a cleartext signature', '-----BEGIN PGP SIGNED MESSAGE-----\n'],
    ['an HTML page', '<!doctype html>'],
    ['JSON', '{"critical":{}}'],
    ['text', 'not found\n'],
    ['a space before it', ' \u00a3'],
  ];
  for (const [what, text] of TEXTS) {
    test(`${what} is not read`, () => assert.equal(whyUnreadable(Buffer.from(text)), 'first-byte'));
  }
});

describe('the tagged form', () => {
  const cosign = (data: string) => `\0sigstore-json\n${data}`;

  const BLOBS: readonly (readonly [blob: string, wanted: Unreadable | null])[] = [
    ['\0simple-signing\n\u00a3', null],
    ['\0simple-signing\nanything at all', null],
    ['\0simple-signing\n', null],
    ['\0simple-signing', 'format'],
    ['\0simple-signing\r\n', 'format'],
    ['\0Simple-signing\n', 'format'],
    ['\0 simple-signing\n', 'format'],
    ['\0simple\n', 'format'],
    ['\0\n', 'format'],
    ['\0', 'format'],
    ['\0\0simple-signing\n', 'format'],
    [`\0${'x'.repeat(100_000)}\n`, 'format'],
    [cosign('{}'), null],
    [cosign('{"mimeType":"application/vnd.dev.cosign.simplesigning.v1+json"}'), null],
    [cosign('{"mimeType":null,"payload":null,"annotations":null}'), null],
    [cosign('{"payload":""}'), null],
    [cosign('{"payload":"e30="}'), null],
    [cosign('{"payload":"e30=\\n"}'), null],
    [cosign('{"payload":"e3\\r\\n0="}'), null],
    [cosign('{"payload":"e30"}'), 'format'],
    [cosign('{"payload":"e30=="}'), 'format'],
    [cosign('{"payload":"e=30"}'), 'format'],
    [cosign('{"payload":"===="}'), 'format'],
    [cosign('{"payload":"_-8="}'), 'format'],
    [cosign('{"payload":"e30 "}'), 'format'],
    [cosign('{"payload":1}'), 'format'],
    [cosign('{"payload":["e30="]}'), 'format'],
    [cosign('{"mimeType":1}'), 'format'],
    [cosign('{"mimeType":false}'), 'format'],
    [cosign('{"mimeType":{}}'), 'format'],
    [cosign('{"annotations":{}}'), null],
    [cosign('{"annotations":{"a":"b","c":null}}'), null],
    [cosign('{"annotations":{"a":1}}'), 'format'],
    [cosign('{"annotations":{"a":{}}}'), 'format'],
    [cosign('{"annotations":[]}'), 'format'],
    [cosign('{"annotations":"a"}'), 'format'],
    [cosign('{"other":[1,2]}'), null],
    [cosign(' {"mimeType":"x"} \n'), null],
    [cosign('[]'), 'format'],
    [cosign('"text"'), 'format'],
    [cosign('1'), 'format'],
    [cosign(''), 'format'],
    [cosign('{'), 'format'],
    [cosign('{} {}'), 'format'],
    // Go's decoder knows members in any case, and folds long s and the Kelvin sign with their letters
    [cosign('{"MIMETYPE":1}'), 'format'],
    [cosign('{"Payload":"e3"}'), 'format'],
    [cosign('{"Annotations":{"a":1}}'), 'format'],
    [cosign('{"annotation\u017f":1}'), 'format'],
    [cosign('{"PAYLOAD":"e30=","mimetype":null}'), null],
    // and takes no byte order mark
    [cosign('\ufeff{}'), 'format'],
  ];
  for (const [blob, wanted] of BLOBS) {
    const excerpt = JSON.stringify(blob.length > 80 ? `${blob.slice(0, 20)}…` : blob);
    test(`${excerpt} is ${wanted === null ? 'read' : 'not read'}`, () => {
      assert.equal(whyUnreadable(Buffer.from(blob)), wanted);
    });
  }

  test('any bytes behind any tag have an answer', () => {
    const tag = fc.constantFrom('\0simple-signing\n', '\0sigstore-json\n', '\0', '');
    const values = fc.oneof(
      fc.uint8Array(),
      fc.json().map((json) => Buffer.from(json)),
    );
    fc.assert(
      fc.property(tag, values, (name, data) => {
        const answer = whyUnreadable(Buffer.concat([Buffer.from(name), data]));
        assert.ok([null, 'empty', 'first-byte', 'format'].includes(answer));
        if (name === '\0simple-signing\n') assert.equal(answer, null);
      }),
    );
  });

  test('the form that clients write is read', () => {
    const written = fc.record({
      mimeType: fc.string(),
      payload: fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('base64')),
      annotations: fc.dictionary(fc.string(), fc.string()),
    });
    fc.assert(
      fc.property(written, (value) => {
        assert.equal(whyUnreadable(Buffer.from(cosign(JSON.stringify(value)))), null);
      }),
    );
  });
});
