// Adds signatures to a tree: they are prepared out of sight, then linked into place, with every fsync that is needed to
// survive a power cut. Replaces a file only where recorded bytes are put back.
import { randomUUID } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { createSharedRuns } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { MAX_FILE_NUMBER } from '../domain/limits.ts';
import type { TreeWriter } from '../domain/tree.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import { PREPARED_FOLDER, readIntent } from './intents.ts';
import { type Entry, entryIn, HELD, type Placed } from './opened.ts';
import { attempt, codeOf, NO_SPACE, refusal } from './refusal.ts';
import { closing, openRoot, unavailable } from './root.ts';
import { demandInPlace, identified, onWay, type Way, type WayFolder } from './way.ts';

export interface TreeWriterOptions {
  readonly root: string;
  readonly nowMs: () => number;
}

const DISPLACED_FOLDER = join(PRIVATE_FOLDER, 'displaced');

// what we make there: both files of a pair, and the temporary files of other writes
const OUR_NAME = /^(?<prepared>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.intent|\.signature)?$/;

const NO_HARD_LINKS: ReadonlySet<string | null> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Types of statfs(2): file systems that have no hard links or may lack them. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x4d44, 'vfat'],
  [0x2011bab0, 'exfat'],
  [0x65735546, 'fuse'],
  [0x01021997, '9p'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb2'],
]);

const FOLDERS_KEPT = 10_000;

