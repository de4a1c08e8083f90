// Sets of a mirror that could not be stored: those that readers got from memory keep their numbers until the disk takes them. None of
// them goes to make room for another, as the upstream may have another order by now.
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { MAX_INDEXED_BYTES, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type { Clock, SetEntry, SignatureSet, SignatureStore, TombstoneStore } from '../domain/ports.ts';
import { withdrawnOf } from '../domain/tombstone.ts';

export interface HeldSetsOptions {
  readonly store: Pick<SignatureStore, 'readSet'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly clock: Clock;
  /** What was read of the image before is no longer true: a set of it is held in memory. */
  readonly onHeld: (image: ImageId) => void;
  /** Default 64 MiB. */
  readonly maxBytes?: number;
}

interface Blob {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

export interface Held {
  readonly image: ImageId;
  readonly set: SignatureSet;
  readonly blobs: ReadonlyMap<string, Uint8Array>;
  readonly sizeBytes: number;
}

export interface HeldSets {
  /**
   * What is stored or held of the image, and behind it what is new of these, at the numbers that they would have had. Held from now
   * on; what a sync has brought leaves half of the room to readers, and may not be held at all. @throws LookasideError STORE_UNAVAILABLE,
   * also when too much is held for a reader's set
   */
  hold(
    image: ImageId,
    blobs: readonly Blob[],
    isForReader: boolean,
  ): Promise<{ readonly set: SignatureSet; readonly added: number }>;
  /** Without what has been withdrawn since; undefined: it is not held. @throws LookasideError STORE_UNAVAILABLE */
  read(image: ImageId): Promise<SignatureSet | undefined>;
  /** In the order of their numbers; those that are stored are not among them. */
  blobs(image: ImageId): readonly Uint8Array[];
  blob(image: ImageId, sha256: string): Uint8Array | null;
  /** It is stored now. */
  release(image: ImageId): void;
  /** The same, unless more is held of the image by now. */
  releaseIf(held: Held): void;
  /** Holds what the other one holds, under the same numbers. */
  takeOver(before: Pick<HeldSets, 'all'>): void;
  readonly all: ReadonlyMap<string, Held>;
}

const MAX_HELD_BYTES = 64 * 1024 * 1024;
const ENTRY_BYTES = 500;

export function createHeldSets({
  store,
  tombstones,
  clock,
  onHeld,
  maxBytes = MAX_HELD_BYTES,
}: HeldSetsOptions): HeldSets {
  const heldSets = new Map<string, Held>();
  let heldBytes = 0;
  let generation = 0;

  function release(image: ImageId): void {
    heldBytes -= heldSets.get(imageKey(image))?.sizeBytes ?? 0;
    heldSets.delete(imageKey(image));
  }

  function keep(held: Held, isForReader: boolean): void {
    const { image } = held;
    const before = heldSets.get(imageKey(image))?.sizeBytes ?? 0;
    const bytes = heldBytes - before + held.sizeBytes;
    if (!isForReader && before === 0 && bytes > maxBytes / 2) return;
    if (bytes > maxBytes) {
      const message = `the signatures of ${imageFolder(image)} cannot be stored, and ${heldBytes} bytes of others are served from memory already; see the log for what keeps the mirror from storing`;
      throw new LookasideError('STORE_UNAVAILABLE', message);
    }
    release(image);
    heldSets.set(imageKey(image), held);
    heldBytes += held.sizeBytes;
    onHeld(image);
  }

  return {
    async hold(image, offered, isForReader) {
      const before = heldSets.get(imageKey(image));
      const stored = before?.set ?? (await store.readSet(image));
      const gone = withdrawnOf(await tombstones.ofImage(image));
      const standing = standingOf(stored.entries, gone);
      const known = new Set([...gone, ...standing.map(({ sha256 }) => sha256)]);
      const fresh = offered
        .filter(({ sha256 }) => !known.has(sha256) && known.add(sha256))
        .slice(0, MAX_SIGNATURES_PER_IMAGE - standing.length);
      generation += 1;
      const set = { generation, entries: [...standing, ...fresh.map((one) => entryOf(one, clock.now()))] };
      const blobs = new Map(before?.blobs);
      for (const { sha256, bytes } of fresh) blobs.set(sha256, bytes);
      if (set.entries.length > 0) keep({ image, set, blobs, sizeBytes: sizeOf(set) }, isForReader);
      return { set, added: fresh.length };
    },
    async read(image) {
      const set = heldSets.get(imageKey(image))?.set;
      if (set === undefined) return undefined;
      const gone = withdrawnOf(await tombstones.ofImage(image));
      if (!set.entries.some((entry) => gone.has(entry.sha256))) return set;
      return { ...set, entries: standingOf(set.entries, gone) };
    },
    blobs: (image) => [...(heldSets.get(imageKey(image))?.blobs.values() ?? [])],
    blob: (image, sha256) => heldSets.get(imageKey(image))?.blobs.get(sha256) ?? null,
    release,
    releaseIf(held) {
      if (heldSets.get(imageKey(held.image)) === held) release(held.image);
    },
    takeOver({ all }) {
      for (const [key, held] of all) {
        heldSets.set(key, held);
        heldBytes += held.sizeBytes;
      }
    },
    all: heldSets,
  };
}

function entryOf({ sha256, bytes }: Blob, storedAt: Date): SetEntry {
  return {
    sha256,
    sizeBytes: bytes.length,
    storedAt,
    bytes: bytes.length <= MAX_INDEXED_BYTES ? bytes : null,
  };
}

function sizeOf({ entries }: SignatureSet): number {
  return entries.reduce((sum, { sizeBytes }) => sum + sizeBytes + ENTRY_BYTES, ENTRY_BYTES);
}

/** What was withdrawn leaves its number to another, as on the disk. */
function standingOf(entries: readonly SetEntry[], gone: ReadonlySet<string>): readonly SetEntry[] {
  const filler = entries.find(({ sha256 }) => !gone.has(sha256));
  return entries.flatMap((entry) => (gone.has(entry.sha256) ? (filler ?? []) : entry));
}
