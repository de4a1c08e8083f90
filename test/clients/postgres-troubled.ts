// A database that takes no changes, has no connection left, or is far away: what users of a node meet meanwhile, and how long it takes.
import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import { it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { folderOf } from '../store/lay.ts';
import { eventually } from './eventually.ts';
import type { Postgres } from './postgres.ts';
import { askWhileHung } from './postgres-hung.ts';
import type { Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';
import { summaryOf, type Uploads } from './uploads.ts';

export interface TroubledNode {
  readonly port: number;
  uploads(token: string): Uploads;
  close(): Promise<void>;
}

export interface TroubledTests {
  postgres(): Postgres;
  url(): string;
  token(): string;
  readonly signer: Signer;
  openNode(url: string): Promise<TroubledNode>;
}

/**
 * No request waits for the database for longer than 4.8 s (src/postgres/in-time.ts). Two such bounds one after the other, which is what a
 * fault would take, are more. The time in which this process, the node's too, had no turn of the processor does not count.
 */
const LONGEST_MS = 8000;
const TURN_MS = 50;

/** Returns a function that ends it, with the milliseconds for which timers came late. */
function watchTurns(): () => number {
  let heldMs = 0;
  let lastMs = performance.now();
  const look = () => {
    const nowMs = performance.now();
    heldMs += Math.max(0, nowMs - lastMs - TURN_MS);
    lastMs = nowMs;
  };
  const timer = setInterval(look, TURN_MS);
  return () => {
    clearInterval(timer);
    look();
    return Math.round(heldMs);
  };
}

export async function timed<T>(asking: Promise<T>): Promise<T> {
  const startMs = performance.now();
  const endTurns = watchTurns();
  let heldMs = 0;
  const answer = await asking.finally(() => {
    heldMs = endTurns();
  });
  const tookMs = Math.round(performance.now() - startMs);
  assert.ok(tookMs - heldMs < LONGEST_MS, `it was answered after ${tookMs} ms, ${heldMs} without a turn`);
  return answer;
}

export function troubledTests({ postgres, url, token, signer, openNode }: TroubledTests): void {
  const sign = (name: string, tag: string) => signer.sign({ repository: `team/${name}`, tag });

  /** Sessions of before neither know a new setting nor need a new connection. */
  const endSessions = () =>
    postgres().query(
      url(),
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'lookaside'",
    );

  it('go on reading from a database that takes no changes, and refuse uploads with 503', async () => {
    const node = await openNode(url());
    const folder = folderOf('team/still');
    const uploads = node.uploads(token());
    try {
      assert.equal((await uploads.post(folder, sign('still', 'v1'))).status, 201);
      const name = (await postgres().query(url(), 'SELECT current_database() AS name'))[0]?.name;
      await postgres().query(url(), `ALTER DATABASE ${name} SET default_transaction_read_only = on`);
      try {
        await endSessions();
        const refused = await timed(uploads.post(folder, sign('still', 'v2')));
        assert.deepEqual([refused.status, refused.code], [503, 'STORE_UNAVAILABLE']);
        await eventually(async () => assert.equal((await uploads.get(`${folder}/signature-1`)).status, 200));
        assert.equal((await timed(uploads.get(`${folder}/signature-2`))).status, 404);
        const started = await openNode(url());
        try {
          assert.equal((await started.uploads(token()).get(`${folder}/signature-1`)).status, 200);
          const health = await fetch(`http://127.0.0.1:${started.port}/readyz?for=writes`);
          assert.equal(health.status, 503);
          assert.match(await health.text(), /takes no changes/);
        } finally {
          await started.close();
        }
      } finally {
        await postgres().query(
          url(),
          `BEGIN READ WRITE; ALTER DATABASE ${name} RESET default_transaction_read_only; COMMIT`,
        );
        await endSessions();
      }
      await eventually(async () => {
        const { status } = await uploads.post(folder, sign('still', 'v2'));
        assert.ok(status === 201 || status === 200);
      });
    } finally {
      await node.close();
    }
  });

  it('go on reading where they are older than the tables bear, refuse uploads with 503, and say so', async () => {
    const node = await openNode(url());
    const folder = folderOf('team/older');
    const uploads = node.uploads(token());
    const readyFor = (what: string) => fetch(`http://127.0.0.1:${node.port}/readyz${what}`);
    try {
      assert.equal((await uploads.post(folder, sign('older', 'v1'))).status, 201);
      assert.equal((await readyFor('?for=writes')).status, 200);
      await postgres().query(url(), 'UPDATE log_head SET oldest_writer = 1000');
      const refused = await uploads.post(folder, sign('older', 'v2'));
      assert.deepEqual([refused.status, refused.code], [503, 'STORE_UNAVAILABLE']);
      await eventually(async () => assert.equal((await readyFor('?for=writes')).status, 503));
      const reads = await readyFor('');
      assert.equal(reads.status, 200);
      assert.match(await reads.text(), /start the version that the other nodes have/);
      assert.equal((await uploads.get(`${folder}/signature-1`)).status, 200);
    } finally {
      await postgres().query(url(), 'UPDATE log_head SET oldest_writer = 0');
      await node.close();
    }
  });

  it('answer in time where the database has no connection left, and go on by themselves', async () => {
    const node = await openNode(url());
    const uploads = node.uploads(token());
    const folder = folderOf('team/crowded');
    const clients: pg.Client[] = [];
    try {
      assert.equal((await uploads.post(folder, sign('crowded', 'v1'))).status, 201);
      assert.equal((await uploads.get(`${folder}/signature-1`)).status, 200);
      await endSessions();
      for (let isFull = false; !isFull; ) {
        const client = new pg.Client({ connectionString: url() });
        client.on('error', () => undefined);
        isFull = await client.connect().then(
          () => false,
          () => true,
        );
        if (!isFull) clients.push(client);
      }
      const known = timed(uploads.get(`${folder}/signature-1`));
      const unknown = timed(uploads.get(`${folderOf('team/never')}/signature-1`));
      const refused = timed(uploads.post(folder, sign('crowded', 'v2')));
      // nobody else has let it in meanwhile, or somebody has given up a connection
      assert.ok([200, 503].includes((await known).status));
      assert.ok([404, 503].includes((await unknown).status));
      assert.ok([201, 503].includes((await refused).status));
    } finally {
      await Promise.all(clients.map((client) => client.end()));
      await eventually(async () =>
        assert.equal((await uploads.get(`${folderOf('team/never')}/signature-1`)).status, 404),
      );
      await node.close();
    }
  });

  it('answer an upload and a batch within one bound of time, however far away the database is', async () => {
    await using temp = await openTempFolder();
    const { far, delay } = await openFar(postgres(), url(), temp.path);
    await using _far = far;
    const node = await openNode(far.url);
    try {
      const uploads = node.uploads(token());
      const folder = folderOf('team/farther');
      const bytes = sign('farther', 'v1');
      // in more images than are stored at once
      const parts = Array.from({ length: 12 }, (_, n) => ({ bytes: sign(`farther-${n}`, 'v1') }));
      // it leaves open connections behind: over such a way, a new one takes longer than it may, and no question would be asked
      assert.equal((await uploads.post(folderOf('team/near'), sign('near', 'v1'))).status, 201);
      // each question is answered within its own time, and all of them together are not
      delay.ms = 450;
      const startMs = performance.now();
      const late = await timed(uploads.post(folder, bytes));
      const waitedMs = performance.now() - startMs;
      assert.deepEqual([late.status, late.code], [503, 'STORE_UNAVAILABLE']);
      assert.ok(waitedMs > 4000, `it was answered after ${waitedMs} ms, before it was late`);
      const { results } = await timed(uploads.batch(parts));
      assert.deepEqual([...new Set(results.map(summaryOf))], ['STORE_UNAVAILABLE']);
      assert.equal(results.length, parts.length);
      delay.ms = 0;
      await eventually(async () => {
        const { status, receipt } = await uploads.post(folder, bytes);
        assert.ok(status === 201 || status === 200);
        assert.equal(receipt?.number, 1);
      });
      assert.equal((await uploads.get(`${folder}/signature-2`)).status, 404);
    } finally {
      await node.close();
    }
  });

  it('answer every request in time while the database does not answer at all', async () => {
    await askWhileHung({ postgres: postgres(), signer, openNode }, Number.POSITIVE_INFINITY);
  });

  it('take uploads and serve reads over a database that is far away', async () => {
    await serveFromFar({ postgres: postgres(), url: url(), token: token(), signer, openNode }, 15);
  });
}

interface Far {
  readonly postgres: Postgres;
  readonly url: string;
  readonly token: string;
  readonly signer: Signer;
  readonly openNode: TroubledTests['openNode'];
}

/** `oneWayMs`: half of what an answer takes. The milliseconds of the fastest of so many uploads. */
export async function serveFromFar(
  { postgres, url, token, signer, openNode }: Far,
  oneWayMs: number,
  count = 1,
): Promise<number> {
  await using temp = await openTempFolder();
  const { far, delay } = await openFar(postgres, url, temp.path);
  await using _far = far;
  delay.ms = oneWayMs;
  const node = await openNode(far.url);
  try {
    const uploads = node.uploads(token);
    const folder = folderOf('team/far');
    let tookMs = Number.POSITIVE_INFINITY;
    for (let n = 0; n < count; n += 1) {
      const bytes = signer.sign({ repository: 'team/far', tag: `v${n}` });
      const startMs = performance.now();
      assert.equal((await timed(uploads.post(folder, bytes))).status, 201);
      tookMs = Math.min(tookMs, performance.now() - startMs);
    }
    assert.ok(tookMs > 6 * oneWayMs, 'it is far away');
    assert.equal((await timed(uploads.get(`${folder}/signature-1`))).status, 200);
    assert.equal((await timed(uploads.get(`${folderOf('team/nowhere')}/signature-1`))).status, 404);
    // more than connections: each would wait for one of them
    const cold = Array.from({ length: 200 }, (_, n) =>
      timed(uploads.get(`${folderOf(`team/cold-${n}`)}/signature-1`)),
    );
    const statuses = (await Promise.all(cold)).map(({ status }) => status);
    assert.deepEqual([...new Set(statuses)], [404]);
    return tookMs;
  } finally {
    await node.close();
  }
}

/** The same database, behind a socket in `folder` whose answers take twice `delay.ms`, which is nothing at first. */
export async function openFar({ port }: Postgres, url: string, folder: string) {
  const file = `.s.PGSQL.${port}`;
  const { searchParams } = new URL(url.replace('@/', '@host/'));
  const here = searchParams.get('host') ?? '';
  const delay: Delay = { ms: 0, isHole: false };
  const door = await openDelay(path.join(here, file), path.join(folder, file), delay);
  return { far: { ...door, url: url.replace(encodeURIComponent(here), encodeURIComponent(folder)) }, delay };
}

export interface Delay {
  ms: number;
  /** Nothing arrives any more, and nobody is told: connections of that time are useless afterwards. */
  isHole: boolean;
}

/** Each piece arrives so much later, in either direction. */
async function openDelay(to: string, at: string, delay: Readonly<Delay>): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const forward = (from: Socket, into: Socket) => {
    sockets.add(from);
    // what comes later does not overtake, also when it is delayed less
    let before: Promise<unknown> = Promise.resolve();
    const later = (act: () => void) => {
      before = Promise.all([before, pause(delay.ms)]).then(act);
    };
    from.on('error', () => into.destroy());
    from.on('data', (piece) => later(() => !delay.isHole && into.write(piece)));
    from.on('close', () => {
      sockets.delete(from);
      later(() => into.end());
    });
  };
  const server = createServer((near) => {
    const distant = connect(to);
    forward(near, distant);
    forward(distant, near);
  });
  await new Promise<void>((resolve) => server.listen(at, resolve));
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