export function openTreeWriter({ root, nowMs }: TreeWriterOptions): TreeWriter {
  const { checkRoot, inTarget, openOwn } = openRoot(root, nowMs);
  // by name, the folders whose entry in the folder above is known to survive; the value tells a folder from its successor
  const lasting = new LRUCache<string, string>({ max: FOLDERS_KEPT });
  const shareSync = createSharedRuns();
  let fault: string | null = null;
  let isRootLasting = false;

  function refuseFault(): void {
    if (fault !== null) throw new LookasideError('STORE_UNAVAILABLE', fault);
  }

  /** After a failure, what the kernel held may be lost although the next fsync succeeds, so nothing is stored any more. */
  async function sync(handle: FileHandle, name: string): Promise<void> {
    refuseFault(); // another upload may have failed while this one waited for its turn
    try {
      await handle.sync();
    } catch (error) {
      throw lost(error, name);
    }
  }

  function lost(error: unknown, name: string): LookasideError {
    const code = codeOf(error) ?? 'unknown error';
    fault ??= `a write to ${name} did not reach the disk (${code}); check the disk and start the server again, until then nothing is stored`;
    return new LookasideError('STORE_UNAVAILABLE', fault, { cause: error });
  }

  /** One fsync serves all uploads that store into the same folder at the same time. */
  function syncFolder(folder: WayFolder): Promise<void> {
    return shareSync(`${folder.identity} ${folder.where}`, async () => {
      demandInPlace(folder);
      const handle = await attempt(() => fs.open(folder.path, 'r'), folder.name);
      try {
        await sync(handle, folder.name);
      } finally {
        await handle.close();
      }
    });
  }

  async function writeNew(
    folder: WayFolder,
    name: string,
    content: string | Uint8Array,
    mode: number,
  ): Promise<void> {
    const file = entryIn(folder, name);
    const handle = await attempt(() => fs.open(file.path, 'wx', mode), folder.name);
    try {
      await attempt(() => handle.writeFile(content), folder.name);
      await handle.sync().catch((error: unknown) => {
        // a full disk may show only now: the file is thrown away, so its lost pages do no harm
        throw NO_SPACE.has(codeOf(error)) ? refusal(error, folder.name) : lost(error, file.name);
      });
    } finally {
      await handle.close();
    }
  }

  /**
   * Runs `act` in the folder, once every folder on the way from the root survives a power cut. With a mode, missing folders
   * are made.
   */
  function inFolder<T>(
    folder: string,
    mode: number | null,
    act: (folder: WayFolder) => Promise<T>,
  ): Promise<T> {
    return onWay({ root, folder, mode, isOwn: false }, async (last, way) => {
      await makeLasting(way);
      return act(last);
    });
  }

  function inOwnFolder<T>(folder: string, mode: number, act: (folder: WayFolder) => Promise<T>): Promise<T> {
    return onWay({ root, folder, mode, isOwn: true }, async (last, way) => {
      await makeLasting(way);
      return act(last);
    });
  }

  /** Another upload, or a server that was killed, may have made a folder and not have reached the fsync. */
  async function makeLasting(way: Way): Promise<void> {
    let above: WayFolder | null = null;
    for (const folder of way) {
      if (above !== null && lasting.get(folder.name) !== folder.identity) {
        await syncFolder(above);
        lasting.set(folder.name, folder.identity);
      }
      above = folder;
    }
    if (isRootLasting) return;
    await makeRootLasting();
    isRootLasting = true;
  }

  async function makeRootLasting(): Promise<void> {
    const above = dirname(await checkRoot());
    try {
      const handle = await attempt(() => fs.open(above, 'r'), above);
      try {
        await sync(handle, above);
      } finally {
        await handle.close();
      }
    } catch (error) {
      // a folder that we may not open was not made by us
      if (!isLookasideError(error, 'READ_ONLY')) throw error;
    }
  }

  /** Runs `act` in the folder of prepared pairs. It must not be a link: that would lead what we write elsewhere. */
  async function inPrepared<T>(act: (folder: WayFolder) => Promise<T>): Promise<T> {
    const name = join(root, PREPARED_FOLDER);
    const found = await attempt(() => openOwn(PREPARED_FOLDER), name);
    if (found !== null) {
      const known = await closing(found, async () => {
        const folder = await identified(found);
        return lasting.get(name) === folder.identity ? { result: await act(folder) } : null;
      });
      if (known !== null) return known.result;
    }
    await inOwnFolder(PRIVATE_FOLDER, 0o755, async () => undefined);
    return inOwnFolder(PREPARED_FOLDER, 0o700, act);
  }

  async function linkFree(source: Entry, folder: WayFolder, from: number): Promise<number> {
    // names may have been taken since the folder was read; higher numbers are never looked at
    for (let number = from; number <= MAX_FILE_NUMBER; number += 1) {
      demandInPlace(folder);
      if (await link(source, folder, signatureIn(folder, number))) return number;
    }
    const message = `${folder.name} has a file at each number from ${from} to ${MAX_FILE_NUMBER}, and none above is looked at; delete what is not needed and rename the rest so that no number is missing, then upload again`;
    throw new LookasideError('TOO_MANY_SIGNATURES', message);
  }

  /** False: the name is taken. link, unlike rename, never replaces a file. */
  async function link(source: Entry, folder: WayFolder, target: Entry): Promise<boolean> {
    try {
      await fs.link(source.path, target.path);
      return true;
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EEXIST') return false;
      if (NO_HARD_LINKS.has(code)) throw await noHardLinks(error, folder);
      if (code === 'EXDEV') throw otherFileSystem(error, folder);
      throw refusal(error, folder.name);
    }
  }

  async function noHardLinks(cause: unknown, { path, name }: WayFolder): Promise<LookasideError> {
    const type = await fs.statfs(path).then(
      (stats) => FILE_SYSTEMS.get(stats.type) ?? `type 0x${stats.type.toString(16)}`,
      () => 'of unknown type',
    );
    const message = `the file system of ${name} (${type}) makes no hard links (${codeOf(cause)}), without which no upload is safe; keep the tree on another, such as ext4 or xfs`;
    return new LookasideError('STORE_UNAVAILABLE', message, { cause });
  }

  function otherFileSystem(cause: unknown, { name }: WayFolder): LookasideError {
    const message = `${name} is on another file system than ${join(root, PREPARED_FOLDER)}; keep the tree on one`;
    return new LookasideError('STORE_UNAVAILABLE', message, { cause });
  }

  /** Removes the name again, unless somebody has put another file there meanwhile; also in a folder that was moved away. */
  async function unlinkOurs(source: Entry, target: Entry): Promise<void> {
    try {
      const [ours, there] = [await fs.lstat(source.path), await fs.lstat(target.path)];
      if (ours.ino !== there.ino) return;
      await fs.unlink(target.path);
    } catch {
      // the error that made us remove it is about to be thrown, and says more
    }
  }

  /** Moves a folder out of the way: what it holds is not ours to delete. */
  function displace(folder: WayFolder, entry: Entry): Promise<void> {
    return inOwnFolder(DISPLACED_FOLDER, 0o755, async (displaced) => {
      const target = entryIn(displaced, randomUUID());
      demandInPlace(folder);
      await attempt(() => fs.rename(entry.path, target.path), entry.name);
      await syncFolder(displaced);
    });
  }

  async function discardIn(folder: Placed, prepared: string): Promise<void> {
    // the intent first: without it the bytes mean nothing
    for (const name of [`${prepared}.intent`, `${prepared}.signature`, prepared]) {
      await fs.unlink(entryIn(folder, name).path).catch(() => undefined);
    }
  }

  /** Syncs a file that somebody else may have put there. */
  async function syncFile(file: Entry): Promise<void> {
    const isSynced = await inTarget(file, HELD, async ({ path, name }) => {
      // fsync of a pipe fails, and that is not a lost write
      if (!(await attempt(() => fs.stat(path), name)).isFile()) return false;
      const handle = await attempt(() => fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK), name);
      try {
        await sync(handle, name);
      } finally {
        await handle.close();
      }
      return true;
    });
    if (isSynced === true) return;
    throw new LookasideError('STORE_UNAVAILABLE', `${file.name} is no file of the tree any more`);
  }

  return {
    get fault() {
      return fault;
    },
    async freeBytes() {
      try {
        const { bavail, bsize } = await fs.statfs(root);
        return bavail * bsize;
      } catch (error) {
        throw unavailable(root, error);
      }
    },
    async prepare(intent, bytes) {
      refuseFault();
      // a missing root must not be made again: it may be a disk that is not mounted
      await checkRoot();
      return inPrepared(async (folder) => {
        const prepared = randomUUID();
        try {
          await writeNew(folder, `${prepared}.signature`, bytes, 0o644);
          await writeNew(folder, `${prepared}.intent`, intent, 0o600);
          await syncFolder(folder);
        } catch (error) {
          await discardIn(folder, prepared);
          throw error;
        }
        return prepared;
      });
    },
    async place(prepared, folder, from) {
      refuseFault();
      return inPrepared((tmp) =>
        inFolder(folder, 0o755, async (last) => {
          const source = entryIn(tmp, `${prepared}.signature`);
          const number = await linkFree(source, last, from);
          try {
            await syncFolder(last);
            demandInPlace(last);
            refuseFault(); // another upload may have failed meanwhile
          } catch (error) {
            await unlinkOurs(source, signatureIn(last, number));
            throw error;
          }
          return number;
        }),
      );
    },
    async makeDurable(folder, number) {
      refuseFault();
      await inFolder(folder, null, async (last) => {
        await syncFile(signatureIn(last, number));
        await syncFolder(last);
      });
    },
    async restore(folder, number, bytes) {
      refuseFault();
      await inPrepared((tmp) =>
        inFolder(folder, 0o755, async (last) => {
          const target = signatureIn(last, number);
          // rename replaces anything but a folder
          if ((await lstatOrNull(target))?.isDirectory()) await displace(last, target);
          const temporary = randomUUID();
          try {
            await writeNew(tmp, temporary, bytes, 0o644);
            demandInPlace(last);
            await attempt(() => fs.rename(entryIn(tmp, temporary).path, target.path), target.name);
          } catch (error) {
            await discardIn(tmp, temporary);
            throw error;
          }
          await syncFolder(last);
        }),
      );
    },
    async discard(prepared) {
      try {
        const folder = await openOwn(PREPARED_FOLDER);
        if (folder !== null) await closing(folder, () => discardIn(folder, prepared));
      } catch {
        // what is left is found at the next start
      }
    },
    async leftOver() {
      const folder = await unlessClosed(() => openOwn(PREPARED_FOLDER), null);
      return folder === null ? [] : closing(folder, leftOverIn);
    },
  };
}

function signatureIn(folder: WayFolder, number: number): Entry {
  return entryIn(folder, `signature-${number}`);
}

async function leftOverIn(folder: Placed) {
  const found = new Set<string>();
  for (const name of await unlessClosed(() => fs.readdir(folder.path), [])) {
    const prepared = OUR_NAME.exec(name)?.groups?.prepared;
    if (prepared === undefined || found.has(prepared)) continue;
    const stats = await lstatOrNull(entryIn(folder, name));
    if (stats?.isFile() && stats.uid === process.geteuid?.()) found.add(prepared);
  }
  const pairs: { readonly prepared: string; readonly intent: string | null }[] = [];
  for (const prepared of [...found].sort()) {
    pairs.push({ prepared, intent: await readIntent(entryIn(folder, `${prepared}.intent`)) });
  }
  return pairs;
}

/** `otherwise` when it is not there, or we may not open it. */
async function unlessClosed<T>(act: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (isLookasideError(error)) throw error;
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(codeOf(error) ?? '')) return otherwise;
    throw unavailable(PREPARED_FOLDER, error);
  }
}

async function lstatOrNull({ path, name }: Entry) {
  try {
    return await fs.lstat(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw unavailable(name, error);
  }
}
