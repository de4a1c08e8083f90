import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { backoffMs } from '../../src/domain/backoff.ts';

describe('backoffMs', () => {
  test('the longest wait doubles up to ten seconds', () => {
    const longest = [1, 2, 3, 4, 5, 6, 7, 100].map((attempt) => backoffMs(attempt, 1, null));
    assert.deepEqual(longest, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  });

  test('any share of it may be waited, so that many clients do not come back together', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (attempt, random) => {
          const ms = backoffMs(attempt, random, null);
          assert.ok(Number.isInteger(ms) && ms >= 0 && ms <= backoffMs(attempt, 1, null));
        },
      ),
    );
  });

  test('what the server asks for is the least', () => {
    assert.equal(backoffMs(1, 0, 3000), 3000);
    assert.equal(backoffMs(7, 1, 3000), 10_000);
  });
});
