// What a walk through a tree finds, and the options of a walk.
import type { Problem } from './tree.ts';

export interface TreeCounts {
  readonly images: number;
  readonly signatures: number;
  readonly problems: number;
}

export type OnProgress = (counts: TreeCounts) => void;

/** A problem that fsck found: what is wrong, where, what to do, and whether it was repaired. */
export interface FsckFinding extends Problem {
  /** In whose tree. */
  readonly site: string;
  readonly message: string;
  readonly repaired: boolean;
}

export interface FsckResult extends TreeCounts {
  readonly repaired: number;
  /** The first 10,000. */
  readonly findings: readonly FsckFinding[];
  /** False when there is no complete index to compare the bytes with. */
  readonly isCompared: boolean;
}

export interface FsckOptions {
  /** Puts recorded bytes back where the tree has lost them. */
  readonly repair: boolean;
  readonly onProgress?: OnProgress;
}

export interface ReindexOptions {
  /** Forgets recorded bytes that the tree no longer holds, instead of refusing. */
  readonly acceptDamage: boolean;
  readonly onProgress?: OnProgress;
}
