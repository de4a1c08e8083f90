// The two tables of a day's images without a signature: each question says what a plain list of their rows says, and walks them once.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Database } from 'better-sqlite3';
import fc from 'fast-check';
import { type ImageId, imageKey } from '../../src/domain/image.ts';
import { ANY_RECORD } from '../../src/domain/records.ts';
import { newestVersion } from '../../src/sqlite/migrate.ts';
import { type Missing, MissingRows } from '../../src/sqlite/missing-rows.ts';
import { openForWriting } from '../../src/sqlite/open.ts';
import { Statements } from '../../src/sqlite/question-parts.ts';
import { count } from '../faults/promise.ts';
import { temporaryFolder } from './scratch.ts';

interface Row {
  readonly image: number;
  readonly count: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  readonly address: number;
}

function imageOf(k: number): ImageId {
  return {
    site: k % 2 === 0 ? 'rh' : 'default',
    layout: 'repository',
    path: `team/${k % 3}`,
    algorithm: 'sha256',
    hex: `${k}`.padStart(64, '0'),
  };
}

function put(db: Database, table: string, rows: readonly Row[]): void {
  const insert = db.prepare<(string | number | Uint8Array)[]>(`
    INSERT INTO ${table} (site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms, last_address)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  db.transaction(() => {
    for (const { image, count, firstAtMs, lastAtMs, address } of rows) {
      const { site, path, layout, algorithm, hex } = imageOf(image);
      insert.run(site, path, layout, algorithm, Buffer.from(hex, 'hex'), count, firstAtMs, lastAtMs, address);
    }
  })();
}

function summed(rows: readonly Row[]): Map<string, Missing & { readonly address: string }> {
  const sums = new Map<string, Missing & { readonly address: string }>();
  const inOrder = [...rows].sort(
    (one, other) => one.lastAtMs - other.lastAtMs || one.address - other.address,
  );
  for (const { image, count, firstAtMs, lastAtMs, address } of inOrder) {
    const id = imageOf(image);
    const known = sums.get(imageKey(id));
    sums.set(imageKey(id), {
      image: id,
      count: (known?.count ?? 0) + count,
      firstAtMs: Math.min(known?.firstAtMs ?? firstAtMs, firstAtMs),
      lastAtMs,
      address: `192.0.2.${address}`,
    });
  }
  return sums;
}

const ROW = fc
  .record({
    image: fc.nat(12),
    count: fc.integer({ min: 1, max: 5 }),
    firstAtMs: fc.nat(50),
    lasts: fc.nat(50),
    address: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ lasts, ...row }): Row => ({ ...row, lastAtMs: row.firstAtMs + lasts }));

test('sums, later images and last clients are those of a plain list over both tables', (t) => {
  const db = openForWriting(join(temporaryFolder(t), '2026-11-29.db'), 'access');
  t.after(() => db.close());
  const insert = db.prepare('INSERT INTO address (id, text) VALUES (?, ?)');
  for (let k = 1; k <= 9; k += 1) insert.run(k, `192.0.2.${k}`);
  const rows = new MissingRows(new Statements(db), newestVersion('access'));
  const sorted = (all: readonly Missing[]) =>
    [...all].sort((one, other) => (imageKey(one.image) < imageKey(other.image) ? -1 : 1));
  const again = fc.uniqueArray(ROW, { selector: ({ image }) => image, maxLength: 10 });
  fc.assert(
    fc.property(fc.array(ROW, { maxLength: 20 }), again, fc.nat(100), (once, more, ms) => {
      db.exec('DELETE FROM missing_once; DELETE FROM missing_again');
      put(db, 'missing_once', once);
      put(db, 'missing_again', more);
      const sums = [...summed([...once, ...more]).values()];
      const plain = sums.map(({ address: _, ...one }) => one);
      const all: Missing[] = [];
      rows.all(ANY_RECORD, (one) => all.push(one));
      assert.deepEqual(sorted(all), sorted(plain));
      const some: Missing[] = [];
      rows.all({ ...ANY_RECORD, site: 'rh', since: new Date(ms) }, (one) => some.push(one));
      assert.deepEqual(
        sorted(some),
        sorted(plain.filter(({ image, lastAtMs }) => image.site === 'rh' && lastAtMs >= ms)),
      );
      const digest = { algorithm: 'sha256', hex: imageOf(3).hex } as const;
      const one: Missing[] = [];
      rows.all({ ...ANY_RECORD, image: { digest, place: null } }, (found) => one.push(found));
      assert.deepEqual(
        one,
        plain.filter(({ image }) => image.hex === digest.hex),
      );
      const later: Missing[] = [];
      const before = rows.before(ms, (found) => later.push(found));
      assert.deepEqual(sorted(later), sorted(plain.filter(({ lastAtMs }) => lastAtMs >= ms)));
      const others = plain.filter(({ lastAtMs }) => lastAtMs < ms);
      assert.equal(
        before,
        others.reduce((sum, { count: requests }) => sum + requests, 0),
      );
      assert.equal(rows.countSince(ms) >= later.length, true);
      const addresses = rows.lastAddresses(Array.from({ length: 13 }, (_, k) => imageOf(k)));
      assert.deepEqual(addresses, new Map(sums.map(({ image, address }) => [imageKey(image), address])));
    }),
    { numRuns: count(500, 60) },
  );
});

test('the last clients of many images cost about as much as that of one', (t) => {
  const db = openForWriting(join(temporaryFolder(t), '2026-11-29.db'), 'access');
  t.after(() => db.close());
  db.exec("INSERT INTO address (id, text) VALUES (1, '192.0.2.1')");
  const images = Array.from({ length: 20_000 }, (_, k) => k);
  put(
    db,
    'missing_once',
    images.map((image) => ({ image, count: 1, firstAtMs: 1, lastAtMs: 1, address: 1 })),
  );
  const rows = new MissingRows(new Statements(db), newestVersion('access'));
  const microseconds = (limit: number, times: number): number => {
    const asked = images.slice(0, limit).map(imageOf);
    const before = process.cpuUsage();
    for (let k = 0; k < times; k += 1) assert.equal(rows.lastAddresses(asked).size, limit);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / times;
  };
  microseconds(1, 2);
  const [one, many] = [microseconds(1, 20), microseconds(300, 5)];
  // by a walk for each of them it was 300 times as much
  assert.ok(many < 20 * one, `${many} µs for 300, ${one} µs for one`);
});
