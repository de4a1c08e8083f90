import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { ImageId } from '../../src/domain/image.ts';
import type { MissingCount, ReadCount } from '../../src/domain/ports.ts';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { imageAt } from '../contract/signature-index.ts';
import { count } from '../faults/promise.ts';
import { type Cleanup, open, temporaryFolder } from './scratch.ts';

const MIB = 1024 * 1024;
const NOON = new Date('2026-11-22T12:00:10.000Z');
const APP = imageAt('team/app', 'a');

function read(changes: Partial<ReadCount> = {}): ReadCount {
  return {
    image: APP,
    number: 1,
    status: 200,
    address: '192.0.2.1',
    agent: 'podman/5',
    token: null,
    firstAt: NOON,
    lastAt: NOON,
    count: 1,
    bytes: 500,
    ...changes,
  };
}

function missing(changes: Partial<MissingCount> = {}): MissingCount {
  return { image: APP, firstAt: NOON, lastAt: NOON, lastAddress: '192.0.2.1', count: 1, ...changes };
}

function madeUpImage(path: string, seed: number): ImageId {
  const hex = createHash('sha256').update(`${seed}`).digest('hex');
  return { site: 'default', layout: 'repository', path, algorithm: 'sha256', hex };
}

function later(ms: number): Date {
  return new Date(NOON.getTime() + ms);
}

function rows(t: Cleanup, dataDir: string, day: string): (sql: string) => unknown[] {
  const db = connectDatabase(join(dataDir, 'access', `${day}.db`), { readonly: true });
  t.after(() => void db.close());
  return (sql) => db.prepare(sql).all();
}

function sizeOf(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

describe('the access log', () => {
  it('keeps one row for what one client did with one signature in one minute', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.access.write({
      reads: [
        read({ count: 3, bytes: 1500, lastAt: later(20_000) }),
        read({ token: 'ci' }),
        read({ number: 2, status: 404, bytes: 0 }),
        read({ number: null, status: 404, bytes: 0 }),
        read({ number: 999_999, status: 404, bytes: 0 }),
      ],
      missing: [],
    });
    await databases.access.write({
      reads: [
        read({ firstAt: later(-5000), lastAt: later(1000) }),
        read({ firstAt: later(60_000), lastAt: later(60_000) }),
      ],
      missing: [],
    });
    const select = rows(t, dataDir, '2026-11-22');
    const minute = Math.floor(NOON.getTime() / 60_000);
    assert.deepEqual(
      select(`
        SELECT minute - ${minute} AS minute, number, status, address.text AS address, agent.text AS agent,
          token.text AS token, first_at_ms - ${NOON.getTime()} AS first, last_at_ms - ${NOON.getTime()} AS last,
          count, bytes, path, hex(digest) AS digest
        FROM read
        JOIN image ON image.id = image
        JOIN address ON address.id = address
        JOIN agent ON agent.id = agent
        JOIN token ON token.id = token
        ORDER BY minute, number, token`).map((row) => Object.values(Object(row)).slice(0, 10)),
      [
        [0, 0, 404, '192.0.2.1', 'podman/5', '', 0, 0, 2, 0],
        [0, 1, 200, '192.0.2.1', 'podman/5', '', -5000, 20_000, 4, 2000],
        [0, 1, 200, '192.0.2.1', 'podman/5', 'ci', 0, 0, 1, 500],
        [0, 2, 404, '192.0.2.1', 'podman/5', '', 0, 0, 1, 0],
        [1, 1, 200, '192.0.2.1', 'podman/5', '', 60_000, 60_000, 1, 500],
      ],
    );
    assert.deepEqual(select('SELECT path, lower(hex(digest)) AS hex FROM image'), [
      { path: 'team/app', hex: APP.hex },
    ]);
  });

  it('begins a database each day at midnight UTC', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const times = ['2026-11-21T23:59:59.999Z', '2026-11-22T00:00:00.000Z', '2026-11-23T00:00:00.000Z'];
    const dates = times.map((time) => new Date(time));
    await databases.access.write({
      reads: dates.map((time) => read({ firstAt: time, lastAt: time })),
      missing: dates.map((time) => missing({ firstAt: time, lastAt: time })),
    });
    for (const day of ['2026-11-21', '2026-11-22', '2026-11-23']) {
      const select = rows(t, dataDir, day);
      assert.equal(select('SELECT minute FROM read').length, 1);
      assert.equal(select('SELECT count FROM missing').length, 1);
    }
  });

  it('counts requests for an image that holds no signature in one row a day', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.access.write({ reads: [], missing: [missing({ count: 5 })] });
    const again = missing({
      firstAt: later(-1),
      lastAt: later(7_200_000),
      lastAddress: '2001:db8::1',
      count: 2,
    });
    await databases.access.write({ reads: [], missing: [again] });
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(
      select(`
        SELECT path, count, first_at_ms, last_at_ms, text
        FROM missing
        JOIN address ON address.id = last_address`),
      [
        {
          path: 'team/app',
          count: 7,
          first_at_ms: NOON.getTime() - 1,
          last_at_ms: NOON.getTime() + 7_200_000,
          text: '2001:db8::1',
        },
      ],
    );
    assert.deepEqual(select('SELECT id FROM image'), []);
  });

  it('sets a damaged database aside and goes on in a new one', async (t) => {
    const dataDir = temporaryFolder(t);
    const folder = join(dataDir, 'access');
    mkdirSync(folder);
    writeFileSync(join(folder, '2026-11-22.db'), 'damage '.repeat(1000));
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.access.write({ reads: [read()], missing: [] });
    assert.equal(rows(t, dataDir, '2026-11-22')('SELECT count FROM read').length, 1);
    assert.ok(existsSync(join(folder, '2026-11-22.db.damaged')));
  });
});

