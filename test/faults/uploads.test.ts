// The running server is killed, or its disk fails, at each step of an upload: each ends whole or absent, and what was
// acknowledged is there.
import assert from 'node:assert/strict';
import { cp, open, readdir, readFile, readlink, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { type Argv, type Background, startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, type UploadAnswer, uploadsTo } from '../clients/uploads.ts';
import {
  assertServes,
  type CrashScene,
  openCrashScene,
  openTemplate,
  send,
  type Template,
  toAttempt,
} from './crash-scene.ts';
import { type Effect, openFailingCalls, type Plan } from './failing-calls.ts';
import { fillWith } from './fill.ts';
import { lockDatabases } from './locked.ts';
import { inOwnMounts, seenBy } from './own-mounts.ts';
import { count, isFull, promise } from './promise.ts';
import { assertNoDebris, assertWholeOrAbsent, numberOf } from './upload-witness.ts';

let template: Template;

before(async () => {
  template = await openTemplate();
});

after(() => template?.[Symbol.asyncDispose]());

// with one thread of the pool, strace's count of calls, which is each thread's own, is that of the tree's
const SETTINGS = { UV_THREADPOOL_SIZE: '1' };

/** Tests beside each other: most of their time is that of servers which start. */
const AT_ONCE = 3;

/** Calls that an upload makes. */
interface Calls {
  readonly what: string;
  /** As strace names them; one that this processor has not is no mistake. Or those of any file in the tree. */
  readonly names: string | { readonly inTree: Plan['call'] };
  /** Only those on this file of the data directory. */
  readonly file?: string;
  /** Made for images that have a signature already, and for no new ones. */
  readonly isOfSecond?: boolean;
  /** After the n-th call which one is next. */
  readonly next: (n: number) => number;
}

const EACH_CALL = 'each call, until a run is untouched';
/** In `npm test` the first, third, ninth: each of them takes a start, and test/store/append.test.ts has every step in one process. */
const each = (n: number) => (isFull ? n + 1 : n * 3);
const SYNC = '?fsync,?fdatasync';

const CALLS: readonly Calls[] = [
  { what: 'fsync of the tree', names: SYNC, next: each },
  { what: 'fsync of state.db', names: SYNC, file: 'state.db-wal', next: each },
  { what: 'open in the tree', names: { inTree: 'open' }, next: each },
  { what: 'write to the tree', names: { inTree: 'write' }, next: each },
  { what: 'rename', names: '?rename,?renameat,?renameat2', next: each },
  { what: 'link', names: '?link,?linkat', isOfSecond: true, next: each },
  { what: 'unlink', names: '?unlink,?unlinkat', next: each },
  { what: 'mkdir', names: '?mkdir,?mkdirat', next: each },
  { what: 'write to state.db', names: '?pwrite64', file: 'state.db-wal', next: each },
  { what: 'write to index.db', names: '?pwrite64', file: 'index.db-wal', next: each },
];

const neededBy = ({ names }: Calls) => (typeof names === 'string' ? 'strace' : 'gcc');

const isSyncOfTree = ({ what }: Calls) => what === 'fsync of the tree';

interface Injection extends AsyncDisposable {
  /** Paths of the calls that were made to fail. */
  failed(): Promise<readonly string[]>;
  /** Whether a call of state.db went well before the first that was made to fail. */
  succeededBefore(): Promise<boolean>;
}

/** Something that happens to the n-th of these calls of each of the server's threads, until it is disposed of. */
interface Injector extends AsyncDisposable {
  /** Variables for the server's environment. */
  readonly settings: Readonly<Record<string, string>>;
  inject(scene: CrashScene, n: number, effect: Effect): Promise<Injection>;
}

async function openInjector({ names, file }: Calls): Promise<Injector> {
  if (typeof names !== 'string') return failingInTree(names.inTree);
  return {
    settings: SETTINGS,
    inject: (scene, n, effect) => trace(scene, { names, file, n, effect }),
    [Symbol.asyncDispose]: async () => {},
  };
}

async function failingInTree(call: Plan['call']): Promise<Injector> {
  const calls = await openFailingCalls();
  return {
    settings: { ...SETTINGS, ...calls.settings },
    async inject({ data }, nth, effect) {
      await calls.plan({ call, pattern: path.join(data, 'sigstore*'), nth, effect });
      return {
        failed: async () => ((await calls.end()) ? [`${call} of sigstore`] : []),
        succeededBefore: async () => false,
        [Symbol.asyncDispose]: async () => void (await calls.end()),
      };
    },
    [Symbol.asyncDispose]: () => calls[Symbol.asyncDispose](),
  };
}

interface Traced {
  readonly names: string;
  readonly file: string | undefined;
  readonly n: number;
  readonly effect: Effect;
}

async function trace(scene: CrashScene, { names, file, n, effect }: Traced): Promise<Injection> {
  const output = path.join(scene.data, 'trace');
  const only = file === undefined ? [] : ['-P', path.join(scene.data, file)];
  const what = effect === 'KILL' ? 'signal=KILL' : `error=${effect}`;
  const strace: Background = await startBackground(
    [
      'strace',
      ...['-f', '-y', '-p', String(scene.server.pid), '-o', output, ...only],
      ...['-e', `trace=${names}`, '-e', `inject=${names}:${what}:when=${n}`],
    ],
    { env: { PATH: process.env.PATH ?? '' } },
    /attached/,
  );
  return {
    async failed() {
      await strace.stop();
      return injected((await readFile(output, 'utf8')).split('\n'));
    },
    async succeededBefore() {
      const [before = ''] = (await readFile(output, 'utf8')).split('(INJECTED)', 1);
      return /state\.db.* = 0$/m.test(before);
    },
    async [Symbol.asyncDispose]() {
      await strace.stop();
    },
  };
}

/** A call that another thread's came between stands on two lines, of which only the first has its path. */
function injected(lines: readonly string[]): readonly string[] {
  const begun = new Map<string, string>();
  return lines.flatMap((line) => {
    const [thread = ''] = line.split(' ', 1);
    if (line.includes('<unfinished ...>')) begun.set(thread, line);
    if (!line.includes('(INJECTED)')) return [];
    return [line.includes(' resumed>') ? `${begun.get(thread) ?? ''} ${line}` : line];
  });
}

/** What is uploaded next; where the calls are of an image's second signature, behind a first. */
async function nthAttempt(scene: CrashScene, { isOfSecond = false }: Calls, repository: string) {
  if (!isOfSecond) return scene.attempt(repository);
  const first = await scene.send(scene.attempt(repository, 'v0'));
  assert.ok(first !== null);
  takenAs(first, 201);
  return scene.attempt(repository);
}

describe('a server that is killed', { concurrency: AT_ONCE }, () => {
  for (const calls of CALLS) {
    const what = `an upload that is cut short by kill -9 at its n-th ${calls.what} is whole or absent`;
    const isLong = !isSyncOfTree(calls);
    promise({ id: 'P1', what, wanted: EACH_CALL, isLong, ...needs(neededBy(calls)) }, async (see) => {
      await using injector = await openInjector(calls);
      await using scene = await openCrashScene(template, { settings: injector.settings });
      let n = 1;
      for (; ; n = calls.next(n)) {
        const attempt = await nthAttempt(scene, calls, `killed-${n}/app`);
        await using _ = await injector.inject(scene, n, 'KILL');
        const answer = await scene.send(attempt);
        if (answer !== null) {
          takenAs(answer, 201);
          break;
        }
        await scene.assertFsckFindsNothing();
        await scene.restart();
        await scene.sendAgain(attempt);
      }
      assert.ok(n > 1, 'it was killed at least once');
      await scene.restart();
      await scene.assertFsckFindsNothing();
      see(`whole or absent up to call ${n}`);
    });
  }
});

/** What must not be lost once it was acknowledged; index.db and the access log may be. */
const isOfTheTruth = (line: string) => /sigstore|state\.db/.test(line);

const FAILURES: readonly (readonly [error: Exclude<Effect, 'KILL'>, calls: readonly Calls[]])[] = [
  ['EIO', CALLS],
  // a disk that is really full, of which all calls fail, is below
  ['ENOSPC', CALLS.filter(({ what }) => what !== 'unlink')],
  ['EMFILE', CALLS.filter(({ what }) => what === 'open in the tree')],
];

/** In `npm test` a lost write, in both places; a full disk is below, where each step of an upload is once the first to find none. */
const SHORT = ['EIO fsync of the tree', 'EIO fsync of state.db'];

describe('a disk that fails', { concurrency: AT_ONCE }, () => {
  for (const [error, failing] of FAILURES) {
    for (const calls of failing) {
      const what = `${error} at the n-th ${calls.what} has an upload refused or stored, and no lost write is acknowledged`;
      const isLong = !SHORT.includes(`${error} ${calls.what}`);
      promise({ id: 'P3', what, wanted: EACH_CALL, isLong, ...needs(neededBy(calls)) }, async (see) => {
        await using injector = await openInjector(calls);
        await using scene = await openCrashScene(template, { settings: injector.settings });
        const statuses: number[] = [];
        for (let n = 1; ; n = calls.next(n)) {
          const attempt = await nthAttempt(scene, calls, `failed-${n}/app`);
          await using injection = await injector.inject(scene, n, error);
          const answer = await scene.send(attempt);
          await scene.assertReads();
          const failed = await injection.failed();
          assert.ok(answer !== null, 'it is answered');
          statuses.push(answer.status);
          if (failed.length === 0) {
            takenAs(answer, 201);
            break;
          }
          const context = `${answer.status} ${answer.code} after\n${failed.join('\n')}`;
          // without a restart: a refused upload has nothing left to end
          if ((await numberOf(scene.data, attempt)) === null) await assertNoDebris(scene.data);
          const isSync = calls.names === SYNC;
          const isLost = isSync && failed.some(isOfTheTruth);
          // the head of the log is synced behind the upload that it covers: by then that one's own sync is among those that went well
          if (answer.status === 201) assert.ok(!isLost || (await injection.succeededBefore()), context);
          else if (isSync) assert.ok(answer.status === 503 || answer.status === 507, context);
          else if (error !== 'ENOSPC') assert.equal(answer.status, 503, context);
          // a real disk without room fails no open of what is only read: that is told as any other failure
          else
            assert.ok(
              answer.status === 507 || (answer.status === 503 && calls.what === 'open in the tree'),
              context,
            );

          const next = scene.attempt(`after-${n}/app`);
          const following = await scene.send(next);
          await scene.assertReads();
          if (isLost && error === 'EIO') assert.equal(following?.status, 503, context);
          if (!isLost) assert.equal(following?.status, 201, context);
          if (following?.status !== 201) await scene.restart();
          await scene.sendAgain(attempt, next);
        }
        assert.ok(statuses.length > 1, 'at least one call failed');
        await scene.restart();
        await scene.assertFsckFindsNothing();
        see(`${statuses.length} calls: ${figureOf(statuses)}`);
      });
    }
  }
});

/** In the full run longer than the server waits for a lock, so that some uploads wait and others are refused. */
const LOCKED_MS = count(35_000, 1500);
const LOCKED_UPLOADS = 12;

promise(
  {
    id: 'P6',
    what: 'state.db and index.db locked by another process: uploads wait or are refused, and none is lost',
    wanted: `each of ${LOCKED_UPLOADS} answered 201, or 503 with Retry-After; 0 lost, 0 stored twice`,
  },
  async (see) => {
    await using scene = await openCrashScene(template);
    await using locks = await lockDatabases(scene.data, ['state.db', 'index.db']);
    const startedMs = performance.now();
    const attempts = Array.from({ length: LOCKED_UPLOADS }, (_, k) =>
      scene.attempt(`locked-${k % 8}/app`, `v${k}`),
    );
    const sent: Promise<UploadAnswer | null>[] = [];
    for (const attempt of attempts) {
      sent.push(scene.send(attempt));
      await scene.assertReads();
      await pause(LOCKED_MS / LOCKED_UPLOADS);
    }
    assert.ok(performance.now() - startedMs >= LOCKED_MS);
    await locks.release();
    const answers = await Promise.all(sent);
    for (const answer of answers) {
      assert.ok(answer !== null, 'it is answered');
      if (answer.status === 201) continue;
      assert.deepEqual([answer.status, answer.code], [503, 'BUSY']);
      assert.match(answer.retryAfter ?? '', /^[1-9][0-9]*$/);
    }
    await scene.sendAgain(...attempts);
    await scene.assertSound();
    see(`${figureOf(answers.map((answer) => answer?.status))}; 0 lost, 0 stored twice`);
    await scene.restart();
    await scene.assertFsckFindsNothing();
  },
);

const PAGE_BYTES = 4096;
const ON_TMPFS = 'mount -t tmpfs -o size=8m tmpfs "$2" && cp -a "$1/." "$2"';

/** A server whose data directory, a copy of the template's, is on a disk of 8 MiB. */
function onTmpfs(data: string): (argv: Argv) => Argv {
  return inOwnMounts(ON_TMPFS, template.folder.path, data);
}

promise(
  {
    id: 'P12',
    what: 'a full disk refuses uploads while all is read, and takes them once there is room',
    wanted: '507, then 201; 0 temporary files, 0 descriptors left',
    ...needs('private host'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    await using server = await startServer({
      data: temp.path,
      on: onTmpfs(temp.path),
      settings: { ...SETTINGS, LOOKASIDE_MIN_FREE: '1KiB' },
    });
    const uploads = uploadsTo(server.port, template.token);
    // its mounts are its own, and seen through it
    const data = seenBy(server.pid, temp.path);
    const read = toAttempt(template, 'read/app', 'v1');
    assert.equal((await send(uploads, read))?.status, 201);

    const openFiles = async () => {
      const folder = `/proc/${server.pid}/fd`;
      const names = await readdir(folder);
      const targets = await Promise.all(
        names.map((name) => readlink(path.join(folder, name)).catch(() => '')),
      );
      // the record of reads is opened by and by
      return targets.filter((target) => target !== '' && !target.includes('/access/')).length;
    };
    const openBefore = await openFiles();
    const filler = await open(path.join(data, 'filler'), 'w');
    const attempts = [read];
    const statuses: (number | undefined)[] = [];
    let filledBytes = await fillWith(filler);
    // a little more room each time, so that each step of an upload is once the first to find none
    for (let pages = 0; statuses.at(-1) !== 201; pages += 1) {
      assert.ok(pages < 50, statuses.join(' '));
      filledBytes -= pages * PAGE_BYTES;
      await filler.truncate(filledBytes);
      const attempt = toAttempt(template, `full-${pages}/app`, 'v1');
      attempts.push(attempt);
      statuses.push((await send(uploads, attempt))?.status);
      await assertServes(uploads, read);
    }
    assert.ok(statuses.length > 1);
    for (const status of statuses.slice(0, -1)) assert.equal(status, 507, statuses.join(' '));
    await filler.close();
    await rm(path.join(data, 'filler'));
    for (const attempt of attempts) {
      const { receipt, status } = await uploads.post(attempt.folder, attempt.bytes);
      assert.ok(status === 200 || status === 201);
      attempt.receipt = receipt;
    }
    const leaked = await eventually(async () => {
      const more = (await openFiles()) - openBefore;
      assert.ok(more <= 0, `${more} descriptors are left`);
      return Math.max(more, 0);
    });
    // SQLite follows the link to the server's root, and would look on our side of it
    await using copy = await openTempFolder();
    for (const name of ['sigstore', 'state.db', 'state.db-wal']) {
      await cp(path.join(data, name), path.join(copy.path, name), { recursive: true });
    }
    await assertNoDebris(copy.path);
    await assertWholeOrAbsent(copy.path, uploads, attempts);
    see(`${figureOf(statuses)}; 0 temporary files, ${leaked} descriptors left`);
  },
);

promise(
  {
    id: 'P12',
    what: 'a full disk with the databases refuses uploads to a tree on another disk before anything is stored',
    wanted: '507, and nobody reads it; then 201',
    ...needs('private host'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    await using tree = await openTempFolder();
    await using server = await startServer({
      data: temp.path,
      root: tree.path,
      on: onTmpfs(temp.path),
      settings: { LOOKASIDE_MIN_FREE: '1MiB' },
    });
    const uploads = uploadsTo(server.port, template.token);
    const data = seenBy(server.pid, temp.path);
    const read = toAttempt(template, 'read/app', 'v1');
    assert.equal((await send(uploads, read))?.status, 201);
    const attempt = toAttempt(template, 'full/app', 'v1');

    const filler = await open(path.join(data, 'filler'), 'w');
    await fillWith(filler);
    const statuses = [(await send(uploads, attempt))?.status];
    await assertServes(uploads, read);
    assert.equal(
      (await uploads.get(`${attempt.folder}/signature-1`)).status,
      404,
      'what was refused is served',
    );
    assert.deepEqual(await readdir(path.join(tree.path, '.lookaside/tmp')), []);
    const { body } = await uploads.get('readyz?for=writes');
    assert.match(body.toString(), /bytes are free for the data directory/);
    await filler.close();
    await rm(path.join(data, 'filler'));
    statuses.push((await send(uploads, attempt))?.status);
    assert.deepEqual(statuses, [507, 201]);
    await assertServes(uploads, attempt);
    see(`${figureOf(statuses)}; nobody read what was refused`);
  },
);

/** `507 ×12, 201 ×1`. */
function figureOf(statuses: readonly (number | undefined)[]): string {
  const counts = new Map<number | undefined, number>();
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, times]) => `${status} ×${times}`).join(', ');
}
