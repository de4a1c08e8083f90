// Reads what clients see; nothing else produces it. Keeps sets in a bounded memory cache. A settled set holds until a change is
// told; every other one is checked again after a second.
import { createVersions, type Round } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey, knownImageKey, makeImageKey } from '../domain/image.ts';
import { SHARED_SET_FRESH_MS } from '../domain/limits.ts';
import type { Clock, SetEntry, SignatureSet, SignatureStore } from '../domain/ports.ts';
import type { Packing } from './packed-sets.ts';
import { createSetMemory } from './set-memory.ts';

export interface ReaderOptions {
  readonly store: SignatureStore;
  readonly clock: Clock;
  /** Bytes of memory that sets may hold. */
  readonly cacheBytes: number;
  /** Called at each forget() with the image, and at each forgetAll() with null: copies elsewhere are to be forgotten too. */
  readonly onForgotten?: (image: ImageId | null) => void;
  /** Another image whose set is made of this one's too: it is forgotten with it. Null: there is none. */
  readonly viewOf?: (image: ImageId) => ImageId | null;
}

/** A set for who keeps a copy of it. */
export interface HeldSet {
  readonly set: SignatureSet;
  /** For how long the copy may be served. Infinity: until the image, or all, is forgotten. */
  readonly holdsMs: number;
}

export interface FoundSignature {
  readonly entry: SetEntry;
  readonly bytes: Uint8Array;
}

export interface Reader {
  /**
   * The set if it is in memory, and is settled, was checked within the last second, or can be checked at once, or if the store tells it
   * at once; never waits.
   */
  peekSet(image: ImageId, round?: Round): SignatureSet | null;
  /** Whether memory has nothing of the image, and the store answers a round of such questions for less than each by itself. */
  isForRound(image: ImageId): boolean;
  /** @throws LookasideError STORE_UNAVAILABLE */
  readSet(image: ImageId): Promise<SignatureSet>;
  /** As readSet(), for who keeps a copy; onForgotten tells when one ends before its time. @throws LookasideError STORE_UNAVAILABLE */
  readHeld(image: ImageId): Promise<HeldSet>;
  /** signature-N of the image with its bytes; null past the end. @throws STORE_UNAVAILABLE */
  readSignature(image: ImageId, number: number): Promise<FoundSignature | null>;
  /**
   * Call it after a change of the image, so that the next read of it, or of a view that shows it, sees the change. `generation`: of its
   * set since: one in memory that is as new stays there.
   */
  forget(image: ImageId, generation?: number): void;
  /** Call it after a change of unknown images: no set is settled until the store has been asked again. */
  forgetAll(): void;
  readonly cache: {
    readonly bytes: number;
    readonly sets: number;
    readonly hits: number;
    readonly misses: number;
  };
}

interface CachedSet {
  readonly set: SignatureSet;
  checkedAtMs: number;
  /** How often forgetAll() had been called before it was read. */
  readonly epoch: number;
}

/** Of a settled set, all that may still differ from others is when it was read. */
const SETTLED: Packing<CachedSet> = {
  numbersOf: ({ set, checkedAtMs, epoch }) =>
    set.isSettled === true && set.askAgainMs === undefined ? [checkedAtMs, epoch] : null,
  unpack: ({ generation, entries }, [checkedAtMs, epoch]) => ({
    set: { generation, entries, isSettled: true },
    checkedAtMs,
    epoch,
  }),
};

const EMPTY: SignatureSet = { generation: 0, entries: [] };

