// Reads while nothing can be written: as fast as ever and always right; and what cannot be read is never a 404.
import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, utimes } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { type Argv, type Background, startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { type RawAnswer, requestRaw } from '../http/raw-request.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { fill } from './fill.ts';
import { lockDatabases, todaysLog } from './locked.ts';
import { inOwnMounts, seenBy } from './own-mounts.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';
import { asNobody, giveToNobody, needsNobody } from './unprivileged.ts';

const KNOWN = 20;
/** As many as the quickest run reads. */
const UNREAD = count(2000, 250);
const LASTING_MS = count(10_000, 1000);
const MOST_MS = 50;
const FAST = `0 errors for ${LASTING_MS / 1000} s of reads of known and unread images, p99 at most ${MOST_MS} ms`;

const ONE = signatureBytes('one');
/** A signature of which index.db has the hash alone. */
const LARGE = signatureBytes('large', 20_000);
const LARGER = signatureBytes('larger', 21_000);

const ENV = { env: { PATH: process.env.PATH ?? '' } };

async function readiness(
  port: number,
  query = '',
): Promise<{ readonly status: number; readonly said: string }> {
  const { status, body } = await requestRaw(port, `GET /readyz${query}`);
  return { status, said: body.toString() };
}

const whole = (port: number) =>
  eventually(async () => {
    const { said } = await readiness(port);
    assert.equal(JSON.parse(said).checks.index.state, 'ok');
  });

interface Measured {
  readonly reads: number;
  readonly errors: number;
  readonly p99Ms: number;
}

interface Images {
  /** Read again and again. */
  readonly known: readonly string[];
  /** Each is read once, as long as there are some. */
  readonly unread: readonly string[];
}

/** Reads one after the other, for so long: what is there and what is beyond the end, of both kinds. */
async function readAll(port: number, { known, unread }: Images, lastingMs: number): Promise<Measured> {
  const tookMs: number[] = [];
  let errors = 0;
  for (const endMs = performance.now() + lastingMs; performance.now() < endMs || tookMs.length < 100; ) {
    const turn = tookMs.length;
    const among = turn % 2 === 0 || unread.length === 0 ? known : unread;
    const folder = among[Math.floor(turn / 2) % among.length];
    const isThere = turn % 3 !== 0;
    const startMs = performance.now();
    const answer = await requestRaw(port, `GET /${folder}/signature-${isThere ? 1 : 2}`).catch(() => null);
    tookMs.push(performance.now() - startMs);
    const isRight = isThere ? answer?.status === 200 && answer.body.equals(ONE) : answer?.status === 404;
    if (!isRight) errors += 1;
    await pause(2);
  }
  return { reads: tookMs.length, errors, p99Ms: percentile(tookMs, 99) };
}

/** Times are judged in the full run alone, on a machine with nothing else to do; errors always. */
function assertKept({ reads, errors, p99Ms }: Measured, see: (figure: string) => void): void {
  see(`${errors} errors of ${reads} reads, p99 ${p99Ms.toFixed(1)} ms`);
  assert.equal(errors, 0);
  if (isFull) assert.ok(p99Ms <= MOST_MS, `p99 is ${p99Ms} ms`);
}

async function layImages(root: string, unreadCount = UNREAD): Promise<Images> {
  const lay = async (name: string, many: number) => {
    const folders: string[] = [];
    for (let k = 0; k < many; k += 1) folders.push(await layImage(root, `team/${name}-${k}`, ONE));
    return folders;
  };
  return { known: await lay('app', KNOWN), unread: await lay('unread', unreadCount) };
}

interface Laid extends AsyncDisposable {
  readonly temp: TempFolder;
  readonly data: string;
  readonly root: string;
  readonly images: Images;
}

async function lay(): Promise<Laid> {
  const temp = await openTempFolder();
  const [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'tree')];
  await mkdir(data);
  const images = await layImages(root);
  return { temp, data, root, images, [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose]() };
}

promise(
  // a lock while others read: test/faults/store-failed.test.ts
  { id: 'P6', what: 'all databases locked by another process: reads go on', wanted: FAST, isLong: true },
  async (see) => {
    await using laid = await lay();
    await using server = await startServer({ root: laid.root, data: laid.data });
    await whole(server.port);
    await readAll(server.port, { ...laid.images, unread: [] }, 0); // the day's access log is there from now on
    await using _ = await lockDatabases(laid.data, ['index.db', 'state.db', todaysLog()]);
    const measured = await readAll(server.port, laid.images, LASTING_MS);
    assertKept(measured, see);
    await eventually(async () => {
      const { status, said } = await readiness(server.port);
      assert.equal(status, 200);
      assert.match(said, /"reads":"ok","writes":"failed".*is locked by another process/);
    });
    assert.equal((await readiness(server.port, '?for=writes')).status, 503);
  },
);

