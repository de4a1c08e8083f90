// One look at an image: compares its folder with its record and its uploads.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { imageFull } from '../domain/full-image.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { BEING_WRITTEN_MS, MAX_FILE_NUMBER, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type { RecordedSignature, SignatureIndex, TombstoneStore, UploadReview } from '../domain/ports.ts';
import type { ImageFolder, Problem, Stamps, Tree } from '../domain/tree.ts';
import type { ImageChanges } from './image-changes.ts';
import {
  hasUnrecorded,
  type ImageState,
  ownedState,
  recordable,
  sameSignatures,
  sharedState,
  type UploadedBytes,
} from './image-state.ts';

/** A tree, its index, and what all their readers and writers share. */
export interface TreeAndIndex {
  readonly tree: Tree;
  readonly kind: 'owned' | 'shared';
  readonly index: SignatureIndex;
  readonly uploads: { ofImage(image: ImageId): Promise<readonly UploadedBytes[]> };
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly changes: ImageChanges;
  /** Every whole file in line is served, also one that is not recorded: the tree of a mirror. Default false. */
  readonly takesAll?: boolean;
  /** What is wrong with the image now; empty = nothing. */
  readonly report: (image: ImageId, problems: readonly Problem[]) => void;
  readonly wait: (ms: number) => Promise<void>;
}

export interface Look extends ImageState {
  readonly recorded: readonly RecordedSignature[];
  /** Null when no folder was there. */
  readonly stamps: Stamps | null;
  /** The folder has no file with a signature's name, or is not there. */
  readonly isEmpty: boolean;
  /** A file that could be served once it is whole. */
  readonly isBeingWritten: boolean;
  /** Unrecorded files are served until the index was checked; they may not be served afterwards. */
  readonly isUnsure: boolean;
  /** The highest number of a recorded signature, or of one before the first gap; at most MAX_FILE_NUMBER. */
  readonly lastNumber: number;
  /** For ImageChanges.mayRecord. */
  readonly version: number;
  /** Something of it was withdrawn at some time. */
  readonly hasTombstones: boolean;
}

export interface Looker {
  /** @throws LookasideError STORE_UNAVAILABLE, INDEX_UNUSABLE */
  look(image: ImageId): Promise<Look>;
  /**
   * As look(), of a folder that was read already. It must be untouched since.
   * @throws STORE_UNAVAILABLE, INDEX_UNUSABLE
   */
  lookAtNew(image: ImageId, onDisk: ImageFolder): Promise<Look>;
  /**
   * Waits until nothing in the folder is half-written, or a writer has taken too long. An unusable index counts as
   * empty. `first`: what the index was just asked. @throws LookasideError STORE_UNAVAILABLE
   */
  lookSettled(image: ImageId, first?: Asked): Promise<Look>;
  /** An unusable index counts as empty: it never throws INDEX_UNUSABLE. */
  askOrNone(image: ImageId): Promise<Asked>;
  /** Empty when the index is unusable: it never throws INDEX_UNUSABLE. */
  recordedOrNone(image: ImageId): Promise<readonly RecordedSignature[]>;
  isComplete(site: string): Promise<boolean>;
  /**
   * What a look would find of an image that the index of a scanned owned tree lacks, provided that it has no folder. Whoever makes the
   * folder finds that out. Null: a look is needed.
   */
  guessAbsent(image: ImageId): Promise<Look | null>;
}

/** What the index tells of an image. */
export interface Asked {
  /** The version of the image before the index was asked. */
  readonly version: number;
  /** Whether the index was complete before the rows were read; false for a shared tree. */
  readonly isWhole: boolean;
  readonly recorded: readonly RecordedSignature[];
}

/** The look at an image with neither a folder nor a row. */
const NOWHERE: Omit<Look, 'recorded' | 'version'> = {
  signatures: [],
  problems: [],
  stamps: null,
  isEmpty: true,
  isUnsure: false,
  isBeingWritten: false,
  lastNumber: 0,
  hasTombstones: false,
};

