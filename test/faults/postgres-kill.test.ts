// Three nodes over one PostgreSQL, which are killed and paused while they take uploads, and whose database is killed, and replaced by
// its standby: what was answered with a number is there for whoever asks any node meanwhile, the numbers have no hole, and the log is
// what was signed.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { SHARED_SET_FRESH_MS } from '../../src/domain/limits.ts';
import { openMoveTarget } from '../../src/postgres/moving.ts';
import { type LogFault, verifyLog } from '../../src/service/log-verify.ts';
import { makePrivateKey } from '../../src/service/note-keys.ts';
import { needs } from '../clients/available.ts';
import { describeOutcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type Postgres, startPostgres } from '../clients/postgres.ts';
import { runLookaside } from '../clients/server.ts';
import { makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { type Uploads, uploadsTo } from '../clients/uploads.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { NodeProcesses } from './node-processes.ts';
import { promise } from './promise.ts';

const UPLOADS = 2000;
const IMAGES = ['one', 'two', 'three', 'four', 'five'].flatMap((name) =>
  Array.from({ length: 8 }, (_, n) => `team/${name}-${n}`),
);
const AT_ONCE = 12;
const READERS = 3;
const STALE_MS = 1000;
/** While a node may not know yet that the database is back. */
const AFTERWARDS_MS = 3000;
const CHECKPOINT_EACH_MS = 2000;
const SETTLED_MS = 60_000;

interface Scene {
  readonly postgres: Postgres;
  readonly nodes: NodeProcesses;
  readonly signer: Signer;
  readonly token: string;
  /** Begin and end of what keeps nodes from asking the database. */
  readonly outages: (readonly [startMs: number, endMs: number])[];
}

interface Acknowledged {
  readonly folder: string;
  readonly number: number;
  readonly sha256: string;
  readonly atMs: number;
}

/** What was read while all went on, of signatures whose uploads had been acknowledged before. */
interface Reads {
  right: number;
  torn: number;
  /** 404s, which are right as long as a set may be behind. */
  readonly missing: { readonly ackMs: number; readonly startMs: number; readonly endMs: number }[];
  /** 503, or no answer of a node that was killed. */
  later: number;
  readonly other: string[];
  /** Signed notes, as nodes gave them out. */
  readonly checkpoints: Set<string>;
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
      const number = answer.receipt?.number ?? 0;
      return { folder, number, sha256: sha256Hex(bytes), atMs: performance.now() };
    }
    // 408: a node that was paused for most of the time that a body has
    if (answer !== null) assert.ok([408, 503].includes(answer.status), `${answer.status} ${answer.code}`);
    await pause(20);
  }
  return null;
}

/** What was taken while `disturb` went on. */
async function uploadAll(
  scene: Scene,
  disturb: (progress: () => number, signal: AbortSignal) => Promise<void>,
) {
  const wanted = Array.from({ length: UPLOADS }, (_, n) => n);
  const taken: Acknowledged[] = [];
  const deadline = performance.now() + 15 * 60_000;
  const reads: Reads = { right: 0, torn: 0, missing: [], later: 0, other: [], checkpoints: new Set() };
  const ending = new AbortController();
  const isOver = () => performance.now() > deadline || ending.signal.aborted;
  const reading = Array.from({ length: READERS }, () => read(scene, taken, reads, ending.signal));
  reading.push(keepCheckpoints(scene, reads, ending.signal));
  const disturbing = disturb(() => taken.length, ending.signal);
  const work = async (): Promise<void> => {
    for (let n = wanted.shift(); n !== undefined; n = wanted.shift()) {
      const repository = IMAGES[n % IMAGES.length] ?? '';
      const bytes = scene.signer.sign({ repository, tag: `v${n}` });
      const one = await upload(scene, n, folderOf(repository), bytes, isOver);
      if (one !== null) taken.push(one);
    }
  };
  const workAll = async () => {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    assert.equal(taken.length, UPLOADS, 'not all were taken in time');
  };
  try {
    await Promise.all([disturbing, workAll()]);
  } finally {
    ending.abort();
    await Promise.allSettled([disturbing, ...reading]);
  }
  return { taken, reads };
}

