// The record of reads in a real PostgreSQL: the contract of every access log, and what COPY makes of texts that clients choose.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { parseLongImageFolder } from '../../src/domain/image.ts';
import { MAX_SIGNATURES_PER_IMAGE } from '../../src/domain/limits.ts';
import type { MissingCount, ReadCount } from '../../src/domain/ports.ts';
import { PostgresAccessLog } from '../../src/postgres/access-log.ts';
import { IS_MISSING } from '../../src/postgres/access-questions.ts';
import { type Connections, connect } from '../../src/postgres/connect.ts';
import { accessLogContract, missing, NOON, read } from '../contract/access-log.ts';
import type { Postgres } from './postgres.ts';

interface Row {
  readonly site: string;
  readonly folder: string;
  readonly number: number | null;
  readonly sha256: string | null;
  readonly status: number;
  readonly address: string;
  readonly agent: string | null;
  readonly token: string | null;
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly bytes: number;
}

/** Rows of several batches are added up, as questions do; no image has a signature of a higher number. */
const sums = (address: string) => `
  SELECT site, folder, CASE WHEN number <= ${MAX_SIGNATURES_PER_IMAGE + 1} THEN number END AS number,
    encode(sha256, 'hex') AS sha256, status, agent, token, ${address} AS address, min(first_at_ms) AS first,
    max(last_at_ms) AS last, sum(count)::bigint AS count, sum(bytes)::bigint AS bytes
  FROM access_read`;

function imageOf({ site, folder }: Row) {
  return parseLongImageFolder(site, folder) ?? assert.fail(folder);
}

async function readsOf({ query }: Connections, day: string): Promise<readonly ReadCount[]> {
  const rows = await query<Row>(`
    ${sums('address')}
    WHERE day = '${day}' AND NOT ${IS_MISSING}
    GROUP BY first_at_ms / 60000, 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY first_at_ms / 60000, 3 NULLS FIRST, 7 NULLS FIRST`);
  return rows.map((row) => ({
    image: imageOf(row),
    number: row.number,
    signatureSha256: row.sha256,
    status: row.status,
    address: row.address,
    agent: row.agent,
    token: row.token,
    firstAt: new Date(row.first),
    lastAt: new Date(row.last),
    count: row.count,
    bytes: row.bytes,
  }));
}

async function missingOf({ query }: Connections, day: string): Promise<readonly MissingCount[]> {
  const rows = await query<Row>(`
    ${sums('(array_agg(address ORDER BY last_at_ms DESC))[1]')}
    WHERE day = '${day}' AND ${IS_MISSING}
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    ORDER BY 2`);
  return rows.map((row) => ({
    image: imageOf(row),
    firstAt: new Date(row.first),
    lastAt: new Date(row.last),
    lastAddress: row.address,
    count: row.count,
  }));
}

async function daysOf({ query }: Connections): Promise<readonly string[]> {
  const rows = await query<{ name: string }>(`
    SELECT inhrelid::regclass::text AS name
    FROM pg_inherits
    WHERE inhparent = 'access_read'::regclass
    ORDER BY 1`);
  return rows.map(({ name }) => name.replace(/^access_read_(....)(..)(..)$/, '$1-$2-$3'));
}

/** Two nodes over one database, which is emptied before each test. */
function createScene(postgres: () => Postgres) {
  let opened: Promise<readonly [Connections, Connections]> | null = null;
  const openBoth = async () => {
    const url = await postgres().migratedDatabase();
    return [connect({ url, poolSize: 4 }), connect({ url, poolSize: 4 })] as const;
  };
  return {
    async open() {
      opened ??= openBoth();
      const [connections, other] = await opened;
      for (const day of await daysOf(connections))
        await connections.query(`DROP TABLE access_read_${day.replaceAll('-', '')}`);
      await connections.query('DELETE FROM access_dropped');
      return { connections, other };
    },
    async end() {
      for (const one of (await opened) ?? []) await one.close();
    },
  };
}

/** A connection breaks at its COMMIT: the server has it, or it has not. */
function losingAnswers(connections: Connections, isCommitted: boolean): Connections {
  return {
    ...connections,
    async take() {
      const taken = await connections.take();
      const query: typeof taken.query = async (sql, values) => {
        if (sql !== 'COMMIT') return taken.query(sql, values);
        if (isCommitted) await taken.query(sql);
        throw new Error('it was cut off');
      };
      return { ...taken, query };
    },
  };
}

