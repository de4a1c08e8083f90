// Ids of rows by digests, in arrays of numbers. A hundred thousand texts in a Map take ten times the memory, and joining and finding
// one takes as long as a look-up in the database.
import { randomInt } from 'node:crypto';

const DIGEST_WORDS = 8; // 32 bytes
const FEWEST = 512;

/** Stands for a digest that is not there. */
export const NO_ID = 0;

/** Ids from 1 to 2^32 - 1, by a number and a digest of 32 bytes: 53 bytes each when half full, and compared whole. */
export class DigestIds {
  // nobody who chooses the digests can fill one stretch of the slots
  readonly #seed = randomInt(2 ** 32);
  #size = 0;
  #words = new Uint32Array(DIGEST_WORDS * FEWEST);
  #groups = new Uint32Array(FEWEST);
  #ids = new Uint32Array(FEWEST);
  /** The position from 1 of what belongs there, at its hash or in the next free slot behind; less than half of them are taken. */
  #slots = new Uint32Array(2 * FEWEST);

  get size(): number {
    return this.#size;
  }

  /** `words` has the digest at `from`. NO_ID when it is not there. */
  find(group: number, words: Uint32Array, from: number): number {
    const position = this.#slots[this.#slotOf(group, words, from)] ?? 0;
    return position === 0 ? NO_ID : (this.#ids[position - 1] ?? NO_ID);
  }

  /** What find() has not found. */
  add(group: number, words: Uint32Array, from: number, id: number): void {
    if (this.#size === this.#ids.length) this.#grow();
    const slot = this.#slotOf(group, words, from);
    const to = DIGEST_WORDS * this.#size;
    for (let word = 0; word < DIGEST_WORDS; word += 1) this.#words[to + word] = words[from + word] ?? 0;
    this.#groups[this.#size] = group;
    this.#ids[this.#size] = id;
    this.#size += 1;
    this.#slots[slot] = this.#size;
  }

  clear(): void {
    if (this.#size === 0) return;
    this.#size = 0;
    this.#words = new Uint32Array(DIGEST_WORDS * FEWEST);
    this.#groups = new Uint32Array(FEWEST);
    this.#ids = new Uint32Array(FEWEST);
    this.#slots = new Uint32Array(2 * FEWEST);
  }

  #grow(): void {
    const larger = (smaller: Uint32Array) => {
      const array = new Uint32Array(2 * smaller.length);
      array.set(smaller);
      return array;
    };
    this.#words = larger(this.#words);
    this.#groups = larger(this.#groups);
    this.#ids = larger(this.#ids);
    this.#slots = new Uint32Array(2 * this.#slots.length);
    for (let position = 0; position < this.#size; position += 1) {
      const slot = this.#slotOf(this.#groups[position] ?? 0, this.#words, DIGEST_WORDS * position);
      this.#slots[slot] = position + 1;
    }
  }

  /** The slot that has it, or the free one where it belongs. */
  #slotOf(group: number, words: Uint32Array, from: number): number {
    const last = this.#slots.length - 1;
    let hash = Math.imul(this.#seed ^ group, 0x9e3779b1);
    for (let word = 0; word < DIGEST_WORDS; word += 1) {
      hash = Math.imul(hash ^ (words[from + word] ?? 0), 0x85ebca6b);
      hash ^= hash >>> 15;
    }
    for (let slot = hash & last; ; slot = (slot + 1) & last) {
      const position = this.#slots[slot] ?? 0;
      if (position === 0 || this.#isAt(position - 1, group, words, from)) return slot;
    }
  }

  #isAt(position: number, group: number, words: Uint32Array, from: number): boolean {
    if (this.#groups[position] !== group) return false;
    const at = DIGEST_WORDS * position;
    for (let word = 0; word < DIGEST_WORDS; word += 1)
      if (this.#words[at + word] !== words[from + word]) return false;
    return true;
  }
}

/** The bytes as numbers of 32 bits, in the same memory where that is possible. */
export function wordsOf({ buffer, byteOffset, length }: Uint8Array): Uint32Array {
  if (byteOffset % 4 === 0) return new Uint32Array(buffer, byteOffset, length / 4);
  return new Uint32Array(buffer.slice(byteOffset, byteOffset + length));
}
