import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { httpDate } from '../../src/http/http-date.ts';

test('a date is written as toUTCString() writes it, whatever was written before', () => {
  const any = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59.999Z'),
    noInvalidDate: true,
  });
  const atBounds = fc
    .tuple(
      fc.integer({ min: -3000, max: 3000 }),
      fc.constantFrom(-1001, -1000, -1, 0, 1, 999, 1000, 3_599_999),
    )
    .map(([day, ms]) => new Date(86_400_000 * day + ms));
  fc.assert(
    fc.property(fc.oneof(any, atBounds), (date) => assert.equal(httpDate(date), date.toUTCString())),
    { numRuns: 2000 },
  );
});
