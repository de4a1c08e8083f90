// Takes a set that can be fetched again out of a tree and its index, in one step for readers and for a crash.
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { SignatureIndex, TombstoneStore } from '../domain/ports.ts';
import type { TreeWriter } from '../domain/tree.ts';
import type { ImageChanges } from './image-changes.ts';

export interface LetGoOptions {
  readonly writer: Pick<TreeWriter, 'takeAway'>;
  readonly index: Pick<SignatureIndex, 'record'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly changes: ImageChanges;
  /** What was read of the image before is no longer true. */
  readonly onChanged: (image: ImageId) => void;
}

export interface LettingGo {
  /** Asked once it is the image's turn. */
  readonly mayGo: () => Promise<boolean>;
  /** The set is gone; nobody else has changed the image since. */
  readonly onGone: () => Promise<void>;
}

/**
 * False, and nothing is done: it may not go, or something of the image is withdrawn, whose place its files keep.
 * @throws LookasideError READ_ONLY, STORE_UNAVAILABLE, BUSY
 */
export type LetGo = (image: ImageId, letting: LettingGo) => Promise<boolean>;

export function createLetGo({ writer, index, tombstones, changes, onChanged }: LetGoOptions): LetGo {
  return (image, { mayGo, onGone }) =>
    changes.inTurn(image, async () => {
      if ((await tombstones.ofImage(image)).length > 0 || !(await mayGo())) return false;
      changes.changed(image);
      try {
        // first: files that are not recorded are taken in again, and rows without files would be damage
        await index.record([{ image, signatures: [] }]);
        await writer.takeAway(imageFolder(image));
      } finally {
        changes.changed(image);
        onChanged(image);
      }
      await onGone();
      return true;
    });
}
