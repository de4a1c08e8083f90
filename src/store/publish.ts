// Adds sets that came from elsewhere to a tree: what is new of a set comes in whole or not at all, behind what is there already.

import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { MAX_FILE_NUMBER, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type { Log, Published, RecordedSignature, SetPublisher } from '../domain/ports.ts';
import { withdrawnOf } from '../domain/tombstone.ts';
import type { TreeWriter } from '../domain/tree.ts';
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

/** Another program may take the number that was free. */
const TRIES = 3;

export function createPublisher(options: PublisherOptions): SetPublisher {
  const { changes, writer, index, log } = options;
  const { lookSettled } = createLooker(options);

  async function publish(image: ImageId, blobs: Blobs): Promise<Published> {
    return changes.inTurn(image, async () => {
      for (let tries = 1; ; tries += 1) {
        const seen = await lookSettled(image);
        const fresh = freshOf(blobs, seen, withdrawnOf(await options.tombstones.ofImage(image)));
        const row = fresh.slice(0, roomOf(seen));
        const before = seen.signatures.length;
        if (row.length === 0) return { before, added: 0, entries: toEntries(seen.signatures) };
        await checkReserve();
        const bytes = row.map((blob) => blob.bytes);
        if (!(await writer.placeRow(imageFolder(image), seen.lastNumber + 1, bytes))) {
          if (tries < TRIES) continue;
          throw new LookasideError('BUSY', `another program writes to ${imageFolder(image)}; try again`);
        }
        const signatures = await record(image, row);
        return { before, added: row.length, entries: toEntries(signatures) };
      }
    });
  }

  /** Those that the image does not have and that are not withdrawn, each once. */
  function freshOf(blobs: Blobs, seen: Look, gone: ReadonlySet<string>): Blobs {
    const known = new Set([...gone, ...seen.signatures.map(({ sha256 }) => sha256)]);
    return blobs.filter(({ bytes }) => {
      const sha256 = options.sha256(bytes);
      if (known.has(sha256)) return false;
      known.add(sha256);
      return true;
    });
  }

  async function checkReserve(): Promise<void> {
    const [free, wanted] = [await writer.freeBytes(), options.minFreeBytes()];
    if (free >= wanted) return;
    const message = `${free} bytes are free for ${options.tree.root}, and ${wanted} are kept in reserve (LOOKASIDE_MIN_FREE); free some space`;
    throw new LookasideError('DISK_FULL', message);
  }

  async function record(image: ImageId, row: Blobs): Promise<readonly RecordedSignature[]> {
    const judgements = new Map(row.map(({ bytes, judgement }) => [options.sha256(bytes), judgement]));
    // first: a look that began before must not be recorded over what comes
    changes.changed(image);
    const seen = await lookSettled(image);
    const signatures = seen.signatures.map((signature) => {
      const judgement = judgements.get(signature.sha256) ?? null;
      return judgement === null ? signature : { ...signature, judgement };
    });
    try {
      await index.record([{ image, signatures }]);
      changes.setUnrecorded(image, false);
      if ([...judgements.values()].includes(null)) options.onRecorded(image);
    } catch (error) {
      changes.setUnrecorded(image, true);
      log.warn({ err: error, image: imageFolder(image) }, 'a set could not be written to the index yet');
    } finally {
      changes.changed(image);
      options.onChanged(image);
    }
    return signatures;
  }

  return { publish };
}

function roomOf({ signatures, lastNumber }: Look): number {
  return Math.max(0, Math.min(MAX_SIGNATURES_PER_IMAGE - signatures.length, MAX_FILE_NUMBER - lastNumber));
}
