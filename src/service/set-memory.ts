// A bounded memory of sets. Sets that come for the first time pass through a small part of it, so that reads of very many images in
// turn do not turn the whole of it over.
import { LRUCache } from 'lru-cache';
import type { SignatureSet } from '../domain/ports.ts';

// the rough size of a set and an entry without the bytes: keys, objects, hashes
const SET_BYTES = 400;
const ENTRY_BYTES = 600;

// shares of the memory
/** A flood of requests for unsigned images must not evict the sets that others read. */
const ABSENT = 1 / 16;
/** Sets that have not been kept yet. A small part dies young, which costs the garbage collector least. */
const NEW = 1 / 32;

/** One pull reads two names of a set, so two pulls while the set is new. */
const READS_TO_BE_KEPT = 4;
/** One in so many of the others is kept all the same: what is read now and then shall come in, and what was read once shall go. */
const KEPT_ONE_IN = 16;

interface Kept {
  readonly set: SignatureSet;
}

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

/** Sets by imageKey; the least recently used ones are forgotten. */
export function createSetMemory<Cached extends Kept>(maxBytes: number): SetMemory<Cached> {
  const absentBytes = Math.floor(maxBytes * ABSENT);
  const newBytes = Math.floor(maxBytes * NEW);
  const keptBytes = maxBytes - absentBytes - newBytes;
  const weighed = (bytes: number, leaves?: (slot: Slot<Cached>, key: string) => void) =>
    new LRUCache<string, Slot<Cached>>({
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
  const absent = weighed(absentBytes);
  const kept = weighed(keptBytes);
  const fresh = weighed(newBytes, keepOrForget);
  let passed = 0;

  function keepOrForget(slot: Slot<Cached>, key: string): void {
    const isFull = kept.calculatedSize + slot.bytes > keptBytes;
    if (isFull && slot.reads < READS_TO_BE_KEPT) {
      passed += 1;
      if (passed % KEPT_ONE_IN !== 0) return;
    }
    kept.set(key, slot);
  }

  return {
    get(key) {
      const slot = kept.get(key) ?? fresh.get(key) ?? absent.get(key);
      if (slot === undefined) return undefined;
      slot.reads += 1;
      return slot.cached;
    },
    set(key, cached) {
      // the same set may come again and again, where each look at its store gives another object
      const reads = 1 + ((kept.peek(key) ?? fresh.peek(key))?.reads ?? 0);
      const slot = { cached, bytes: weigh(cached.set) + key.length, reads };
      if (cached.set.entries.length === 0) {
        kept.delete(key);
        fresh.delete(key);
        absent.set(key, slot);
        return;
      }
      absent.delete(key);
      // in one of the two; a small memory has hardly any room for new ones
      if (slot.bytes > newBytes || kept.has(key)) {
        fresh.delete(key);
        kept.set(key, slot);
      } else fresh.set(key, slot);
    },
    delete(key) {
      kept.delete(key);
      fresh.delete(key);
      absent.delete(key);
    },
    clear() {
      kept.clear();
      fresh.clear();
      absent.clear();
    },
    get bytes() {
      return kept.calculatedSize + fresh.calculatedSize + absent.calculatedSize;
    },
    get size() {
      return kept.size + fresh.size + absent.size;
    },
  };
}

function weigh(set: SignatureSet): number {
  return set.entries.reduce((sum, { bytes }) => sum + ENTRY_BYTES + (bytes?.length ?? 0), SET_BYTES);
}
