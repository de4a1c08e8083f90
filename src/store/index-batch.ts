// Recording many images with few commits.
import type { ImageId } from '../domain/image.ts';
import type { SignatureIndex } from '../domain/ports.ts';
import type { QuickStamp } from '../domain/tree-walk.ts';
import type { ImageChanges } from './image-changes.ts';
import { sameSignatures } from './image-state.ts';
import type { Look, Looker } from './look.ts';

export interface IndexBatch {
  /** Waits for a commit now and then. `stamp`: of the folder, taken before the look at it; null: it has none any more. */
  add(image: ImageId, seen: Look, stamp?: QuickStamp | null): Promise<void>;
  /** Records what is left. */
  flush(): Promise<void>;
}

export interface IndexBatchOptions {
  readonly index: SignatureIndex;
  readonly changes: ImageChanges;
  readonly looker: Looker;
}

/** More take the main thread longer than reads should wait. */
const IMAGES_A_BATCH = 200;

export function createIndexBatch({ index, changes, looker }: IndexBatchOptions): IndexBatch {
  let waiting: {
    readonly image: ImageId;
    readonly seen: Look;
    readonly stamp: QuickStamp | null | undefined;
  }[] = [];

  async function flush(): Promise<void> {
    const batch = waiting;
    waiting = [];
    const late: ImageId[] = [];
    const images = batch.flatMap(({ image, seen, stamp }) => {
      if (changes.mayRecord(image, seen.version)) return [{ image, signatures: seen.signatures, stamp }];
      late.push(image);
      return [];
    });
    if (images.length > 0) await index.record(images);
    for (const image of late) await changes.inTurn(image, () => recordNow(image));
  }

  async function recordNow(image: ImageId): Promise<void> {
    const { recorded, signatures } = await looker.look(image);
    if (!sameSignatures(recorded, signatures)) await index.record([{ image, signatures }]);
  }

  return {
    async add(image, seen, stamp) {
      waiting.push({ image, seen, stamp });
      if (waiting.length >= IMAGES_A_BATCH) await flush();
    },
    flush,
  };
}