export function postgresAccessLogContract(postgres: () => Postgres): void {
  const scene = createScene(postgres);
  after(() => scene.end());

  accessLogContract('reads in PostgreSQL', async () => {
    const { connections, other } = await scene.open();
    return {
      access: new PostgresAccessLog(connections, () => true),
      reopen: async () => new PostgresAccessLog(other, () => true),
      days: () => daysOf(connections),
      reads: (day) => readsOf(connections, day),
      missing: (day) => missingOf(connections, day),
      async weigh(day, sizeBytes) {
        // four rows a page: larger ones would be compressed
        await connections.query(`
          INSERT INTO access_read (day, first_at_ms, last_at_ms, site, folder, status, address, agent, count, bytes)
          SELECT '${day}', 0, 0, 'default', 'weight', 404, '', repeat('x', 1800), 1, 0
          FROM generate_series(1, ${Math.ceil(sizeBytes / 2048)}) AS n`);
      },
      close: async () => undefined,
    };
  });

  test('texts that clients choose are read as they were written, but for a NUL, which PostgreSQL has not', async () => {
    const { connections } = await scene.open();
    const access = new PostgresAccessLog(connections, () => true);
    const agents = [
      'tab\tin',
      'line\nfeed\r',
      'back\\slash \\N \\. \\x41',
      '\\N',
      '',
      '\\.',
      'zwölf 🦭',
      'a\0b',
    ];
    const reads = agents.map((agent) => read({ agent, address: `one\tof\\${agents.indexOf(agent)}` }));
    await access.write({ reads, missing: [missing({ lastAddress: 'a\tb' })] });
    const stored = await readsOf(connections, '2026-11-22');
    assert.deepEqual(
      new Set(stored.map(({ agent, address }) => JSON.stringify([agent, address]))),
      new Set(reads.map(({ agent, address }) => JSON.stringify([agent?.replace('\0', '\ufffd'), address]))),
    );
    const [row] = await missingOf(connections, '2026-11-22');
    assert.equal(row?.lastAddress, 'a\tb');
  });

  test('a batch of more than one message is written as a whole, or not at all and the next one is', async () => {
    const { connections, other } = await scene.open();
    const access = new PostgresAccessLog(connections, () => true);
    const reads = Array.from({ length: 3000 }, (_, n) => read({ agent: `agent ${n}` }));
    await access.write({ reads, missing: [] });
    const counted = async () => {
      const [row] = await other.query<{ count: number }>('SELECT count(*) AS count FROM access_read');
      return row?.count;
    };
    assert.equal(await counted(), 3000);
    // PostgreSQL refuses the last row, when all others were sent
    const wrong = read({ bytes: 2 ** 70 });
    await assert.rejects(access.write({ reads: [...reads, wrong], missing: [] }), (error) =>
      isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
    await access.write({ reads: [read()], missing: [] });
    assert.equal(await counted(), 3001);
    // another node has dropped the day that this one knows
    await other.query('DROP TABLE access_read_20261122');
    await assert.rejects(access.write({ reads, missing: [] }), (error) =>
      isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
    await access.write({ reads, missing: [] });
    assert.equal(await counted(), 3000);
  });

  for (const isCommitted of [true, false]) {
    const outcome = isCommitted ? 'written' : 'not written';
    test(`a batch of which nobody has heard whether it was committed is known to be ${outcome}`, async () => {
      const { connections } = await scene.open();
      const access = new PostgresAccessLog(losingAnswers(connections, isCommitted), () => true);
      const dropped = { count: 7, firstAt: NOON, lastAt: NOON };
      const writing = access.write({ reads: [read(), read({ agent: 'b' })], missing: [], dropped });
      if (isCommitted) await writing;
      else await assert.rejects(writing, /it was cut off/);
      const [row] = await connections.query<{ reads: number; dropped: number }>(`
        SELECT (SELECT count(*) FROM access_read) AS reads,
          (SELECT coalesce(sum(count), 0)::bigint FROM access_dropped) AS dropped`);
      assert.deepEqual(row, isCommitted ? { reads: 2, dropped: 7 } : { reads: 0, dropped: 0 });
    });
  }

  test('a node that is to end does not ask for long what came of a batch', async () => {
    const { connections } = await scene.open();
    const lost = losingAnswers(connections, false);
    let asked = 0;
    const query: typeof lost.query = (sql, values) => {
      if (!sql.includes('pg_xact_status')) return lost.query(sql, values);
      asked += 1;
      return Promise.reject(new Error('nobody answers'));
    };
    const access = new PostgresAccessLog({ ...lost, query }, () => true);
    const startMs = performance.now();
    const writing = access.write({ reads: [read()], missing: [] });
    access.hurry();
    await assert.rejects(writing, /it was cut off/);
    assert.ok(asked > 0);
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs < 10_000, `it was given up after ${tookMs} ms`);
  });

  test('a node that was paused while others were upgraded past what it can bear records no reads', async () => {
    const { connections } = await scene.open();
    const access = new PostgresAccessLog(connections, () => true);
    await connections.query('UPDATE log_head SET oldest_writer = 1000');
    try {
      await assert.rejects(access.write({ reads: [read()], missing: [] }), /start the version/);
      assert.deepEqual(await readsOf(connections, '2026-11-22'), []);
    } finally {
      await connections.query('UPDATE log_head SET oldest_writer = 0');
    }
    await access.write({ reads: [read()], missing: [] });
    assert.equal((await readsOf(connections, '2026-11-22')).length, 1);
  });

  test('a node that does not lead drops no day, and knows that there is no room', async () => {
    const { connections } = await scene.open();
    const access = new PostgresAccessLog(connections, () => false);
    await access.write({ reads: [read()], missing: [] });
    const limits = { now: NOON, steadyMs: 0, retentionMs: 0, maxBytes: 1 };
    assert.deepEqual(await access.prune(limits), { fits: false, doubted: null });
    assert.deepEqual(await access.prune({ ...limits, now: new Date('2026-11-24T12:00:00Z') }), {
      fits: true,
      doubted: null,
    });
    assert.deepEqual(await daysOf(connections), ['2026-11-22']);
  });
}
