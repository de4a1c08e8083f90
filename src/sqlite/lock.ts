// DATA/lock: who holds it is the one process that may write to the data directory.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LookasideError } from '../domain/errors.ts';
import { connect } from './connect.ts';
import { isLocked, messageOf } from './open.ts';

export interface DataLock {
  /** A second time does nothing. */
  release(): void;
  [Symbol.dispose](): void;
}

/**
 * Takes the data directory for this process until release() or its death, which the kernel notices: nothing
 * stale is left by kill -9. Makes the directory. The file stays empty, and nothing else in this process may open
 * it: closing any descriptor of it would free the lock (POSIX).
 * @throws LookasideError ALREADY_RUNNING at once when another holds it; STORE_UNAVAILABLE
 */
export function takeLock(dataDir: string): DataLock {
  const file = join(dataDir, 'lock');
  const db = lockedDatabase(dataDir, file);
  return {
    release: () => void db.close(),
    [Symbol.dispose]: () => void db.close(),
  };
}

function lockedDatabase(dataDir: string, file: string): Database {
  let db: Database | null = null;
  try {
    mkdirSync(dataDir, { recursive: true });
    db = connect(file, { timeout: 0 });
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = MEMORY');
    db.exec('BEGIN EXCLUSIVE'); // left open: its lock is what is held
    return db;
  } catch (error) {
    db?.close();
    if (isLocked(error)) {
      throw new LookasideError('ALREADY_RUNNING', `another lookaside is using ${dataDir}: it holds ${file}`);
    }
    throw new LookasideError('STORE_UNAVAILABLE', `cannot lock ${file}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
