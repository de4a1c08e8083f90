// A bounded memory of sets. Sets that come for the first time pass through a small part of it, so that reads of very many images in
// turn do not turn the whole of it over. Those that are read most stay objects, and the others are packed into bytes.
import { LRUCache } from 'lru-cache';
import { type Kept, PackedSets, type Packing } from './packed-sets.ts';

// the rough size of a set and an entry without the bytes: keys, objects, hashes
const SET_BYTES = 400;
const ENTRY_BYTES = 600;

// shares of the memory
/** A flood of requests for unsigned images must not evict the sets that others read. */
const ABSENT = 1 / 16;
/** Sets that have not been kept yet. A small part dies young, which costs the garbage collector least. */
const NEW = 1 / 32;
/** Objects that could be packed: a set that is read often need not be unpacked each time. */
const HOT = 1 / 8;

/** One pull reads two names of a set, so two pulls while the set is new. */
const READS_TO_BE_KEPT = 4;
/** One in so many of the others is kept all the same: what is read now and then shall come in, and what was read once shall go. */
const KEPT_ONE_IN = 16;

interface Slot<Cached> {
  readonly cached: Cached;
  readonly bytes: number;
  reads: number;
}

export interface SetMemory<Cached> {
  get(key: string): Cached | undefined;
  set(key: string, cached: Cached): void;
  delete(key: string): void;
  clear(): void;
  readonly bytes: number;
  readonly size: number;
}

/** Sets by imageKey; the least recently used ones are forgotten. Without `packing` all stay objects. */
export function createSetMemory<Cached extends Kept>(
  maxBytes: number,
  packing: Packing<Cached> = UNPACKED,
): SetMemory<Cached> {
  const share = (part: number) => Math.floor(maxBytes * part);
  const [absentBytes, newBytes, hotBytes] = [
    share(ABSENT),
    share(NEW),
    packing === UNPACKED ? 0 : share(HOT),
  ];
  const restBytes = maxBytes - absentBytes - newBytes - hotBytes;
  const absent = weighed<Cached>(absentBytes);
  const fresh = weighed<Cached>(newBytes, keepOrForget);
  const hot = weighed<Cached>(hotBytes, (slot, key) => settle(key, slot));
  /** Objects that cannot be packed. They share the rest of the memory with those that are. */
  const kept = weighed<Cached>(restBytes);
  const packed = new PackedSets<Cached>(restBytes, packing, takeRoom);
  const objects = [hot, fresh, kept, absent];
  let passed = 0;

  /** Half of the rest is for the packed ones, and more as long as nobody else needs it. */
  function takeRoom(bytes: number): boolean {
    const after = packed.bytes + bytes;
    if (after + kept.calculatedSize <= restBytes) return true;
    if (after > restBytes / 2) return false;
    while (after + kept.calculatedSize > restBytes && kept.size > 0) kept.pop();
    return true;
  }

  /** What has no place in a record stays an object: it is large, say. */
  function settle(key: string, slot: Slot<Cached>): void {
    if (!packed.put(key, slot.cached)) keepObject(key, slot);
  }

  /** As takeRoom(), for the others. */
  function keepObject(key: string, slot: Slot<Cached>): void {
    if (slot.bytes > restBytes) return; // all others would go for nothing
    while (packed.bytes > restBytes / 2 && isFullFor(slot)) packed.forgetOldest();
    while (kept.size > 0 && isFullFor(slot)) kept.pop();
    kept.set(key, slot);
  }

  function isFullFor(slot: Slot<Cached>): boolean {
    return kept.calculatedSize + packed.bytes + slot.bytes > restBytes;
  }

  function keepOrForget(slot: Slot<Cached>, key: string): void {
    const isOften = slot.reads >= READS_TO_BE_KEPT;
    if (packing.numbersOf(slot.cached) === null) {
      if (isOften || !isFullFor(slot) || isOneIn()) keepObject(key, slot);
    } else if (isOften || hot.calculatedSize + slot.bytes <= hotBytes) hot.set(key, slot);
    else if (packed.hasRoom || isOneIn()) settle(key, slot);
  }

  function isOneIn(): boolean {
    passed += 1;
    return passed % KEPT_ONE_IN === 0;
  }

  function unpacked(key: string): Cached | undefined {
    const one = packed.get(key);
    if (one === undefined || one.reads < READS_TO_BE_KEPT) return one?.cached;
    const cached = packed.own(one.cached);
    packed.delete(key);
    hot.set(key, { cached, bytes: weigh(key, cached), reads: one.reads });
    // who has just read it sees that it is the same still
    return one.cached;
  }

  function forget(key: string): void {
    for (const part of objects) part.delete(key);
    packed.delete(key);
  }

  return {
    get(key) {
      let slot = hot.get(key);
      if (slot === undefined) {
        const cached = packed.size === 0 ? undefined : unpacked(key);
        if (cached !== undefined) return cached;
        slot = fresh.get(key) ?? kept.get(key) ?? absent.get(key);
      }
      if (slot === undefined) return undefined;
      slot.reads += 1;
      return slot.cached;
    },
    set(key, cached) {
      const before = hot.peek(key) ?? kept.peek(key);
      // the same set may come again and again, where each look at its store gives another object
      const reads = 1 + ((before ?? fresh.peek(key))?.reads ?? 0);
      const slot = { cached, bytes: weigh(key, cached), reads };
      forget(key);
      if (cached.set.entries.length === 0) absent.set(key, slot);
      // a small memory has hardly any room for new ones
      else if (before === undefined && slot.bytes <= newBytes) fresh.set(key, slot);
      else if (packing.numbersOf(cached) === null) keepObject(key, slot);
      else if (slot.bytes <= hotBytes) hot.set(key, slot);
      else settle(key, slot);
    },
    delete: forget,
    clear() {
      for (const part of objects) part.clear();
      packed.clear();
    },
    get bytes() {
      return objects.reduce((sum, part) => sum + part.calculatedSize, packed.bytes);
    },
    get size() {
      return objects.reduce((sum, part) => sum + part.size, packed.size);
    },
  };
}

const UNPACKED: Packing<Kept> & Packing<never> = {
  numbersOf: () => null,
  unpack: () => {
    throw new Error('nothing is packed');
  },
};

function weighed<Cached>(
  bytes: number,
  leaves?: (slot: Slot<Cached>, key: string) => void,
): LRUCache<string, Slot<Cached>> {
  return new LRUCache({
    maxSize: Math.max(bytes, 1), // 0 would mean no bound
    sizeCalculation: ({ bytes: size }) => size,
    ...(leaves === undefined
      ? {}
      : {
          disposeAfter: (slot, key, reason) => {
            if (reason === 'evict') leaves(slot, key);
          },
        }),
  });
}

function weigh(key: string, { set }: Kept): number {
  return set.entries.reduce(
    (sum, { bytes }) => sum + ENTRY_BYTES + (bytes?.length ?? 0),
    SET_BYTES + key.length,
  );
}
