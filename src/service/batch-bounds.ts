// How much of batches is under way at once: of one, and of all together.
import { createPlaces, mapInOrder, type Places } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import type { BatchPart } from '../domain/receipt.ts';
import { createWholeImages, type Examined, type PartName } from './whole-images.ts';

/** How much one batch may have examined at once, so that it leaves room for others. */
const EXAMINED_OF_BATCH = 16;
/** A part that is examined may ask the database that nodes share. */
const EXAMINED_OF_BATCH_IF_SHARED = 4;
/**
 * How much all batches together may have examined at once: the threads that verify always have a next one. A single upload waits for no more of them, and
 * batches alone never fill the queue for verification (src/openpgp/pool.ts).
 */
const EXAMINED = { items: 64, bytes: 64 * 1024 * 1024 };
/**
 * How many images all batches together may store at once. Storing is mostly waiting for the disk, and what waits together shares fsyncs, transactions and messages to
 * threads: more at once cost less each. Far below what may wait in a queue, so that batches alone never make it full.
 */
const IMAGES = 128;
/**
 * Images of a batch that begin to be stored together, while its other parts are examined. What begins at the same time shares fsyncs,
 * transactions and messages; what begins later keeps another thread busy meanwhile. Half as many cost more (docs/performance.md).
 */
const IMAGES_BEGUN = 50;
/** All batches together store as many images as so many of them: a shared database has the changes of other nodes to do too. */
const BATCHES_IF_SHARED = 2;

export interface BatchBounds {
  /**
   * Examines the parts, and stores images of which all parts are examined while others still are, some at a time. After the first
   * failure it begins no more of this batch. It throws that failure once what is being stored has ended.
   */
  handle<T>(parts: readonly BatchPart[], steps: HandlingSteps<T>): Promise<void>;
  /** To be called ahead of each part. @throws LookasideError BUSY after stop() */
  requireRunning(): void;
  /** From now on batches end with what is under way: the process is about to end. */
  stop(): void;
}

export interface HandlingSteps<T> {
  /** What the file name of each part says. */
  readonly names: readonly PartName[];
  /** What is to be stored of the part; null: nothing. */
  readonly examine: (part: BatchPart, position: number) => Promise<Examined<T> | null>;
  /** What was examined of one image, in the order of the parts. */
  readonly store: (ofImage: readonly T[]) => Promise<void>;
}

/** `imagesOfBatch`: how many of one batch are stored at once; undefined: all batches share a bound. */
export function createBatchBounds(imagesOfBatch: number | undefined): BatchBounds {
  const examined = createPlaces(EXAMINED);
  const stored = placesFor(imagesOfBatch === undefined ? IMAGES : imagesOfBatch * BATCHES_IF_SHARED);
  const examinedOfBatch = imagesOfBatch === undefined ? EXAMINED_OF_BATCH : EXAMINED_OF_BATCH_IF_SHARED;
  let isStopped = false;

  async function handle<T>(
    parts: readonly BatchPart[],
    { names, examine, store }: HandlingSteps<T>,
  ): Promise<void> {
    // few of a batch wait for a place among the others, so that they take turns
    const places = imagesOfBatch === undefined ? [stored] : [placesFor(imagesOfBatch), stored];
    const failures: unknown[] = [];
    const storing: Promise<void>[] = [];

    function storeSoon(ofImage: readonly T[]): void {
      const run = inAll(places, async () => {
        if (failures.length === 0) await store(ofImage);
      });
      storing.push(run.catch((error: unknown) => void failures.push(error)));
    }

    try {
      const whole = createWholeImages<T>(names);
      const results = mapInOrder(numbered(parts), examinedOfBatch, ({ part, position }) =>
        examined.take(part.bytes.length, () => examine(part, position)),
      );
      let group: (readonly T[])[] = [];
      for await (const result of results) {
        if (failures.length > 0) break;
        group.push(...whole.next(result));
        if (group.length < IMAGES_BEGUN) continue;
        for (const ofImage of group) storeSoon(ofImage);
        group = [];
      }
      for (const ofImage of group) storeSoon(ofImage);
    } catch (error) {
      failures.push(error);
    }
    await Promise.all(storing);
    if (failures.length > 0) throw failures[0];
  }

  return {
    handle,
    requireRunning() {
      if (!isStopped) return;
      throw new LookasideError(
        'BUSY',
        'the server is stopping, and this was not stored; send it again once it runs again',
      );
    },
    stop() {
      isStopped = true;
    },
  };
}

/** Runs `act` once it has a place in each of them. */
function inAll([first, ...others]: readonly Places[], act: () => Promise<void>): Promise<void> {
  return first === undefined ? act() : first.take(0, () => inAll(others, act));
}

function placesFor(items: number): Places {
  return createPlaces({ items, bytes: Number.POSITIVE_INFINITY });
}

async function* numbered(parts: readonly BatchPart[]) {
  for (const [position, part] of parts.entries()) yield { part, position };
}