promise(
  {
    id: 'P6',
    what: 'an access log that cannot be written: reads go on, /readyz is 200 and names it',
    wanted: FAST,
    isLong: true, // what is read and told: test/faults/store-failed.test.ts
    ...needsNobody(),
  },
  async (see) => {
    await using laid = await lay();
    await mkdir(path.join(laid.data, 'access'));
    await giveToNobody(laid.temp.path);
    await chmod(path.join(laid.data, 'access'), 0o500);
    await using server = await startServer({ root: laid.root, data: laid.data, on: asNobody });
    const measured = await readAll(server.port, laid.images, LASTING_MS);
    await eventually(async () => {
      await requestRaw(server.port, `GET /${laid.images.known[0]}/signature-1`);
      const { status, said } = await readiness(server.port);
      assert.equal(status, 200);
      assert.match(said, /"reads":"ok","writes":"failed".*the last write to the access log failed/);
    });
    assert.equal((await readiness(server.port, '?for=writes')).status, 503);
    assertKept(measured, see);
  },
);

/** The data directory is on a disk of 32 MiB. */
const ON_SMALL_DISK = 'mount -t tmpfs -o size=32m tmpfs "$1" && mkdir "$1/data"';

promise(
  {
    id: 'P6',
    what: 'a full disk: reads go on, /readyz is 200 and says why uploads are refused',
    wanted: FAST,
    ...needs('private host'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    await using server = await startServer({
      data,
      on: inOwnMounts(ON_SMALL_DISK, temp.path),
      settings: { LOOKASIDE_MIN_FREE: '1KiB' },
    });
    const seen = seenBy(server.pid, temp.path);
    const images = await layImages(path.join(seen, 'data/sigstore'));
    await fill(path.join(seen, 'filler'));
    const measured = await readAll(server.port, images, LASTING_MS);
    const { status, said } = await readiness(server.port);
    assert.equal(status, 200);
    assert.match(
      said,
      /"reads":"ok","writes":"failed".*"space":\{"state":"degraded","message":"0 bytes are free/,
    );
    assert.equal((await readiness(server.port, '?for=writes')).status, 503);
    assertKept(measured, see);
  },
);

const STOPPED_AND_FULL = `mount -t tmpfs -o size=8m tmpfs "$1" && cp -a "$2/." "$1" || exit 1
until ! dd if=/dev/zero of="$1/filler" bs=4k oflag=append conv=notrunc count=100000 2>/dev/null; do :; done`;

promise(
  {
    id: 'P6',
    what: 'a server started twice on a full disk after a proper stop: reads are served, writes are off',
    wanted: '2 of 2 starts serve',
    isLong: true,
    ...needs('private host'),
  },
  async (see) => {
    await using laid = await openTempFolder();
    await using temp = await openTempFolder();
    const images = await layImages(path.join(laid.path, 'sigstore'), 0);
    await (await startServer({ data: laid.path })).stop();
    let served = 0;
    const serveOnce = async (server: LookasideServer) => {
      assert.equal((await readAll(server.port, images, 0)).errors, 0);
      assert.equal((await readiness(server.port)).status, 200);
      assert.equal((await readiness(server.port, '?for=writes')).status, 503);
      served += 1;
    };
    await using holder = await startServer({
      data: temp.path,
      on: inOwnMounts(STOPPED_AND_FULL, temp.path, laid.path),
    });
    await serveOnce(holder);
    // the disk lives as long as somebody is in its namespace
    await using keeper = await startBackground(
      ['nsenter', `--target=${holder.pid}`, '--mount', 'sh', '-c', 'echo here; read forever'],
      ENV,
      /here/,
    );
    await holder.stop();
    const within = (argv: Argv): Argv => ['nsenter', `--target=${keeper.pid}`, '--mount', ...argv];
    await using again = await startServer({ data: temp.path, on: within });
    await serveOnce(again);
    see(`${served} of 2 starts serve`);
  },
);

const READS = ['?pread64,?read', '?open,?openat'];

/** Calls that a read makes of the tree. What an owned one has is told by index.db. */
const TREES = [
  { kind: 'shared', calls: [...READS, '?newfstatat,?fstat,?statx', 'getdents64'] },
  { kind: 'owned', calls: READS },
] as const;

for (const { kind, calls } of TREES) {
  promise(
    {
      id: 'P9',
      what: `an I/O error while a signature of a tree that is ${kind} is read: 503 and Retry-After, never a 404 or other bytes`,
      wanted: `every failed read 503, all read again afterwards, at each of ${calls.length} calls`,
      isLong: kind === 'owned', // whose calls are some of those of a shared one
      ...needs('strace'),
    },
    async (see) => {
      await using temp = await openTempFolder();
      const data = path.join(temp.path, 'data');
      const root = kind === 'shared' ? path.join(temp.path, 'tree') : path.join(data, 'sigstore');
      const folders: string[] = [];
      for (let k = 0; k < 6; k += 1) folders.push(await layImage(root, `team/app-${k}`, LARGE, LARGER));
      await using server = await startServer(kind === 'shared' ? { root, data } : { data });
      await whole(server.port);
      const failed: number[] = [];
      for (const names of calls) {
        const places = folders.flatMap((folder) =>
          ['', 'signature-1', 'signature-2'].map((name) => path.join(root, folder, name)),
        );
        await using errors = await startErrors(server.pid, names, places);
        await pause(1100); // sets in memory are asked of the disk again after a second
        // a folder that has not changed is not listed again
        for (const folder of folders) await utimes(path.join(root, folder), new Date(), new Date());
        const answers: Answered[] = [];
        for (const folder of folders) answers.push(...(await readBoth(server.port, folder)));
        await errors.stop();
        failed.push(answers.filter((answer) => isFailed(answer, names)).length);
        await eventually(async () => {
          for (const folder of folders) {
            for (const answer of await readBoth(server.port, folder)) assert.ok(!isFailed(answer, names));
          }
        });
      }
      see(`${failed.join(', ')} failed reads of ${2 * folders.length}, all 503`);
      for (const times of failed) assert.ok(times > 0, `reads that failed: ${failed}`);
    },
  );
}

const UNINDEXED = count(300, 30);
/** A signature of which index.db has the bytes, on pages of its own. */
const [WHOLE, WHOLE_TOO] = [signatureBytes('whole', 8000), signatureBytes('whole too', 8000)];

promise(
  {
    id: 'P9',
    what: 'an I/O error while index.db is read: the signature from the tree, or 503, never a 404',
    wanted: `${2 * UNINDEXED} reads right or 503, all right again afterwards`,
    ...needs('strace'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = temp.path;
    const folders: string[] = [];
    for (let k = 0; k < UNINDEXED; k += 1) {
      folders.push(await layImage(path.join(data, 'sigstore'), `team/app-${k}`, WHOLE, WHOLE_TOO));
    }
    await (await startIndexed(data)).stop();
    await using server = await startIndexed(data);
    const places = ['index.db', 'index.db-wal'].map((name) => path.join(data, name));
    const trace = path.join(data, 'trace');
    await using errors = await startErrors(server.pid, '?pread64', places, trace);
    const statuses = new Map<number, number>();
    for (const folder of folders) {
      for (const [position, bytes] of [WHOLE, WHOLE_TOO].entries()) {
        const answer = await requestRaw(server.port, `GET /${folder}/signature-${position + 1}`);
        isFailed({ answer, bytes }, 'pread64 of index.db');
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      }
      const { status } = await requestRaw(server.port, `GET /${folder}/signature-3`);
      assert.ok(status === 404 || status === 503, `${status}`);
    }
    await errors.stop();
    const calls = (await readFile(trace, 'utf8')).split('(INJECTED)').length - 1;
    see(
      `${[...statuses].map(([status, times]) => `${times} × ${status}`).join(', ')} at ${calls} failed calls`,
    );
    assert.ok(calls > 0);
    await eventually(async () => {
      for (const folder of folders) {
        const { status, body } = await requestRaw(server.port, `GET /${folder}/signature-1`);
        assert.ok(status === 200 && body.equals(WHOLE));
      }
    });
  },
);

/** Over the owned tree, once its index is whole. */
async function startIndexed(data: string): Promise<LookasideServer> {
  const server = await startServer({ data });
  await whole(server.port);
  return server;
}

interface Answered {
  readonly answer: RawAnswer;
  /** What is stored there. */
  readonly bytes: Buffer;
}

async function readBoth(port: number, folder: string): Promise<readonly Answered[]> {
  return [
    { answer: await requestRaw(port, `GET /${folder}/signature-1`), bytes: LARGE },
    { answer: await requestRaw(port, `GET /${folder}/signature-2`), bytes: LARGER },
  ];
}

/** Whether it is a 503; else it has the bytes. */
function isFailed({ answer: { status, headers, body }, bytes }: Answered, names: string): boolean {
  if (status === 200) {
    assert.ok(body.equals(bytes), names);
    return false;
  }
  assert.equal(status, 503, `${names}: ${status}`);
  assert.match(headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
  return true;
}

/** From now on these calls on these files and folders fail with EIO. */
function startErrors(
  pid: number,
  names: string,
  places: readonly string[],
  trace = '/dev/null',
): Promise<Background> {
  return startBackground(
    [
      ...(['strace', '-f', '-p', String(pid), '-o', trace] as const),
      ...places.flatMap((place) => ['-P', place]),
      ...['-e', `trace=${names}`, '-e', `inject=${names}:error=EIO`],
    ],
    ENV,
    /attached/,
  );
}
