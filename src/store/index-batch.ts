// Recording many images with few commits.
import type { RecordedImage, SignatureIndex } from '../domain/ports.ts';

export interface IndexBatch {
  /** Waits for a commit now and then. */
  add(image: RecordedImage): Promise<void>;
  /** Records what is left. */
  flush(): Promise<void>;
}

const IMAGES_A_BATCH = 1000;

export function createIndexBatch(index: SignatureIndex): IndexBatch {
  let waiting: RecordedImage[] = [];

  async function flush(): Promise<void> {
    const images = waiting;
    waiting = [];
    if (images.length > 0) await index.record(images);
  }

  return {
    async add(image) {
      waiting.push(image);
      if (waiting.length >= IMAGES_A_BATCH) await flush();
    },
    flush,
  };
}
