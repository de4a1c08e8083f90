import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { BatchPacker } from '../../src/sqlite/access-columns.ts';
import { DayRows } from '../../src/sqlite/access-rows.ts';
import { migrate } from '../../src/sqlite/migrate.ts';
import { openForWriting } from '../../src/sqlite/open.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { imageOf } from '../service/hand-driven.ts';

const AT = new Date('2026-11-22T10:00:00Z');

function batchOf(...repositories: readonly string[]) {
  const packer = new BatchPacker();
  for (const repository of repositories) {
    packer.addRead({
      ...{ image: imageOf(repository), number: 1, status: 200, address: '192.0.2.1', agent: 'skopeo' },
      ...{
        token: null,
        signatureSha256: repository.padEnd(64, '0'),
        firstAt: AT,
        lastAt: AT,
        count: 1,
        bytes: 5,
      },
    });
  }
  return packer.batch();
}

test('images and signatures of a batch that was rolled back are not taken for others of the next', async () => {
  await using temp = await openTempFolder();
  const db = openForWriting(`${temp.path}/2026-11-22.db`, 'access');
  try {
    const rows = new DayRows(db);
    rows.write(batchOf('aa'));
    const broken = batchOf('bb', 'cc');
    // the second row names a text that the batch does not have: the first is rolled back
    const { reads } = broken;
    reads[reads.length / 2 + 3] = 99;
    assert.throws(() => rows.write(broken), /does not hold/);
    rows.write(batchOf('cc', 'bb', 'aa'));

    const stored = db
      .prepare(`
        SELECT image.path AS path, hex(signature.sha256) AS sha256, read.count AS count
        FROM read
        JOIN image ON image.id = read.image
        JOIN signature ON signature.id = read.signature
        ORDER BY path`)
      .all();
    assert.deepEqual(
      stored,
      ['aa', 'bb', 'cc'].map((path) => ({
        path,
        sha256: path.padEnd(64, '0').toUpperCase(),
        count: path === 'aa' ? 2 : 1,
      })),
    );
  } finally {
    db.close();
  }
});

test('images that differ in a part of their name alone have one row each, also after a restart', async () => {
  await using temp = await openTempFolder();
  const db = openForWriting(`${temp.path}/2026-11-22.db`, 'access');
  try {
    const hex = 'ab'.repeat(32);
    const one = {
      site: 'default',
      layout: 'repository',
      path: 'team/app',
      algorithm: 'sha256',
      hex,
    } as const;
    const images = [
      one,
      { ...one, site: 'other' },
      { ...one, path: 'team/other' },
      { ...one, layout: 'release' as const },
      { ...one, hex: `ab${hex.slice(2).replace('b', 'c')}` },
      { ...one, algorithm: 'sha512' as const, hex: hex + hex },
      { ...one, algorithm: 'sha384' as const, hex: hex + hex.slice(32) },
    ];
    const common = { number: 1, status: 200, address: '192.0.2.1', agent: 'skopeo', token: null };
    const rows = new DayRows(db);
    const afterRestart = new DayRows(db);
    for (const [order, by] of [
      [images, rows],
      [[...images].reverse(), rows],
      [images.slice(2), afterRestart],
    ] as const) {
      const packer = new BatchPacker();
      for (const image of order)
        packer.addRead({
          ...common,
          image,
          signatureSha256: hex,
          firstAt: AT,
          lastAt: AT,
          count: 1,
          bytes: 5,
        });
      by.write(packer.batch());
    }
    const stored = db
      .prepare<[], { name: string; count: number }>(`
        SELECT concat_ws(' ', site, layout, path, algorithm, lower(hex(digest))) AS name, count
        FROM read
        JOIN image ON image.id = read.image
        ORDER BY image.id`)
      .all();
    assert.deepEqual(
      stored,
      images.map(({ site, layout, path, algorithm, hex: digest }, position) => ({
        name: [site, layout, path, algorithm, digest].join(' '),
        count: position < 2 ? 2 : 3,
      })),
    );
    assert.equal(db.prepare('SELECT count(*) FROM signature WHERE id > 0').pluck().get(), 1);
  } finally {
    db.close();
  }
});

