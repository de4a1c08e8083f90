import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { ImageId } from '../../src/domain/image.ts';
import type { MissingCount, ReadCount } from '../../src/domain/ports.ts';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { APP, accessLogContract, later, madeUpImage, missing, NOON, read } from '../contract/access-log.ts';
import { imageAt } from '../contract/signature-index.ts';
import { count } from '../faults/promise.ts';
import { reopenable } from './reopenable.ts';
import { type Cleanup, open, temporaryFolder } from './scratch.ts';

const MIB = 1024 * 1024;
function rows(t: Cleanup, dataDir: string, day: string): <Row = unknown>(sql: string) => Row[] {
  const db = connectDatabase(join(dataDir, 'access', `${day}.db`), { readonly: true });
  t.after(() => void db.close());
  return <Row>(sql: string) => db.prepare<[], Row>(sql).all();
}

function sizeOf(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

accessLogContract('the SQLite access log', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  const { databases, reopen, close } = await reopenable(dataDir);
  const folder = join(dataDir, 'access');
  return {
    access: databases.access,
    reopen: async () => (await reopen()).access,
    days: async () =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.db'))
        .sort()
        .map((name) => name.slice(0, -3)),
    reads: async (day) => select<ReadRow>(join(folder, `${day}.db`), READS).map(readOf),
    missing: async (day) => select<MissingRow>(join(folder, `${day}.db`), MISSING).map(missingOf),
    weigh: async (day, sizeBytes) => truncateSync(join(folder, `${day}.db`), sizeBytes),
    close,
  };
});

interface ImageColumns {
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
}

interface ReadRow extends ImageColumns {
  readonly number: number;
  readonly sha256: string;
  readonly status: number;
  readonly address: string;
  readonly agent: string;
  readonly token: string;
  readonly first_at_ms: number;
  readonly last_at_ms: number;
  readonly count: number;
  readonly bytes: number;
}

interface MissingRow extends ImageColumns {
  readonly address: string;
  readonly first_at_ms: number;
  readonly last_at_ms: number;
  readonly count: number;
}

const READS = `
  SELECT site, path, layout, algorithm, digest, number, lower(hex(signature.sha256)) AS sha256, status, address.text AS address, agent.text AS agent,
    token.text AS token, first_at_ms, last_at_ms, count, bytes
  FROM read
  JOIN image ON image.id = image
  JOIN address ON address.id = address
  JOIN agent ON agent.id = agent
  JOIN token ON token.id = token
  JOIN signature ON signature.id = signature
  ORDER BY minute, number, token.text`;

const MISSING = `
  SELECT site, path, layout, algorithm, digest, address.text AS address, first_at_ms, last_at_ms, count
  FROM missing
  JOIN address ON address.id = last_address
  ORDER BY path`;

function select<Row>(file: string, sql: string): readonly Row[] {
  const db = connectDatabase(file, { readonly: true });
  try {
    return db.prepare<[], Row>(sql).all();
  } finally {
    db.close();
  }
}

function imageOf({ site, path, layout, algorithm, digest }: ImageColumns): ImageId {
  return { site, layout, path, algorithm, hex: digest.toString('hex') };
}

function readOf(row: ReadRow): ReadCount {
  const { status, address, agent, count: requests, bytes } = row;
  return {
    image: imageOf(row),
    number: row.number === 0 ? null : row.number,
    signatureSha256: row.sha256 === '' ? null : row.sha256,
    status,
    address,
    agent,
    token: row.token === '' ? null : row.token,
    firstAt: new Date(row.first_at_ms),
    lastAt: new Date(row.last_at_ms),
    count: requests,
    bytes,
  };
}

function missingOf(row: MissingRow): MissingCount {
  return {
    image: imageOf(row),
    firstAt: new Date(row.first_at_ms),
    lastAt: new Date(row.last_at_ms),
    lastAddress: row.address,
    count: row.count,
  };
}

