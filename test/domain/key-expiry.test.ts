import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { durationMs, durationText } from '../../src/domain/duration.ts';
import type { KeyDetails, KeyPart } from '../../src/domain/key.ts';
import { countEnding, endingWithin, nextEnd } from '../../src/domain/key-expiry.ts';

const NOW = new Date('2026-11-29T12:00:00Z');
const DAY_MS = 86_400_000;
const inDays = (days: number) => new Date(NOW.getTime() + days * DAY_MS);

const PART: KeyPart = {
  fingerprint: 'AB'.repeat(20),
  algorithm: 'ed25519',
  createdAt: inDays(-1000),
  expiresAt: null,
  revokedAt: null,
  canSign: true,
};

const keyOf = (more: Partial<KeyDetails>): KeyDetails => ({ ...PART, userIds: [], subkeys: [], ...more });
const subkeyOf = (more: Partial<KeyPart>): KeyPart => ({ ...PART, fingerprint: 'CD'.repeat(20), ...more });

describe('a key ends', () => {
  const CASES: readonly (readonly [string, Partial<KeyDetails>, number | null])[] = [
    ['never, when nothing in it expires', {}, null],
    ['when it expires', { expiresAt: inDays(3) }, 3],
    ['no more, when it has expired', { expiresAt: NOW }, null],
    ['no more, when it is revoked', { expiresAt: inDays(3), revokedAt: inDays(-1) }, null],
    [
      'when a subkey that signs does',
      { expiresAt: inDays(9), subkeys: [subkeyOf({ expiresAt: inDays(2) })] },
      2,
    ],
    [
      'with itself, when a subkey that cannot sign ends earlier',
      { expiresAt: inDays(9), subkeys: [subkeyOf({ expiresAt: inDays(2), canSign: false })] },
      9,
    ],
    ['never, when a subkey ended long ago', { subkeys: [subkeyOf({ expiresAt: inDays(-2) })] }, null],
    [
      'never by a subkey that is revoked',
      { subkeys: [subkeyOf({ expiresAt: inDays(2), revokedAt: inDays(-1) })] },
      null,
    ],
    [
      'with the first of its subkeys',
      { subkeys: [subkeyOf({ expiresAt: inDays(5) }), subkeyOf({ expiresAt: inDays(4) })] },
      4,
    ],
  ];
  for (const [when, more, days] of CASES) {
    test(when, () => {
      const end = nextEnd(keyOf(more), NOW);
      assert.deepEqual(end?.at ?? null, days === null ? null : inDays(days));
    });
  }
});

test('keys that end at the edge of the time are among those that expire within it, in their order', () => {
  const keys = [
    keyOf({ expiresAt: inDays(7) }),
    keyOf({ expiresAt: inDays(8) }),
    keyOf({ expiresAt: inDays(1) }),
  ];
  assert.deepEqual(endingWithin(keys, { withinMs: 7 * DAY_MS, now: NOW }), [keys[0], keys[2]]);
});

test('a key that ends within a day is counted within 7 and within 30 days as well', () => {
  const keys = [0.5, 6, 29, 31].map((days) => keyOf({ expiresAt: inDays(days) }));
  assert.deepEqual(countEnding(keys, NOW), [
    { days: 30, count: 3 },
    { days: 7, count: 2 },
    { days: 1, count: 1 },
  ]);
});

test('a time is written as it is read, however long', () => {
  for (const text of ['30d', '36h', '90m', '999999999d', '999999999h', '250ms']) {
    assert.equal(durationText(durationMs(text) ?? 0), text);
  }
});
