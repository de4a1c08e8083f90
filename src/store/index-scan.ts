// A scan: brings the index of a site up to date with its tree. Where stamps tell of every change, it passes over the images whose folders
// and files have the stamps that they had when all was well. docs/decisions/quick-scans.md
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, parseImageFolder } from '../domain/image.ts';
import type { TombstoneStore, UploadStore } from '../domain/ports.ts';
import type { Problem, TreeWriter } from '../domain/tree.ts';
import type { QuickStamp, QuickWalk, TooLong, WalkBatch } from '../domain/tree-walk.ts';
import { sameSignatures } from './image-state.ts';
import { createIndexBatch, type IndexBatch } from './index-batch.ts';
import type { Look, Looker, TreeAndIndex } from './look.ts';
import {
  createPackedScan,
  imageOf,
  type Packed,
  type PackedScanParts,
  type TakenPack,
} from './packed-scan.ts';
import type { OnFailure, Walk } from './walk.ts';

export interface ScanCounts {
  readonly images: number;
  readonly signatures: number;
  readonly problems: number;
}

export interface ScanOptions {
  /** Called for every image that is looked at, and for many that are passed over. */
  readonly onProgress?: ((counts: ScanCounts) => void) | undefined;
  /** When aborted, it ends the walk with its reason before another folder is read. */
  readonly signal?: AbortSignal;
}

export interface ScannerOptions extends TreeAndIndex {
  readonly uploads: Pick<UploadStore, 'ofImage' | 'images'>;
  readonly monotonicMs: () => number;
  /** The intents of the uploads that are under way. */
  readonly readIntents: () => Promise<readonly string[]>;
  readonly restore: TreeWriter['restore'];
  /** Called after a whole scan with what is wrong with the site's folders above images; empty = nothing. */
  readonly reportFolders: (site: string, problems: readonly Problem[]) => void;
  /** Called for every image as it was found: an upload may have to be finished or put back. */
  readonly tend: (image: ImageId, seen: Look) => void;
  /** A scan passes over what has not changed since the last one. Null: it looks at everything, as fsck does. */
  readonly quick: QuickScanOptions | null;
}

export interface QuickScanOptions extends PackedScanParts {
  readonly walk: QuickWalk['walk'];
  readonly tombstones: Pick<TombstoneStore, 'hasAny' | 'page' | 'unsettled'>;
}

export interface ScanParts {
  readonly looker: Looker;
  /** Checks the root first. */
  readonly imagesOf: (walk: Omit<Walk, 'folder'>) => AsyncIterable<ImageId>;
}

const IMAGES_AT_ONCE = 8;

/** Folders above images whose problems are reported by name; more are only counted. */
const MAX_FOLDERS_NAMED = 1000;

const TOMBSTONES_A_PAGE = 1000;

/** Through a tree that is taken in: one walk by itself would wait for the disk twice for each image that is not in memory. */
const WALKS_AT_ONCE = 2;

/** One scan that is under way. */
interface Scan {
  readonly site: string;
  readonly counts: { images: number; signatures: number; problems: number };
  readonly folders: Problem[];
  readonly batch: IndexBatch;
  /** Folders of images that something was known to be wrong with, without those that were looked at since. */
  readonly troubled: Set<string>;
  readonly goOn: OnFailure;
  readonly onTooLong: (folder: TooLong) => void;
  readonly onOutgrown: (folder: string) => Promise<void>;
  readonly onProgress: () => void;
  readonly signal: AbortSignal | undefined;
}

