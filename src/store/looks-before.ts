// What reads have seen of an owned tree while its index is not whole. Such an index proves nothing, so every read of a set that is not in
// memory would read its folder again. Stamps tell for less that folder and files are as they were.
import { LRUCache } from 'lru-cache';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import type { RecordedSignature } from '../domain/ports.ts';
import type { Stamps, Tree } from '../domain/tree.ts';
import type { ImageChanges } from './image-changes.ts';
import { sameSignatures } from './image-state.ts';
import type { Asked, Look } from './look.ts';

export interface LooksBeforeOptions {
  readonly tree: Pick<Tree, 'isUnchanged' | 'peekUnchanged'>;
  readonly changes: Pick<ImageChanges, 'isPending' | 'versionOf'>;
  /** Something is known to be wrong with the image. */
  readonly hasProblems: (image: ImageId) => boolean;
}

export interface LooksBefore {
  keep(image: ImageId, seen: Look): void;
  /**
   * What another look would find: `recorded` as the index tells it now or, while it tells nothing, `served`, what is served of the image in
   * memory. Null: a look must tell. @throws STORE_UNAVAILABLE
   */
  again(
    image: ImageId,
    asked: Asked,
    served: readonly RecordedSignature[],
  ): Promise<readonly RecordedSignature[] | null>;
  /** Whether another look would find `served`, what is served of the image in memory, told at once. False also when only again() may tell. */
  peekSame(image: ImageId, served: readonly RecordedSignature[]): boolean;
  forgetAll(): void;
}

interface LookBefore {
  readonly version: number;
  readonly stamps: Stamps;
  /** Without their bytes. */
  readonly signatures: readonly RecordedSignature[];
}

/** Folders and files together, half a kilobyte each. */
const MOST_KEPT = 20_000;

export function createLooksBefore({ tree, changes, hasProblems }: LooksBeforeOptions): LooksBefore {
  const looks = new LRUCache<string, LookBefore>({
    maxSize: MOST_KEPT,
    sizeCalculation: ({ signatures }) => 1 + signatures.length,
  });

  /** Null: with these signatures, or in its state, a look must tell. */
  function stampsOf(
    image: ImageId,
    version: number,
    signatures: readonly RecordedSignature[],
  ): Stamps | null {
    const before = looks.get(imageKey(image));
    if (before?.version !== version || changes.isPending(image) || hasProblems(image)) return null;
    return sameSignatures(before.signatures, signatures) ? before.stamps : null;
  }

  return {
    keep(image, seen) {
      const { stamps, version, signatures } = seen;
      if (stamps === null || !isPlain(seen)) return;
      const withoutBytes = signatures.map((signature) => ({ ...signature, bytes: null }));
      looks.set(imageKey(image), { version, stamps, signatures: withoutBytes });
    },
    async again(image, { version, recorded }, served) {
      // rows that are what was seen make no difference to a look, as there was nothing beside it; with other rows one may find damage
      const signatures = recorded.length > 0 ? recorded : served;
      const stamps = stampsOf(image, version, signatures);
      if (stamps === null) return null;
      const folder = imageFolder(image);
      if (!tree.peekUnchanged(folder, stamps) && !(await tree.isUnchanged(folder, stamps))) return null;
      return version === changes.versionOf(image) ? signatures : null;
    },
    peekSame(image, served) {
      const stamps = stampsOf(image, changes.versionOf(image), served);
      return stamps !== null && tree.peekUnchanged(imageFolder(image), stamps);
    },
    forgetAll() {
      if (looks.size > 0) looks.clear();
    },
  };
}

/** All that was there is served, by nothing else than its files and equal rows. */
function isPlain({ signatures, recorded, problems, stamps, ...seen }: Look): boolean {
  if (signatures.length === 0 || problems.length > 0 || stamps?.settled !== true) return false;
  if (seen.hasTombstones || seen.isUnsure || seen.isBeingWritten) return false;
  return recorded.length === 0 || sameSignatures(recorded, signatures);
}
