// Reads while nothing can be written: as fast as ever and always right; and what cannot be read is never a 404.
import assert from 'node:assert/strict';
import { chmod, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { type Argv, startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { type RawAnswer, requestRaw } from '../http/raw-request.ts';
import { otherProcess } from '../sqlite/scratch.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { fill } from './fill.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';
import { asNobody, giveToNobody, needsNobody } from './unprivileged.ts';

const IMAGES = 20;
const LASTING_MS = count(10_000, 1000);
const MOST_MS = 50;
const FAST = `0 errors for ${LASTING_MS / 1000} s, p99 at most ${MOST_MS} ms`;

const ONE = signatureBytes('one');
/** Of which index.db has the hash alone. */
const LARGE = signatureBytes('large', 20_000);

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

/** Reads one after the other, known and unknown, for so long. */
async function readAll(port: number, folders: readonly string[], lastingMs: number): Promise<Measured> {
  const tookMs: number[] = [];
  let errors = 0;
  for (const endMs = performance.now() + lastingMs; performance.now() < endMs || tookMs.length < 100; ) {
    const folder = folders[tookMs.length % folders.length];
    const isThere = tookMs.length % 3 !== 0;
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

async function layImages(root: string): Promise<readonly string[]> {
  const folders: string[] = [];
  for (let k = 0; k < IMAGES; k += 1) folders.push(await layImage(root, `team/app-${k}`, ONE));
  return folders;
}

interface Laid extends AsyncDisposable {
  readonly temp: TempFolder;
  readonly data: string;
  readonly root: string;
  readonly folders: readonly string[];
}

async function lay(): Promise<Laid> {
  const temp = await openTempFolder();
  const [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'tree')];
  await mkdir(data);
  const folders = await layImages(root);
  return { temp, data, root, folders, [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose]() };
}

promise(
  { id: 'P6', what: 'all databases locked by another process: reads go on', wanted: FAST },
  async (see) => {
    await using laid = await lay();
    await using server = await startServer({ root: laid.root, data: laid.data });
    await whole(server.port);
    const cleanup: (() => void)[] = [];
    const t = { after: (act: () => void) => void cleanup.push(act) };
    try {
      await readAll(server.port, laid.folders, 0); // the day's access log is there from now on
      const day = `access/${new Date().toISOString().slice(0, 10)}.db`;
      for (const name of ['index.db', 'state.db', day]) {
        await eventually(() => otherProcess(t, 'write', path.join(laid.data, name)));
      }
      const measured = await readAll(server.port, laid.folders, LASTING_MS);
      assertKept(measured, see);
      await eventually(async () => {
        const { status, said } = await readiness(server.port);
        assert.equal(status, 200);
        assert.match(said, /"reads":"ok","writes":"failed".*is locked by another process/);
      });
      assert.equal((await readiness(server.port, '?for=writes')).status, 503);
    } finally {
      for (const act of cleanup) act();
    }
  },
);

promise(
  {
    id: 'P6',
    what: 'an access log that cannot be written: reads go on, /readyz is 200 and names it',
    wanted: FAST,
    ...needsNobody(),
  },
  async (see) => {
    await using laid = await lay();
    await mkdir(path.join(laid.data, 'access'));
    await giveToNobody(laid.temp.path);
    await chmod(path.join(laid.data, 'access'), 0o500);
    await using server = await startServer({ root: laid.root, data: laid.data, on: asNobody });
    const measured = await readAll(server.port, laid.folders, LASTING_MS);
    await eventually(async () => {
      await requestRaw(server.port, `GET /${laid.folders[0]}/signature-1`);
      const { status, said } = await readiness(server.port);
      assert.equal(status, 200);
      assert.match(said, /"reads":"ok","writes":"failed".*the last write to the access log failed/);
    });
    assert.equal((await readiness(server.port, '?for=writes')).status, 503);
    assertKept(measured, see);
  },
);

const TMPFS = 'mount -t tmpfs -o size=8m tmpfs "$1" && mkdir "$1/data" && shift && exec "$@"';

/** A server in a mount namespace whose data directory is on a disk of 8 MiB. */
function onSmallDisk(folder: string): (argv: Argv) => Argv {
  return (argv) => [
    ...(['unshare', '--mount', '--propagation', 'private'] as const),
    ...['sh', '-ec', TMPFS, 'sh', folder, ...argv],
  ];
}

const inside = (pid: number, folder: string) => path.join(`/proc/${pid}/root`, folder);

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
      on: onSmallDisk(temp.path),
      settings: { LOOKASIDE_MIN_FREE: '1KiB' },
    });
    const seen = inside(server.pid, temp.path);
    const folders = await layImages(path.join(seen, 'data/sigstore'));
    await fill(path.join(seen, 'filler'));
    const measured = await readAll(server.port, folders, LASTING_MS);
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
until ! dd if=/dev/zero of="$1/filler" bs=4k oflag=append conv=notrunc count=100000 2>/dev/null; do :; done
shift 2; exec "$@"`;

promise(
  {
    id: 'P6',
    what: 'a server started twice on a full disk after a proper stop: reads are served, writes are off',
    wanted: '2 of 2 starts serve',
    ...needs('private host'),
  },
  async (see) => {
    await using laid = await openTempFolder();
    await using temp = await openTempFolder();
    const folders = await layImages(path.join(laid.path, 'sigstore'));
    await (await startServer({ data: laid.path })).stop();
    const ns = (argv: Argv): Argv => [
      ...(['unshare', '--mount', '--propagation', 'private'] as const),
      ...['sh', '-ec', STOPPED_AND_FULL, 'sh', temp.path, laid.path, ...argv],
    ];
    let served = 0;
    const serveOnce = async (server: LookasideServer) => {
      assert.equal((await readAll(server.port, folders, 0)).errors, 0);
      assert.equal((await readiness(server.port)).status, 200);
      assert.equal((await readiness(server.port, '?for=writes')).status, 503);
      served += 1;
    };
    await using holder = await startServer({ data: temp.path, on: ns });
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

promise(
  {
    id: 'P9',
    what: 'an I/O error while a signature is read: 503 and Retry-After, never a 404 or other bytes',
    wanted: 'every failed read 503, all read again afterwards',
    ...needs('strace'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    const [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'tree')];
    const folders: string[] = [];
    for (let k = 0; k < 6; k += 1) folders.push(await layImage(root, `team/app-${k}`, LARGE));
    await using server = await startServer({ root, data });
    await whole(server.port);
    const calls = ['?pread64,?read', '?open,?openat', '?newfstatat,?fstat,?statx'];
    let failed = 0;
    for (const names of calls) {
      const answers = await duringErrors(server, names, root, folders);
      for (const { status, headers, body } of answers) {
        if (status === 200) assert.ok(body.equals(LARGE));
        else {
          assert.equal(status, 503, `${names}: ${status}`);
          assert.match(headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
          failed += 1;
        }
      }
      await eventually(async () => {
        for (const folder of folders) {
          const { status, body } = await requestRaw(server.port, `GET /${folder}/signature-1`);
          assert.equal(status, 200);
          assert.ok(body.equals(LARGE));
        }
      });
    }
    see(`${failed} failed reads, all 503`);
    assert.ok(failed >= folders.length, `${failed} reads failed`);
  },
);

/** Answers of all images while these calls on their files and folders fail with EIO. */
async function duringErrors(
  server: LookasideServer,
  names: string,
  root: string,
  folders: readonly string[],
): Promise<readonly RawAnswer[]> {
  const places = folders.flatMap((folder) => [
    path.join(root, folder),
    path.join(root, folder, 'signature-1'),
  ]);
  await using strace = await startBackground(
    [
      ...(['strace', '-f', '-p', String(server.pid), '-o', '/dev/null'] as const),
      ...places.flatMap((place) => ['-P', place]),
      ...['-e', `trace=${names}`, '-e', `inject=${names}:error=EIO`],
    ],
    ENV,
    /attached/,
  );
  await pause(1100); // sets in memory are asked of the disk again after a second
  const answers: RawAnswer[] = [];
  for (const folder of folders) answers.push(await requestRaw(server.port, `GET /${folder}/signature-1`));
  await strace.stop();
  return answers;
}
