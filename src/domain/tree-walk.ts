// A walk through a whole tree that passes over what has not changed since the last one.
import type { PackedImages } from './packed-images.ts';

/**
 * A number for what the system notes of an image's folder and of its files when they change: equal numbers mean equal content. Its
 * last byte tells how many files there are.
 */
export type QuickStamp = number;

/** The names that the index has in a folder, each with the stamp of its folder. */
export interface RecordedNames {
  /** Undefined: it is not there. */
  get(name: string): QuickStamp | null | undefined;
  delete(name: string): void;
  /** All that are left. */
  keys(): Iterable<string>;
}

/** An image that is on disk or in the index, and is not known to be as it was. */
export interface WalkedImage {
  readonly folder: string;
  /** Taken before anything was read. Null: its folder is not one that a stamp tells all of. */
  readonly stamp: QuickStamp | null;
}

/** Part of what a walk came by. */
export interface WalkBatch {
  /** How many were passed over. */
  readonly unchanged: { readonly images: number; readonly signatures: number };
  /** To be read. */
  readonly images: readonly WalkedImage[];
  /** Read in the walk, as the index had nothing of them. Null: none. */
  readonly packed: PackedImages | null;
  /** One for each folder that holds folders whose paths are too long to be read. */
  readonly tooLong: readonly TooLong[];
  /** Folders that the index still has although their paths are too long. */
  readonly outgrown: readonly string[];
  readonly failures: readonly WalkFailure[];
}

/** A folder above images that could not be read; the walk went on. */
export interface WalkFailure {
  readonly folder: string;
  readonly message: string;
}

export interface TooLong {
  /** The path of the first. */
  readonly path: string;
  /** How many there are in the same folder, this one included. */
  readonly count: number;
}

/** Which images a walk takes, of several walks that go through the same tree side by side: together they take each image once. */
export interface WalkShare {
  /** From 0 on. The walk with number 0 tells of folders whose paths are too long too. */
  readonly number: number;
  readonly of: number;
}

export interface WalkRequest {
  readonly site: string;
  readonly share: WalkShare;
  /** Folders of images that are not passed over, whatever their stamps. */
  readonly mustLook: readonly string[];
  /** When aborted, it ends the walk with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface QuickWalk {
  /**
   * Each batch is asked for when the one before it was gone through: its memory is written again afterwards. What is in it may have been read
   * earlier, but not before the last but one was. Null where stamps do not tell all: on network disks, for one.
   * @throws LookasideError STORE_UNAVAILABLE, INDEX_UNUSABLE
   */
  walk(request: WalkRequest): Promise<AsyncIterable<WalkBatch> | null>;
}
