// Opens database files: checks whose they are and whether this code can use them, and makes their writes durable.
import { closeSync, existsSync, fsyncSync, openSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { connect } from './connect.ts';
import { type DatabaseKind, migrate, newestVersion } from './migrate.ts';

// ASCII in the file's header, so that file(1) and hex dumps show which database it is: lkST, lkIX, lkAC, lkUN
const APPLICATION_IDS = {
  state: 0x6c6b5354,
  index: 0x6c6b4958,
  access: 0x6c6b4143,
  unsigned: 0x6c6b554e,
} as const;

// A busy wait of SQLite blocks its thread; writer.ts does longer waits between tries.
const WRITER_BUSY_MS = 20;
// Readers of a WAL database meet a lock only while another process recovers or closes it.
const READER_BUSY_MS = 10;
const JOURNAL_LIMIT_BYTES = 4 * 1024 * 1024;
const SYNCHRONOUS_FULL = 2;

export type Misfit = 'corrupt' | 'not-ours' | 'older' | 'newer';

/** An existing file that cannot be used: it is damaged, or belongs to another application or another version of lookaside. */
export class UnusableFile extends Error {
  readonly misfit: Misfit;

  constructor(misfit: Misfit, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'UnusableFile';
    this.misfit = misfit;
  }
}

/**
 * A connection whose commits survive a power cut. Creates the file (mode 0600) and brings it to the newest schema. `inspect`
 * may refuse the file by throwing, before anything is written to it. Only the writer thread calls this.
 * @throws UnusableFile, and SQLite's own errors
 */
export function openForWriting(file: string, kind: DatabaseKind, inspect?: (db: Database) => void): Database {
  const isNew = !existsSync(file);
  if (isNew) closeSync(openSync(file, 'a', 0o600)); // SQLite gives -wal and -shm the same mode
  const db = connect(file, { timeout: WRITER_BUSY_MS });
  return closedOnError(db, () => {
    asUnusable(file, () => assertOurs(db, kind));
    inspect?.(db);
    if (db.pragma('journal_mode = WAL', { simple: true }) !== 'wal') {
      throw new LookasideError('STORE_UNAVAILABLE', `${file}: the file system refuses SQLite's WAL mode`);
    }
    configure(db);
    asUnusable(file, () => bringUpToDate(db, kind));
    // what undoes one of the writes that share a transaction; migrations may need more room than memory has
    db.pragma('temp_store = MEMORY');
    assertFull(db);
    if (isNew) syncFolder(dirname(file));
    return db;
  });
}

function bringUpToDate(db: Database, kind: DatabaseKind): void {
  // a table that is made anew is not searched for what refers to each of its rows
  if (kind === 'access') db.pragma('foreign_keys = OFF');
  migrate(db, kind, APPLICATION_IDS[kind]);
  db.pragma('foreign_keys = ON');
}

/** A read-only connection to a file that was opened for writing before. @throws UnusableFile, and SQLite's own errors */
export function openForReading(file: string, kind: DatabaseKind, busyMs = READER_BUSY_MS): Database {
  const db = openOlderForReading(file, kind, busyMs);
  return closedOnError(db, () => {
    asUnusable(file, () => assertNewest(db, kind));
    return db;
  });
}

/** As openForReading, also of a file with the schema of an older version, as days of the access record keep it. */
export function openOlderForReading(file: string, kind: DatabaseKind, busyMs = READER_BUSY_MS): Database {
  const db = connect(file, { readonly: true, fileMustExist: true, timeout: busyMs });
  return closedOnError(db, () => {
    asUnusable(file, () => assertOurs(db, kind));
    configure(db);
    return db;
  });
}

function assertNewest(db: Database, kind: DatabaseKind): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version >= newestVersion(kind)) return;
  throw new UnusableFile(
    'older',
    `${db.name} has schema ${version}, this version needs ${newestVersion(kind)}: start the server once, which brings it up to date`,
  );
}

export function stateFileOf(dataDir: string): string {
  return join(dataDir, 'state.db');
}

/** What a restore calls state.db until all else is in its place. */
export function unfinishedStateFileOf(dataDir: string): string {
  return `${stateFileOf(dataDir)}.restoring`;
}

/** What to do when state.db is lost. */
export function restoreAdvice(dataDir: string): string {
  return `it cannot be rebuilt from the signatures: move ${dataDir} away and put back its backup with: lookaside restore DIR --data ${dataDir}`;
}

/** `act` as one transaction that holds the write lock from its start. */
export function inTransaction<T>(db: Database, act: () => T): T {
  return db
    .transaction(() => {
      const result = act();
      assertFull(db);
      return result;
    })
    .immediate();
}

