// What is asked of the thread that looks at images, and what it answers.
import type { ReadImage } from './image-reader.ts';

/** What the thread is started with. */
export interface LookOrder {
  readonly root: string;
  readonly beingWrittenMs: number;
}

export interface LookQuestion {
  readonly id: number;
  readonly folder: string;
  readonly numbers: readonly number[];
}

/** As ImageReader.readImage(), but no look is told where the pool of threads has to look. */
export interface ToldLook {
  readonly id: number;
  readonly read?: ReadImage | null;
}

export interface LookReply {
  readonly answers: readonly ToldLook[];
  /** Of these answers. */
  readonly tookMs: number;
}
