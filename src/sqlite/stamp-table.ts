// The names of one folder with their stamps, in two arrays: as texts in a Map, a million of them would take 275 MB.
import { randomInt } from 'node:crypto';
import type { QuickStamp } from '../domain/tree-walk.ts';

const FEWEST_SLOTS = 1024;

/** Stands in an empty slot. */
const FREE = 0;
/** In place of a stamp. */
const NO_STAMP = -1;
const TAKEN = -2;

/**
 * 32 to 64 bytes a name. It keeps hashes of 52 bits. Among a million names, one that is not in it passes for another in 1 of
 * 4 × 10⁹ cases, and then gets the other one's stamp.
 */
export class StampTable {
  // nobody who chooses the names can fill one stretch of the slots
  readonly #seed = randomInt(2 ** 32);
  #hashes = new Float64Array(FEWEST_SLOTS);
  #stamps = new Float64Array(FEWEST_SLOTS);
  #slotsTaken = 0;
  #left = 0;

  /** How many names are in it. */
  get size(): number {
    return this.#left;
  }

  add(name: string, stamp: QuickStamp | null): void {
    const hash = this.#hashOf(name);
    const slot = this.#slotOf(hash);
    if (this.#hashes[slot] === hash) return;
    this.#hashes[slot] = hash;
    this.#stamps[slot] = stamp ?? NO_STAMP;
    this.#slotsTaken += 1;
    this.#left += 1;
    if (2 * this.#slotsTaken > this.#hashes.length) this.#grow();
  }

  /** Null: it has no stamp. Undefined: it is not there. */
  get(name: string): QuickStamp | null | undefined {
    const hash = this.#hashOf(name);
    const slot = this.#slotOf(hash);
    const stamp = this.#stamps[slot];
    if (this.#hashes[slot] !== hash || stamp === TAKEN) return undefined;
    return stamp === NO_STAMP ? null : stamp;
  }

  delete(name: string): void {
    if (this.get(name) === undefined) return;
    this.#stamps[this.#slotOf(this.#hashOf(name))] = TAKEN;
    this.#left -= 1;
  }

  #grow(): void {
    const [hashes, stamps] = [this.#hashes, this.#stamps];
    this.#hashes = new Float64Array(2 * hashes.length);
    this.#stamps = new Float64Array(2 * hashes.length);
    for (const [from, hash] of hashes.entries()) {
      if (hash === FREE) continue;
      const slot = this.#slotOf(hash);
      this.#hashes[slot] = hash;
      this.#stamps[slot] = stamps[from] ?? NO_STAMP;
    }
  }

  /** The slot that has it, or the free one where it belongs. */
  #slotOf(hash: number): number {
    const last = this.#hashes.length - 1;
    for (let slot = hash & last; ; slot = (slot + 1) & last) {
      const one = this.#hashes[slot];
      if (one === FREE || one === hash) return slot;
    }
  }

  /** Never FREE. */
  #hashOf(name: string): number {
    let low = this.#seed;
    let high = ~this.#seed;
    for (let at = 0; at < name.length; at += 1) {
      const unit = name.charCodeAt(at);
      low = Math.imul(low ^ unit, 0x9e3779b1);
      high = Math.imul(high ^ unit, 0x85ebca77);
      low ^= low >>> 15;
      high ^= high >>> 13;
    }
    return (high & 0xfffff) * 2 ** 32 + ((low ^ (high >>> 20)) >>> 0) || 1;
  }
}
