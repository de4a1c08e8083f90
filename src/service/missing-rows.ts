// The images without signatures that were asked for since the last write, one row each. A flood makes thousands of them: numbers and
// names stand in columns, and no row has an object of its own. Objects that live for half a second are copied twice and marked.
import type { ImageId } from '../domain/image.ts';
import type { MissingCount } from '../domain/ports.ts';

/** What an image is besides its path and digits: there are as many as sites, times a few. */
type Kind = Pick<ImageId, 'site' | 'layout' | 'algorithm'>;

const FIRST_BYTES = 4096;

/** Iterates over its rows as they are at that moment; clear() ends them. */
export class MissingRows implements Iterable<MissingCount> {
  readonly #most: number;
  readonly #kinds: Kind[] = [];
  readonly #lastAddresses: string[] = [];
  /** Path and digits of each row, behind one another. All are ASCII: domain/image.ts. */
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  /** Where its bytes end; those of the next row begin there. */
  readonly #ends: Uint32Array;
  readonly #hexLengths: Uint8Array;
  readonly #hashes: Int32Array;
  readonly #kindOf: Uint32Array;
  readonly #count: Float64Array;
  readonly #firstMs: Float64Array;
  readonly #lastMs: Float64Array;
  #size = 0;
  /** Where a row is found: its position from 1, at the hash of its image or in the next free slot behind. */
  readonly #slots: Uint32Array;
  readonly #seed: number;

  /** For at most so many rows. With a `seed` that nobody knows, nobody can choose images that all belong at one slot. */
  constructor(most: number, seed: number) {
    this.#most = most;
    this.#seed = seed;
    this.#ends = new Uint32Array(most);
    this.#hexLengths = new Uint8Array(most);
    this.#hashes = new Int32Array(most);
    this.#kindOf = new Uint32Array(most);
    this.#count = new Float64Array(most);
    this.#firstMs = new Float64Array(most);
    this.#lastMs = new Float64Array(most);
    // a power of two, of which the rows fill less than half
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(2 * most + 1)));
  }

  get size(): number {
    return this.#size;
  }

  /** An image without a row gets one if `mayAdd` then says so. */
  count(image: ImageId, address: string, nowMs: number, mayAdd: () => boolean): void {
    const hash = this.#layBehind(image);
    const kind = this.#kind(image);
    const length = image.path.length + image.hex.length;
    const slot = this.#slotOf(hash, kind, image.hex.length, length);
    let row = (this.#slots[slot] ?? 0) - 1;
    if (row === -1) {
      if (!mayAdd()) return;
      row = this.#size;
      if (row === this.#most) throw new Error(`there are more than ${this.#most} rows`);
      this.#ends[row] = this.#startOf(row) + length;
      this.#hexLengths[row] = image.hex.length;
      this.#hashes[row] = hash;
      this.#kindOf[row] = kind;
      this.#count[row] = 0;
      this.#firstMs[row] = nowMs;
      this.#slots[slot] = row + 1;
      this.#size += 1;
    }
    this.#count[row] = (this.#count[row] ?? 0) + 1;
    this.#lastMs[row] = nowMs;
    this.#lastAddresses[row] = address;
  }

  *[Symbol.iterator](): Generator<MissingCount> {
    for (let row = 0; row < this.#size; row += 1) {
      yield {
        image: this.#imageOf(row),
        firstAt: new Date(this.#firstMs[row] ?? 0),
        lastAt: new Date(this.#lastMs[row] ?? 0),
        lastAddress: this.#lastAddresses[row] ?? '',
        count: this.#count[row] ?? 0,
      };
    }
  }

  clear(): void {
    if (this.#size > 0) this.#slots.fill(0);
    this.#size = 0;
    this.#kinds.length = 0;
    this.#lastAddresses.length = 0;
  }

  /** Writes the image's bytes behind those of the last row, where a new row would have them, and gives their hash. */
  #layBehind({ path, hex }: ImageId): number {
    let to = this.#startOf(this.#size);
    const wanted = to + path.length + hex.length;
    if (wanted > this.#bytes.length)
      this.#bytes = Buffer.concat([this.#bytes], Math.max(wanted, 2 * this.#bytes.length));
    const bytes = this.#bytes;
    let hash = this.#seed;
    for (let at = 0; at < path.length; at += 1) {
      const code = path.charCodeAt(at);
      bytes[to++] = code;
      hash = mixed(hash, code);
    }
    for (let at = 0; at < hex.length; at += 1) {
      const code = hex.charCodeAt(at);
      bytes[to++] = code;
      hash = mixed(hash, code);
    }
    return hash ^ (hash >>> 16);
  }

  /** The slot of the row that has the bytes behind the last row, or the free one where they belong. */
  #slotOf(hash: number, kind: number, hexLength: number, length: number): number {
    const last = this.#slots.length - 1;
    for (let slot = hash & last; ; slot = (slot + 1) & last) {
      const row = (this.#slots[slot] ?? 0) - 1;
      if (row === -1) return slot;
      if (this.#hashes[row] !== hash || this.#kindOf[row] !== kind) continue;
      if (this.#hexLengths[row] === hexLength && this.#hasBytesBehind(row, length)) return slot;
    }
  }

  #hasBytesBehind(row: number, length: number): boolean {
    const from = this.#startOf(row);
    if ((this.#ends[row] ?? 0) - from !== length) return false;
    const behind = this.#startOf(this.#size);
    return this.#bytes.compare(this.#bytes, from, from + length, behind, behind + length) === 0;
  }

  #startOf(row: number): number {
    return row === 0 ? 0 : (this.#ends[row - 1] ?? 0);
  }

  #kind({ site, layout, algorithm }: ImageId): number {
    const known = this.#kinds.findIndex(
      (one) => one.site === site && one.layout === layout && one.algorithm === algorithm,
    );
    return known === -1 ? this.#kinds.push({ site, layout, algorithm }) - 1 : known;
  }

  #imageOf(row: number): ImageId {
    const kind = this.#kinds[this.#kindOf[row] ?? 0];
    if (kind === undefined) throw new Error('a row is of no kind');
    const { site, layout, algorithm } = kind;
    const end = this.#ends[row] ?? 0;
    const hexStart = end - (this.#hexLengths[row] ?? 0);
    const path = this.#bytes.toString('latin1', this.#startOf(row), hexStart);
    return { site, layout, path, algorithm, hex: this.#bytes.toString('latin1', hexStart, end) };
  }
}

function mixed(hash: number, code: number): number {
  const product = Math.imul(hash ^ code, 0x85ebca6b);
  return product ^ (product >>> 15);
}
