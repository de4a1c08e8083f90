// Folders that survive a power cut with all that is put into them. Once an fsync has failed nothing is written any more.
import { dirname } from 'node:path';
import { LRUCache } from 'lru-cache';
import { createSharedRuns } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { calls, syncFile } from './calls.ts';
import { entryIn } from './opened.ts';
import { attempt, codeOf, NO_SPACE, refusal } from './refusal.ts';
import { demandInPlace, onWay, type Way, type WayFolder } from './way.ts';

export interface DurableFoldersOptions {
  readonly root: string;
  /** The real path of the root. @throws LookasideError STORE_UNAVAILABLE when it has gone */
  readonly checkRoot: () => Promise<string>;
}

/** A file with its content, open; a power cut may still take it. */
export interface NewFile {
  readonly descriptor: number;
  readonly name: string;
  /** The name of its folder. */
  readonly folder: string;
}

export interface DurableFolders {
  /** Why nothing is written any more; null: all is well. */
  readonly fault: string | null;
  /** @throws LookasideError STORE_UNAVAILABLE */
  refuseFault(): void;
  /** After a failure, what the kernel held may be lost although the next fsync succeeds, so nothing is stored any more. */
  sync(descriptor: number, name: string): Promise<void>;
  /**
   * Open it before something is named in the folder: what a failure leaves there could not be told from what survives. The
   * caller closes the descriptor. @throws LookasideError STORE_UNAVAILABLE, also when too many files are open
   */
  openForSync(folder: WayFolder): Promise<number>;
  /** One fsync serves all uploads that store into the same folder at the same time. */
  syncFolder(folder: WayFolder): Promise<void>;
  /** A file that was not there, and survives together with its folder. When it was modified, as the tree reads it. */
  writeNew(folder: WayFolder, name: string, content: string | Uint8Array, mode: number): Promise<Date>;
  /** The same for many files, each of which finishNew() makes survive: the disk takes them together. The caller closes them. */
  beginNew(folder: WayFolder, name: string, content: string | Uint8Array, mode: number): Promise<NewFile>;
  finishNew(file: NewFile): Promise<Date>;
  /**
   * Runs `act` in the folder, once every folder on the way from the root survives a power cut. With a mode, missing folders
   * are made.
   */
  inFolder<T>(folder: string, mode: number | null, act: (folder: WayFolder) => Promise<T>): Promise<T>;
  /** The same in a folder that is ours alone, through no link. */
  inOwnFolder<T>(folder: string, mode: number, act: (folder: WayFolder) => Promise<T>): Promise<T>;
  /** Whether the folder's own entry in the folder above is known to survive. */
  isLasting(folder: Pick<WayFolder, 'name' | 'identity'>): boolean;
  /** The folder of that name is removed: the file system may give its identity to the next one that is made. */
  removed(name: string): void;
}

const FOLDERS_KEPT = 10_000;

export function createDurableFolders({ root, checkRoot }: DurableFoldersOptions): DurableFolders {
  // by name; the value tells a folder from its successor
  const lasting = new LRUCache<string, string>({ max: FOLDERS_KEPT });
  const shareSync = createSharedRuns();
  let fault: string | null = null;
  let isRootLasting = false;

  function refuseFault(): void {
    if (fault !== null) throw new LookasideError('STORE_UNAVAILABLE', fault);
  }

  async function sync(descriptor: number, name: string): Promise<void> {
    refuseFault(); // another upload may have failed while this one waited for its turn
    try {
      await syncFile(descriptor);
    } catch (error) {
      throw lost(error, name);
    }
  }

  function lost(error: unknown, name: string): LookasideError {
    const code = codeOf(error) ?? 'unknown error';
    fault ??= `a write to ${name} did not reach the disk (${code}); check the disk and start the server again, until then nothing is stored`;
    return new LookasideError('STORE_UNAVAILABLE', fault, { cause: error });
  }

  async function openForSync(folder: WayFolder): Promise<number> {
    demandInPlace(folder);
    return attempt(() => calls.open(folder.path, 'r'), folder.name);
  }

  function syncFolder(folder: WayFolder): Promise<void> {
    return shareSync(`${folder.identity} ${folder.where}`, async () => {
      const descriptor = await openForSync(folder);
      try {
        await sync(descriptor, folder.name);
      } finally {
        await calls.close(descriptor);
      }
    });
  }

  async function writeNew(...which: Parameters<DurableFolders['beginNew']>): Promise<Date> {
    const file = await beginNew(...which);
    try {
      return await finishNew(file);
    } finally {
      await calls.close(file.descriptor);
    }
  }

  async function beginNew(
    folder: WayFolder,
    name: string,
    content: string | Uint8Array,
    mode: number,
  ): Promise<NewFile> {
    const file = entryIn(folder, name);
    const descriptor = await attempt(() => calls.open(file.path, 'wx', mode), folder.name);
    try {
      await attempt(() => calls.write(descriptor, content), folder.name);
      return { descriptor, name: file.name, folder: folder.name };
    } catch (error) {
      await calls.close(descriptor);
      throw error;
    }
  }

  async function finishNew({ descriptor, name, folder }: NewFile): Promise<Date> {
    await syncFile(descriptor).catch((error: unknown) => {
      // a full disk may show only now: the file is thrown away, so its lost pages do no harm
      throw NO_SPACE.has(codeOf(error)) ? refusal(error, folder) : lost(error, name);
    });
    // only now, as a server of files may set it late; in whole milliseconds: a double rounds some of them up
    const { mtimeMs } = await attempt(() => calls.fstat(descriptor), name);
    return new Date(Number(mtimeMs));
  }

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
      const descriptor = await attempt(() => calls.open(above, 'r'), above);
      try {
        await sync(descriptor, above);
      } finally {
        await calls.close(descriptor);
      }
    } catch (error) {
      // a folder that we may not open was not made by us
      if (!isLookasideError(error, 'READ_ONLY')) throw error;
    }
  }

  return {
    get fault() {
      return fault;
    },
    refuseFault,
    sync,
    openForSync,
    syncFolder,
    writeNew,
    beginNew,
    finishNew,
    inFolder,
    inOwnFolder,
    isLasting: ({ name, identity }) => lasting.get(name) === identity,
    removed: (name) => void lasting.delete(name),
  };
}
