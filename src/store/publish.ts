// Adds sets that came from elsewhere to a tree: what is new of a set comes in whole or not at all, behind what is there already.

import { createBatches, forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { MAX_FILE_NUMBER, MAX_INDEXED_BYTES, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type { BatchPublisher, Log, Published, RecordedSignature, SetPublisher } from '../domain/ports.ts';
import { withdrawnOf } from '../domain/tombstone.ts';
import type { TreeWriter } from '../domain/tree.ts';
import type { ImageChanges } from './image-changes.ts';
import { toEntries } from './image-state.ts';
import { createLooker, type Look, type TreeAndIndex } from './look.ts';

export interface PublisherOptions extends TreeAndIndex {
  readonly writer: TreeWriter;
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  readonly minFreeBytes: () => number;
  /** What was read of the image before is no longer true. */
  readonly onChanged: (image: ImageId) => void;
  /** Something of the image was recorded without a verdict. */
  readonly onRecorded: (image: ImageId) => void;
  readonly log: Log;
}

type Blobs = Parameters<SetPublisher['publish']>[1];

type Seen = Pick<Look, 'signatures' | 'isEmpty' | 'lastNumber'>;

interface WantedSet {
  readonly image: ImageId;
  readonly blobs: Blobs;
}

/** What is new of a set, as it was placed. */
interface PlacedSet {
  readonly image: ImageId;
  readonly row: Blobs;
  readonly before: number;
  /** The times of its files, where nothing else was there, so that there is no need to look; else null. */
  readonly modifiedAt: readonly Date[] | null;
}

/** Another program may take the number that was free. */
const TRIES = 3;
/** The share of the reserve that stays for what else a server writes when it stops and starts. */
const LAST_TRY_LEAVES = 0.25;
/** How many sets that can be fetched again are written at once. A crash may lose them and as many that wait: 500 sets. */
const BATCH = { items: 250, bytes: 16 * 1024 * 1024 };
/** After a batch: a slow upstream gives some sets meanwhile, which share what the next one costs. */
const PAUSE_MS = 100;
const SETS_AT_ONCE = 16;

export function createPublisher(options: PublisherOptions): BatchPublisher {
  const { changes, writer, index, log } = options;
  const { lookSettled, guessAbsent } = createLooker(options);

  async function publish(image: ImageId, blobs: Blobs, isLastTry = false): Promise<Published> {
    return changes.inTurn(image, async () => {
      for (let tries = 1; ; tries += 1) {
        const seen = await lookSettled(image);
        const row = await rowOf({ image, blobs }, seen);
        const before = seen.signatures.length;
        if (row.length === 0) return { before, added: 0, entries: toEntries(seen.signatures) };
        await checkReserve(isLastTry ? LAST_TRY_LEAVES : 1);
        const bytes = row.map((blob) => blob.bytes);
        if (!(await writer.placeRow(imageFolder(image), seen.lastNumber + 1, bytes))) {
          if (tries < TRIES) continue;
          throw new LookasideError('BUSY', `another program writes to ${imageFolder(image)}; try again`);
        }
        return recordOne({ image, row, before, modifiedAt: null });
      }
    });
  }

  async function recordOne(placed: PlacedSet): Promise<Published> {
    const [published] = await record([placed]);
    if (published === undefined) throw new Error('a set was recorded, and record() did not return it');
    return published;
  }

  /** What the image does not have and is not withdrawn, each once, as far as there is room. */
  async function rowOf({ image, blobs }: WantedSet, seen: Seen): Promise<Blobs> {
    const gone = withdrawnOf(await options.tombstones.ofImage(image));
    const known = new Set([...gone, ...seen.signatures.map(({ sha256 }) => sha256)]);
    const fresh = blobs.filter(({ bytes }) => {
      const sha256 = options.sha256(bytes);
      return !known.has(sha256) && known.add(sha256);
    });
    return fresh.slice(0, roomOf(seen));
  }

  async function checkReserve(part = 1): Promise<void> {
    const [free, wanted] = [await writer.freeBytes(), options.minFreeBytes() * part];
    if (free >= wanted) return;
    const message = `${free} bytes are free for ${options.tree.root}, and ${wanted} are kept in reserve (LOOKASIDE_MIN_FREE); free some space`;
    throw new LookasideError('DISK_FULL', message);
  }

  async function record(sets: readonly PlacedSet[]): Promise<readonly Published[]> {
    // first: a look that began before must not be recorded over what comes
    for (const { image } of sets) changes.changed(image);
    const seen = await eachOf(sets, async ({ image, row, modifiedAt }) => {
      const judgements = new Map(row.map(({ bytes, judgement }) => [options.sha256(bytes), judgement]));
      const signatures =
        modifiedAt === null ? (await lookSettled(image)).signatures : recordedFrom(row, modifiedAt, options);
      return signatures.map((signature) => {
        const judgement = judgements.get(signature.sha256) ?? null;
        return judgement === null ? signature : { ...signature, judgement };
      });
    });
    try {
      await index.record(sets.map(({ image }, position) => ({ image, signatures: seen[position] ?? [] })));
      for (const { image, row } of sets) {
        changes.setUnrecorded(image, false);
        if (row.some(({ judgement }) => judgement === null)) options.onRecorded(image);
      }
    } catch (error) {
      for (const { image } of sets) changes.setUnrecorded(image, true);
      const images = sets.slice(0, 3).map(({ image }) => imageFolder(image));
      const fields = { err: error, images, sets: sets.length };
      log.warn(fields, 'sets could not be written to the index yet; until then reads look at the disk');
    } finally {
      for (const { image } of sets) {
        changes.changed(image);
        options.onChanged(image);
      }
    }
    return sets.map(({ row, before }, position) => {
      return { before, added: row.length, entries: toEntries(seen[position] ?? []) };
    });
  }

  /** New images together; null for those that are to be published alone, as also all are when that fails. */
  async function publishNew(sets: readonly WantedSet[]): Promise<readonly (Published | null)[]> {
    const turns = await takeTurns(changes, sets);
    try {
      const looks = await eachOf(sets, async (set) => {
        // the folder is named into its place by a rename, which finds out whether anything is there
        const absent = await guessAbsent(set.image);
        const row = absent === null ? [] : await rowOf(set, absent);
        if (absent !== null && row.length > 0) return { seen: absent, row };
        const seen = await lookSettled(set.image);
        return { seen, row: await rowOf(set, seen) };
      });
      const isNew = ({ seen, row }: (typeof looks)[number]) =>
        row.length > 0 && seen.isEmpty && seen.lastNumber === 0 && seen.signatures.length === 0;
      const fresh = sets.flatMap(({ image }, position) => {
        const look = looks[position];
        return look !== undefined && isNew(look) ? [{ image, row: look.row, before: 0, position }] : [];
      });
      if (fresh.length > 0) await checkReserve();
      const times = await writer.placeNew(
        fresh.map(({ image, row }) => ({ folder: imageFolder(image), row: row.map(({ bytes }) => bytes) })),
      );
      const placed = fresh.flatMap((set, position) => {
        const modifiedAt = times[position] ?? null;
        return modifiedAt === null ? [] : [{ ...set, modifiedAt }];
      });
      const published = await record(placed);
      const results = looks.map(({ seen, row }): Published | null => {
        if (row.length > 0) return null;
        return { before: seen.signatures.length, added: 0, entries: toEntries(seen.signatures) };
      });
      for (const [at, { position }] of placed.entries()) results[position] = published[at] ?? null;
      return results;
    } catch (error) {
      // after a lost write, a set that readers see may not survive, and must not count as stored
      if (!isLookasideError(error) || writer.fault !== null) throw error;
      log.debug({ err: error }, 'sets could not be stored together; each is stored by itself');
      return sets.map(() => null);
    } finally {
      for (const end of turns) end();
    }
  }

  async function publishBatch(
    all: readonly WantedSet[],
  ): Promise<readonly PromiseSettledResult<Published>[]> {
    const sets = [...new Map(all.map((set) => [imageKey(set.image), set])).values()];
    const together = await publishNew(sets);
    const results = new Map(sets.map((set, position) => [set, together[position] ?? null]));
    return eachOf(all, async (set) => {
      const value = results.get(set) ?? null;
      return value === null ? settled(publish(set.image, set.blobs)) : { status: 'fulfilled', value };
    });
  }

  const batches = createBatches(BATCH, publishBatch, () => options.wait(PAUSE_MS));

  async function gather(image: ImageId, blobs: Blobs) {
    const sizeBytes = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const { done } = await batches.add({ image, blobs }, sizeBytes);
    return { done: done.then(resultOf) };
  }

  return { publish, gather };
}

/** All their turns: no image is there twice. */
function takeTurns(changes: ImageChanges, sets: readonly WantedSet[]): Promise<readonly (() => void)[]> {
  return Promise.all(
    sets.map(
      ({ image }) =>
        new Promise<() => void>((hasTurn) => {
          void changes.inTurn(image, () => new Promise<void>((end) => hasTurn(end)));
        }),
    ),
  );
}

/** As a look at the folder tells them: when the index is built again, the time is that of the file. */
function recordedFrom(
  row: Blobs,
  modifiedAt: readonly Date[],
  { sha256 }: PublisherOptions,
): readonly RecordedSignature[] {
  return row.map(({ bytes }, position) => ({
    number: position + 1,
    sha256: sha256(bytes),
    sizeBytes: bytes.length,
    storedAt: modifiedAt[position] ?? new Date(0), // there is one for each
    bytes: bytes.length <= MAX_INDEXED_BYTES ? bytes : null,
  }));
}

function roomOf({ signatures, lastNumber }: Seen): number {
  return Math.max(0, Math.min(MAX_SIGNATURES_PER_IMAGE - signatures.length, MAX_FILE_NUMBER - lastNumber));
}

/** The results of some at once, in the order of the items. */
async function eachOf<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  await forEachConcurrently(items.entries(), SETS_AT_ONCE, async ([position, item]) => {
    results[position] = await act(item);
  });
  return results;
}

async function settled<T>(act: Promise<T>): Promise<PromiseSettledResult<T>> {
  const [outcome] = await Promise.allSettled([act]);
  return outcome;
}

function resultOf<T>(outcome: PromiseSettledResult<T>): T {
  if (outcome.status === 'fulfilled') return outcome.value;
  throw outcome.reason;
}