/** As Scanner.scan(). */
export function createIndexScan(options: ScannerOptions, { looker, imagesOf }: ScanParts) {
  const { tree, index, changes, quick } = options;
  const { look } = looker;

  async function scan(site: string, { onProgress, signal }: ScanOptions = {}): Promise<ScanCounts> {
    let failure: unknown = null;
    const counts = { images: 0, signatures: 0, problems: 0 };
    const folders: Problem[] = [];
    const running: Scan = {
      site,
      counts,
      folders,
      batch: createIndexBatch({ ...options, looker }),
      troubled: new Set(quick?.troubled()),
      // one closed folder or file must not keep the rest of the tree out of the index
      goOn(error) {
        if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
        failure ??= error;
        return null;
      },
      onTooLong(folder) {
        counts.problems += 1;
        if (folders.length < MAX_FOLDERS_NAMED) folders.push(tooLongProblem(folder));
      },
      onOutgrown: (folder) => index.forgetFolder(site, folder),
      onProgress: () => onProgress?.(counts),
      signal,
    };
    if (!(await scanQuickly(running))) await scanAll(running);
    await takeTroubled(running);
    await running.batch.flush();
    options.reportFolders(site, folders);
    if (failure !== null) throw failure;
    await index.markComplete(site);
    changes.scanned();
    return counts;
  }

  async function scanAll(running: Scan): Promise<void> {
    const { site, goOn: onFailure, onTooLong, onOutgrown, signal } = running;
    const images = imagesOf({ site, onFailure, onTooLong, onOutgrown, signal });
    await forEachConcurrently(images, IMAGES_AT_ONCE, (image) => take(running, image, () => look(image)));
  }

  /** What nothing was ever recorded of, and is not on disk any more, no walk comes by: what was reported of it would stay. */
  async function takeTroubled(running: Scan): Promise<void> {
    const { site, troubled, signal } = running;
    await forEachConcurrently([...troubled], IMAGES_AT_ONCE, async (folder) => {
      signal?.throwIfAborted();
      const image = parseImageFolder(site, folder);
      if (image !== null) await take(running, image, () => look(image));
    });
  }

  /** False: it cannot be done here. */
  async function scanQuickly(running: Scan): Promise<boolean> {
    if (quick === null) return false;
    const { site, signal } = running;
    await tree.check();
    const stop = new AbortController();
    const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    // each goes through all names: where nearly all is passed over, a second one would only cost time
    const walks = await beginWalks(site, quick, (await index.isComplete(site)) ? 1 : WALKS_AT_ONCE, either);
    if (walks === null) return false;
    const acts = walks.map((batches) => takeAll({ ...running, signal: either }, quick, batches));
    await together(acts, stop);
    return true;
  }

  async function takeAll(running: Scan, quick: QuickScanOptions, batches: AsyncIterable<WalkBatch>) {
    const { site, signal } = running;
    // what is in a batch was read since the last but one of the same walk was gone through
    const moments = [changes.moment, changes.moment];
    const packs = createPackedScan({ ...options, looker }, quick);
    for await (const batch of batches) {
      signal?.throwIfAborted();
      const moment = moments.shift() ?? 0;
      await takeBatch(running, batch);
      const { packed } = batch;
      if (packed !== null) {
        const takeOne: Packed['takeOne'] = (...one) => take(running, ...one);
        await takePacked(running, await packs.takePack({ site, packed, moment, signal, takeOne }));
      }
      moments.push(changes.moment);
    }
  }

  async function takeBatch(running: Scan, batch: WalkBatch): Promise<void> {
    const { counts, onTooLong, onOutgrown, goOn, onProgress, signal } = running;
    const { unchanged, images, tooLong, outgrown, failures } = batch;
    counts.images += unchanged.images;
    counts.signatures += unchanged.signatures;
    if (unchanged.images > 0) onProgress();
    for (const folder of tooLong) onTooLong(folder);
    for (const folder of outgrown) await onOutgrown(folder);
    for (const { folder, message } of failures)
      goOn(new LookasideError('STORE_UNAVAILABLE', message), folder);
    await forEachConcurrently(images, IMAGES_AT_ONCE, async ({ folder, stamp }) => {
      signal?.throwIfAborted();
      const image = imageOf(running.site, folder);
      await take(running, image, () => look(image), stamp);
    });
  }

  async function takePacked({ counts, onProgress }: Scan, taken: TakenPack): Promise<void> {
    counts.images += taken.images;
    counts.signatures += taken.signatures;
    onProgress();
    await taken.takeLeft();
  }

  async function take(
    { goOn, counts, onProgress, batch, troubled }: Scan,
    image: ImageId,
    looked: () => Promise<Look>,
    taken: QuickStamp | null = null,
  ): Promise<void> {
    troubled.delete(imageFolder(image));
    const state = await sure(image, looked).catch((error: unknown) => goOn(error, imageFolder(image)));
    if (state === null) return;
    options.report(image, state.problems);
    counts.images += state.signatures.length > 0 ? 1 : 0;
    counts.signatures += state.signatures.length;
    counts.problems += state.problems.length;
    onProgress();
    const stamp = await stampToKeep(image, state, taken);
    if (stamp !== undefined || !sameSignatures(state.recorded, state.signatures))
      await batch.add(image, state, stamp);
    options.tend(image, state);
  }

  /** A change between two steps looks like a problem: it ends first. */
  async function sure(image: ImageId, looked: () => Promise<Look>): Promise<Look> {
    const seen = await looked();
    if (seen.problems.length === 0 || changes.mayRecord(image, seen.version)) return seen;
    return changes.inTurn(image, () => look(image));
  }

  /** Undefined: what is kept may stay. What is known of a problem is forgotten at the next start, and its stamps may be as they were. */
  async function stampToKeep(
    image: ImageId,
    state: Look,
    taken: QuickStamp | null,
  ): Promise<QuickStamp | null | undefined> {
    if (state.problems.length > 0 && state.recorded.length > 0) return null;
    return taken !== null && (await mayPassOver(options, image, state)) ? taken : undefined;
  }

  return { scan };
}