describe('the access log', () => {
  it('names an image once a day, however often it is read, and not at all when it holds no signature', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const unsigned = missing({ image: imageAt('team/unsigned', 'a') });
    await databases.access.write({ reads: [read(), read({ number: 2 })], missing: [unsigned] });
    await databases.access.write({ reads: [read({ token: 'ci' })], missing: [unsigned] });
    const select = rows(t, dataDir, '2026-11-22');
    assert.deepEqual(select('SELECT path, lower(hex(digest)) AS hex FROM image'), [
      { path: 'team/app', hex: APP.hex },
    ]);
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

interface Sums {
  readonly n: number;
  readonly requests: number;
}

/** The 100,000 that are kept one by one, and more. */
const FLOOD = count(1_000_000, 120_000);

describe('a flood', () => {
  it(`of ${FLOOD} requests for made-up digests takes 64 MiB at most and stops no other count`, async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.access.write({ reads: [], missing: [missing()] });
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
    await databases.access.write({ reads: [], missing: [missing()] });
    const nextHour = later(3_600_000);
    const fresh = missing({ image: imageAt('next/hour', 'a'), firstAt: nextHour, lastAt: nextHour });
    await databases.access.write({ reads: [], missing: [fresh] });
    const select = rows(t, dataDir, '2026-11-22');
    const [kept] = select<Sums>(
      `SELECT count(*) AS n, sum(count) AS requests FROM missing WHERE path LIKE 'p%/app'`,
    );
    const [others] = select<Sums>('SELECT count(*) AS n, sum(count) AS requests FROM other');
    assert.deepEqual(kept, { n: 99_999, requests: 99_999 });
    assert.deepEqual(others, { n: 1001, requests: FLOOD - 99_999 });
    assert.deepEqual(select(`SELECT path, count FROM missing WHERE path NOT LIKE 'p%/app' ORDER BY path`), [
      { path: 'next/hour', count: 1 },
      { path: 'team/app', count: 2 },
    ]);
    assert.equal(select(`SELECT 1 FROM other WHERE prefix = ''`).length, 1);
  });

  it('that comes again counts in the rows that it has, in at most two for each name, also after a restart', async (t) => {
    const dataDir = temporaryFolder(t);
    const addressOf = (turn: number) => `192.0.2.${turn}`;
    const names = Array.from({ length: 300 }, (_, seed) => madeUpImage('x', seed));
    const asked = async (turns: readonly number[]) => {
      const { databases } = await open(dataDir);
      for (const turn of turns) {
        const at = later(1000 * turn);
        const one = { firstAt: at, lastAt: at, lastAddress: addressOf(turn) };
        await databases.access.write({
          reads: [],
          missing: names.map((image) => missing({ image, ...one })),
        });
      }
      await databases.close();
    };
    // the clock goes back meanwhile
    await asked([1, 2, 5, 3]);
    const select = rows(t, dataDir, '2026-11-22');
    const counted = (table: string) =>
      select<Sums>(`SELECT count(*) AS n, sum(count) AS requests FROM ${table}`)[0];
    assert.deepEqual(counted('missing_once'), { n: 300, requests: 300 });
    assert.deepEqual(counted('missing_again'), { n: 300, requests: 900 });
    await asked([4]);
    assert.deepEqual(counted('missing_once'), { n: 600, requests: 600 });
    assert.deepEqual(counted('missing'), { n: 300, requests: 1500 });
    const ends = select('SELECT DISTINCT first_at_ms, last_at_ms FROM missing');
    assert.deepEqual(ends, [{ first_at_ms: later(1000).getTime(), last_at_ms: later(5000).getTime() }]);
    // an update keeps the address of the latest write, as it always did
    const last = select<{ text: string }>(
      'SELECT DISTINCT text FROM missing JOIN address ON address.id = last_address',
    );
    assert.deepEqual(last, [{ text: addressOf(3) }]);
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
          WHERE agent = 0 AND number = -1 -- 0 is a name that is no number, by one of the agents that are too many`),
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

describe('pruning', () => {
  it('deletes with a day its journals and what was set aside of it, and no file that is none of the log', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const old = new Date('2026-11-18T12:00:00.000Z');
    await databases.access.write({
      reads: [read(), read({ firstAt: old, lastAt: old })],
      missing: [],
    });
    const folder = join(dataDir, 'access');
    const others = ['2026-11-18.db-wal', '2026-11-18.db.damaged', 'notes.txt'];
    for (const name of others) writeFileSync(join(folder, name), '');
    await databases.access.prune({ now: NOON, steadyMs: 86_400_000, retentionMs: 0, maxBytes: 0 });
    const left = readdirSync(folder).filter((name) => !name.startsWith('2026-11-22'));
    assert.deepEqual(left, ['notes.txt']);
  });
});
