// Three nodes over one PostgreSQL, which are killed and paused while they take uploads, and whose database is killed, and replaced by
// its standby: what was answered with a number is there, the numbers have no hole, and the log is what was signed.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { openMoveTarget } from '../../src/postgres/moving.ts';
import { verifyLog } from '../../src/service/log-verify.ts';
import { makePrivateKey } from '../../src/service/note-keys.ts';
import { needs } from '../clients/available.ts';
import { describeOutcome } from '../clients/command.ts';
import { type Postgres, startPostgres } from '../clients/postgres.ts';
import { runLookaside } from '../clients/server.ts';
import { makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { type Uploads, uploadsTo } from '../clients/uploads.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { NodeProcesses } from './node-processes.ts';
import { promise } from './promise.ts';

const UPLOADS = 2000;
const IMAGES = ['one', 'two', 'three', 'four', 'five'].flatMap((name) =>
  Array.from({ length: 8 }, (_, n) => `team/${name}-${n}`),
);
const AT_ONCE = 12;

interface Scene {
  readonly postgres: Postgres;
  readonly nodes: NodeProcesses;
  readonly signer: Signer;
  readonly token: string;
}

interface Acknowledged {
  readonly folder: string;
  readonly number: number;
  readonly sha256: string;
}

/** Asks one node after the other until one takes it: the same bytes are stored once. */
async function upload(
  { nodes, token }: Scene,
  first: number,
  folder: string,
  bytes: Buffer,
  isOver: () => boolean,
): Promise<Acknowledged | null> {
  for (let n = first; !isOver(); n += 1) {
    const uploads: Uploads = uploadsTo(nodes.at(n).port, token);
    const answer = await uploads.post(folder, bytes).catch(() => null);
    if (answer?.status === 201 || answer?.status === 200) {
      return { folder, number: answer.receipt?.number ?? 0, sha256: sha256Hex(bytes) };
    }
    if (answer !== null) assert.equal(answer.status, 503, `${answer.status} ${answer.code}`);
    await pause(20);
  }
  return null;
}

/** What was taken while `disturb` went on. */
async function uploadAll(scene: Scene, disturb: (progress: () => number) => Promise<void>) {
  const wanted = Array.from({ length: UPLOADS }, (_, n) => n);
  const taken: Acknowledged[] = [];
  const deadline = performance.now() + 15 * 60_000;
  const isOver = () => performance.now() > deadline;
  const disturbing = disturb(() => taken.length);
  const work = async (): Promise<void> => {
    for (let n = wanted.shift(); n !== undefined; n = wanted.shift()) {
      const repository = IMAGES[n % IMAGES.length] ?? '';
      const bytes = scene.signer.sign({ repository, tag: `v${n}` });
      const one = await upload(scene, n, folderOf(repository), bytes, isOver);
      if (one !== null) taken.push(one);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  await disturbing;
  return taken;
}

async function disturb({ postgres, nodes }: Scene, progress: () => number): Promise<void> {
  const until = async (count: number) => {
    while (progress() < count) await pause(10);
  };
  const step = UPLOADS / 12;
  for (let n = 0; n < 6; n += 1) {
    await until(step * (n + 1));
    if (n === 2) {
      await postgres.crash();
      await pause(500);
      await postgres.restart();
    } else if (n === 4) {
      const paused = nodes.at(n);
      process.kill(paused.pid, 'SIGSTOP');
      await pause(6000);
      process.kill(paused.pid, 'SIGCONT');
    } else await nodes.kill(n);
  }
  await until(step * 8);
  const standby = await postgres.openStandby();
  await until(step * 9);
  await postgres.crash();
  await standby.promote();
  await until(step * 11);
  await nodes.kill(1);
}

async function countLosses(scene: Scene, taken: readonly Acknowledged[]) {
  const { nodes, postgres, token } = scene;
  let [lost, torn] = [0, 0];
  for (const [n, { folder, number, sha256 }] of taken.entries()) {
    const { status, body } = await uploadsTo(nodes.at(n).port, token).get(`${folder}/signature-${number}`);
    if (status !== 200) lost += 1;
    else if (sha256Hex(body) !== sha256) torn += 1;
  }
  return { lost, torn, url: postgres };
}

promise(
  {
    id: 'P2',
    what: 'three nodes over PostgreSQL, killed, paused and failed over, keep what was acknowledged',
    wanted: `0 lost, 0 torn, 0 holes of ${UPLOADS}, and a log that is what was signed`,
    isLong: true,
    ...needs('postgres'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    await using postgres = await startPostgres();
    const url = await postgres.newDatabase();
    const signer = makeSigner('alice');
    const [keyFile, certificate] = ['log.key', 'alice.pgp'].map((name) => path.join(temp.path, name)) as [
      string,
      string,
    ];
    await writeFile(keyFile, makePrivateKey());
    await writeFile(certificate, signer.certificate);
    const settings = { LOOKASIDE_DATABASE: url, LOOKASIDE_LOG_KEY_FILE: keyFile };
    const created = await runLookaside(['token', 'create', '--name', 'ci', '--role', 'uploader'], settings);
    assert.equal(created.status, 0, describeOutcome(created));
    const added = await runLookaside(['key', 'add', certificate], settings);
    assert.equal(added.status, 0, describeOutcome(added));
    const nodes = new NodeProcesses(settings);
    await nodes.start();
    try {
      const scene: Scene = { postgres, nodes, signer, token: created.stdout.trim() };
      const taken = await uploadAll(scene, (progress) => disturb(scene, progress));
      const { lost, torn } = await countLosses(scene, taken);
      const [row] = await postgres.query(
        url,
        `SELECT count(*) FILTER (WHERE numbers <> last)::integer AS holes, sum(numbers)::integer AS stored
         FROM (SELECT count(*) AS numbers, max(number) AS last FROM signature GROUP BY image_id) AS one`,
      );
      const target = await openMoveTarget({ url, isDryRun: true, warn: () => undefined });
      const log = await verifyLog(target.log, { vkey: null, from: null, onProgress: () => undefined });
      await target.close();
      see(
        `${lost} lost, ${torn} torn, ${row?.holes} holes of ${taken.length}; ${log.faults.length} faults in a log of ${log.size}`,
      );
      assert.deepEqual(
        [lost, torn, row?.holes, row?.stored, taken.length, log.faults],
        [0, 0, 0, UPLOADS, UPLOADS, []],
      );
    } finally {
      await nodes.close();
    }
  },
);