/** The 100,000 that are kept one by one, and more. */
const FLOOD = count(1_000_000, 120_000);

describe('a flood', () => {
  it(`of ${FLOOD} requests for made-up digests adds 64 MiB to the disk at most`, async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const startedMs = performance.now();
    let largestBytes = 0;
    for (let start = 0; start < FLOOD; start += 20_000) {
      const digests = randomBytes(20_000 * 32).toString('hex');
      const batch = Array.from({ length: 20_000 }, (_, position) => {
        const hex = digests.slice(position * 64, (position + 1) * 64);
        return missing({ image: { ...APP, path: `p${position % 3000}/app`, hex } });
      });
      await databases.access.write({ reads: [], missing: batch });
      largestBytes = Math.max(largestBytes, sizeOf(join(dataDir, 'access')));
    }
    t.diagnostic(
      `${(largestBytes / MIB).toFixed(1)} MiB, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`,
    );
    assert.ok(largestBytes <= 64 * MIB, `${largestBytes} bytes`);
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select('SELECT count(*) AS n, sum(count) AS requests FROM missing'), [
      { n: 100_000, requests: 100_000 },
    ]);
    assert.deepEqual(select(`SELECT count(*) AS n, sum(count) AS requests FROM other`), [
      { n: 1001, requests: FLOOD - 100_000 },
    ]);
    assert.equal(select(`SELECT 1 FROM other WHERE prefix = ''`).length, 1);
  });

  it('does not stop the count of an image that was asked for before it', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.access.write({ reads: [], missing: [missing()] });
    const flood = Array.from({ length: 100_000 }, (_, seed) => missing({ image: madeUpImage('x', seed) }));
    await databases.access.write({ reads: [], missing: flood });
    await databases.access.write({ reads: [], missing: [missing()] });
    const nextHour = later(3_600_000);
    const fresh = missing({ image: imageAt('next/hour', 'a'), firstAt: nextHour, lastAt: nextHour });
    await databases.access.write({ reads: [], missing: [fresh] });
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select(`SELECT path, count FROM missing WHERE path <> 'x' ORDER BY path`), [
      { path: 'next/hour', count: 1 },
      { path: 'team/app', count: 2 },
    ]);
    assert.deepEqual(select('SELECT prefix, count FROM other'), [{ prefix: 'x', count: 1 }]);
  });

  it('of long made-up paths is bounded by its bytes', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    for (let batch = 0; batch < 5; batch += 1) {
      const long = Array.from({ length: 1000 }, (_, n) =>
        missing({ image: madeUpImage('y'.repeat(6000), batch * 1000 + n) }),
      );
      await databases.access.write({ reads: [], missing: long });
    }
    assert.ok(sizeOf(join(dataDir, 'access')) <= 64 * MIB);
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select('SELECT length(prefix) AS length FROM other'), [{ length: 128 }]);
  });

  it('of made-up addresses and agents fills two bounded tables, and their reads are still counted', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    for (let start = 0; start < 110_000; start += 22_000) {
      const reads = Array.from({ length: 22_000 }, (_, position) =>
        read({
          address: `2001:db8:${start / 22_000}:${position.toString(16)}::1`,
          agent: `agent/${start + position}`.padEnd(300, 'x'),
        }),
      );
      await databases.access.write({ reads, missing: [] });
    }
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select('SELECT count(*) AS n FROM address'), [{ n: 100_001 }]);
    assert.deepEqual(select('SELECT count(*) AS n, max(length(text)) AS longest FROM agent'), [
      { n: 10_001, longest: 256 },
    ]);
    assert.deepEqual(select('SELECT sum(count) AS n FROM read'), [{ n: 110_000 }]);
    assert.deepEqual(select(`SELECT count FROM read WHERE address = 0`), [{ count: 10_000 }]);
  });
});