/** The first thing that SQLite's quick_check finds wrong, or null. */
export function findDamage(db: Database): string | null {
  try {
    const finding = String(db.pragma('quick_check(1)', { simple: true }));
    return finding === 'ok' ? null : finding;
  } catch (error) {
    if (isCorruption(error)) return messageOf(error);
    throw error;
  }
}

/** @throws UnusableFile when SQLite finds something wrong */
export function assertSound(db: Database): void {
  const damage = findDamage(db);
  if (damage !== null) throw new UnusableFile('corrupt', `${db.name} is damaged: ${damage}`);
}

/** Whether SQLite reports that the file's content is wrong, rather than that the file could not be reached. */
export function isCorruption(error: unknown): boolean {
  if (error instanceof UnusableFile) return true;
  const code = systemCode(error);
  return code !== null && /^SQLITE_(CORRUPT|NOTADB|FORMAT)/.test(code);
}

/** Whether another connection's lock stopped it, so that a later try may succeed. */
export function isLocked(error: unknown): boolean {
  const code = systemCode(error);
  return code !== null && /^SQLITE_(BUSY|LOCKED)/.test(code);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An open database with the inode of its file, to notice when the file is replaced. */
export interface HeldFile {
  readonly db: Database;
  readonly file: string;
  readonly inode: bigint;
}

export function hold(db: Database, file: string): HeldFile {
  return { db, file, inode: statSync(file, { bigint: true }).ino };
}

/** False once the file was removed or replaced: SQLite would then keep writing to a file that has no name. */
export function isInPlace(held: HeldFile): boolean {
  return statSync(held.file, { bigint: true, throwIfNoEntry: false })?.ino === held.inode;
}

/** As isInPlace, for what is opened again where it is not: false also when the file cannot be reached (EIO, EACCES, ELOOP). */
export function isReachable(held: HeldFile): boolean {
  try {
    return isInPlace(held);
  } catch {
    return false; // whoever opens it again meets the error, and tells it
  }
}

/**
 * The names that belong to one database. The database comes first, in case a rename or deletion of all is cut short: SQLite
 * ignores a -wal without its database, but a database without its -wal is stale.
 */
export function filesOf(file: string): readonly string[] {
  return [file, `${file}-wal`, `${file}-shm`, `${file}-journal`];
}

function configure(db: Database): void {
  // better-sqlite3 is built so that WAL mode drops to NORMAL with the first write, unless FULL is set
  db.pragma('synchronous = FULL');
  db.pragma('foreign_keys = ON');
  db.pragma(`journal_size_limit = ${JOURNAL_LIMIT_BYTES}`);
  assertFull(db);
}

const FEW_PAGES_KIB = 2048;

/**
 * For a connection that stays open and looks up rows in no order: the kernel has the pages in memory too, and may take that back. Unless
 * told, better-sqlite3 keeps 16 MB of each connection's, which no container gets back.
 */
export function keepFewPages(db: Database): void {
  db.pragma(`cache_size = -${FEW_PAGES_KIB}`);
}

function assertFull(db: Database): void {
  const level = db.pragma('synchronous', { simple: true });
  if (level !== SYNCHRONOUS_FULL) throw new Error(`${db.name}: synchronous is ${level}, not FULL`);
}

function assertOurs(db: Database, kind: DatabaseKind): void {
  const id = db.pragma('application_id', { simple: true });
  const version = Number(db.pragma('user_version', { simple: true }));
  const isEmpty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
  if (id === 0 && version === 0 && isEmpty) return;
  if (id !== APPLICATION_IDS[kind]) {
    throw new UnusableFile(
      'not-ours',
      `${db.name} is not a lookaside ${kind} database (application_id ${id})`,
    );
  }
  if (version > newestVersion(kind)) {
    throw new UnusableFile(
      'newer',
      `${db.name} has schema ${version}, this version knows ${newestVersion(kind)} at most: it was written by a newer lookaside`,
    );
  }
}

function asUnusable(file: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (error instanceof UnusableFile || !isCorruption(error)) throw error;
    throw new UnusableFile('corrupt', `${file} is damaged: ${messageOf(error)}`, { cause: error });
  }
}

/** The result of `act`; closes the connection when `act` fails. */
export function closedOnError<T>(db: Database, act: () => T): T {
  try {
    return act();
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Closes a connection that wrote, with all that was written in the file itself. SQLite does that with the last connection alone,
 * and one that only reads may outlive all that write.
 */
export function closeInItsFile(db: Database): void {
  try {
    db.pragma('wal_checkpoint(TRUNCATE)');
  } catch {
    // damaged, or the disk failed: what was committed stays in the journal, and whoever opens it next meets the error
  } finally {
    db.close();
  }
}

/** @throws the system's error */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
