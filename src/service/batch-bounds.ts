// How much of batches is under way at once: of one, and of all together.
import { createPlaces, forEachInPlace, mapInOrder } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
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
  /** A batch that would begin more fails with BUSY from now on: nobody waits for its answer any more, and the end of the process would. */
  stop(): void;
}

/** `imagesOfBatch`: how many of one batch are stored at once; undefined: all batches share a bound. */
export function createBatchBounds(imagesOfBatch: number | undefined): BatchBounds {
  const examined = createPlaces(EXAMINED);
  const stored = placesFor(imagesOfBatch === undefined ? IMAGES : imagesOfBatch * BATCHES_IF_SHARED);
  const examinedOfBatch = imagesOfBatch === undefined ? EXAMINED_OF_BATCH : EXAMINED_OF_BATCH_IF_SHARED;
  let isStopped = false;

  function begin<T>(act: () => Promise<T>): Promise<T> {
    if (isStopped) throw new LookasideError('BUSY', 'the server is stopping. Send it again');
    return act();
  }

  return {
    examineEach: (parts, act) =>
      mapInOrder(numbered(parts), examinedOfBatch, ({ part, position }) =>
        examined.take(part.bytes.length, async () => begin(() => act(part, position))),
      ),
    storeEach(images, act) {
      const one = async (image: Parameters<typeof act>[0]) => begin(() => act(image));
      if (imagesOfBatch === undefined) return forEachInPlace(images, stored, one);
      // few of a batch wait for a place among the others, so that they take turns
      return forEachInPlace(images, placesFor(imagesOfBatch), (image) => stored.take(0, () => one(image)));
    },
    stop() {
      isStopped = true;
    },
  };
}

function placesFor(items: number) {
  return createPlaces({ items, bytes: Number.POSITIVE_INFINITY });
}

async function* numbered(parts: readonly BatchPart[]) {
  for (const [position, part] of parts.entries()) yield { part, position };
}
