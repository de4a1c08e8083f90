// A server that is killed, or whose disk loses its power, and started again over the same data, with all uploads that
// were sent to it.
import assert from 'node:assert/strict';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fsckReadOnly } from '../../src/compose/offline.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { loadConfig } from '../../src/config.ts';
import { systemCode } from '../../src/domain/errors.ts';
import { type LookasideServer, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { takenAs, type UploadAnswer, type Uploads, uploadsTo } from '../clients/uploads.ts';
import { createLog } from '../service/hand-driven.ts';
import { verifyAt } from '../sqlite/log-scene.ts';
import { folderOf } from '../store/lay.ts';
import { type CrashDisk, openSteadyDisk } from './power-disk.ts';
import {
  type Attempt,
  assertAuditIsDense,
  assertNoDebris,
  assertWholeOrAbsent,
  countLosses,
  type Losses,
  nameOf,
  numberOf,
} from './upload-witness.ts';

/** A data directory that knows a signer, made once: every scene begins with a copy of it. */
export interface Template extends AsyncDisposable {
  readonly folder: TempFolder;
  readonly signer: Signer;
  readonly token: string;
}

export async function openTemplate(): Promise<Template> {
  const folder = await openTempFolder();
  const signer = makeSigner('alice');
  const token = await enrol(folder.path, signer);
  return { folder, signer, token, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

export function toAttempt({ signer }: Template, repository: string, tag: string): Attempt {
  return { folder: folderOf(repository), bytes: signer.sign({ repository, tag }), receipt: null };
}

/** Null when the connection was cut. */
export async function send(uploads: Uploads, attempt: Attempt): Promise<UploadAnswer | null> {
  const answer = await uploads.post(attempt.folder, attempt.bytes).catch(() => null);
  if (answer !== null) attempt.receipt = answer.receipt;
  return answer;
}

export async function assertServes(uploads: Uploads, { folder, bytes }: Attempt): Promise<void> {
  const { status, body } = await uploads.get(`${folder}/signature-1`);
  assert.equal(status, 200);
  assert.ok(body.equals(bytes));
  assert.equal((await uploads.get(`${folder}/signature-2`)).status, 404);
}

export interface CrashScene extends AsyncDisposable {
  readonly data: string;
  readonly server: LookasideServer;
  readonly attempts: readonly Attempt[];
  /** How long each start after a crash took, from the process to where it listens. */
  readonly startsMs: readonly number[];
  attempt(repository: string, tag?: string): Attempt;
  /** Null when the connection was cut. */
  send(attempt: Attempt): Promise<UploadAnswer | null>;
  /** The power goes, and the server is killed if it still runs. */
  crash(): Promise<void>;
  /** Starts another server after a crash. What was lost of those that were acknowledged; of all unless told. */
  revive(of?: readonly Attempt[]): Promise<Losses>;
  /** Every upload, or these, is whole or absent, without debris, the audit log has no gap, and its events, tree and checkpoints agree. */
  assertSound(of?: readonly Attempt[]): Promise<void>;
  /** All of these, for all uploads, and nothing is lost. */
  restart(): Promise<void>;
  /** What is absent is taken, and what is whole is known. Then all of their images is whole or absent. */
  sendAgain(...sent: readonly Attempt[]): Promise<void>;
  /** What was uploaded first is read as ever. */
  assertReads(): Promise<void>;
  /** In this process, which takes far less time; whether a server runs or not. */
  assertFsckFindsNothing(): Promise<void>;
}

export interface CrashSceneOptions {
  /** Where the server's own commands make a new data directory; the template's copy in a folder that outlives it unless told. */
  readonly openDisk?: () => Promise<CrashDisk>;
  /** Variables for the server's environment. */
  readonly settings?: Readonly<Record<string, string>>;
}

export async function openCrashScene(
  template: Template,
  { openDisk, settings = {} }: CrashSceneOptions = {},
): Promise<CrashScene> {
  const disk = await (openDisk ?? openSteadyDisk)();
  try {
    const token = await furnish(disk, template, openDisk === undefined);
    return await openScene(disk, { template, token, settings });
  } catch (error) {
    await disk[Symbol.asyncDispose]();
    throw error;
  }
}

/** The token of the template's signer there. A copy is not on the disk when the power goes: nobody has synced it. */
async function furnish({ data }: CrashDisk, template: Template, isCopied: boolean): Promise<string> {
  if (!isCopied) {
    await mkdir(data, { recursive: true });
    return enrol(data, template.signer);
  }
  await cp(template.folder.path, data, { recursive: true });
  return template.token;
}

interface Furnished {
  readonly template: Template;
  readonly token: string;
  readonly settings: Readonly<Record<string, string>>;
}

async function openScene(disk: CrashDisk, { template, token, settings }: Furnished): Promise<CrashScene> {
  const { data } = disk;
  const attempts: Attempt[] = [];
  const startsMs: number[] = [];
  // each start compares the log with the head that was written there: one that is ahead of state.db would stop it
  const kept = { LOOKASIDE_CHECKPOINT_FILE: join(data, 'last-checkpoint') };
  const start = () => startServer({ data, settings: { LOOKASIDE_MIN_FREE: '1KiB', ...kept, ...settings } });
  let server = await start();
  let uploads = uploadsTo(server.port, token);

  function attempt(repository: string, tag = 'v1'): Attempt {
    const made = toAttempt(template, repository, tag);
    attempts.push(made);
    return made;
  }

  async function kill(): Promise<void> {
    try {
      process.kill(server.pid, 'SIGKILL');
    } catch (error) {
      if (systemCode(error) !== 'ESRCH') throw error; // it was killed before
    }
    assert.equal(await server.ended, null);
  }

  async function crash(): Promise<void> {
    await disk.cut();
    await kill();
  }

  async function revive(of: readonly Attempt[] = attempts): Promise<Losses> {
    await disk.restore();
    const beganMs = performance.now();
    server = await start();
    startsMs.push(performance.now() - beganMs);
    uploads = uploadsTo(server.port, token);
    return countLosses(data, uploads, of);
  }

  async function assertSound(of: readonly Attempt[] = attempts): Promise<void> {
    await assertNoDebris(data);
    await assertWholeOrAbsent(data, uploads, of);
    assertAuditIsDense(data);
    const { faults } = await verifyAt(data);
    assert.deepEqual(faults, [], 'events, tree and checkpoints agree');
  }

  const read = attempt('read/app');
  assert.equal((await send(uploads, read))?.status, 201);
  return {
    data,
    get server() {
      return server;
    },
    attempts,
    startsMs,
    attempt,
    send: (each) => send(uploads, each),
    crash,
    revive,
    assertSound,
    async restart() {
      await crash();
      assert.deepEqual(await revive(), { lost: [], torn: [] });
      await assertSound();
    },
    async sendAgain(...sent) {
      for (const each of sent) {
        const number = await numberOf(data, each);
        const again = await uploads.post(each.folder, each.bytes);
        each.receipt = takenAs(again, number === null ? 201 : 200);
        if (number !== null) assert.equal(each.receipt.number, number, nameOf(each));
      }
      const folders = new Set(sent.map(({ folder }) => folder));
      const ofImages = attempts.filter(({ folder }) => folders.has(folder));
      await assertWholeOrAbsent(data, uploads, ofImages);
    },
    assertReads: () => assertServes(uploads, read),
    async assertFsckFindsNothing() {
      const { config } = loadConfig({
        flags: { data },
        environment: {},
        workingFolder: '/',
        parseYaml: null,
      });
      const { findings } = await fsckReadOnly({
        data: config.data,
        sites: sitesOf(config),
        log: createLog(),
        onProgress: () => undefined,
      });
      assert.deepEqual(findings, []);
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await disk[Symbol.asyncDispose]();
    },
  };
}
