// The images without signatures that were asked for since the last write, one row each. A flood makes thousands of them: numbers stand
// in columns, and no row has a key or an object of its own.
import type { ImageId } from '../domain/image.ts';
import type { MissingCount } from '../domain/ports.ts';

/** Iterates over its rows as they are at that moment; clear() ends them. */
export class MissingRows implements Iterable<MissingCount> {
  readonly #most: number;
  readonly #images: ImageId[] = [];
  readonly #lastAddresses: string[] = [];
  readonly #count: Float64Array;
  readonly #firstMs: Float64Array;
  readonly #lastMs: Float64Array;
  /** Where a row is found: its position from 1, at the hash of its image or in the next free slot behind. */
  readonly #slots: Uint32Array;
  readonly #seed: number;

  /** For at most so many rows. With a `seed` that nobody knows, nobody can choose images that all belong at one slot. */
  constructor(most: number, seed: number) {
    this.#most = most;
    this.#seed = seed;
    this.#count = new Float64Array(most);
    this.#firstMs = new Float64Array(most);
    this.#lastMs = new Float64Array(most);
    // a power of two, of which the rows fill less than half
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(2 * most + 1)));
  }

  get size(): number {
    return this.#images.length;
  }

  /** An image without a row gets one if `mayAdd` then says so. */
  count(image: ImageId, address: string, nowMs: number, mayAdd: () => boolean): void {
    const slot = this.#slotOf(image);
    let row = (this.#slots[slot] ?? 0) - 1;
    if (row === -1) {
      if (!mayAdd()) return;
      row = this.size;
      if (row === this.#most) throw new Error(`there are more than ${this.#most} rows`);
      this.#images.push(image);
      this.#count[row] = 0;
      this.#firstMs[row] = nowMs;
      this.#slots[slot] = row + 1;
    }
    this.#count[row] = (this.#count[row] ?? 0) + 1;
    this.#lastMs[row] = nowMs;
    this.#lastAddresses[row] = address;
  }

  *[Symbol.iterator](): Generator<MissingCount> {
    for (const [row, image] of this.#images.entries()) {
      yield {
        image,
        firstAt: new Date(this.#firstMs[row] ?? 0),
        lastAt: new Date(this.#lastMs[row] ?? 0),
        lastAddress: this.#lastAddresses[row] ?? '',
        count: this.#count[row] ?? 0,
      };
    }
  }

  clear(): void {
    if (this.size > 0) this.#slots.fill(0);
    this.#images.length = 0;
    this.#lastAddresses.length = 0;
  }

  /** The slot of the image's row, or the free one where it belongs. */
  #slotOf(image: ImageId): number {
    const last = this.#slots.length - 1;
    for (let slot = hashOf(image, this.#seed) & last; ; slot = (slot + 1) & last) {
      const row = (this.#slots[slot] ?? 0) - 1;
      const known = this.#images[row];
      if (known === undefined || isSame(known, image)) return slot;
    }
  }
}

function isSame(one: ImageId, { site, layout, path, algorithm, hex }: ImageId): boolean {
  if (one.hex !== hex || one.path !== path) return false;
  return one.site === site && one.layout === layout && one.algorithm === algorithm;
}

/** Images of several sites and layouts with the same path and digest have the same one. */
function hashOf({ path, hex }: ImageId, seed: number): number {
  let hash = mixedWith(seed, path);
  hash = mixedWith(hash, hex);
  return hash ^ (hash >>> 16);
}

function mixedWith(seed: number, text: string): number {
  let hash = seed;
  for (let at = 0; at < text.length; at += 1) {
    const product = Math.imul(hash ^ text.charCodeAt(at), 0x85ebca6b);
    hash = product ^ (product >>> 15);
  }
  return hash;
}
