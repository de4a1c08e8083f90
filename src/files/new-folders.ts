// Many images' folders at once: each is made out of sight with all its files, and named into its place in one step, so that readers
// and a crash find all of it or nothing. What is synced is synced once for all of them, in the order bytes, folders.
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import type { NewFolder } from '../domain/tree.ts';
import { calls } from './calls.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import type { DurableFolders } from './durable-folders.ts';
import { type Entry, entryIn, type Placed } from './opened.ts';
import { attempt, codeOf, refusal } from './refusal.ts';
import { closing, openRootFolder } from './root.ts';
import { demandInPlace, identified, type WayFolder } from './way.ts';

/** Folders that have no place yet. None is needed after the process that made it has ended. */
export const BATCH_FOLDER = join(PRIVATE_FOLDER, 'batch');

/** At once: the system's threads serve uploads too. */
const FOLDERS_AT_ONCE = 16;
/** Open until they are synced, each time. The first fsync of many lets the disk take what all of them wait for. */
const FILES_OPEN = 256;

/** Somebody else's folder, file or link is there; or it has to be placed in another way, whose failure says more. */
const NOT_FREE: ReadonlySet<string | null> = new Set([
  'EEXIST',
  'ENOTEMPTY',
  'ENOTDIR',
  'EISDIR',
  'EXDEV',
  'EBUSY', // another file system is mounted there
  'ENAMETOOLONG',
]);

interface Made extends NewFolder {
  readonly position: number;
  readonly aside: Entry;
  /** When its files were changed; known once they are made. */
  modifiedAt: readonly Date[];
}

/** As TreeWriter.placeNew(). */
export async function placeNew(
  root: string,
  durable: DurableFolders,
  sets: readonly NewFolder[],
): Promise<readonly (readonly Date[] | null)[]> {
  const placed: (readonly Date[] | null)[] = sets.map(() => null);
  await durable.inOwnFolder(BATCH_FOLDER, 0o755, async (batch) => {
    const made = sets.map(
      (set, position): Made => ({ ...set, position, aside: entryIn(batch, randomUUID()), modifiedAt: [] }),
    );
    try {
      for (const some of inParts(made)) await makeAll(durable, batch, some);
      await forEachConcurrently(byParent(made), FOLDERS_AT_ONCE, async ([parent, ones]) => {
        await unlessFault(durable, () =>
          inParent({ root, durable, parent }, async (above) => {
            const descriptor = await durable.openForSync(above);
            try {
              for (const { folder, position, aside, modifiedAt } of ones) {
                if (await named(aside, above, entryIn(above, basename(folder))))
                  placed[position] = modifiedAt;
              }
            } finally {
              // what was named before a failure is seen by readers, and counts as stored
              await durable.sync(descriptor, above.name).finally(() => calls.close(descriptor));
            }
          }),
        );
      });
    } finally {
      const left = made.filter(({ position }) => placed[position] === null);
      await forEachConcurrently(left, FOLDERS_AT_ONCE, ({ aside }) => throwAway(aside));
    }
  });
  return placed;
}

/** What fails within is not placed, and can be placed by itself; a write that was lost ends all of it. */
async function unlessFault(durable: DurableFolders, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (durable.fault !== null || !isLookasideError(error)) throw error;
  }
}

/** With so many files and folders that they may all be open, or one alone. */
function* inParts(made: readonly Made[]): Generator<readonly Made[]> {
  let part: Made[] = [];
  let files = 0;
  for (const one of made) {
    const more = one.row.length + 1;
    if (part.length > 0 && files + more > FILES_OPEN) {
      yield part;
      [part, files] = [[], 0];
    }
    part.push(one);
    files += more;
  }
  if (part.length > 0) yield part;
}

/** The folders with their files, all of it on the disk: everything is written first, and then synced. */
async function makeAll(durable: DurableFolders, batch: WayFolder, made: readonly Made[]): Promise<void> {
  const open: number[] = [];
  const unsynced: (() => Promise<void>)[] = [];
  try {
    await forEachConcurrently(made, FOLDERS_AT_ONCE, async (one) => {
      const { aside, row } = one;
      demandInPlace(batch);
      await attempt(() => calls.mkdir(aside.path, 0o755), aside.name);
      const folder = { ...batch, ...aside };
      const times: Date[] = [];
      for (const [position, bytes] of row.entries()) {
        const file = await durable.beginNew(folder, `signature-${position + 1}`, bytes, 0o644);
        open.push(file.descriptor);
        unsynced.push(async () => {
          times[position] = await durable.finishNew(file);
        });
      }
      const descriptor = await attempt(() => calls.open(aside.path, 'r'), aside.name);
      open.push(descriptor);
      unsynced.push(() => durable.sync(descriptor, aside.name));
      one.modifiedAt = times;
    });
    await forEachConcurrently(unsynced, FOLDERS_AT_ONCE, (sync) => sync());
  } finally {
    for (const descriptor of open) await calls.close(descriptor);
  }
}

function byParent(made: readonly Made[]): ReadonlyMap<string, readonly Made[]> {
  const parents = new Map<string, Made[]>();
  for (const one of made) {
    const parent = dirname(one.folder);
    parents.set(parent, [...(parents.get(parent) ?? []), one]);
  }
  return parents;
}

export interface Parent {
  readonly root: string;
  readonly durable: DurableFolders;
  /** `.`: the root itself. */
  readonly parent: string;
  /** Null: it must be there. */
  readonly mode?: number | null;
}

export async function inParent(
  { root, durable, parent, mode = 0o755 }: Parent,
  act: (above: WayFolder) => Promise<void>,
): Promise<void> {
  if (parent !== '.') return durable.inFolder(parent, mode, act);
  await closing(await openRootFolder(root), async (base) => act(await identified(base)));
}

/** False: the name is taken. rename(2) of a folder replaces an empty folder alone. */
export async function named(aside: Entry, above: WayFolder, target: Entry): Promise<boolean> {
  demandInPlace(above);
  try {
    await calls.rename(aside.path, target.path);
    return true;
  } catch (error) {
    if (NOT_FREE.has(codeOf(error))) return false;
    throw refusal(error, target.name);
  }
}

/** As TreeWriter.takeAway(). */
export async function takeAway(root: string, durable: DurableFolders, folder: string): Promise<void> {
  await durable.inOwnFolder(BATCH_FOLDER, 0o755, async (batch) => {
    const aside = entryIn(batch, randomUUID());
    await inParent({ root, durable, parent: dirname(folder), mode: null }, async (above) => {
      demandInPlace(above);
      const taken = entryIn(above, basename(folder));
      try {
        await fs.rename(taken.path, aside.path);
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return;
        throw refusal(error, taken.name);
      } finally {
        // nothing else can have its inode before it is thrown away
        durable.removed(taken.name);
      }
      // before a file goes: a power cut must not bring the folder back without it
      await durable.syncFolder(batch);
      await durable.syncFolder(above);
    });
    await throwAway(aside);
  });
}

export async function throwAway({ path }: Entry): Promise<void> {
  // what is left is thrown away at the next start
  await fs.rm(path, { recursive: true, force: true }).catch(() => undefined);
}

/** What a process that was killed has left. */
export async function throwAwayBatches(folder: Placed): Promise<void> {
  for (const name of await fs.readdir(folder.path).catch(() => [])) await throwAway(entryIn(folder, name));
}
