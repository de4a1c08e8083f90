// Histories of uploads, withdrawals and reads through three nodes over one PostgreSQL, under faults: one order of all that was
// answered has to explain them. The same nodes without the check of generations must be found out.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { SHARED_SET_FRESH_MS } from '../../src/domain/limits.ts';
import { PostgresSignatures } from '../../src/postgres/signatures.ts';
import { needs } from '../clients/available.ts';
import { eventually } from '../clients/eventually.ts';
import { type Postgres, startPostgres } from '../clients/postgres.ts';
import { administer, type Node, openNode, PEM } from '../clients/postgres-node.ts';
import { makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { uploadsTo } from '../clients/uploads.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { findFault, type Get, type Operation } from './history.ts';
import { NodeProcesses } from './node-processes.ts';
import { count, isFull, promise } from './promise.ts';

const NODES = 3;
const STALE_MS = 1000;
/** While a session that is ended may still be asked, or a database that is back is not known to be. */
const AFTERWARDS_MS = 3000;

interface Scene {
  readonly postgres: Postgres;
  readonly url: string;
  readonly portOf: (node: number) => number;
  readonly signer: Signer;
  readonly uploader: string;
  readonly admin: string;
}

/** Makes a history, and keeps what was asked and answered. */
class Recording {
  readonly operations: Operation[] = [];
  readonly #scene: Scene;
  /** Names of values by their hashes. */
  readonly #names = new Map<string, string>();
  readonly #blobs = new Map<string, Buffer>();
  readonly #highest = new Map<string, number>();
  readonly #standing: { image: string; number: number; value: string }[] = [];
  /** Begin and end of what keeps nodes from asking the database. */
  readonly outages: (readonly [startMs: number, endMs: number])[] = [];

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** What is asked of one image by one client: mostly new signatures, sometimes one of before, or a withdrawal. */
  async change(image: string, n: number): Promise<void> {
    const chance = randomInt(10);
    const standing = this.#standing.filter((one) => one.image === image);
    const chosen = standing[randomInt(Math.max(standing.length, 1))];
    if (chosen !== undefined && chance < 2) return this.#withdraw(randomInt(NODES), chosen);
    const again = [...this.#blobs.keys()].filter((value) => value.startsWith(`${image}:`));
    const value = chance === 2 && again.length > 0 ? again[randomInt(again.length)] : `${image}:v${n}`;
    await this.#append(randomInt(NODES), image, value ?? '', `v${n}`);
  }

  async #append(node: number, image: string, value: string, tag: string): Promise<void> {
    const { portOf, signer, uploader } = this.#scene;
    const bytes = this.#blobs.get(value) ?? signer.sign({ repository: image, tag });
    this.#blobs.set(value, bytes);
    this.#names.set(sha256Hex(bytes), value);
    const startMs = performance.now();
    const said = await uploadsTo(portOf(node), uploader)
      .post(folderOf(image), bytes)
      .catch(() => null);
    const asked = { kind: 'append', image, node, value, startMs, endMs: performance.now() } as const;
    if (said === null || said.code === 'STORE_UNAVAILABLE') {
      this.operations.push({ ...asked, answer: 'unknown' });
    } else if (said.receipt !== null) {
      const { number, created } = said.receipt;
      this.operations.push({ ...asked, answer: { number, created } });
      this.#highest.set(image, Math.max(this.#highest.get(image) ?? 0, number));
      if (created) this.#standing.push({ image, number, value });
    } else if (said.code === 'WITHDRAWN') {
      this.operations.push({ ...asked, answer: 'withdrawn' });
    } else assert.equal(said.code, 'BUSY', `${said.status}`); // nothing was done
  }

  async #withdraw(node: number, { image, number, value }: { image: string; number: number; value: string }) {
    const { portOf, admin } = this.#scene;
    const sha256 = sha256Hex(this.#blobs.get(value) ?? Buffer.alloc(0));
    const startMs = performance.now();
    const target = `/${folderOf(image)}/signature-${number}?reason=test&sha256=${sha256}`;
    const said = await requestRaw(portOf(node), `DELETE ${target}`, [`Authorization: Bearer ${admin}`]).catch(
      () => null,
    );
    const asked = {
      kind: 'withdraw',
      image,
      node,
      number,
      value,
      startMs,
      endMs: performance.now(),
    } as const;
    if (said?.status === 200) this.operations.push({ ...asked, answer: 'done' });
    else if (said?.status === 404) this.operations.push({ ...asked, answer: 'absent' });
    else if (said === null || /STORE_UNAVAILABLE/.test(said.body.toString()))
      this.operations.push({ ...asked, answer: 'unknown' });
    else assert.match(said.body.toString(), /BUSY/);
  }

  /** A node that is away, or answers 503, has shown nothing. */
  async get(node: number, image: string, number: number): Promise<void> {
    const startMs = performance.now();
    const target = `${folderOf(image)}/signature-${number}`;
    const said = await uploadsTo(this.#scene.portOf(node), '')
      .get(target)
      .catch(() => null);
    if (said === null || (said.status !== 200 && said.status !== 404)) return;
    const hash = sha256Hex(said.body);
    const seen = said.status === 404 ? null : (this.#names.get(hash) ?? hash);
    this.operations.push({ kind: 'get', image, node, number, seen, startMs, endMs: performance.now() });
  }

  async getAny(images: readonly string[]): Promise<void> {
    const image = images[randomInt(images.length)] ?? '';
    await this.get(randomInt(NODES), image, 1 + randomInt((this.#highest.get(image) ?? 0) + 1));
  }

  async getAll(images: readonly string[]): Promise<void> {
    for (const image of images) {
      for (let node = 0; node < NODES; node += 1) {
        for (let number = (this.#highest.get(image) ?? 0) + 1; number > 0; number -= 1)
          await this.get(node, image, number);
      }
    }
  }

  /** As docs/scaling.md promises it. */
  allowed(read: Get): number {
    const isInOutage = this.outages.some(
      ([startMs, endMs]) => read.startMs < endMs + AFTERWARDS_MS && read.endMs > startMs,
    );
    return SHARED_SET_FRESH_MS + (isInOutage ? STALE_MS : 0);
  }
}

interface Wanted {
  readonly images: readonly string[];
  readonly changesEach: number;
  /** Runs beside, until it is told to end. */
  readonly disturb: (recording: Recording, signal: AbortSignal) => Promise<void>;
}

async function record(scene: Scene, { images, changesEach, disturb }: Wanted): Promise<Recording> {
  const recording = new Recording(scene);
  const ending = new AbortController();
  const disturbing = disturb(recording, ending.signal);
  let isOver = false;
  const reading = [1, 2, 3].map(async () => {
    while (!isOver) {
      await recording.getAny(images);
      await pause(count(2, 20));
    }
  });
  const changing = images.flatMap((image) =>
    [0, 1].map(async (writer) => {
      for (let n = writer; n < changesEach; n += 2) {
        await recording.change(image, n);
        await pause(randomInt(60));
      }
    }),
  );
  await Promise.all(changing);
  ending.abort();
  await disturbing;
  // so long a set may be behind that nothing has changed
  await pause(SHARED_SET_FRESH_MS + STALE_MS);
  isOver = true;
  await Promise.all(reading);
  await recording.getAll(images);
  return recording;
}

/** A history without an order is kept: the next one will be another. */
async function assertOneOrder(recording: Recording): Promise<void> {
  const { operations, outages } = recording;
  const fault = findFault(operations, (read) => recording.allowed(read));
  if (fault === null) return;
  const file = path.join(os.tmpdir(), `lookaside-history-${process.pid}.json`);
  await writeFile(file, JSON.stringify({ outages, operations }));
  assert.fail(`${fault}; all of it is in ${file}`);
}

const LISTENING = "application_name = 'lookaside' AND query LIKE '%pg_is_in_recovery%'";
const ASKING = "application_name = 'lookaside' AND state <> 'idle' AND query NOT LIKE '%pg_is_in_recovery%'";

const endSessions = ({ postgres, url }: Scene, which: string) =>
  postgres.query(
    url,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND ${which} LIMIT 3`,
  );

/** Notifications are lost all the while; with `outages`, sessions end in the middle of what they do too. */
function disturbing(scene: Scene, { outages }: { readonly outages: boolean }): Wanted['disturb'] {
  return async (recording, signal) => {
    for (let n = 1; !signal.aborted; n += 1) {
      await endSessions(scene, LISTENING);
      if (outages && n % 3 === 0) {
        const startMs = performance.now();
        await endSessions(scene, ASKING);
        recording.outages.push([startMs, performance.now()]);
      }
      await pause(100);
    }
  };
}

async function prepare(url: string, signer: Signer): Promise<Pick<Scene, 'uploader' | 'admin'>> {
  await using administration = await administer(url);
  const [uploader, admin] = [
    await administration.tokens.create({ name: 'ci', role: 'uploader', lifeMs: null }),
    await administration.tokens.create({ name: 'boss', role: 'admin', lifeMs: null }),
  ];
  await administration.keys.add(signer.certificate);
  return { uploader: uploader.text, admin: admin.text };
}

interface Opened {
  readonly scene: Scene;
  close(): Promise<void>;
}

async function openHere(): Promise<Opened> {
  const postgres = await startPostgres();
  const url = await postgres.newDatabase();
  const signer = makeSigner('alice');
  const tokens = await prepare(url, signer);
  const open = () => openNode(url, { LOOKASIDE_STALE: `${STALE_MS / 1000}s` });
  const nodes: readonly Node[] = await Promise.all([open(), open(), open()]);
  return {
    scene: { postgres, url, signer, portOf: (n) => nodes[n]?.port ?? 0, ...tokens },
    async close() {
      for (const node of nodes) await node.close();
      await postgres[Symbol.asyncDispose]();
    },
  };
}

let opened: Promise<Opened> | null = null;
after(async () => (await opened)?.close());

/** Nodes in this process, the same for each test. */
async function sceneHere(): Promise<Scene> {
  opened ??= openHere();
  return (await opened).scene;
}

const imagesOf = (howMany: number, round = 0) =>
  Array.from({ length: howMany }, (_, n) => `team/r${round}-${n}`);

const { skip } = needs('postgres');

promise(
  {
    id: 'P4',
    what: 'uploads, withdrawals and reads through three nodes have one order, also without notifications and with sessions that end',
    wanted: `one order of each image's history, in ${count(6, 1)} rounds`,
    skip,
  },
  async (see) => {
    const scene = await sceneHere();
    let operations = 0;
    for (let round = 0; round < count(6, 1); round += 1) {
      const disturb = disturbing(scene, { outages: round % 2 === 0 });
      const wanted = { images: imagesOf(count(4, 2), round), changesEach: count(16, 8), disturb };
      const recording = await record(scene, wanted);
      await assertOneOrder(recording);
      operations += recording.operations.length;
    }
    see(isFull ? `one order of ${operations} operations` : 'one order');
  },
);

promise(
  {
    id: 'P4',
    what: 'the search for an order finds out nodes that do not ask for the generation of a set',
    wanted: 'no order',
    skip,
  },
  async (see) => {
    const scene = await sceneHere();
    const { readSet } = PostgresSignatures.prototype;
    PostgresSignatures.prototype.readSet = async function asFirstRead(image, known) {
      return known ?? readSet.call(this, image);
    };
    try {
      const disturb = disturbing(scene, { outages: false });
      const recording = await record(scene, { images: ['team/x', 'team/y'], changesEach: 6, disturb });
      const fault = findFault(recording.operations, (read) => recording.allowed(read));
      assert.match(fault ?? 'one order', /no order explains/);
      see('no order');
    } finally {
      PostgresSignatures.prototype.readSet = readSet;
    }
  },
);

/** kill -9 and SIGSTOP of a node, and kill -9 of the database. */
function breaking({ postgres }: Scene, nodes: NodeProcesses): Wanted['disturb'] {
  return async (recording, signal) => {
    for (let n = 0; !signal.aborted; n += 1) {
      await pause(300);
      if (n % 3 === 0) await nodes.kill(randomInt(NODES));
      else if (n % 3 === 1) {
        const { pid } = nodes.at(randomInt(NODES));
        process.kill(pid, 'SIGSTOP');
        await pause(2000);
        process.kill(pid, 'SIGCONT');
      } else {
        const startMs = performance.now();
        await postgres.crash();
        await postgres.restart();
        for (let node = 0; node < NODES; node += 1) await eventually(() => isWell(nodes.at(node).port));
        recording.outages.push([startMs, performance.now()]);
      }
    }
  };
}

async function isWell(port: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz?for=writes`);
  assert.equal(answer.status, 200);
}

promise(
  {
    id: 'P4',
    what: 'uploads, withdrawals and reads through three nodes that are killed and paused, over a database that is killed, have one order',
    wanted: "one order of each image's history",
    skip,
    isLong: true,
  },
  async (see) => {
    await using temp = await openTempFolder();
    await using postgres = await startPostgres();
    const url = await postgres.newDatabase();
    const signer = makeSigner('alice');
    const tokens = await prepare(url, signer);
    const keyFile = path.join(temp.path, 'log.key');
    await writeFile(keyFile, PEM);
    const settings = { LOOKASIDE_DATABASE: url, LOOKASIDE_LOG_KEY_FILE: keyFile };
    const nodes = new NodeProcesses({ ...settings, LOOKASIDE_STALE: `${STALE_MS / 1000}s` });
    await nodes.start();
    try {
      const portOf = (n: number) => nodes.at(n).port;
      const scene: Scene = { postgres, url, signer, portOf, ...tokens };
      const disturb = breaking(scene, nodes);
      const recording = await record(scene, { images: imagesOf(12), changesEach: 40, disturb });
      await assertOneOrder(recording);
      const unknown = recording.operations.filter((one) => one.kind !== 'get' && one.answer === 'unknown');
      see(
        `one order of ${recording.operations.length} operations, ${unknown.length} of them of unknown outcome`,
      );
    } finally {
      await nodes.close();
    }
  },
);
