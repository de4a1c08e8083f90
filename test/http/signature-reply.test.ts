import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { SetEntry } from '../../src/domain/ports.ts';
import { NOT_THERE, signatureReply } from '../../src/http/signature-reply.ts';
import { incoming } from './incoming.ts';

const BYTES = Buffer.from('\u00a3 signed');
const HASH = 'ab'.repeat(32);
const ENTRY: SetEntry = {
  sha256: HASH,
  sizeBytes: BYTES.length,
  storedAt: new Date('2026-01-02T03:04:05.678Z'),
  bytes: BYTES,
};

const reply = (...headers: readonly string[]) => signatureReply(incoming({ headers }), ENTRY, BYTES);

describe('the reply with a signature', () => {
  test('it is the exact bytes, as nothing that a browser would show or a cache would keep unasked', () => {
    const { form: _, ...its } = reply();
    assert.deepEqual(its, {
      status: 200,
      headers: {
        'Content-Type': 'application/octet-stream',
        'Content-Length': BYTES.length,
        'X-Content-Type-Options': 'nosniff',
        'Content-Security-Policy': "default-src 'none'; sandbox",
        ETag: `"${HASH}"`,
        'Last-Modified': 'Fri, 02 Jan 2026 03:04:05 GMT',
        'Cache-Control': 'no-cache',
      },
      body: BYTES,
    });
    assert.equal(reply().body, BYTES);
  });

  test('what clients send besides changes nothing', () => {
    const headers = ['Range', 'bytes=0-3', 'Accept-Encoding', 'gzip', 'Accept', 'text/html'];
    assert.deepEqual(reply(...headers), reply());
  });

  const CONDITIONS: readonly (readonly [headers: readonly string[], status: number])[] = [
    [['If-None-Match', `"${HASH}"`], 304],
    [['If-None-Match', `W/"${HASH}"`], 304],
    [['If-None-Match', '*'], 304],
    [['If-None-Match', ' * '], 304],
    [['If-None-Match', `"other", W/"${HASH}" ,"third"`], 304],
    [['If-None-Match', '"other"', 'If-None-Match', `"${HASH}"`], 304],
    [['If-None-Match', HASH], 200],
    [['If-None-Match', `"${HASH.toUpperCase()}"`], 200],
    [['If-None-Match', `w/"${HASH}"`], 200],
    [['If-None-Match', '"other"'], 200],
    [['If-None-Match', ''], 200],
    [['If-Modified-Since', 'Fri, 02 Jan 2026 03:04:05 GMT'], 304],
    [['If-Modified-Since', 'Fri, 02 Jan 2026 03:04:06 GMT'], 304],
    [['If-Modified-Since', 'Fri, 02 Jan 2026 03:04:04 GMT'], 200],
    [['If-Modified-Since', 'yesterday'], 200],
    [['If-Modified-Since', ''], 200],
    [['If-None-Match', '"other"', 'If-Modified-Since', 'Fri, 02 Jan 2026 03:04:06 GMT'], 200],
    [['If-None-Match', `"${HASH}"`, 'If-Modified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT'], 304],
    [['If-Match', '"other"'], 200],
    [['If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT'], 200],
  ];
  for (const [headers, status] of CONDITIONS) {
    const headerText = headers.join(' ').replaceAll(HASH, '<hash>');
    test(`to ${headerText} it is a ${status}`, () => {
      const { status: answered, headers: said, body } = reply(...headers);
      assert.equal(answered, status);
      assert.equal(said.ETag, `"${HASH}"`);
      assert.equal(body, status === 304 ? null : BYTES);
      assert.equal('Content-Length' in said, status === 200);
    });
  }

  test('any condition is met with all the bytes or with none', () => {
    const name = fc.constantFrom('If-None-Match', 'If-Modified-Since');
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.string())), (conditions) => {
        const { status, body } = reply(...conditions.flat());
        assert.ok(status === 200 ? body === BYTES : status === 304 && body === null);
      }),
    );
  });

  test('what is not there is a 404 that no cache keeps and no browser renders', () => {
    assert.equal(NOT_THERE.status, 404);
    assert.equal(NOT_THERE.headers['Cache-Control'], 'no-store');
    assert.equal(NOT_THERE.headers['Content-Type'], 'text/plain; charset=utf-8');
  });
});