describe('one client', () => {
  it('that makes up agents has 100 of them named a day, and nobody else loses his', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    for (let start = 0; start < 36_000; start += 12_000) {
      const flood = Array.from({ length: 12_000 }, (_, k) => read({ agent: `made-up/${start + k}` }));
      const others = Array.from({ length: 50 }, (_, k) =>
        read({ address: `198.51.100.${k}`, agent: `podman/${start + k}` }),
      );
      await databases.access.write({
        reads: [...flood, ...others, read({ agent: 'made-up/0' })],
        missing: [],
      });
    }
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select(`SELECT count(*) AS n FROM agent WHERE text LIKE 'made-up/%'`), [{ n: 100 }]);
    assert.deepEqual(select(`SELECT count(*) AS n FROM agent WHERE text LIKE 'podman/%'`), [{ n: 150 }]);
    const ofFlood = `FROM read JOIN address ON address.id = address WHERE text = '192.0.2.1'`;
    assert.deepEqual(select(`SELECT count(*) AS n, sum(count) AS requests ${ofFlood}`), [
      { n: 101, requests: 36_003 },
    ]);
  });

  const CLIENTS: readonly (readonly [address: (k: number) => string, name: string])[] = [
    [() => '192.0.2.1', '192.0.2.1'],
    [(k) => `2001:db8:1:2::${k.toString(16)}`, '2001:db8:1:2::/64'],
  ];
  for (const [addressOf, name] of CLIENTS) {
    it(`of ${name} has 1,000 rows a minute; further reads are counted by the hour, without agent and number`, async (t) => {
      const dataDir = temporaryFolder(t);
      const { databases } = await open(dataDir);
      t.after(() => databases.close());
      for (let minute = 0; minute < 3; minute += 1) {
        const at = later(minute * 60_000);
        const flood = Array.from({ length: 12_000 }, (_, k) =>
          read({
            address: addressOf(k),
            agent: `a/${k % 100}`,
            number: (k % 127) + 1,
            firstAt: at,
            lastAt: at,
          }),
        );
        // again: what has a row goes on being counted in it
        await databases.access.write({ reads: flood, missing: [] });
        await databases.access.write({ reads: flood, missing: [] });
        const other = read({ address: '198.51.100.1', agent: `podman/${minute}`, firstAt: at, lastAt: at });
        await databases.access.write({ reads: [other], missing: [] });
      }
      const select = rows(t, dataDir, '2026-11-22');
      assert.deepEqual(select('SELECT count(*) AS n, sum(count) AS requests FROM read'), [
        { n: 3 * 1000 + 1 + 3, requests: 3 * 24_001 },
      ]);
      const hour = Math.floor(NOON.getTime() / 3_600_000);
      assert.deepEqual(
        select(`
          SELECT minute, count, first_at_ms, last_at_ms, address.text AS name
          FROM read
          JOIN address ON address.id = address
          WHERE agent = 0 AND number = 0`),
        [
          {
            minute: hour * 60,
            count: 3 * 22_000,
            first_at_ms: NOON.getTime(),
            last_at_ms: NOON.getTime() + 120_000,
            name,
          },
        ],
      );
      assert.deepEqual(select(`SELECT count(*) AS n FROM agent WHERE text LIKE 'podman/%'`), [{ n: 3 }]);
    });
  }

  it('with a network of its own has 1,000 addresses of it named a day, and nobody else loses his', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    for (let start = 0; start < 120_000; start += 20_000) {
      const flood = Array.from({ length: 20_000 }, (_, k) =>
        missing({
          lastAddress: `2001:db8:1:2::${(start + k).toString(16)}`,
          image: madeUpImage('x', k % 10),
        }),
      );
      await databases.access.write({ reads: [], missing: flood });
    }
    await databases.access.write({ reads: [], missing: [missing({ lastAddress: '2001:db8:1:3::1' })] });
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select(`SELECT count(*) AS n FROM address WHERE text LIKE '2001:db8:1:2::%'`), [
      { n: 1001 },
    ]);
    const named = `SELECT text, path FROM missing JOIN address ON address.id = last_address GROUP BY text ORDER BY text`;
    assert.deepEqual(select(named), [
      { text: '2001:db8:1:2::/64', path: 'x' },
      { text: '2001:db8:1:3::1', path: 'team/app' },
    ]);
  });
});

