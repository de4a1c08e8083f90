// Walks a tree and holds it against its index: the scan keeps the index true, fsck only tells.
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, isNamespaceFolder, parseImageFolder } from '../domain/image.ts';
import type { RecordedImage, RecordedSignature, SignatureIndex } from '../domain/ports.ts';
import { DAMAGE_KINDS, type Problem, type Tree } from '../domain/tree.ts';
import { type ImageState, ownedState, sameSignatures, sharedState } from './image-state.ts';

export interface ScanCounts {
  readonly images: number;
  readonly signatures: number;
  readonly problems: number;
}

export interface ScannerOptions {
  readonly tree: Tree;
  readonly kind: 'owned' | 'shared';
  readonly index: SignatureIndex;
  readonly report: (image: ImageId, problems: readonly Problem[]) => void;
  readonly monotonicMs: () => number;
  readonly wait: (ms: number) => Promise<void>;
}

export interface Scanner {
  /**
   * Brings the whole index up to date and marks it complete.
   * @throws LookasideError STORE_UNAVAILABLE when a part could not be read: all else is recorded then
   */
  scan(site: string, onProgress?: (counts: ScanCounts) => void): Promise<ScanCounts>;
  /** Looks for children of one folder that came or went; done at most once a second for each folder. */
  syncFolder(site: string, folder: string): Promise<void>;
  /** Every problem of the tree; changes nothing. */
  findProblems(site: string, onProgress?: (counts: ScanCounts) => void): AsyncGenerator<FoundProblem>;
  /** Puts the recorded bytes back where the tree has lost them. False: too large to be recorded. */
  repair(found: FoundProblem): Promise<boolean>;
}

export interface FoundProblem extends Problem {
  readonly image: ImageId;
  readonly isDamage: boolean;
}

const IMAGES_AT_ONCE = 8;
const IMAGES_A_BATCH = 200;
const INDEX_PAGE = 500;
const SYNC_EVERY_MS = 1000;
/** A page waits this long for its folder's comparison: shorter once the index knows the tree. */
const SYNC_WAIT_MS = { building: 2000, complete: 40 } as const;
const SYNCED_FOLDERS_KEPT = 10_000;
const HOLLOW_FOLDERS_KEPT = 100;

export function createScanner(options: ScannerOptions): Scanner {
  const { tree, index } = options;

  /** The image as it is on disk, held against the index. */
  async function look(
    image: ImageId,
  ): Promise<ImageState & { readonly recorded: readonly RecordedSignature[] }> {
    const recorded = index.recorded(image);
    if (options.kind === 'shared') {
      return { ...sharedState(image, await tree.readImage(imageFolder(image))), recorded };
    }
    const numbers = recorded.map(({ number }) => number);
    const onDisk = await tree.readImage(imageFolder(image), numbers);
    const takesNew = recorded.length === 0 || !index.isComplete(image.site);
    return { ...ownedState(image, onDisk, recorded, takesNew), recorded };
  }

  async function scan(site: string, onProgress?: (counts: ScanCounts) => void): Promise<ScanCounts> {
    const counts = { images: 0, signatures: 0, problems: 0 };
    const batch = createBatch(index);
    let failure: unknown = null;
    // one closed folder or file must not keep the rest of the tree out of the index
    const goOn: OnFailure = (error) => {
      if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
      failure ??= error;
      return null;
    };
    await forEachConcurrently(imagesOnDiskAndRecorded(site, goOn), IMAGES_AT_ONCE, async (image) => {
      const state = await look(image).catch(goOn);
      if (state === null) return;
      options.report(image, state.problems);
      counts.images += state.signatures.length > 0 ? 1 : 0;
      counts.signatures += state.signatures.length;
      counts.problems += state.problems.length;
      onProgress?.(counts);
      if (!sameSignatures(state.recorded, state.signatures)) {
        await batch.add({ image, signatures: state.signatures });
      }
    });
    await batch.flush();
    if (failure !== null) throw failure;
    await index.markComplete(site);
    return counts;
  }

  async function* findProblems(
    site: string,
    onProgress?: (counts: ScanCounts) => void,
  ): AsyncGenerator<FoundProblem> {
    const counts = { images: 0, signatures: 0, problems: 0 };
    for await (const image of imagesOnDiskAndRecorded(site, rethrow)) {
      const { recorded, signatures, problems } = await look(image);
      const isUnknown = options.kind === 'owned' && recorded.length === 0 && index.isComplete(site);
      const unrecorded = isUnknown ? signatures : [];
      const found = [
        ...problems,
        ...unrecorded.map(
          ({ number }): Problem => ({ kind: 'extra', path: `${imageFolder(image)}/signature-${number}` }),
        ),
      ];
      counts.images += 1;
      counts.signatures += signatures.length;
      counts.problems += found.length;
      onProgress?.(counts);
      for (const problem of found) yield { ...problem, image, isDamage: DAMAGE_KINDS.has(problem.kind) };
    }
  }

  async function repair({ image, path }: FoundProblem): Promise<boolean> {
    const recorded = index.recorded(image).find(({ number }) => path.endsWith(`/signature-${number}`));
    if (recorded === undefined || recorded.bytes === null) return false;
    await tree.restore(imageFolder(image), recorded.number, recorded.bytes);
    options.report(image, (await look(image)).problems);
    return true;
  }

  /** Every image that stands in the tree or in the index, folder by folder. */
  async function* imagesOnDiskAndRecorded(site: string, onFailure: OnFailure): AsyncGenerator<ImageId> {
    await tree.check();
    yield* walk(site, '', new Set(), onFailure);
  }

  /** `above`: the folders on the way here, so that links in a circle end. */
  async function* walk(
    site: string,
    folder: string,
    above: ReadonlySet<string>,
    onFailure: OnFailure,
  ): AsyncGenerator<ImageId> {
    const there = new Set<string>();
    try {
      const identity = await tree.statFolder(folder);
      const isNew = identity !== null && !above.has(identity.id);
      const onTheWay = new Set(identity === null ? above : [...above, identity.id]);
      for await (const child of (isNew ? await tree.children(folder) : null) ?? []) {
        if (child.kind !== 'folder') continue;
        there.add(child.name);
        const path = below(folder, child.name);
        const image = parseImageFolder(site, path);
        if (image !== null) yield image;
        else if (isNamespaceFolder(path)) yield* walk(site, path, onTheWay, onFailure);
      }
    } catch (error) {
      onFailure(error);
    }
    for (const name of recordedChildren(index, site, folder)) {
      if (there.has(name)) continue;
      const path = below(folder, name);
      const image = parseImageFolder(site, path);
      if (image !== null) yield image;
      else yield* walk(site, path, new Set(), onFailure);
    }
  }

  const folders = createFolderSync(options, look, walk);
  return { scan, findProblems, repair, syncFolder: folders.sync };
}

