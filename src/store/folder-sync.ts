// Keeps directory pages true between scans: a folder whose stamp changed is compared child by child.
import { LRUCache } from 'lru-cache';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, isNamespaceFolder, parseImageFolder } from '../domain/image.ts';
import { createIndexBatch } from './index-batch.ts';
import type { Looker, TreeAndIndex } from './look.ts';
import { below, rethrow, type Walker } from './walk.ts';

export interface FolderSyncOptions extends TreeAndIndex {
  readonly monotonicMs: () => number;
  readonly looker: Looker;
  readonly walker: Walker;
}

export interface FolderSync {
  /**
   * Compares the folder with the index, at most once a second. Waits a short time for the comparison. A long comparison goes
   * on in the background, and the page shows what is known by then. @throws LookasideError STORE_UNAVAILABLE
   */
  sync(site: string, folder: string): Promise<void>;
}

const IMAGES_AT_ONCE = 8;
const NAMES_A_BREATH = 500;
const SYNC_EVERY_MS = 1000;
/** A page waits this long for the comparison of its folder; less once the index knows the tree. */
const SYNC_WAIT_MS = { building: 500, complete: 20 } as const;
const SYNCED_FOLDERS_KEPT = 10_000;
const HOLLOW_FOLDERS_KEPT = 100;

interface Synced {
  readonly stamp: string;
  readonly atMs: number;
  /** Children that must be looked at again: a signature that is added to one does not change the folder's stamp. */
  readonly hollow: readonly string[];
}

export function createFolderSync(options: FolderSyncOptions): FolderSync {
  const { tree, kind, index, monotonicMs, wait, report, looker, walker } = options;
  const synced = new LRUCache<string, Synced>({ max: SYNCED_FOLDERS_KEPT });
  const running = new Map<string, Promise<void>>();

  async function compare(site: string, folder: string): Promise<void> {
    const key = `${site}/${folder}`;
    const before = synced.get(key);
    if (before !== undefined && monotonicMs() - before.atMs < SYNC_EVERY_MS) return;
    const identity = await tree.statFolder(folder);
    if (identity === null) return forgetGone(site, folder, new Set());
    if (before?.stamp === identity.stamp) {
      remember(key, identity.stamp, await addNew(site, folder, before.hollow));
      return;
    }
    const there = await childFolders(folder);
    const hollow = await addNew(site, folder, there);
    await forgetGone(site, folder, there);
    remember(key, identity.stamp, hollow);
  }

  function remember(key: string, stamp: string, hollow: readonly string[]): void {
    synced.set(key, { stamp, atMs: monotonicMs(), hollow });
  }

  async function childFolders(folder: string): Promise<ReadonlySet<string>> {
    const there = new Set<string>();
    for await (const { name, kind: childKind } of (await tree.children(folder)) ?? []) {
      if (childKind === 'folder') there.add(name);
    }
    return there;
  }

  /** Records what the index does not know about these children. Returns those that are or contain images, but have no signature. */
  async function addNew(site: string, folder: string, names: Iterable<string>): Promise<readonly string[]> {
    const hollow: string[] = [];
    const batch = createIndexBatch(options);
    let asked = 0;
    for (const name of names) {
      asked += 1;
      if (asked % NAMES_A_BREATH === 0) await wait(0);
      if (await index.hasChild(site, folder, name)) continue;
      const path = below(folder, name);
      const image = parseImageFolder(site, path);
      const images = image === null ? namespaceImages(site, path) : [image];
      const seen = { images: 0, signed: 0 };
      await forEachConcurrently(images, IMAGES_AT_ONCE, async (present) => {
        const look = await looker.look(present);
        report(present, look.problems);
        seen.images += 1;
        if (look.signatures.length === 0) return;
        seen.signed += 1;
        await batch.add(present, look);
      });
      const isHollow = seen.images > 0 && seen.signed === 0;
      if (isHollow && hollow.length < HOLLOW_FOLDERS_KEPT) hollow.push(name);
    }
    await batch.flush();
    return hollow;
  }

  function namespaceImages(site: string, path: string): AsyncIterable<ImageId> | readonly ImageId[] {
    return isNamespaceFolder(path) ? walker.images({ site, folder: path, onFailure: rethrow }) : [];
  }

  async function forgetGone(site: string, folder: string, there: ReadonlySet<string>): Promise<void> {
    if (kind === 'owned') return; // what is gone from an owned tree is damage, for the scan to tell
    for await (const name of walker.recordedChildren(site, folder)) {
      if (!there.has(name)) await index.forgetFolder(site, below(folder, name));
    }
  }

  return {
    async sync(site, folder) {
      const key = `${site}/${folder}`;
      // awaited before the comparison begins: with another await while it runs, nothing would handle its failure
      const waitMs = (await looker.isComplete(site)) ? SYNC_WAIT_MS.complete : SYNC_WAIT_MS.building;
      const flight =
        running.get(key) ??
        compare(site, folder)
          .catch(ignoreUnusableIndex)
          .finally(() => running.delete(key));
      running.set(key, flight);
      await Promise.race([flight, wait(waitMs)]);
    },
  };
}

function ignoreUnusableIndex(error: unknown): void {
  // the look-up that follows meets the same error of the index and reports it
  if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
}
