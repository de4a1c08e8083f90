// DATA/lock: who holds it is the one process that may write to the data directory. DATA/lock.holder says who that is.
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LookasideError } from '../domain/errors.ts';
import { describeHolder, type Holder, holderText, isServer, parseHolder } from '../domain/holder.ts';
import { connect } from './connect.ts';
import { makeDataFolder } from './data-folder.ts';
import { isLocked, messageOf } from './open.ts';

export interface DataLock {
  /** A second time does nothing. */
  release(): void;
  [Symbol.dispose](): void;
}

/** What is told of this process to those who find the lock taken. */
export type LockTaker = Pick<Holder, 'command' | 'host'>;

/**
 * Takes the data directory for this process until release() or its death, which the kernel notices: nothing
 * stale is left by kill -9. Makes the directory. The file stays empty, and nothing else in this process may open
 * it: closing any descriptor of it would free the lock (POSIX).
 * @throws LookasideError ALREADY_RUNNING at once when another holds it, with the command that does as detail where it is
 * known; STORE_UNAVAILABLE
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
  let db: Database | null = null;
  try {
    makeDataFolder(dataDir);
    db = connect(file, { timeout: 0 });
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = MEMORY');
    db.exec('BEGIN EXCLUSIVE'); // left open: its lock is what is held
    return db;
  } catch (error) {
    db?.close();
    if (isLocked(error)) throw taken(dataDir, file);
    throw new LookasideError('STORE_UNAVAILABLE', `cannot lock ${file}: ${messageOf(error)}`, {
      cause: error,
    });
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
    // whatever the disk has against it: the lock is held, and only a sentence will be less clear
  }
}

function forgetHolder(file: string): void {
  try {
    rmSync(holderFile(file), { force: true });
  } catch {
    // it is not believed once the lock is free
  }
}

/** Null when nobody wrote it down, or somebody else than who holds the lock: one who was killed. */
function readHolder(file: string, pids: readonly number[]): Holder | null {
  const holder = parseHolder(readOrEmpty(holderFile(file)));
  if (holder === null) return null;
  return pids.length === 0 || pids.includes(holder.pid) ? holder : null;
}

// `1: POSIX  ADVISORY  WRITE 19105 fe:00:2736310 1073741824 1073742335`: process, device, inode (proc_locks(5))
const WRITE_LOCK =
  /^\d+: POSIX +ADVISORY +WRITE +(?<pid>\d+) +(?<major>[0-9a-f]+):(?<minor>[0-9a-f]+):(?<inode>\d+) /;

/**
 * Who holds the lock as the kernel tells it. Empty where it does not: holders in other containers are not shown, nor
 * is the device that stat tells of the file where file systems lie over each other.
 */
function lockingProcesses(file: string): readonly number[] {
  // asked by name: opening and closing the file would free a lock of ours
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
    return ''; // any reason: then nothing is known
  }
}

function holderFile(lockFile: string): string {
  return `${lockFile}.holder`;
}