/** Whether the next scan would find nothing else, as long as folder and files have the same stamps. */
async function mayPassOver(
  { changes, kind, uploads }: ScannerOptions,
  image: ImageId,
  { signatures, problems, ...seen }: Look,
): Promise<boolean> {
  if (signatures.length === 0 || problems.length > 0 || seen.hasTombstones) return false;
  if (seen.isUnsure || seen.isBeingWritten || changes.isPending(image)) return false;
  if (kind === 'owned') return true;
  const there = new Set(signatures.map(({ sha256 }) => sha256));
  return (await uploads.ofImage(image)).every(({ sha256 }) => there.has(sha256));
}

/** Null: they cannot be done here. */
async function beginWalks(site: string, quick: QuickScanOptions, of: number, signal: AbortSignal) {
  const mustLook = await foldersToLookAt(site, quick);
  const shares = Array.from({ length: of }, (_, number) => ({ number, of }));
  const walks = await Promise.all(shares.map((share) => quick.walk({ site, share, mustLook, signal })));
  const begun = walks.filter((batches) => batches !== null);
  return begun.length < of ? null : begun;
}

/** When one fails, it stops the others. All have ended before this throws. */
async function together(acts: readonly Promise<void>[], stop: AbortController): Promise<void> {
  await Promise.all(acts.map((act) => act.catch((error: unknown) => stop.abort(error))));
  stop.signal.throwIfAborted();
}

/** Their files may be as they were, and something else has changed. */
async function foldersToLookAt(
  site: string,
  { tombstones, troubled }: QuickScanOptions,
): Promise<readonly string[]> {
  const folders = new Set(troubled());
  for (const { image } of await tombstones.unsettled(site)) folders.add(imageFolder(image));
  const all = { path: null, digest: null, by: null, since: null };
  for (let after = null as { readonly image: string; readonly sha256: string } | null; ; ) {
    const page = await tombstones.page(site, all, after, TOMBSTONES_A_PAGE);
    for (const { image } of page) folders.add(imageFolder(image));
    const last = page.at(-1);
    if (last === undefined || page.length < TOMBSTONES_A_PAGE) return [...folders];
    after = { image: imageFolder(last.image), sha256: last.sha256 };
  }
}

export function tooLongProblem({ path, count }: TooLong): Problem {
  return count === 1 ? { kind: 'too-long', path } : { kind: 'too-long', path, count };
}