const WRITER_PAUSE_MS = 30;
const WRITER_PAUSES = Math.ceil((2 * BEING_WRITTEN_MS) / WRITER_PAUSE_MS);

export function createLooker(options: Omit<TreeAndIndex, 'report'>): Looker {
  const { tree, kind, index, uploads, changes, takesAll = false } = options;

  async function ask(image: ImageId): Promise<Asked> {
    // taken before all look-ups, so that a change meanwhile is noticed
    const version = changes.versionOf(image);
    // asked before the rows: if the scan ends in between, the rows are complete; in the other order, a file could look extra
    const isWhole = kind === 'owned' && (await index.isComplete(image.site));
    return { version, isWhole, recorded: await index.recorded(image) };
  }

  async function askOrNone(image: ImageId): Promise<Asked> {
    const version = changes.versionOf(image);
    try {
      return await ask(image);
    } catch (error) {
      if (isLookasideError(error, 'INDEX_UNUSABLE')) return { version, isWhole: false, recorded: [] };
      throw error;
    }
  }

  async function lookBeside(image: ImageId, asked: Asked): Promise<Look> {
    const { recorded } = asked;
    const onDisk =
      kind === 'shared' ? await tree.readImage(imageFolder(image)) : await readOwned(image, recorded);
    return compare(image, asked, onDisk);
  }

  async function compare(
    image: ImageId,
    { version, isWhole, recorded }: Asked,
    onDisk: ImageFolder | null,
  ): Promise<Look> {
    const numbers = kind === 'owned' ? recorded.map(({ number }) => number) : [];
    // most names that are not there
    if (onDisk === null && recorded.length === 0) return { ...NOWHERE, recorded, version };
    const takesNew = kind === 'shared' || takesAll || recorded.length === 0 || !isWhole;
    const uploaded = kind === 'owned' && hasUnrecorded(onDisk, recorded) ? await uploads.ofImage(image) : [];
    // last: what is withdrawn meanwhile changes the version
    const tombstones = await options.tombstones.ofImage(image);
    const state =
      kind === 'shared'
        ? sharedState(image, onDisk, tombstones)
        : ownedState(image, onDisk, recorded, { takesNew, uploads: uploaded, tombstones });
    return {
      ...state,
      recorded,
      stamps: onDisk?.stamps ?? null,
      isEmpty: onDisk === null || isEmpty(onDisk),
      isUnsure:
        kind === 'owned' &&
        !takesAll &&
        takesNew &&
        recorded.length > 0 &&
        hasStranger(state, recorded, uploaded),
      isBeingWritten: takesNew && isBeingWritten(onDisk, numbers),
      lastNumber: Math.max(lastInLine(onDisk), ...numbers),
      version,
      hasTombstones: tombstones.length > 0,
    };
  }

  /**
   * Includes uploads behind a gap that a lost file has made: they never left the set. None has a number above
   * MAX_FILE_NUMBER, so the reading is bounded too.
   */
  async function readOwned(
    image: ImageId,
    recorded: readonly RecordedSignature[],
  ): Promise<ImageFolder | null> {
    const folder = imageFolder(image);
    const numbers = recorded.map(({ number }) => number);
    const onDisk = await tree.readImage(folder, numbers);
    if (onDisk === null || onDisk.hidden.length === 0) return onDisk;
    const known = new Set([...recorded, ...onDisk.files].map(({ sha256 }) => sha256));
    const uploadsOfImage = await uploads.ofImage(image);
    const lacking = new Set(uploadsOfImage.flatMap(({ sha256 }) => (known.has(sha256) ? [] : [sha256])));
    if (lacking.size === 0) return onDisk;
    const all = await tree.readImage(folder, [...numbers, ...onDisk.hidden]);
    const uploaded = all?.files.filter(({ sha256 }) => sha256 !== null && lacking.has(sha256)) ?? [];
    return tree.readImage(folder, [...numbers, ...uploaded.map(({ number }) => number)]);
  }

  function hasStranger(
    { signatures }: ImageState,
    recorded: readonly RecordedSignature[],
    uploaded: readonly UploadedBytes[],
  ): boolean {
    if (signatures.length === recorded.length) return false;
    const known = new Set([...recorded, ...uploaded].map(({ sha256 }) => sha256));
    return signatures.some(({ sha256 }) => !known.has(sha256));
  }

  function recordedOrNone(image: ImageId): Promise<readonly RecordedSignature[]> {
    return unlessUnusable(() => index.recorded(image), []);
  }

  function isComplete(site: string): Promise<boolean> {
    return unlessUnusable(() => index.isComplete(site), false);
  }

  async function guessAbsent(image: ImageId): Promise<Look | null> {
    if (!changes.isScanned || changes.isUnrecorded(image) || changes.isUnsettled(image)) return null;
    const before = changes.versionOf(image);
    if (kind === 'owned' && (await isComplete(image.site)) && index.peekLacks?.(image) === true)
      return { ...NOWHERE, recorded: [], version: before };
    const { isWhole, recorded, version } = await askOrNone(image);
    return isWhole && recorded.length === 0 ? { ...NOWHERE, recorded, version } : null;
  }

  return {
    look: async (image) => lookBeside(image, await ask(image)),
    async lookAtNew(image, onDisk) {
      const version = changes.versionOf(image);
      const recorded = await index.recorded(image);
      // an upload since the walk came into the folder is the truth, whatever was read; a read that came first has recorded the same
      const isAsRead = recorded.length === 0 || sameSignatures(recorded, recordable(onDisk));
      if (!isAsRead) return lookBeside(image, await ask(image));
      // what is complete does not matter to an image without rows, nor to one of whose files none is without a row
      return compare(image, { version, isWhole: false, recorded }, onDisk);
    },
    async lookSettled(image, first) {
      for (let pause = 0; ; pause += 1) {
        const asked = pause === 0 && first !== undefined ? first : await askOrNone(image);
        const look = await lookBeside(image, asked);
        if (pause >= WRITER_PAUSES) return look;
        // what was recorded has changed while the disk was read: held against it, a file that is not kept yet would pass
        if (look.version !== changes.versionOf(image)) continue;
        if (!look.isBeingWritten) return look;
        await options.wait(WRITER_PAUSE_MS);
      }
    },
    askOrNone,
    recordedOrNone,
    isComplete,
    guessAbsent,
  };
}