/** Asks any node for any of what was acknowledged, half the time for one of the last ones. */
async function read(scene: Scene, taken: readonly Acknowledged[], reads: Reads, signal: AbortSignal) {
  for (; !signal.aborted; await pause(5)) {
    const from = randomInt(2) === 0 ? 0 : Math.max(0, taken.length - AT_ONCE);
    const one = taken[from + randomInt(Math.max(1, taken.length - from))];
    if (one === undefined) continue;
    const startMs = performance.now();
    const { port } = scene.nodes.at(randomInt(3));
    const target = `GET /${one.folder}/signature-${one.number}`;
    const answer = await requestRaw(port, target).catch(() => null);
    if (answer === null || answer.status === 503) reads.later += 1;
    else if (answer.status === 200) {
      if (sha256Hex(answer.body) === one.sha256) reads.right += 1;
      else reads.torn += 1;
    } else if (answer.status !== 404) reads.other.push(`${answer.status}`);
    else reads.missing.push({ ackMs: one.atMs, startMs, endMs: performance.now() });
  }
}

async function keepCheckpoints({ nodes }: Scene, { checkpoints }: Reads, signal: AbortSignal) {
  for (; !signal.aborted; await pause(CHECKPOINT_EACH_MS)) {
    const answer = await requestRaw(nodes.at(randomInt(3)).port, 'GET /log/checkpoint').catch(() => null);
    if (answer?.status === 200) checkpoints.add(answer.body.toString());
  }
}

/** Those that came later than a set may be behind: as docs/scaling.md promises it. */
function wrong404s({ outages }: Scene, { missing }: Reads): number {
  return missing.filter(({ ackMs, startMs, endMs }) => {
    const isInOutage = outages.some(([from, to]) => startMs < to + AFTERWARDS_MS && endMs > from);
    return startMs - ackMs > SHARED_SET_FRESH_MS + (isInOutage ? STALE_MS : 0);
  }).length;
}

/** Until all nodes take uploads. */
async function untilWell(nodes: NodeProcesses): Promise<void> {
  for (let n = 0; n < 3; n += 1) {
    await eventually(async () => {
      const answer = await fetch(`http://127.0.0.1:${nodes.at(n).port}/readyz?for=writes`);
      assert.equal(answer.status, 200);
    }, SETTLED_MS);
  }
}

