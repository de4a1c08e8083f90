// Walks a tree and compares it with its index: a scan corrects the index, fsck only reports.
import { mapInOrder } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, parseImageFolder } from '../domain/image.ts';
import { BEING_WRITTEN_MS } from '../domain/limits.ts';
import { withdrawnOf } from '../domain/tombstone.ts';
import { DAMAGE_KINDS, type Problem } from '../domain/tree.ts';
import type { TooLong } from '../domain/tree-walk.ts';
import { createFolderSync } from './folder-sync.ts';
import {
  createIndexScan,
  type ScanCounts,
  type ScannerOptions,
  type ScanOptions,
  tooLongProblem,
} from './index-scan.ts';
import { createLooker, type TreeAndIndex } from './look.ts';
import { findLost } from './lost.ts';
import { uploadsUnderWay } from './under-way.ts';
import { createWalker, type OnFailure, type Walk } from './walk.ts';

export interface Scanner {
  /**
   * Brings the whole index up to date and marks it complete.
   * @throws LookasideError STORE_UNAVAILABLE when a part could not be read; everything else is recorded then
   */
  scan(site: string, options?: ScanOptions): Promise<ScanCounts>;
  /** Looks for children of one folder that were added or removed, at most once a second for each folder. */
  syncFolder(site: string, folder: string): Promise<void>;
  /** Every problem of the tree; changes nothing. What is wrong with images is reported, as by a scan. */
  findProblems(site: string, options?: ScanOptions): AsyncGenerator<FoundProblem>;
  /**
   * Puts recorded bytes back where the tree has lost them, in the image's turn. False: the signature is too large for its bytes to be
   * recorded, or it is withdrawn.
   */
  repair(problem: FoundProblem): Promise<boolean>;
}

export interface FoundProblem extends Problem {
  /** Null: a folder above images. */
  readonly image: ImageId | null;
  readonly isDamage: boolean;
}

interface ImageProblems {
  readonly problems: readonly FoundProblem[];
  /** Those that reads and scans see too. */
  readonly seen: readonly Problem[];
  /** How many. */
  readonly signatures: number;
  /** For ImageChanges.mayRecord. */
  readonly version: number;
}

const IMAGES_AT_ONCE = 8;

