// Adds signatures to a tree: they are prepared out of sight, then linked into place, with every fsync that is needed to
// survive a power cut. Replaces a file only where recorded bytes are put back.
import { randomUUID } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import { join } from 'node:path';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { TreeWriter } from '../domain/tree.ts';
import { calls } from './calls.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import { createDurableFolders, type DurableFolders } from './durable-folders.ts';
import { INTENT_SUFFIX, INTENTS_SUFFIX, intentsOf, PREPARED_FOLDER, readIntent } from './intents.ts';
import { linkFree, signatureIn, unlinkOurs } from './linking.ts';
import { BATCH_FOLDER, placeNew, takeAway, throwAwayBatches } from './new-folders.ts';
import { createEnded, createNewImages, memberOf, wholeGroup } from './new-images.ts';
import { type Entry, entryIn, HELD, type Placed } from './opened.ts';
import { attempt, codeOf } from './refusal.ts';
import { createReplacing } from './replacing.ts';
import { closing, openRoot, type Root, unavailable } from './root.ts';
import { lstatOrNull, placeRow } from './row.ts';
import { demandInPlace, identified, type WayFolder } from './way.ts';

export interface TreeWriterOptions {
  readonly root: string;
  readonly nowMs: () => number;
}

const DISPLACED_FOLDER = join(PRIVATE_FOLDER, 'displaced');

// what we make there: both files of a pair, and the temporary files of other writes
const OUR_NAME =
  /^(?<prepared>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?<suffix>\.intents?|\.signature)?$/;

export function openTreeWriter({ root, nowMs }: TreeWriterOptions): TreeWriter {
  const { checkRoot, inTarget, openOwn } = openRoot(root, nowMs);
  const durable = createDurableFolders({ root, checkRoot });
  const { refuseFault, sync, syncFolder, writeNew, inFolder, inOwnFolder } = durable;
  const ended = createEnded();

  /** Runs `act` in the folder of prepared pairs. It must not be a link: that would lead what we write elsewhere. */
  async function inPrepared<T>(act: (folder: WayFolder) => Promise<T>): Promise<T> {
    const name = join(root, PREPARED_FOLDER);
    const prepared = await attempt(() => openOwn(PREPARED_FOLDER), name);
    if (prepared !== null) {
      const known = await closing(prepared, async () => {
        const folder = await identified(prepared);
        return durable.isLasting(folder) ? { result: await act(folder) } : null;
      });
      if (known !== null) return known.result;
    }
    await inOwnFolder(PRIVATE_FOLDER, 0o755, async () => undefined);
    return inOwnFolder(PREPARED_FOLDER, 0o700, act);
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

  return {
    get fault() {
      return durable.fault;
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
          await bothOf(
            writeNew(folder, `${prepared}.signature`, bytes, 0o644),
            writeNew(folder, `${prepared}.intent`, intent, 0o600),
          );
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
          const number = await linkFree(root, source, last, from);
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
    async placeRow(folder, from, row) {
      refuseFault();
      await checkRoot();
      return inPrepared((tmp) =>
        inFolder(folder, 0o755, (last) => placeRow({ root, tmp, last, durable, displace }, from, row)),
      );
    },
    async placeNew(sets) {
      refuseFault();
      await checkRoot();
      return placeNew(root, durable, sets);
    },
    async takeAway(folder) {
      refuseFault();
      await takeAway(root, durable, folder);
    },
    async makeDurable(folder, number) {
      refuseFault();
      await inFolder(folder, null, async (last) => {
        await syncOther(signatureIn(last, number), inTarget, sync);
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
    ...createReplacing({ refuseFault, inPrepared, inFolder, syncFolder }),
    ...createNewImages({ root, durable, checkRoot, inPrepared }),
    async discard(one) {
      const prepared = ended(one);
      if (prepared === null) return;
      try {
        const folder = await openOwn(PREPARED_FOLDER);
        if (folder !== null) await closing(folder, () => discardIn(folder, prepared));
      } catch {
        // what is left is found at the next start
      }
    },
    async leftOver() {
      const batches = await unlessClosed(() => openOwn(BATCH_FOLDER), null);
      if (batches !== null) await closing(batches, throwAwayBatches);
      const folder = await unlessClosed(() => openOwn(PREPARED_FOLDER), null);
      return folder === null ? [] : closing(folder, leftOverIn);
    },
  };
}

async function discardIn(folder: Placed, prepared: string): Promise<void> {
  const remove = (name: string) =>
    calls.unlink(entryIn(folder, name).path).then(
      () => true,
      () => false,
    );
  const group = wholeGroup(prepared);
  if (group !== null) {
    await remove(group + INTENTS_SUFFIX);
    return;
  }
  // the intent first: without it the bytes mean nothing
  const isPair = await remove(prepared + INTENT_SUFFIX);
  await remove(`${prepared}.signature`);
  // without an intent it may be the temporary file of another write
  if (!isPair) await remove(prepared);
}

/** Waits for both, also when one fails: what is still being written cannot be thrown away. @throws the first one's failure */
async function bothOf(one: Promise<unknown>, other: Promise<unknown>): Promise<void> {
  const outcomes = await Promise.allSettled([one, other]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/** Syncs a file that somebody else may have put there. */
async function syncOther(
  file: Entry,
  inTarget: Root['inTarget'],
  sync: DurableFolders['sync'],
): Promise<void> {
  const isSynced = await inTarget(file, HELD, async ({ path, name }) => {
    // fsync of a pipe fails, and that is not a lost write
    if (!(await attempt(() => fs.stat(path), name)).isFile()) return false;
    const descriptor = await attempt(() => calls.open(path, constants.O_RDONLY | constants.O_NONBLOCK), name);
    try {
      await sync(descriptor, name);
    } finally {
      await calls.close(descriptor);
    }
    return true;
  });
  if (isSynced === true) return;
  throw new LookasideError('STORE_UNAVAILABLE', `${file.name} is not a file of the tree any more`);
}

async function leftOverIn(folder: Placed) {
  const names = new Set<string>();
  const groups: string[] = [];
  for (const name of await unlessClosed(() => fs.readdir(folder.path), [])) {
    const { prepared, suffix } = OUR_NAME.exec(name)?.groups ?? {};
    if (prepared === undefined || names.has(prepared)) continue;
    const stats = await lstatOrNull(entryIn(folder, name));
    if (!stats?.isFile() || stats.uid !== process.geteuid?.()) continue;
    if (suffix === INTENTS_SUFFIX) groups.push(prepared);
    else names.add(prepared);
  }
  const pairs: { readonly prepared: string; readonly intent: string | null }[] = [];
  for (const prepared of [...names].sort()) {
    pairs.push({ prepared, intent: await readIntent(entryIn(folder, prepared + INTENT_SUFFIX)) });
  }
  for (const name of groups.sort()) {
    const text = await readIntent(entryIn(folder, name + INTENTS_SUFFIX));
    const intents = text === null ? [null] : intentsOf(text);
    for (const [position, intent] of intents.entries())
      pairs.push({ prepared: memberOf(name, position + 1, intents.length), intent });
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