test('a day that an older version began goes on with its images, and is closed anew', async () => {
  await using temp = await openTempFolder();
  const file = `${temp.path}/2026-11-22.db`;
  const old = new Database(file);
  for (const name of ['0001_access', '0002_asking', '0003_missing-once'])
    old.exec(readFileSync(`migrations/access/${name}.sql`, 'utf8'));
  old.exec(`
    INSERT INTO image VALUES (3, 'default', 'aa', 'repository', 'sha256', x'${imageOf('aa').hex}');
    INSERT INTO signature VALUES (5, x'${'aa'.padEnd(64, '0')}');
    INSERT INTO address VALUES (1, '192.0.2.1');
    INSERT INTO agent VALUES (1, 'skopeo');
    INSERT INTO read VALUES (${AT.getTime() / 60_000}, 3, 1, 200, 1, 1, 0, 5, 0, 1, 4, 20);
    UPDATE day SET closed_at_ms = 1;
    CREATE INDEX image_by_digest ON image (digest);`);
  old.pragma(`application_id = ${0x6c6b4143}`);
  old.pragma('user_version = 3');
  old.close();
  const db = openForWriting(file, 'access');
  try {
    assert.equal(db.prepare('SELECT closed_at_ms FROM day').pluck().get(), null);
    new DayRows(db).write(batchOf('aa', 'bb'));
    assert.deepEqual(db.prepare('SELECT image, signature, count FROM read ORDER BY image').raw().all(), [
      [3, 5, 5],
      [4, 6, 1],
    ]);
    assert.deepEqual(db.pragma('foreign_key_check'), []);
    assert.equal(db.pragma('foreign_keys', { simple: true }), 1);
    assert.equal(db.pragma('quick_check', { simple: true }), 'ok');
  } finally {
    db.close();
  }
});

test('images whose digests begin alike get an index by place once there are many of them, and others do not', async () => {
  await using temp = await openTempFolder();
  const { hex } = imageOf('aa');
  const withHex = (path: string, digits: string) => ({ ...imageOf(path), hex: digits });
  const numbered = Array.from({ length: 1500 }, (_, at) => String(at).padStart(64, '0'));
  for (const [name, images, expected] of [
    ['2026-11-22', numbered.map((digits) => withHex('team/app', `${digits.slice(-12)}${hex.slice(12)}`)), []],
    ['2026-11-23', numbered.map((digits) => withHex('team/app', digits)), ['image_by_place']],
    ['2026-11-24', numbered.map((digits) => withHex(`team/app${digits}`, hex)), ['image_by_place']],
  ] as const) {
    const db = openForWriting(`${temp.path}/${name}.db`, 'access');
    try {
      const packer = () => {
        const batch = new BatchPacker();
        for (const image of images)
          batch.addRead({
            ...{ image, number: 1, status: 200, address: '192.0.2.1', agent: 'skopeo', token: null },
            ...{ signatureSha256: hex, firstAt: AT, lastAt: AT, count: 1, bytes: 5 },
          });
        return batch.batch();
      };
      new DayRows(db).write(packer());
      new DayRows(db).write(packer());
      assert.deepEqual(
        db.prepare("SELECT name FROM sqlite_schema WHERE name = 'image_by_place'").pluck().all(),
        expected,
      );
      assert.equal(db.prepare('SELECT count(*) FROM image').pluck().get(), images.length);
    } finally {
      db.close();
    }
  }
});

