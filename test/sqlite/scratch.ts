// Temporary data directories, and programs that stand for other processes.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { type Databases, type DatabasesOptions, openDatabases } from '../../src/sqlite/databases.ts';

export interface Cleanup {
  after(act: () => void | Promise<void>): void;
}

export function temporaryFolder(t: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Opened {
  readonly databases: Databases;
  /** What onUnusable was told. */
  readonly reasons: readonly string[];
}

export async function open(dataDir: string, options: Partial<DatabasesOptions> = {}): Promise<Opened> {
  const reasons: string[] = [];
  const databases = await openDatabases({
    dataDir,
    onUnusable: (reason) => void reasons.push(reason),
    ...options,
  });
  return { databases, reasons };
}

export interface OtherProcess {
  readonly child: ChildProcess;
  /** Lets the lock go and waits for the end. */
  end(): Promise<void>;
}

/** Another process that has taken `lock`: the data directory's, or the write lock of a database file. */
export async function otherProcess(t: Cleanup, lock: 'data' | 'write', path: string): Promise<OtherProcess> {
  const program = fileURLToPath(new URL('./lock-holder.js', import.meta.url));
  const child = spawn(process.execPath, [program, lock, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => void child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  const [line] = await Promise.race([once(child.stdout, 'data'), exited]);
  assert.equal(String(line).trim(), 'held');
  return {
    child,
    end: async () => {
      child.stdin.end();
      await exited;
    },
  };
}

/** Gives way to the event loop until `isSo`. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await setImmediate();
}

/** Changes a database file as another program would. */
export function change(file: string, sql: string): void {
  const db = connectDatabase(file);
  try {
    db.exec(sql);
  } finally {
    db.close();
  }
}

export interface StoredEvent {
  readonly seq: number;
  readonly leaf: string;
  readonly private: string | null;
  readonly salt: Buffer | null;
}

/** The audit log as it stands in state.db. */
export function events(dataDir: string): readonly StoredEvent[] {
  const db = connectDatabase(join(dataDir, 'state.db'), { readonly: true });
  try {
    return db.prepare<[], StoredEvent>('SELECT seq, leaf, private, salt FROM audit_event ORDER BY seq').all();
  } finally {
    db.close();
  }
}