const DAY_MS = 86_400_000;
const ENOUGH = Number.MAX_SAFE_INTEGER;

describe('pruning', () => {
  const DAYS = ['2026-11-18', '2026-11-19', '2026-11-20', '2026-11-21', '2026-11-22'];

  async function filled(t: Cleanup): ReturnType<typeof open> {
    const dataDir = temporaryFolder(t);
    const opened = await open(dataDir);
    t.after(() => opened.databases.close());
    for (const day of DAYS) {
      const time = new Date(`${day}T12:00:00.000Z`);
      await opened.databases.access.write({ reads: [read({ firstAt: time, lastAt: time })], missing: [] });
    }
    folderOf = join(dataDir, 'access');
    return opened;
  }
  let folderOf = '';
  const left = (): string[] =>
    readdirSync(folderOf)
      .filter((name) => name.endsWith('.db'))
      .sort()
      .map((name) => name.slice(0, -3));

  it('deletes the days that ended longer ago than the retention, with their journals', async (t) => {
    const { databases } = await filled(t);
    writeFileSync(join(folderOf, '2026-11-18.db-wal'), '');
    writeFileSync(join(folderOf, '2026-11-18.db.damaged'), '');
    const retentionMs = 2 * DAY_MS;
    await databases.access.prune({ now: NOON, steadyMs: DAY_MS, retentionMs, maxBytes: ENOUGH });
    assert.deepEqual(left(), ['2026-11-20', '2026-11-21', '2026-11-22']);
    assert.deepEqual(
      readdirSync(folderOf).filter((name) => name.startsWith('2026-11-18')),
      [],
    );
  });

  it('deletes the oldest days until the others fit', async (t) => {
    const { databases } = await filled(t);
    for (const day of DAYS) {
      const file = join(folderOf, `${day}.db`);
      if (day !== '2026-11-22' && day !== '2026-11-21') truncateSync(file, 10 * MIB);
    }
    const { fits } = await databases.access.prune({
      now: NOON,
      steadyMs: 0,
      retentionMs: 365 * DAY_MS,
      maxBytes: 15 * MIB,
    });
    assert.equal(fits, true);
    assert.deepEqual(left(), ['2026-11-20', '2026-11-21', '2026-11-22']);
  });

  it("never deletes today's, which goes on being written", async (t) => {
    const { databases } = await filled(t);
    const { fits } = await databases.access.prune({ now: NOON, steadyMs: 0, retentionMs: 0, maxBytes: 0 });
    assert.equal(fits, false, 'the day of today is kept, and is more than nothing');
    assert.deepEqual(left(), ['2026-11-22']);
    await databases.access.write({ reads: [read()], missing: [] });
  });

  it('deletes nothing by a clock that has become years ahead, until it has gone steadily for a day', async (t) => {
    const { databases } = await filled(t);
    const ahead = { now: new Date('2040-11-22T12:00:00.000Z'), retentionMs: 30 * DAY_MS, maxBytes: ENOUGH };
    const inDoubt = { fits: true, doubted: { days: 5, newest: '2026-11-22' } };
    assert.deepEqual(await databases.access.prune({ ...ahead, steadyMs: 0 }), inDoubt);
    await databases.access.write({
      reads: [read({ firstAt: ahead.now, lastAt: ahead.now })],
      missing: [],
    });
    const tomorrow = new Date('2040-11-23T11:59:59.000Z');
    assert.deepEqual(
      await databases.access.prune({ ...ahead, now: tomorrow, steadyMs: DAY_MS - 1 }),
      inDoubt,
    );
    assert.deepEqual(left(), [...DAYS, '2040-11-22']);
    const inTheEnd = await databases.access.prune({ ...ahead, now: tomorrow, steadyMs: DAY_MS });
    assert.deepEqual(inTheEnd, { fits: true, doubted: null });
    assert.deepEqual(left(), ['2040-11-22']);
  });

  it('believes a clock after a start as far as days of the log go that ended a day ago or earlier', async (t) => {
    const { databases } = await filled(t);
    const limits = { steadyMs: 0, retentionMs: 2 * DAY_MS, maxBytes: ENOUGH };
    const pruneAt = (now: string) => databases.access.prune({ ...limits, now: new Date(now) });
    assert.deepEqual(await pruneAt('2026-11-23T23:59:59.999Z'), { fits: true, doubted: null });
    assert.deepEqual(left(), ['2026-11-20', '2026-11-21', '2026-11-22']);
    await pruneAt('2026-11-24T00:00:00.000Z');
    assert.deepEqual(left(), ['2026-11-21', '2026-11-22']);
  });

  it('deletes nothing for a clock that is back, and still the oldest until all fit', async (t) => {
    const { databases } = await filled(t);
    for (const day of DAYS) truncateSync(join(folderOf, `${day}.db`), 10 * MIB);
    const back = { now: new Date('2026-11-19T12:00:00.000Z'), steadyMs: DAY_MS, retentionMs: 2 * DAY_MS };
    assert.equal((await databases.access.prune({ ...back, maxBytes: ENOUGH })).fits, true);
    assert.deepEqual(left(), DAYS);
    assert.equal((await databases.access.prune({ ...back, maxBytes: 25 * MIB })).fits, true);
    assert.deepEqual(left(), ['2026-11-19', '2026-11-22']);
    const years = { ...back, now: new Date('2012-01-01T00:00:00.000Z'), maxBytes: 0 };
    assert.equal((await databases.access.prune(years)).fits, true);
    assert.deepEqual(left(), []);
  });

  it('leaves files alone that are none of the log', async (t) => {
    const { databases } = await filled(t);
    writeFileSync(join(folderOf, 'notes.txt'), '');
    await databases.access.prune({ now: NOON, steadyMs: DAY_MS, retentionMs: 0, maxBytes: 0 });
    assert.ok(existsSync(join(folderOf, 'notes.txt')));
  });
});