export function createReader({
  store,
  clock,
  cacheBytes,
  onForgotten = () => undefined,
  viewOf = () => null,
}: ReaderOptions): Reader {
  const sets = createSetMemory<CachedSet>(cacheBytes, SETTLED);
  let hits = 0;
  let misses = 0;
  const versions = createVersions();
  let epoch = 0;

  function peekSet(image: ImageId, round?: Round): SignatureSet | null {
    const key = knownImageKey(image);
    // a flood of names that are not there makes no keys and turns no memory over; what is in memory has its key
    const set =
      key === undefined
        ? (peekEmpty(image, round) ?? peekMemory(image, imageKey(image)))
        : (peekMemory(image, key) ?? peekEmpty(image, round));
    if (set === null) return peekSettled(image);
    hits += 1;
    return set;
  }

  function peekEmpty(image: ImageId, round: Round | undefined): SignatureSet | null {
    return store.peekEmpty?.(image, round) === true ? EMPTY : null;
  }

  function peekMemory(image: ImageId, key: string): SignatureSet | null {
    const cached = sets.get(key);
    return cached !== undefined && holds(image, cached) ? cached.set : null;
  }

  /** Most sets that are not in memory, without a promise. */
  function peekSettled(image: ImageId): SignatureSet | null {
    const set = store.peekSettled?.(image) ?? null;
    if (set === null) return null;
    misses += 1;
    sets.set(imageKey(image), { set, checkedAtMs: clock.monotonicMs(), epoch });
    return set;
  }

  function holds(image: ImageId, cached: CachedSet): boolean {
    const { set, checkedAtMs, epoch: readIn } = cached;
    const { isSettled = false, askAgainMs } = set;
    const isStill = isSettled && readIn === epoch;
    if (isStill && askAgainMs === undefined) return true;
    const now = clock.monotonicMs();
    if (isStill && askAgainMs !== undefined && now < askAgainMs) return true;
    if (now - checkedAtMs <= SHARED_SET_FRESH_MS) return true;
    // whoever asks again at a time of its own does more than look at files
    if (askAgainMs !== undefined) return false;
    const heldAtMs = readIn === epoch ? (store.peekHeldAtMs?.(image, set) ?? null) : null;
    if (heldAtMs !== null && now - heldAtMs <= SHARED_SET_FRESH_MS) {
      cached.checkedAtMs = heldAtMs;
      return true;
    }
    if (store.peekHolds?.(image, set) !== true) return false;
    cached.checkedAtMs = now;
    return true;
  }

  async function readSet(image: ImageId): Promise<SignatureSet> {
    return peekSet(image) ?? (await readAgain(image));
  }

  async function readAgain(image: ImageId): Promise<SignatureSet> {
    misses += 1;
    const key = imageKey(image);
    // the age counts from before the read: a change during the read must be seen a second later
    const checkedAtMs = clock.monotonicMs();
    const version = versions.of(key);
    const readIn = epoch;
    const set = await store.readSet(image, sets.get(key)?.set);
    // a read that ends late must not undo a forget() or a newer read
    const kept = sets.get(key);
    const isLatest = versions.of(key) === version && (kept === undefined || kept.checkedAtMs <= checkedAtMs);
    if (isLatest) sets.set(key, { set, checkedAtMs, epoch: readIn });
    return set;
  }

  async function readHeld(image: ImageId): Promise<HeldSet> {
    // without a wait for a set in memory: a packed one is the same object only until others are read
    const set = peekSet(image) ?? (await readAgain(image));
    // kept nowhere here, and as fresh now as a look
    if (set === EMPTY) return { set, holdsMs: SHARED_SET_FRESH_MS };
    const cached = sets.get(imageKey(image));
    // forgotten while it was read, or replaced since: good for who has asked, and for nobody later
    return { set, holdsMs: cached?.set === set ? leftMs(cached) : 0 };
  }

  function leftMs({ set: { isSettled = false, askAgainMs }, checkedAtMs, epoch: readIn }: CachedSet): number {
    const now = clock.monotonicMs();
    const freshMs = Math.max(0, SHARED_SET_FRESH_MS - (now - checkedAtMs));
    if (!isSettled || readIn !== epoch) return freshMs;
    return askAgainMs === undefined ? Number.POSITIVE_INFINITY : Math.max(freshMs, askAgainMs - now);
  }

  async function readSignature(image: ImageId, number: number): Promise<FoundSignature | null> {
    // two tries: a large signature may be replaced between the read of the set and the read of its bytes
    for (let attempt = 0; ; attempt += 1) {
      const entry = (await readSet(image)).entries[number - 1];
      if (entry === undefined) return null;
      const bytes = entry.bytes ?? (await store.readBlob(image, entry.sha256));
      if (bytes !== null) return { entry, bytes };
      sets.delete(imageKey(image));
      if (attempt === 1)
        throw new LookasideError('STORE_UNAVAILABLE', 'the signature changes while it is read');
    }
  }

  function forgetOne(image: ImageId): void {
    // a scan tells of each image that it records
    const key = knownImageKey(image) ?? makeImageKey(image);
    versions.change(key);
    sets.delete(key);
    onForgotten(image);
  }

  return {
    peekSet,
    isForRound: (image) => store.peekEmpty !== undefined && knownImageKey(image) === undefined,
    readSet,
    readHeld,
    readSignature,
    forget(image, generation) {
      const known = generation === undefined ? undefined : sets.get(makeImageKey(image))?.set;
      if (generation === undefined || known === undefined || known.generation < generation) forgetOne(image);
      const view = viewOf(image);
      if (view !== null) forgetOne(view);
    },
    forgetAll() {
      epoch += 1;
      onForgotten(null);
    },
    get cache() {
      return { bytes: sets.bytes, sets: sets.size, hits, misses };
    },
  };
}