async function disturb({ postgres, nodes, outages }: Scene, progress: () => number, signal: AbortSignal) {
  const until = async (count: number) => {
    while (progress() < count) await pause(10, undefined, { signal });
  };
  const step = UPLOADS / 12;
  for (let n = 0; n < 6; n += 1) {
    await until(step * (n + 1));
    if (n === 2) {
      const startMs = performance.now();
      await postgres.crash();
      await pause(500);
      await postgres.restart();
      await untilWell(nodes);
      outages.push([startMs, performance.now()]);
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
  const startMs = performance.now();
  await postgres.crash();
  await standby.promote();
  await untilWell(nodes);
  outages.push([startMs, performance.now()]);
  await until(step * 11);
  await nodes.kill(1);
}

async function countLosses({ nodes, token }: Scene, taken: readonly Acknowledged[]) {
  let [lost, torn] = [0, 0];
  for (const [n, { folder, number, sha256 }] of taken.entries()) {
    const { status, body } = await eventually(async () => {
      const answer = await uploadsTo(nodes.at(n).port, token).get(`${folder}/signature-${number}`);
      assert.notEqual(answer.status, 503);
      return answer;
    }, SETTLED_MS);
    if (status !== 200) lost += 1;
    else if (sha256Hex(body) !== sha256) torn += 1;
  }
  return { lost, torn };
}

/** Whether the log is what was signed, and goes on from each checkpoint that a node has given out. */
async function checkLog(url: string, checkpoints: Iterable<string>) {
  const target = await openMoveTarget({ url, isDryRun: true, warn: () => undefined });
  try {
    const faults: LogFault[] = [];
    let [size, continued] = [0, 0];
    for (const from of [null, ...checkpoints]) {
      const log = await verifyLog(target.log, { vkey: null, from, onProgress: () => undefined });
      size = log.size;
      faults.push(...log.faults);
      if (log.continues !== null) continued += 1;
    }
    return { size, continued, faults };
  } finally {
    await target.close();
  }
}

/** On its standard output, a number a line. */
function printTable(figures: Readonly<Record<string, number>>): void {
  const width = Math.max(...Object.keys(figures).map(({ length }) => length));
  const lines = Object.entries(figures).map(([name, figure]) => `${name.padEnd(width)}  ${figure}\n`);
  process.stdout.write(`\n${lines.join('')}\n`);
}

promise(
  {
    id: 'P1',
    what: 'three nodes over PostgreSQL, killed, paused and failed over, keep what was acknowledged',
    wanted: `0 lost, 0 torn, 0 wrong 404s, 0 holes of ${UPLOADS}, and a log that is what was signed`,
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
    const settings = {
      ...{ LOOKASIDE_DATABASE: url, LOOKASIDE_LOG_KEY_FILE: keyFile },
      LOOKASIDE_STALE: `${STALE_MS / 1000}s`,
    };
    const created = await runLookaside(['token', 'create', '--name', 'ci', '--role', 'uploader'], settings);
    assert.equal(created.status, 0, describeOutcome(created));
    const added = await runLookaside(['key', 'add', certificate], settings);
    assert.equal(added.status, 0, describeOutcome(added));
    const nodes = new NodeProcesses(settings);
    await nodes.start();
    try {
      const token = created.stdout.trim();
      const scene: Scene = { postgres, nodes, signer, token, outages: [] };
      const { taken, reads } = await uploadAll(scene, (progress, signal) => disturb(scene, progress, signal));
      const { lost, torn } = await countLosses(scene, taken);
      const [row] = await postgres.query(
        url,
        `SELECT count(*) FILTER (WHERE numbers <> last)::integer AS holes, sum(numbers)::integer AS stored
         FROM (SELECT count(*) AS numbers, max(number) AS last FROM signature GROUP BY image_id) AS one`,
      );
      const log = await checkLog(url, reads.checkpoints);
      const figures = {
        'uploads acknowledged': taken.length,
        'uploads stored': Number(row?.stored),
        lost,
        torn: torn + reads.torn,
        'images with a hole in their numbers': Number(row?.holes),
        'reads meanwhile that were right': reads.right,
        'reads meanwhile with a wrong 404': wrong404s(scene, reads),
        'reads meanwhile with another answer than 200, 404 and 503': reads.other.length,
        'reads meanwhile with 503, or of a node that was just killed': reads.later,
        'events in the log': log.size,
        'faults of the log': log.faults.length,
        'checkpoints that nodes gave out meanwhile': reads.checkpoints.size,
        'of them those that the log goes on from': log.continued,
      };
      printTable(figures);
      see(
        `${lost} lost, ${figures.torn} torn, ${wrong404s(scene, reads)} wrong 404s of ${reads.right} reads, ${row?.holes} holes of ${taken.length}; ${log.faults.length} faults in a log of ${log.size} that goes on from ${log.continued} of ${reads.checkpoints.size} checkpoints`,
      );
      assert.deepEqual(
        [lost, figures.torn, wrong404s(scene, reads), row?.holes, row?.stored, taken.length],
        [0, 0, 0, 0, UPLOADS, UPLOADS],
      );
      assert.deepEqual([reads.other, log.faults], [[], []]);
      assert.ok(reads.right > 0 && reads.checkpoints.size > 0, 'something was read meanwhile');
      assert.equal(log.continued, reads.checkpoints.size);
    } finally {
      await nodes.close();
    }
  },
);
