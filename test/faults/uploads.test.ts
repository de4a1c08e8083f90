// The running server is killed, or its disk fails, in the middle of uploads: each ends whole or absent, and what was
// acknowledged is there.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { type Argv, type Background, describeOutcome, startBackground } from '../clients/command.ts';
import { type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, type UploadAnswer, type Uploads, uploadsTo } from '../clients/uploads.ts';
import { folderOf } from '../store/lay.ts';
import { type Attempt, assertWholeOrAbsent, nameOf } from './upload-witness.ts';

const READ = 'read/app';

/** A server that is killed and started again over the same data, and all uploads that were sent to it. */
interface CrashScene extends AsyncDisposable {
  readonly data: string;
  readonly attempts: Attempt[];
  readonly server: LookasideServer;
  readonly uploads: Uploads;
  attempt(repository: string, tag?: string): Attempt;
  /** Null when the connection was cut. */
  send(attempt: Attempt): Promise<UploadAnswer | null>;
  /** Kills the server if it still runs. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** After a start: everything is whole or absent, and what is absent can be uploaded, what is whole is known. */
  assertSound(sent: readonly Attempt[]): Promise<void>;
  assertReads(): Promise<void>;
  assertFsckFindsNothing(): Promise<void>;
}

async function openCrashScene(on: (argv: Argv) => Argv = (argv) => argv): Promise<CrashScene> {
  const temp = await openTempFolder();
  const data = temp.path;
  const signer = makeSigner('alice');
  const token = await enrol(data, signer);
  const attempts: Attempt[] = [];
  let server: LookasideServer;
  let uploads: Uploads;

  async function start(): Promise<void> {
    // with one thread of the pool, strace's count of calls, which is each thread's own, is that of the tree's
    server = await startServer({
      data,
      on,
      settings: { UV_THREADPOOL_SIZE: '1', LOOKASIDE_MIN_FREE: '1KiB' },
    });
    uploads = uploadsTo(server.port, token);
  }

  async function kill(): Promise<void> {
    try {
      process.kill(server.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it was killed before
    }
    assert.equal(await server.ended, null);
  }

  async function send(attempt: Attempt): Promise<UploadAnswer | null> {
    const answer = await uploads.post(attempt.folder, attempt.bytes).catch(() => null);
    if (answer !== null) attempt.receipt = answer.receipt;
    return answer;
  }

  function attempt(repository: string, tag = 'v1'): Attempt {
    const made = {
      folder: folderOf(repository),
      bytes: signer.sign({ repository, tag }),
      receipt: null,
    };
    attempts.push(made);
    return made;
  }

  await start();
  const read = attempt(READ);
  assert.equal((await send(read))?.status, 201);
  return {
    data,
    attempts,
    get server() {
      return server;
    },
    get uploads() {
      return uploads;
    },
    attempt,
    send,
    kill,
    start,
    async assertSound(sent) {
      const numbers = await assertWholeOrAbsent(data, uploads, attempts);
      for (const each of sent) {
        const number = numbers.get(each) ?? 0;
        const again = await uploads.post(each.folder, each.bytes);
        const receipt = takenAs(again, number === 0 ? 201 : 200);
        if (number !== 0) assert.equal(receipt.number, number, nameOf(each));
        each.receipt = receipt;
      }
    },
    async assertReads() {
      const { status, body } = await uploads.get(`${read.folder}/signature-1`);
      assert.equal(status, 200);
      assert.ok(body.equals(read.bytes));
      assert.equal((await uploads.get(`${read.folder}/signature-2`)).status, 404);
    },
    async assertFsckFindsNothing() {
      const outcome = await runLookaside(['fsck', '--data', data]);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const ROUNDS = 10;
const CLIENTS = 8;
const OLD_IMAGES = 6;

describe('kill -9 while eight clients upload', () => {
  test('loses nothing that was acknowledged and leaves nothing by halves, ten times over', async (t) => {
    const seed = Number(process.env.LOOKASIDE_TEST_SEED ?? randomInt(2 ** 31));
    t.diagnostic(`LOOKASIDE_TEST_SEED=${seed}`);
    const random = createRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    await using scene = await openCrashScene();
    let acknowledged = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const sent: Attempt[] = [];
      const enough = acknowledged + 4 + below(20);
      let isEnough = () => {};
      const killTime = new Promise<void>((resolve) => {
        isEnough = resolve;
      });
      const client = async (number: number) => {
        for (let upload = 0; ; upload += 1) {
          const isOld = random() < 0.5;
          const repository = isOld ? `old/app-${below(OLD_IMAGES)}` : `new-${round}/${number}/app-${upload}`;
          const attempt = scene.attempt(repository, `r${round}-c${number}-${upload}`);
          sent.push(attempt);
          const answer = await scene.send(attempt);
          if (answer === null) return;
          takenAs(answer, 201);
          acknowledged += 1;
          if (acknowledged >= enough) isEnough();
        }
      };
      const clients = Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
      await Promise.race([killTime, clients]);
      await pause(below(20)); // at any moment of whatever is under way
      await scene.kill();
      await clients;
      await scene.start();
      await scene.assertSound(sent);
    }
    await scene.assertFsckFindsNothing();
    t.diagnostic(`${acknowledged} uploads acknowledged`);
  });
});

/** Calls that an upload makes, as strace names them; one that this processor has not is no mistake. */
interface Calls {
  readonly what: string;
  readonly names: string;
  /** Only those on this file of the data directory. */
  readonly file?: string;
  /** After the n-th call which one is next. */
  readonly next: (n: number) => number;
}

const each = (n: number) => n + 1;
const doubling = (n: number) => n * 2;
const SYNC = '?fsync,?fdatasync';

const CALLS: readonly Calls[] = [
  { what: 'fsync of the tree', names: SYNC, next: each },
  { what: 'fsync of state.db', names: SYNC, file: 'state.db-wal', next: each },
  { what: 'link', names: '?link,?linkat', next: each },
  { what: 'unlink', names: '?unlink,?unlinkat', next: each },
  { what: 'mkdir', names: '?mkdir,?mkdirat', next: each },
  { what: 'write to state.db', names: '?pwrite64', file: 'state.db-wal', next: doubling },
  { what: 'write to index.db', names: '?pwrite64', file: 'index.db-wal', next: doubling },
];

interface Injection extends AsyncDisposable {
  /** Paths of the calls that were made to fail. */
  failed(): Promise<readonly string[]>;
}

/** Does something to the n-th of these calls of each of the server's threads, until it is disposed of. */
async function inject(scene: CrashScene, calls: Calls, n: number, what: string): Promise<Injection> {
  const trace = path.join(scene.data, 'trace');
  const only = calls.file === undefined ? [] : ['-P', path.join(scene.data, calls.file)];
  const strace: Background = await startBackground(
    [
      'strace',
      ...['-f', '-y', '-p', String(scene.server.pid), '-o', trace, ...only],
      ...['-e', `trace=${calls.names}`, '-e', `inject=${calls.names}:${what}:when=${n}`],
    ],
    { env: { PATH: process.env.PATH ?? '' } },
    /attached/,
  );
  return {
    async failed() {
      await strace.stop();
      const lines = (await readFile(trace, 'utf8')).split('\n');
      return lines.filter((line) => line.includes('(INJECTED)'));
    },
    async [Symbol.asyncDispose]() {
      await strace.stop();
    },
  };
}

describe('a server killed at the n-th call of an upload', { ...needs('strace'), concurrency: 3 }, () => {
  for (const calls of CALLS) {
    test(`${calls.what}: the upload is whole or absent`, async (t) => {
      await using scene = await openCrashScene();
      let n = 1;
      for (; ; n = calls.next(n)) {
        const attempt = scene.attempt(`killed-${n}/deep/app`);
        await using _ = await inject(scene, calls, n, 'signal=KILL');
        const answer = await scene.send(attempt);
        if (answer !== null) {
          takenAs(answer, 201);
          break;
        }
        assert.equal(await scene.server.ended, null);
        await scene.start();
        await scene.assertSound([attempt]);
      }
      assert.ok(n > 1, 'it was killed at least once');
      await scene.kill();
      await scene.start();
      await scene.assertSound([]);
      await scene.assertFsckFindsNothing();
      t.diagnostic(`killed up to call ${n}`);
    });
  }
});

const isOfTheTruth = (line: string) => /sigstore|state\.db/.test(line);

describe('a disk that fails at the n-th call of an upload', { ...needs('strace'), concurrency: 3 }, () => {
  for (const error of ['EIO', 'ENOSPC'] as const) {
    for (const calls of CALLS) {
      test(`${calls.what}, ${error}: refused or stored, and readers notice nothing`, async (t) => {
        await using scene = await openCrashScene();
        const answers: string[] = [];
        for (let n = 1; ; n = calls.next(n)) {
          const attempt = scene.attempt(`failed-${n}/deep/app`);
          const injection = await inject(scene, calls, n, `error=${error}`);
          const answer = await scene.send(attempt);
          assert.ok(answer !== null, 'it is answered');
          await scene.assertReads();
          const failed = await injection.failed();
          const isLost = calls.names === SYNC && failed.some(isOfTheTruth);
          answers.push(`${answer.status}`);
          if (failed.length === 0) {
            takenAs(answer, 201);
            break;
          }
          const context = `${failed.join('\n')}\n${answer.status} ${answer.code}`;
          assert.ok([201, 503, 507].includes(answer.status), context);
          if (isLost) assert.notEqual(answer.status, 201, `success after a failed fsync: ${context}`);

          const next = scene.attempt(`after-${n}/app`);
          const nextAnswer = await scene.send(next);
          await scene.assertReads();
          assert.ok(nextAnswer !== null);
          if (isLost && error === 'EIO') assert.equal(nextAnswer.status, 503, context);
          if (nextAnswer.status === 201) {
            await scene.assertSound([attempt]);
            continue;
          }
          assert.ok(
            isLost,
            `the disk is well again, and ${nextAnswer.status} ${nextAnswer.code}: ${context}`,
          );
          await scene.kill();
          await scene.start();
          await scene.assertSound([attempt, next]);
        }
        assert.ok(answers.length > 1, 'at least one call failed');
        await scene.kill();
        await scene.start();
        await scene.assertSound([]);
        await scene.assertFsckFindsNothing();
        t.diagnostic(answers.join(' '));
      });
    }
  }
});
