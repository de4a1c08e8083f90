// A set of numbers in one array: as objects, a million of them would take ten times the memory.
import { randomInt } from 'node:crypto';

/** Stands in an empty slot. This number is always in the set. */
const FREE = 0;
const FEWEST_SLOTS = 1024;

/** Numbers of 32 bits, at 8 to 16 bytes each. */
export class NumberSet {
  // nobody who chooses the numbers can fill one stretch of the slots
  readonly #seed = randomInt(2 ** 32);
  #slots = new Uint32Array(FEWEST_SLOTS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(number: number): boolean {
    return number === FREE || this.#slots[this.#slotOf(number)] === number;
  }

  add(number: number): void {
    if (this.has(number)) return;
    this.#slots[this.#slotOf(number)] = number;
    this.#size += 1;
    if (2 * this.#size > this.#slots.length) this.#grow();
  }

  #grow(): void {
    const smaller = this.#slots;
    this.#slots = new Uint32Array(2 * smaller.length);
    for (const number of smaller) if (number !== FREE) this.#slots[this.#slotOf(number)] = number;
  }

  clear(): void {
    this.#slots = new Uint32Array(FEWEST_SLOTS);
    this.#size = 0;
  }

  /** The slot that has it, or the free one where it belongs. */
  #slotOf(number: number): number {
    const last = this.#slots.length - 1;
    let mixed = Math.imul(number ^ this.#seed, 0x9e3779b1);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
    for (let slot = (mixed ^ (mixed >>> 13)) & last; ; slot = (slot + 1) & last) {
      const one = this.#slots[slot];
      if (one === FREE || one === number) return slot;
    }
  }
}
