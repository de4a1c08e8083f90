// DATA/lock: only the process that holds it may write to the data directory. DATA/lock.holder names that process.
import { accessSync, constants, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { describeHolder, type Holder, holderText, isServer, parseHolder } from '../domain/holder.ts';
import { connect } from './connect.ts';
import { makeDataFolder } from './data-folder.ts';
import { isLocked, messageOf } from './open.ts';

export interface DataLock {
  /** A second call does nothing. */
  release(): void;
  [Symbol.dispose](): void;
}

/** What other processes that find the lock taken learn about this one. */
export type LockTaker = Pick<Holder, 'command' | 'host'>;

/**
 * Locks the data directory for this process until release() or the end of the process. The kernel notices that end, so kill
 * -9 leaves no stale lock. Creates the directory. The file stays empty, and nothing else in this process may open it: closing
 * any of its descriptors would free the lock (POSIX).
 * @throws LookasideError ALREADY_RUNNING at once when another process holds the lock, with that process's command as detail
 * if it is known; STORE_UNAVAILABLE
 */
export function takeLock(dataDir: string, taker: LockTaker): DataLock {
  const file = join(dataDir, 'lock');
  const db = lockedDatabase(dataDir, file);
  tellHolder(file, { ...taker, pid: process.pid, since: new Date() });
  let isHeld = true;
  const release = () => {
    if (isHeld) forgetHolder(file);
    isHeld = false;
    db.close();
  };
  return { release, [Symbol.dispose]: release };
}

function lockedDatabase(dataDir: string, file: string): Database {
  makeMissingFolder(dataDir);
  let db: Database | null = null;
  try {
    db = connect(file, { timeout: 0 });
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = MEMORY');
    db.exec('BEGIN EXCLUSIVE'); // stays open: the lock of this transaction is the lock of the data directory
    return db;
  } catch (error) {
    db?.close();
    if (isLocked(error)) throw taken(dataDir, file);
    if (error instanceof LookasideError) throw error; // SQLite itself is missing, and the lock is not the reason
    const why = mayWrite(dataDir)
      ? messageOf(error)
      : `this user may not write to ${dataDir}; change its owner or mode, or name another folder with --data or LOOKASIDE_DATA`;
    throw new LookasideError('STORE_UNAVAILABLE', `cannot lock ${file}: ${why}`, { cause: error });
  }
}

function mayWrite(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    return systemCode(error) !== 'EACCES';
  }
}

function makeMissingFolder(dataDir: string): void {
  try {
    makeDataFolder(dataDir);
  } catch (error) {
    const why = systemCode(error) === 'EEXIST' ? 'a file is there, or on the way to it' : messageOf(error);
    const reason = `cannot make the data directory ${dataDir}: ${why}`;
    throw new LookasideError(
      'STORE_UNAVAILABLE',
      `${reason}; name a folder that can be made or exists already with --data or LOOKASIDE_DATA`,
      { cause: error },
    );
  }
}

function taken(dataDir: string, file: string): LookasideError {
  const pids = lockingProcesses(file);
  const holder = readHolder(file, pids);
  if (holder === null) {
    const who = pids[0] === undefined ? 'another process' : `process ${pids[0]}`;
    return new LookasideError(
      'ALREADY_RUNNING',
      `${who} is using ${dataDir}: it holds ${file}; stop it or wait for its end, then try again`,
    );
  }
  const advice = isServer(holder)
    ? 'a data directory has one server: stop that one, or name another folder with --data'
    : 'wait until it has ended, then try again';
  return new LookasideError(
    'ALREADY_RUNNING',
    `${dataDir} is in use by ${describeHolder(holder)}; ${advice}`,
    {
      detail: { command: holder.command },
    },
  );
}

function tellHolder(file: string, holder: Holder): void {
  try {
    writeFileSync(holderFile(file), holderText(holder));
  } catch {
    // ignored for any reason: the lock is held, and only an error message will be less clear
  }
}

function forgetHolder(file: string): void {
  try {
    rmSync(holderFile(file), { force: true });
  } catch {
    // ignored: nobody uses this text once the lock is free
  }
}

/**
 * Null when no holder is written down, or when the text is from an earlier, killed process and not from the one that holds
 * the lock.
 */
function readHolder(file: string, pids: readonly number[]): Holder | null {
  const holder = parseHolder(readOrEmpty(holderFile(file)));
  if (holder === null) return null;
  return pids.length === 0 || pids.includes(holder.pid) ? holder : null;
}

// `1: POSIX  ADVISORY  WRITE 19105 fe:00:2736310 1073741824 1073742335`: process, device, inode (proc_locks(5))
const WRITE_LOCK =
  /^\d+: POSIX +ADVISORY +WRITE +(?<pid>\d+) +(?<major>[0-9a-f]+):(?<minor>[0-9a-f]+):(?<inode>\d+) /;

/**
 * The processes that hold the lock, according to the kernel. Empty where the kernel does not name them: it does not show
 * holders in other containers, and with overlaid file systems it shows another device for the file than stat does.
 */
function lockingProcesses(file: string): readonly number[] {
  // stat by name: opening and closing the file would free this process's own lock
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined) return [];
  const [major, minor] = [(stats.dev >> 8n) & 0xfffn, (stats.dev & 0xffn) | ((stats.dev >> 12n) & 0xfff00n)];
  return readOrEmpty('/proc/locks')
    .split('\n')
    .flatMap((line) => {
      const lock = WRITE_LOCK.exec(line)?.groups;
      const isOfFile =
        lock !== undefined &&
        BigInt(`0x${lock.major}`) === major &&
        BigInt(`0x${lock.minor}`) === minor &&
        BigInt(lock.inode ?? 0) === stats.ino;
      return isOfFile ? [Number(lock.pid)] : [];
    });
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // ignored for any reason: then nothing is known
  }
}

function holderFile(lockFile: string): string {
  return `${lockFile}.holder`;
}