function isBeingWritten(onDisk: ImageFolder | null, recorded: readonly number[]): boolean {
  return (
    onDisk?.files.some(({ number, fault }) => fault === 'being-written' && !recorded.includes(number)) ??
    false
  );
}

function isEmpty({ files, hidden, beyond }: ImageFolder): boolean {
  return files.length === 0 && hidden.length === 0 && beyond === null;
}

/** The last number before the first missing one. */
function lastInLine(onDisk: ImageFolder | null): number {
  const files = onDisk?.files ?? [];
  const gap = files.findIndex(({ number }, position) => number !== position + 1);
  return gap === -1 ? files.length : gap;
}

export async function unlessUnusable<T>(act: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return otherwise;
    throw error;
  }
}

/** A file above MAX_FILE_NUMBER would never be looked at. */
export function isFull({ signatures, lastNumber }: Pick<Look, 'signatures' | 'lastNumber'>): boolean {
  return signatures.length >= MAX_SIGNATURES_PER_IMAGE || lastNumber >= MAX_FILE_NUMBER;
}

export function stillChecked(folder: string): LookasideError {
  const message = `the index is being checked, which decides the numbers of ${folder}; try again in a moment`;
  return new LookasideError('BUSY', message);
}

/** Served numbers; null when the image was not looked at. */
export type Needless = UploadReview['needless'] | null;

export function tooMany(folder: string, count: number, needless: Needless): LookasideError {
  if (count < MAX_SIGNATURES_PER_IMAGE) {
    const message = `${folder} has files up to signature-${MAX_FILE_NUMBER}, the last that is looked at, and ${count} of them are served; lookaside fsck names the others. Delete those, rename the rest so that no number is missing, then upload again`;
    return new LookasideError('TOO_MANY_SIGNATURES', message);
  }
  return imageFull(folder, count, needless);
}
