import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ReadCount } from '../../src/domain/ports.ts';
import { ReadRows } from '../../src/service/read-rows.ts';
import { imageOf } from './hand-driven.ts';

const MINUTE_MS = 60_000;
const IMAGES = Array.from({ length: 40 }, (_, at) => imageOf(`team/app-${at}`));

const read = fc.record({
  image: fc.constantFrom(...IMAGES),
  number: fc.constantFrom(null, 1, 2, 999_999_999),
  status: fc.constantFrom(200, 304, 404),
  address: fc.constantFrom('192.0.2.1', '192.0.2.2', '2001:db8::1'),
  agent: fc.constantFrom(null, '', 'skopeo'),
  token: fc.constantFrom(null, '', 'ci'),
  signatureSha256: fc.constantFrom(null, 'a'.repeat(64), 'b'.repeat(64)),
  bytes: fc.nat(8192),
  minute: fc.nat(1),
});
type Read = typeof read extends fc.Arbitrary<infer Value> ? Value : never;

function put(rows: ReadRows, { minute, number, address, agent, ...part }: Read, at: number): void {
  const row = { number, address, agent };
  const nowMs = minute * MINUTE_MS + at;
  if (!rows.count(part, row, nowMs)) rows.add(part, row, nowMs, address);
}

/** As text that is equal for equal rows, sums apart. */
function keyOf({ image, number, status, address, agent, token, signatureSha256 }: ReadCount | Read): string {
  return JSON.stringify([image.path, number, status, address, agent, token, signatureSha256]);
}

test('each read is counted in the row of its own kind, and none is lost or counted twice', () => {
  const reads = fc.array(read, { maxLength: 300 });
  fc.assert(
    fc.property(reads, reads, (before, now) => {
      const rows = new ReadRows(300);
      // what was written must leave nothing behind
      for (const [at, one] of before.entries()) put(rows, one, at);
      rows.clear();
      assert.deepEqual([...rows], []);
      for (const [at, one] of now.entries()) put(rows, one, at);

      const wanted = new Map<string, { count: number; bytes: number }>();
      for (const one of now) {
        const sums = wanted.get(keyOf(one)) ?? { count: 0, bytes: 0 };
        wanted.set(keyOf(one), { count: sums.count + 1, bytes: sums.bytes + one.bytes });
      }
      const counts = new Map<string, { count: number; bytes: number }>();
      for (const row of rows) {
        const sums = counts.get(keyOf(row)) ?? { count: 0, bytes: 0 };
        counts.set(keyOf(row), { count: sums.count + row.count, bytes: sums.bytes + row.bytes });
        assert.equal(
          Math.floor(row.firstAt.getTime() / MINUTE_MS),
          Math.floor(row.lastAt.getTime() / MINUTE_MS),
        );
      }
      assert.deepEqual(counts, wanted);
    }),
    { numRuns: 30 },
  );
});

test('rows of one minute are as few as their kinds, also when they fill all there is room for', () => {
  const most = 20_000;
  const rows = new ReadRows(most);
  const images = Array.from({ length: most / 2 }, (_, at) => imageOf(`many/app-${at}`));
  const part = { status: 200, token: null, signatureSha256: null, bytes: 1 };
  for (let turn = 0; turn < 3; turn += 1) {
    for (const image of images) {
      for (const number of [1, 2]) {
        const row = { number, address: '192.0.2.1', agent: '' };
        if (!rows.count({ ...part, image }, row, turn)) rows.add({ ...part, image }, row, turn, '192.0.2.1');
      }
    }
  }
  assert.deepEqual([rows.size, rows.ofNetwork('192.0.2.1')], [most, most]);
  assert.ok(
    [...rows].every(
      ({ count, bytes, firstAt, lastAt }) =>
        count === 3 && bytes === 3 && firstAt.getTime() === 0 && lastAt.getTime() === 2,
    ),
  );
});
