import assert from 'node:assert/strict';
import { test } from 'node:test';
import { haveOneStamp, modifiedAtOf, stampOf } from '../../src/files/stamps.ts';

test('a time that Date or its texts do not reach is the nearest that they do', () => {
  const now = Date.parse('2026-11-30T14:35:00.123Z');
  const times: readonly (readonly [mtimeMs: number | bigint, time: string])[] = [
    [now, '2026-11-30T14:35:00.123Z'],
    [now + 0.9, '2026-11-30T14:35:00.123Z'],
    [BigInt(now), '2026-11-30T14:35:00.123Z'],
    [0, '1970-01-01T00:00:00.000Z'],
    [-1000n, '1969-12-31T23:59:59.000Z'],
    [99_999_999_999_999_000, '9999-12-31T23:59:59.000Z'],
    [99_999_999_999_999_000n, '9999-12-31T23:59:59.000Z'],
    [-99_999_999_999_999_000, '0001-01-01T00:00:00.000Z'],
  ];
  for (const [mtimeMs, time] of times) assert.equal(modifiedAtOf(mtimeMs).toISOString(), time);
});

test('what a stamp is made of tells as much as its text', () => {
  const one = { dev: 1n, ino: 2n ** 63n, size: 4096n, mtimeNs: 10n ** 18n, ctimeNs: 10n ** 18n + 1n };
  assert.equal(haveOneStamp(one, { ...one }), true);
  for (const part of ['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const) {
    const other = { ...one, [part]: one[part] + 1n };
    assert.equal(haveOneStamp(one, other), false, part);
    assert.notEqual(stampOf(one), stampOf(other), part);
  }
});