test('names that a failing upstream was asked for in vain have the bounds of missing images, and reads have none', async () => {
  await using temp = await openTempFolder();
  const db = openForWriting(`${temp.path}/2026-11-22.db`, 'access');
  try {
    db.exec(`INSERT INTO hour VALUES (${AT.getTime() / 3_600_000}, 99998, 0, 0)`);
    const batch = (status: number, ...repositories: readonly string[]) => {
      const packer = new BatchPacker();
      for (const repository of repositories)
        packer.addRead({
          ...{ image: imageOf(repository), number: 1, status, address: '192.0.2.1', agent: 'skopeo' },
          ...{ token: null, signatureSha256: null, firstAt: AT, lastAt: AT, count: 2, bytes: 0 },
        });
      return packer.batch();
    };
    const rows = new DayRows(db);
    rows.write(batch(503, 'aa', 'bb', 'cc', 'aa'));
    rows.write(batch(503, 'bb', 'dd'));
    rows.write(batch(200, 'ee'));
    assert.deepEqual(db.prepare('SELECT path FROM image ORDER BY path').pluck().all(), ['aa', 'bb', 'ee']);
    assert.equal(db.prepare('SELECT sum(count) FROM read').pluck().get(), 4 + 4 + 2);
    assert.equal(db.prepare('SELECT sum(count) FROM dropped').pluck().get(), 2 + 2);
    assert.equal(db.prepare('SELECT missing FROM hour').pluck().get(), 100_000);
  } finally {
    db.close();
  }
});

test('a name that came twice goes on being counted in its row beyond the bound, when it is remembered no more', async () => {
  await using temp = await openTempFolder();
  const db = openForWriting(`${temp.path}/2026-11-22.db`, 'access');
  try {
    db.exec(`INSERT INTO hour VALUES (${AT.getTime() / 3_600_000}, 99999, 0, 0)`);
    const batch = (...repositories: readonly string[]) => {
      const packer = new BatchPacker();
      for (const repository of repositories)
        packer.addMissing({
          image: imageOf(repository),
          firstAt: AT,
          lastAt: AT,
          lastAddress: '192.0.2.1',
          count: 1,
        });
      return packer.batch();
    };
    const counted = () => ({
      again: db.prepare('SELECT path, count FROM missing_again').all(),
      others: db.prepare('SELECT sum(count) FROM other').pluck().get(),
    });
    const rows = new DayRows(db);
    rows.write(batch('aa'));
    rows.write(batch('bb'));
    assert.deepEqual(counted(), { again: [], others: 1 });
    rows.write(batch('aa', 'bb'));
    assert.deepEqual(counted(), { again: [{ path: 'aa', count: 1 }], others: 2 });
    const broken = batch('aa');
    broken.missing[3] = 99; // a text that the batch does not have
    assert.throws(() => rows.write(broken), /does not hold/);
    rows.write(batch('aa', 'bb'));
    assert.deepEqual(counted(), { again: [{ path: 'aa', count: 2 }], others: 3 });
    new DayRows(db).write(batch('aa', 'bb'));
    assert.deepEqual(counted(), { again: [{ path: 'aa', count: 3 }], others: 4 });
  } finally {
    db.close();
  }
});

test('a day that two threads open at the same time is brought up to date once', async () => {
  await using temp = await openTempFolder();
  const file = `${temp.path}/2026-11-22.db`;
  const late = new Database(file);
  try {
    const begin = late.transaction.bind(late);
    let isFirst = true;
    // the other is quicker between the look at the version and the lock
    late.transaction = ((act: () => void) => {
      if (isFirst) {
        isFirst = false;
        const other = openForWriting(file, 'access');
        new DayRows(other).write(batchOf('aa'));
        new DayRows(other).markClosed(AT);
        other.close();
      }
      return begin(act);
    }) as typeof late.transaction;
    migrate(late, 'access', 0x6c6b4143);
    assert.equal(late.prepare('SELECT closed_at_ms FROM day').pluck().get(), AT.getTime());
    assert.equal(late.prepare('SELECT count(*) FROM image').pluck().get(), 1);
    assert.equal(late.pragma('user_version', { simple: true }), 4);
  } finally {
    late.close();
  }
});