function* recordedChildren(index: SignatureIndex, site: string, folder: string): Generator<string> {
  for (let after: string | null = null; ; ) {
    const page = index.listFolder(site, folder, after, INDEX_PAGE);
    yield* page.names;
    after = page.next;
    if (after === null) return;
  }
}

function below(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

/** Gathers images for one transaction, so that a scan waits for few commits. */
function createBatch(index: SignatureIndex) {
  let waiting: RecordedImage[] = [];

  async function flush(): Promise<void> {
    const images = waiting;
    waiting = [];
    if (images.length > 0) await index.record(images);
  }

  return {
    async add(image: RecordedImage): Promise<void> {
      waiting.push(image);
      if (waiting.length >= IMAGES_A_BATCH) await flush();
    },
    flush,
  };
}

interface Synced {
  readonly stamp: string;
  readonly atMs: number;
  /** Children to be looked at again, because a signature that comes into them does not change the folder's stamp. */
  readonly hollow: readonly string[];
}

type Look = (image: ImageId) => Promise<ImageState & { readonly recorded: readonly RecordedSignature[] }>;
type Walk = (
  site: string,
  folder: string,
  above: ReadonlySet<string>,
  onFailure: OnFailure,
) => AsyncGenerator<ImageId>;

/** Throws, or returns to go on without the part that failed. */
type OnFailure = (error: unknown) => null;

const rethrow: OnFailure = (error) => {
  throw error;
};

/** Keeps directory pages true between scans: a folder whose stamp changed is compared child by child. */
function createFolderSync(options: ScannerOptions, look: Look, walk: Walk) {
  const { tree, kind, index, monotonicMs, wait, report } = options;
  const synced = new Map<string, Synced>();
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
    synced.delete(key);
    synced.set(key, { stamp, atMs: monotonicMs(), hollow });
    for (const oldest of synced.keys()) {
      if (synced.size <= SYNCED_FOLDERS_KEPT) break;
      synced.delete(oldest);
    }
  }

  async function childFolders(folder: string): Promise<ReadonlySet<string>> {
    const there = new Set<string>();
    for await (const { name, kind: childKind } of (await tree.children(folder)) ?? []) {
      if (childKind === 'folder') there.add(name);
    }
    return there;
  }

  /** Takes in what the index does not know of these children; those that are images, or lead to some, without a signature. */
  async function addNew(site: string, folder: string, names: Iterable<string>): Promise<readonly string[]> {
    const hollow: string[] = [];
    const batch = createBatch(index);
    for (const name of names) {
      if (index.hasChild(site, folder, name)) continue;
      const path = below(folder, name);
      const image = parseImageFolder(site, path);
      const images = image === null ? namespaceImages(site, path) : [image];
      const seen = { images: 0, signed: 0 };
      await forEachConcurrently(images, IMAGES_AT_ONCE, async (found) => {
        const { signatures, problems } = await look(found);
        report(found, problems);
        seen.images += 1;
        if (signatures.length === 0) return;
        seen.signed += 1;
        await batch.add({ image: found, signatures });
      });
      const isHollow = seen.images > 0 && seen.signed === 0;
      if (isHollow && hollow.length < HOLLOW_FOLDERS_KEPT) hollow.push(name);
    }
    await batch.flush();
    return hollow;
  }

  function namespaceImages(site: string, path: string): AsyncIterable<ImageId> | readonly ImageId[] {
    return isNamespaceFolder(path) ? walk(site, path, new Set(), rethrow) : [];
  }

  async function forgetGone(site: string, folder: string, there: ReadonlySet<string>): Promise<void> {
    if (kind === 'owned') return; // what is gone from an owned tree is damage, for the scan to tell
    for (const name of recordedChildren(index, site, folder)) {
      if (!there.has(name)) await index.forgetFolder(site, below(folder, name));
    }
  }

  function isComplete(site: string): boolean {
    try {
      return index.isComplete(site);
    } catch (error) {
      ignoreUnusableIndex(error);
      return false;
    }
  }

  return {
    /** Waits a little for the comparison; a large one goes on behind, and the page shows what is known by then. */
    async sync(site: string, folder: string): Promise<void> {
      const key = `${site}/${folder}`;
      const flight =
        running.get(key) ??
        compare(site, folder)
          .catch(ignoreUnusableIndex)
          .finally(() => running.delete(key));
      running.set(key, flight);
      await Promise.race([flight, wait(isComplete(site) ? SYNC_WAIT_MS.complete : SYNC_WAIT_MS.building)]);
    },
  };
}

function ignoreUnusableIndex(error: unknown): void {
  // the look-up that follows meets the same index and says so
  if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
}
