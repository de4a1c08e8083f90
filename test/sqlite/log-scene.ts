// A data directory with a log in it, without a server: events are written by the writer thread, and heads signed.
import { join } from 'node:path';
import type { LogReaderStore } from '../../src/domain/log.ts';
import { ED25519 } from '../../src/domain/signed-note.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { type CheckpointFile, type LogKeeper, openLogKeeper } from '../../src/service/log-keeper.ts';
import { type VerifiedLog, verifyLog } from '../../src/service/log-verify.ts';
import { makePrivateKey, noteSigner } from '../../src/service/note-keys.ts';
import { connect } from '../../src/sqlite/connect.ts';
import { type Databases, openLogReadOnly } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { createClock, createLog } from '../service/hand-driven.ts';
import { change, open } from './scratch.ts';

export const ORIGIN = 'log.example/test';
const KEY = makePrivateKey();

export interface LogScene {
  readonly databases: Databases;
  readonly keeper: LogKeeper;
  /** Writes so many events, in one go. */
  add(count: number): Promise<void>;
  close(): Promise<void>;
}

export interface LogSceneOptions {
  readonly file?: CheckpointFile;
  readonly acceptRollback?: boolean;
  readonly key?: string;
  readonly origin?: string;
  /** Open already; closed with the scene. */
  readonly databases?: Databases;
}

export async function openLogScene(dataDir: string, options: LogSceneOptions = {}): Promise<LogScene> {
  const { key = KEY, origin = ORIGIN, file = null, acceptRollback = false } = options;
  const databases = options.databases ?? (await open(dataDir)).databases;
  try {
    const clock = createClock();
    const keeper = await openLogKeeper({
      store: databases.log,
      signer: noteSigner(key, { name: origin, type: ED25519, file: 'log.key' }),
      file,
      acceptRollback,
      makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count).fill(7) }),
      clock,
      log: createLog(),
    });
    return {
      databases,
      keeper,
      async add(count) {
        await Promise.all(Array.from({ length: count }, () => databases.audit.append(auditEvent())));
      },
      async close() {
        await keeper.stop();
        await databases.close();
      },
    };
  } catch (error) {
    await databases.close();
    throw error;
  }
}

/** A data directory with events of those many, each with a checkpoint behind it. */
export async function makeLog(dataDir: string, batches: readonly number[]): Promise<void> {
  const scene = await openLogScene(dataDir);
  for (const count of batches) {
    await scene.add(count);
    await scene.keeper.publish();
  }
  await scene.close();
}

/** As somebody with the sqlite3 shell who knows of the triggers, and of indexes that refuse what is no JSON. */
export function tamper(dataDir: string, sql: string): void {
  const file = join(dataDir, 'state.db');
  const db = connect(file, { readonly: true });
  const obstacles = db
    .prepare<[], { type: string; name: string }>(`
      SELECT type, name
      FROM sqlite_schema
      WHERE sql IS NOT NULL AND tbl_name IN ('audit_event', 'log_hash') AND type IN ('trigger', 'index')`)
    .all();
  db.close();
  const drop = obstacles.map(({ type, name }) => `DROP ${type} ${name};`).join(' ');
  change(
    file,
    `PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; BEGIN; ${drop} ${sql}; COMMIT`,
  );
}

export async function withLog<T>(dataDir: string, act: (store: LogReaderStore) => Promise<T>): Promise<T> {
  using store = openLogReadOnly(dataDir);
  if (store === null) throw new Error(`${dataDir} has no log`);
  return await act(store);
}

export function verifyAt(dataDir: string, from: string | null = null): Promise<VerifiedLog> {
  return withLog(dataDir, (store) => verifyLog(store, { vkey: null, from, onProgress: () => undefined }));
}
