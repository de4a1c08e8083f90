// How much of batches is under way at once: of one, and of all together.
import { createPlaces, forEachInPlace, mapInOrder } from '../domain/concurrency.ts';
import type { BatchPart } from '../domain/receipt.ts';

/** Of one batch, so that it leaves room for others. */
const EXAMINED_OF_BATCH = 16;
/** A part that is examined may ask the database that nodes share. */
const EXAMINED_OF_BATCH_IF_SHARED = 4;
/**
 * Of all batches together: the threads that verify always have a next one. A single upload waits for no more of them, and
 * batches alone never fill the queue for verification (src/openpgp/pool.ts).
 */
const EXAMINED = { items: 64, bytes: 64 * 1024 * 1024 };
/**
 * Of all batches together. Storing is mostly waiting for the disk, and what waits together shares fsyncs, transactions and messages to
 * threads: more at once cost less each. Far below what may wait in a queue, so that batches alone never make it full.
 */
const IMAGES = 128;
/** All batches together store as many images as so many of them: a shared database has the changes of other nodes to do too. */
const BATCHES_IF_SHARED = 2;

export interface BatchBounds {
  /** The results of `act` in the order of the parts. */
  examineEach<R>(
    parts: readonly BatchPart[],
    act: (part: BatchPart, position: number) => Promise<R>,
  ): AsyncGenerator<R>;
  /** After the first failure it begins no more of this batch. It throws that failure once those under way have ended. */
  storeEach<T>(images: Iterable<T>, act: (image: T) => Promise<void>): Promise<void>;
}

/** `imagesOfBatch`: how many of one batch are stored at once; undefined: all batches share a bound. */
export function createBatchBounds(imagesOfBatch: number | undefined): BatchBounds {
  const examined = createPlaces(EXAMINED);
  const stored = placesFor(imagesOfBatch === undefined ? IMAGES : imagesOfBatch * BATCHES_IF_SHARED);
  const examinedOfBatch = imagesOfBatch === undefined ? EXAMINED_OF_BATCH : EXAMINED_OF_BATCH_IF_SHARED;
  return {
    examineEach: (parts, act) =>
      mapInOrder(numbered(parts), examinedOfBatch, ({ part, position }) =>
        examined.take(part.bytes.length, () => act(part, position)),
      ),
    storeEach(images, act) {
      if (imagesOfBatch === undefined) return forEachInPlace(images, stored, act);
      // few of a batch wait for a place among the others, so that they take turns
      return forEachInPlace(images, placesFor(imagesOfBatch), (image) => stored.take(0, () => act(image)));
    },
  };
}

function placesFor(items: number) {
  return createPlaces({ items, bytes: Number.POSITIVE_INFINITY });
}

async function* numbered(parts: readonly BatchPart[]) {
  for (const [position, part] of parts.entries()) yield { part, position };
}