export function createScanner(options: ScannerOptions): Scanner {
  const { tree, index } = options;
  const walker = createWalker(tree, index, () => options.wait(0));
  const looker = createLooker(options);
  const { look } = looker;

  async function* findProblems(
    site: string,
    { onProgress, signal }: ScanOptions = {},
  ): AsyncGenerator<FoundProblem> {
    const counts = { images: 0, signatures: 0, problems: 0 };
    /** Problems of folders above images, and of images that could not be read. */
    const others: FoundProblem[] = [];
    const goOn: OnFailure = (error, path) => {
      if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
      others.push({ kind: 'unreadable', path: path === '' ? '/' : path, image: null, isDamage: false });
      return null;
    };
    const onTooLong = (folder: TooLong) =>
      void others.push({ ...tooLongProblem(folder), image: null, isDamage: false });
    const troubled = new Set(options.quick?.troubled());
    const lookAt = (image: ImageId) => {
      troubled.delete(imageFolder(image));
      return lookForProblems(image).catch((error: unknown) => goOn(error, imageFolder(image)));
    };
    async function* all(): AsyncGenerator<ImageId> {
      yield* imagesOf({ site, onFailure: goOn, onTooLong, signal });
      // what was reported of an image that is gone would stay
      for (const folder of troubled) {
        const image = parseImageFolder(site, folder);
        if (image !== null) yield image;
      }
    }
    for await (const seen of mapInOrder(all(), IMAGES_AT_ONCE, lookAt)) {
      signal?.throwIfAborted();
      const problems = [...others.splice(0), ...(seen?.problems ?? [])];
      // the folder of an image whose last signature is withdrawn stays, as after a scan
      counts.images += seen == null || seen.signatures > 0 || seen.problems.length > 0 ? 1 : 0;
      counts.signatures += seen?.signatures ?? 0;
      counts.problems += problems.length;
      onProgress?.(counts);
      yield* problems;
    }
    counts.problems += others.length;
    onProgress?.(counts);
    yield* others;
    if (options.kind === 'shared') return; // what its owner has deleted is his wish
    for await (const lost of findLost(site, options, signal)) {
      counts.problems += 1;
      onProgress?.(counts);
      yield lost;
    }
  }

  /** Reports what it finds. A change between two steps looks like a problem, and longer than two looks take: it ends first. */
  async function lookForProblems(image: ImageId): Promise<ImageProblems> {
    const both = await lookTwice(image);
    const isSure = both.problems.length === 0 || options.changes.mayRecord(image, both.version);
    const sure = isSure ? both : await options.changes.inTurn(image, () => lookTwice(image));
    options.report(image, sure.seen);
    return sure;
  }

  /** Looks twice at an image with a problem, for what it finds both times: the first may be an upload between two steps. */
  async function lookTwice(image: ImageId): Promise<ImageProblems> {
    const first = await problemsOf(image, options.uploads);
    if (first.problems.length === 0) return first;
    if (first.problems.some(({ kind }) => kind === 'being-written')) await options.wait(BEING_WRITTEN_MS);
    const underWay = (await uploadsUnderWay(options.readIntents, image)).map(({ sha256, event }) => {
      return { sha256, storedAt: event.at };
    });
    const second = await problemsOf(image, {
      ofImage: async (asked) => [...(await options.uploads.ofImage(asked)), ...underWay],
    });
    const there = new Set(second.problems.map(({ kind, path }) => `${kind} ${path}`));
    const isStillThere = ({ kind, path }: Problem) => there.has(`${kind} ${path}`);
    return {
      ...second,
      problems: first.problems.filter(isStillThere),
      seen: first.seen.filter(isStillThere),
    };
  }

  async function problemsOf(image: ImageId, uploads: TreeAndIndex['uploads']): Promise<ImageProblems> {
    const { recorded, signatures, problems, version } = await createLooker({ ...options, uploads }).look(
      image,
    );
    const isUnknown =
      options.kind === 'owned' && recorded.length === 0 && (await index.isComplete(image.site));
    const uploaded = new Set(isUnknown ? (await uploads.ofImage(image)).map(({ sha256 }) => sha256) : []);
    const unrecorded = isUnknown ? signatures.filter(({ sha256 }) => !uploaded.has(sha256)) : [];
    const extra = unrecorded.map(({ number }): Problem => {
      return { kind: 'extra', path: `${imageFolder(image)}/signature-${number}` };
    });
    const all = [...problems, ...extra].map((problem) => {
      return { ...problem, image, isDamage: DAMAGE_KINDS.has(problem.kind) };
    });
    return { problems: all, seen: problems, signatures: signatures.length, version };
  }

  async function repair({ image, path }: FoundProblem): Promise<boolean> {
    if (image === null) return false;
    // meanwhile the number may be withdrawn, and another upload's: the row is of what is to stand there in this turn alone
    return options.changes.inTurn(image, async () => {
      // the index may not know yet what is withdrawn
      if (options.changes.isUnsettled(image)) return false;
      const recorded = (await index.recorded(image)).find(({ number }) =>
        path.endsWith(`/signature-${number}`),
      );
      if (recorded === undefined || recorded.bytes === null) return false;
      if (withdrawnOf(await options.tombstones.ofImage(image)).has(recorded.sha256)) return false;
      await options.restore(imageFolder(image), recorded.number, recorded.bytes);
      options.report(image, (await look(image)).problems);
      return true;
    });
  }

  async function* imagesOf(walk: Omit<Walk, 'folder'>): AsyncGenerator<ImageId> {
    await tree.check();
    yield* walker.images({ ...walk, folder: '' });
  }

  const folders = createFolderSync({ ...options, looker, walker });
  const { scan } = createIndexScan(options, { looker, imagesOf });
  return { scan, findProblems, repair, syncFolder: folders.sync };
}
