// In every single upload, not only on average: all that it made is on the disk before its answer leaves.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { needs } from '../clients/available.ts';
import { describeOutcome, run, startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { lookaside, startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, type Uploads, uploadsTo } from '../clients/uploads.ts';
import { openTemplate, send, toAttempt } from './crash-scene.ts';
import { count, promise } from './promise.ts';
import { answersIn, type SyncOrder, TRACED } from './sync-order.ts';

const UPLOADS = count(40, 4);

/** Syncs without which the check has to speak up, and at which uploads. */
const NEEDED_SYNCS = [
  ['new', /^\d+ +f\w*sync\(\d+<[^>]*batch\/[0-9a-f-]+\/signature-1>/],
  ['new', /^\d+ +f\w*sync\(\d+<[^>]*batch\/[0-9a-f-]+>/],
  ['new', /^\d+ +f\w*sync\(\d+<[^>]*\/deep>/],
  ['second', /^\d+ +f\w*sync\(\d+<[^>]*\.signature>/],
  ['second', /^\d+ +f\w*sync\(\d+<[^>]*@sha256=[0-9a-f]+>/],
  ['all', /^\d+ +f\w*sync\(\d+<[^>]*state\.db-wal>/],
] as const;

/** How many events the head of the log covers. */
async function headSize(uploads: Uploads): Promise<number> {
  const { body } = await uploads.get('log/checkpoint');
  return Number(body.toString().split('\n')[1]);
}

promise(
  {
    id: 'P2',
    what: 'what an upload made is synced before it is answered, also the first of a repository',
    wanted: `0 answers before sync of ${UPLOADS}`,
    ...needs('strace'),
  },
  async (see) => {
    await using template = await openTemplate();
    const data = template.folder.path;
    await using server = await startServer({ data });
    const trace = path.join(data, 'trace');
    const strace = await startBackground(
      ['strace', '-f', '-y', '-s', '64', '-p', String(server.pid), '-o', trace, '-e', `trace=${TRACED}`],
      { env: { PATH: process.env.PATH ?? '' } },
      /attached/,
    );
    const uploads = uploadsTo(server.port, template.token);
    for (let upload = 0; upload < UPLOADS; upload += 1) {
      // every other one is the first in folders that are new from the top
      const repository = `new-${upload - (upload % 2)}/deep/app`;
      const answer = await send(uploads, toAttempt(template, repository, `v${upload}`));
      assert.ok(answer !== null);
      const { auditSeq } = takenAs(answer, 201);
      // the head over the event goes to state.db too: only that of this upload may be written beside its answer
      await eventually(async () => assert.ok((await headSize(uploads)) >= (auditSeq ?? 0)));
    }
    await strace.stop();
    const order: SyncOrder = {
      log: await readFile(trace, 'utf8'),
      // index.db and the access log may be lost
      counts: (file) => file.startsWith(path.join(data, 'sigstore')) || file.endsWith('state.db-wal'),
      goesOn: (file) => file.endsWith('state.db-wal'),
    };
    const answers = answersIn(order);
    assert.equal(answers.length, UPLOADS);
    const early = answers.filter(({ unsynced }) => unsynced.length > 0);
    see(`${early.length} answers before sync of ${answers.length}`);
    assert.deepEqual(early, []);
    // bytes, intent, their folder, the image's and its rows
    for (const { syncedCount } of answers) assert.ok(syncedCount >= 5, `${syncedCount} things were synced`);

    for (const [which, sync] of NEEDED_SYNCS) {
      const log = order.log.split('\n').filter((line) => !sync.test(line));
      const unsyncedAnswers = answersIn({ ...order, log: log.join('\n') }).filter(
        ({ unsynced }) => unsynced.length > 0,
      );
      const wanted = which === 'all' ? UPLOADS : UPLOADS / 2;
      assert.ok(unsyncedAnswers.length >= wanted, `without ${sync} every answer is too early`);
    }
  },
);

test('a new data directory is synced into the folders above it', needs('strace'), async () => {
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'new', 'deep', 'data');
  const trace = path.join(temp.path, 'trace');
  const nothing = path.join(temp.path, 'nothing');
  await mkdir(nothing);
  const argv = lookaside('import', nothing, '--data', data);
  const outcome = await run(
    ['strace', '-f', '-y', '-o', trace, '-e', 'trace=?mkdir,?mkdirat,fsync', ...argv],
    {
      env: { PATH: process.env.PATH ?? '' },
    },
  );
  assert.equal(outcome.status, 0, describeOutcome(outcome));
  const log = await readFile(trace, 'utf8');
  for (const made of [path.dirname(path.dirname(data)), path.dirname(data), data]) {
    const madeAt = log.search(new RegExp(`mkdir.*"${made}"`));
    const syncedAt = log.search(new RegExp(`fsync\\(\\d+<${path.dirname(made)}>`));
    assert.ok(madeAt >= 0 && syncedAt > madeAt, made);
  }
});
