// Copies signatures into a folder that nobody else writes to: each file is whole or absent under its name, and after sync()
// all of them survive a power cut.
import { createHash, randomUUID } from 'node:crypto';
import callbacks, { constants, promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { StoredFile } from '../domain/backup.ts';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { type ErrorCode, LookasideError, systemCode } from '../domain/errors.ts';
import { MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { ABSENT } from './root.ts';
import { modifiedAtOf } from './stamps.ts';

export interface TreeCopy {
  /** Null when no regular file is there that a client could read. */
  read(path: string): Promise<StoredFile | null>;
  /** Replaces what was there. */
  write(path: string, file: StoredFile): Promise<void>;
  /** Has sync() sync the folders above this file: an earlier run may have made them and not have reached its sync(). */
  doubt(path: string): void;
  sync(): Promise<void>;
}

// plain descriptors: a FileHandle costs the main thread two or three times as much, which slows a large copy
const open = promisify(callbacks.open);
const fstat = promisify(callbacks.fstat);
const readFile = promisify(callbacks.readFile);
const writeFile = promisify(callbacks.writeFile);
const futimes = promisify(callbacks.futimes);
const fsync = promisify(callbacks.fsync);
const close = promisify(callbacks.close);

const SYNCS_AT_ONCE = 16;

/** All methods @throws LookasideError DISK_FULL, READ_ONLY, STORE_UNAVAILABLE */
export function openTreeCopy(root: string): TreeCopy {
  const unsynced = new Set<string>();
  const made = new Set<string>();

  /** All folders up to the root, to which sync() adds the one above: each holds the name of the one below. */
  function doubt(path: string): void {
    for (let folder = dirname(path); !unsynced.has(folder); folder = dirname(folder)) {
      unsynced.add(folder);
      if (folder === '.') break;
    }
  }

  async function makeFolder(path: string): Promise<void> {
    const folder = dirname(path);
    if (made.has(folder)) return;
    await fs.mkdir(join(root, folder), { recursive: true, mode: 0o755 });
    made.add(folder);
  }

  return {
    read: (path) => readStored(join(root, path)),
    write: (path, file) =>
      onDisk(join(root, path), async () => {
        await makeFolder(path);
        doubt(path);
        await writeWhole(join(root, path), file);
      }),
    doubt,
    sync: () =>
      onDisk(root, async () => {
        await forEachConcurrently(unsynced, SYNCS_AT_ONCE, (folder) => syncPath(join(root, folder)));
        await syncPath(dirname(root));
        unsynced.clear();
      }),
  };
}

async function readStored(path: string): Promise<StoredFile | null> {
  return onDisk(path, async () => {
    try {
      return await withFile(
        path,
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
        async (file) => {
          const stats = await fstat(file);
          if (!stats.isFile() || stats.size > MAX_SIGNATURE_BYTES) return null;
          return { bytes: await readFile(file), modifiedAt: modifiedAtOf(stats.mtimeMs) };
        },
      );
    } catch (error) {
      if (ABSENT.has(systemCode(error) ?? '')) return null;
      throw error;
    }
  });
}

async function writeWhole(path: string, { bytes, modifiedAt }: StoredFile): Promise<void> {
  // not a signature's name: a file that is cut short is neither listed nor served
  const unfinished = `${path}.${randomUUID()}`;
  try {
    await withFile(unfinished, 'wx', async (file) => {
      await writeFile(file, bytes);
      await futimes(file, modifiedAt, modifiedAt);
      await fsync(file);
    });
    await fs.rename(unfinished, path);
  } catch (error) {
    await fs.rm(unfinished, { force: true }).catch(() => undefined); // the error before it says more
    throw error;
  }
}

/** A file or folder. */
export async function syncPath(path: string): Promise<void> {
  await withFile(path, 'r', fsync);
}

/** New files get mode 0644. */
async function withFile<T>(
  path: string,
  flags: string | number,
  act: (file: number) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags, 0o644);
  try {
    return await act(file);
  } finally {
    await close(file);
  }
}

/** Writes the file durably and replaces what has its name. The caller syncs the folder. */
export async function writeText(path: string, text: string, mode: number): Promise<void> {
  const unfinished = `${path}.new`;
  const handle = await fs.open(unfinished, 'w', mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await fs.rename(unfinished, path);
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const REFUSALS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOSPC: ['DISK_FULL', 'no space is left there; free some, then run it again'],
  EDQUOT: ['DISK_FULL', 'the quota is used up there; free some space, then run it again'],
  EROFS: ['READ_ONLY', 'the file system is read-only'],
  ENOTDIR: ['CONFIG_INVALID', 'a file has this name; name a folder'],
  EACCES: ['READ_ONLY', 'this user has no right to; run it as the user of the server, or as root'],
  EPERM: ['READ_ONLY', 'this user has no right to; run it as the user of the server, or as root'],
};

/** What `act` returns; errors of the system become our own. */
export async function onDisk<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const code = systemCode(error);
    if (error instanceof LookasideError || code === null) throw error;
    const [kind, why] = REFUSALS[code] ?? ['STORE_UNAVAILABLE', 'look after the disk, then run it again'];
    throw new LookasideError(kind, `cannot work at ${path} (${code}): ${why}`, { cause: error });
  }
}
