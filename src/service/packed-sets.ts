// Sets as bytes in a few large blocks. As objects, those of a hundred thousand images keep the garbage collector busy and take two to
// three times the memory of what they hold.
import type { SetEntry, SignatureSet } from '../domain/ports.ts';

/** What is kept of a set. */
export interface Kept {
  readonly set: SignatureSet;
}

/** How what is kept of a set, beside its generation and entries, goes into two numbers and comes out of them. */
export interface Packing<Cached extends Kept> {
  /** Null: it must stay an object. */
  numbersOf(cached: Cached): readonly [number, number] | null;
  /** Makes an equal one. */
  unpack(set: SignatureSet, numbers: readonly [number, number]): Cached;
}

/** A part of the memory. What is written there moves only when the block is used again. */
interface Block {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly doubles: Float64Array;
  /** Where the next record goes. */
  end: number;
  /** How many records in it are in use. */
  live: number;
}

interface Unpacked<Cached> {
  readonly key: string;
  readonly cached: Cached;
  /** Of its record. */
  readonly bytes: number;
  /** Since it was unpacked. */
  reads: number;
}

const LEAST_BLOCKS = 64;
/** To use a block again takes the event loop some milliseconds for each MiB. */
const MOST_BLOCK_BYTES = 1024 * 1024;
/** A record that takes more of a block than this would leave much of it empty. */
const LARGEST = 1 / 4;
/** How much of a block may stay when it is used again: there must be room for others. */
const STAYS = 1 / 2;
const LEAST_SLOTS = 1024;
/** How many at most are remembered as objects that were unpacked last: a pull reads two names of a set. So few die young. */
const LATELY = 512;
/** The memory has slots for records of this size; for smaller ones it takes more, which holds up whoever puts the next. */
const USUAL_BYTES = 512;
/** The number of a signature's bytes is a word. */
const MOST_BYTES = 2 ** 32 - 1;

// A record, by where each part begins: 0 hash, 4 its own size, 8 length of the key, 12 number of entries, 13 flags, 16 generation, 24 and 32 the two
// numbers; then the entries; then the key; then the bytes of the signatures. All begin at multiples of eight.
const HEAD_BYTES = 40;
const COUNT_AT = 12;
const FLAGS_AT = 13;
const MOST_ENTRIES = 255;
// An entry: 0 when it was stored, 8 the size, 12 one more than the length of its bytes or 0 for none, 16 whether it is a filler, 24 SHA-256.
const ENTRY_BYTES = 56;
const SHA256_BYTES = 32;
const IS_LIVE = 1;
const WAS_READ = 2;

export class PackedSets<Cached extends Kept> {
  readonly #packing: Packing<Cached>;
  readonly #takeRoom: (bytes: number) => boolean;
  readonly #blockBytes: number;
  readonly #mostBlocks: number;
  readonly #blocks: (Block | undefined)[] = [];
  /** Numbers of the blocks in use: the first was filled first, the last is being filled. */
  #order: number[] = [];
  /** Where a record is found: its place from 1 in units of eight bytes, at the hash of its key or in the next free slot behind. */
  #slots: Uint32Array<ArrayBuffer>;
  #size = 0;
  readonly #firstSlots: number;
  readonly #lately: (Unpacked<Cached> | undefined)[] = Array(LATELY).fill(undefined);
  /** No more than a block. */
  #latelyBytes = 0;

  /** For at most `maxBytes`. It grows by so many bytes at a time as `takeRoom` is asked for; false: there is no more room. */
  constructor(maxBytes: number, packing: Packing<Cached>, takeRoom: (bytes: number) => boolean) {
    this.#packing = packing;
    this.#takeRoom = takeRoom;
    this.#blockBytes = 8 * Math.floor(Math.min(maxBytes / LEAST_BLOCKS, MOST_BLOCK_BYTES) / 8);
    this.#mostBlocks = this.#blockBytes === 0 ? 0 : Math.floor(maxBytes / this.#blockBytes);
    this.#firstSlots = Math.max(LEAST_SLOTS, 2 ** Math.ceil(Math.log2((2 * maxBytes) / USUAL_BYTES)));
    this.#slots = new Uint32Array(this.#firstSlots);
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#order.length * this.#blockBytes;
  }

  has(key: string): boolean {
    return this.#slotOf(key, hashOf(key)) !== -1;
  }

  /** It may share its memory with others that were unpacked before or after it: own() makes one that does not. */
  get(key: string): { readonly cached: Cached; readonly reads: number } | undefined {
    const hash = hashOf(key);
    const last = this.#lately[hash % LATELY];
    if (last?.key === key) {
      last.reads += 1;
      return last;
    }
    const slot = this.#slotOf(key, hash);
    if (slot === -1) return undefined;
    const [block, at] = this.#placeIn(slot);
    block.bytes[at + FLAGS_AT] = IS_LIVE | WAS_READ;
    const bytes = block.words[at / 4 + 1] ?? 0;
    const unpacked = { key, cached: this.#read(block, at), bytes, reads: 1 };
    this.#remember(hash, unpacked);
    return unpacked;
  }

  /** Few large ones, or they would take more memory than all that are packed. */
  #remember(hash: number, unpacked: Unpacked<Cached>): void {
    const place = hash % LATELY;
    this.#dropLately(place);
    if (this.#latelyBytes + unpacked.bytes > this.#blockBytes) this.#dropAllLately();
    this.#latelyBytes += unpacked.bytes;
    this.#lately[place] = unpacked;
  }

  #dropLately(place: number): void {
    this.#latelyBytes -= this.#lately[place]?.bytes ?? 0;
    this.#lately[place] = undefined;
  }

  #dropAllLately(): void {
    this.#lately.fill(undefined);
    this.#latelyBytes = 0;
  }

  /** Bytes of the records of those that are remembered as objects too, beside `bytes`. */
  get latelyBytes(): number {
    return this.#latelyBytes;
  }

  /** An equal one, to be kept for long. */
  own(cached: Cached): Cached {
    const { generation, entries } = cached.set;
    const own = entries.map((entry) => ({
      ...entry,
      bytes: entry.bytes === null ? null : copy(entry.bytes),
    }));
    return this.#packing.unpack({ generation, entries: own }, this.#packing.numbersOf(cached) ?? [0, 0]);
  }

  /** Whether one more may be kept without forgetting others. */
  get hasRoom(): boolean {
    const last = this.#blocks[this.#order.at(-1) ?? -1];
    if (last !== undefined && last.end + LARGEST * this.#blockBytes <= this.#blockBytes) return true;
    return this.#order.length < this.#mostBlocks && this.#takeRoom(this.#blockBytes);
  }

  /** False when it must stay an object; what was kept under its key has gone then too. Others are forgotten for it where there is no room. */
  put(key: string, cached: Cached): boolean {
    this.delete(key);
    const numbers = this.#packing.numbersOf(cached);
    const { generation, entries } = cached.set;
    const hash = hashOf(key);
    const size = sizeOf(key, entries);
    if (numbers === null || hash === NOT_ASCII || size > LARGEST * this.#blockBytes) return false;
    if (entries.length > MOST_ENTRIES || !entries.every(isPlain)) return false;
    const number = this.#blockFor(size);
    if (number === null) return false;
    if (2 * this.#size >= this.#slots.length) this.#widen();
    const block = this.#blocks[number] as Block; // one of those in use
    const at = block.end;
    block.end += size;
    block.live += 1;
    write(block, at, { hash, size, key, generation, numbers, entries });
    this.#size += 1;
    this.#keepIn(hash, number, at);
    return true;
  }

  delete(key: string): void {
    const hash = hashOf(key);
    // it may have outlived its record
    if (this.#lately[hash % LATELY]?.key === key) this.#dropLately(hash % LATELY);
    const slot = this.#slotOf(key, hash);
    if (slot === -1) return;
    const [block, at] = this.#placeIn(slot);
    block.bytes[at + FLAGS_AT] = 0;
    block.live -= 1;
    this.#free(slot);
    this.#size -= 1;
    if (block.live === 0) this.#letGo(block);
  }

  /** Forgets what was put first. */
  forgetOldest(): void {
    const number = this.#order[0];
    if (number === undefined) return;
    this.#forgetAll(this.#blocks[number] as Block); // one of those in use
  }

  clear(): void {
    this.#order = [];
    this.#blocks.length = 0;
    this.#slots = new Uint32Array(this.#firstSlots);
    this.#size = 0;
    this.#dropAllLately();
  }

  #letGo(block: Block): void {
    const number = this.#blocks.indexOf(block);
    this.#blocks[number] = undefined;
    this.#order = this.#order.filter((one) => one !== number);
  }

  #forgetAll(block: Block): void {
    for (const at of recordsOf(block)) this.#freeRecord(block, at);
    block.live = 0;
    this.#letGo(block);
  }

  #freeRecord(block: Block, at: number): void {
    this.#free(this.#slotOfRecord(block, at));
    this.#size -= 1;
  }

  /** The number of a block with so much room; null when none may be had. */
  #blockFor(size: number): number | null {
    const last = this.#order.at(-1);
    const filling = last === undefined ? undefined : this.#blocks[last];
    if (last !== undefined && filling !== undefined && filling.end + size <= this.#blockBytes) return last;
    if (this.#order.length < this.#mostBlocks && this.#takeRoom(this.#blockBytes)) return this.#takeBlock();
    return this.#useOldestAgain();
  }

  #takeBlock(): number {
    let number = this.#blocks.indexOf(undefined);
    if (number === -1) number = this.#blocks.length;
    const memory = new ArrayBuffer(this.#blockBytes);
    this.#blocks[number] = {
      bytes: Buffer.from(memory),
      words: new Uint32Array(memory),
      doubles: new Float64Array(memory),
      end: 0,
      live: 0,
    };
    this.#order.push(number);
    return number;
  }

  /** What was read since it was put there stays, at the block's begin. */
  #useOldestAgain(): number | null {
    const number = this.#order.shift();
    if (number === undefined) return null;
    const block = this.#blocks[number] as Block; // one of those in use
    let end = 0;
    let live = 0;
    for (const at of [...recordsOf(block)]) {
      const size = block.words[at / 4 + 1] ?? 0;
      const stays =
        ((block.bytes[at + FLAGS_AT] ?? 0) & WAS_READ) !== 0 && end + size <= STAYS * this.#blockBytes;
      if (!stays) {
        this.#freeRecord(block, at);
        continue;
      }
      const slot = this.#slotOfRecord(block, at);
      block.bytes.copyWithin(end, at, at + size);
      block.bytes[end + FLAGS_AT] = IS_LIVE;
      this.#slots[slot] = this.#unitsOf(number, end);
      end += size;
      live += 1;
    }
    block.end = end;
    block.live = live;
    this.#order.push(number);
    return number;
  }

  #read(block: Block, at: number): Cached {
    const { words, doubles } = block;
    const generation = doubles[at / 8 + 2] ?? 0;
    const numbers = [doubles[at / 8 + 3] ?? 0, doubles[at / 8 + 4] ?? 0] as const;
    const count = block.bytes[at + COUNT_AT] ?? 0;
    const entries: SetEntry[] = [];
    let from = at + HEAD_BYTES + count * ENTRY_BYTES + rounded(words[at / 4 + 2] ?? 0);
    for (let number = 0; number < count; number += 1) {
      const entryAt = at + HEAD_BYTES + number * ENTRY_BYTES;
      const length = (words[entryAt / 4 + 3] ?? 0) - 1;
      entries.push(readEntry(block, entryAt, length < 0 ? null : copied(block.bytes, from, length)));
      if (length > 0) from += rounded(length);
    }
    return this.#packing.unpack({ generation, entries }, numbers);
  }

  // the slots

  #unitsOf(number: number, at: number): number {
    return (number * this.#blockBytes + at) / 8 + 1;
  }

  #placeIn(slot: number): [Block, number] {
    const byte = 8 * ((this.#slots[slot] ?? 0) - 1);
    const number = Math.floor(byte / this.#blockBytes);
    return [this.#blocks[number] as Block, byte - number * this.#blockBytes]; // a slot in use has its record's place
  }

  /** -1 when there is no such key. */
  #slotOf(key: string, hash: number): number {
    const last = this.#slots.length - 1;
    for (let slot = hash & last; this.#slots[slot] !== 0; slot = (slot + 1) & last) {
      const [block, at] = this.#placeIn(slot);
      if (block.words[at / 4] === hash && hasKey(block, at, key)) return slot;
    }
    return -1;
  }

  #slotOfRecord(block: Block, at: number): number {
    const last = this.#slots.length - 1;
    const units = this.#unitsOf(this.#blocks.indexOf(block), at);
    let slot = (block.words[at / 4] ?? 0) & last;
    while (this.#slots[slot] !== units) slot = (slot + 1) & last;
    return slot;
  }

  #keepIn(hash: number, number: number, at: number): void {
    const last = this.#slots.length - 1;
    let slot = hash & last;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & last;
    this.#slots[slot] = this.#unitsOf(number, at);
  }

  /** Those behind it move up, so that each is still met before a free slot. */
  #free(slot: number): void {
    const last = this.#slots.length - 1;
    let hole = slot;
    for (let next = (slot + 1) & last; this.#slots[next] !== 0; next = (next + 1) & last) {
      const home = this.#hashAt(next) & last;
      if (((next - home) & last) < ((next - hole) & last)) continue;
      this.#slots[hole] = this.#slots[next] ?? 0;
      hole = next;
    }
    this.#slots[hole] = 0;
  }

  #hashAt(slot: number): number {
    const [block, at] = this.#placeIn(slot);
    return block.words[at / 4] ?? 0;
  }

  #widen(): void {
    this.#slots = new Uint32Array(2 * this.#slots.length);
    for (const number of this.#order) {
      const block = this.#blocks[number] as Block; // one of those in use
      for (const at of recordsOf(block)) this.#keepIn(block.words[at / 4] ?? 0, number, at);
    }
  }
}

interface Fields {
  readonly hash: number;
  readonly size: number;
  readonly key: string;
  readonly generation: number;
  readonly numbers: readonly [number, number];
  readonly entries: readonly SetEntry[];
}

function write(block: Block, at: number, { hash, size, key, generation, numbers, entries }: Fields): void {
  const { bytes, words, doubles } = block;
  words[at / 4] = hash;
  words[at / 4 + 1] = size;
  words[at / 4 + 2] = key.length;
  bytes[at + COUNT_AT] = entries.length;
  bytes[at + FLAGS_AT] = IS_LIVE;
  doubles[at / 8 + 2] = generation;
  doubles[at / 8 + 3] = numbers[0];
  doubles[at / 8 + 4] = numbers[1];
  const keyAt = at + HEAD_BYTES + entries.length * ENTRY_BYTES;
  bytes.write(key, keyAt, 'latin1');
  let from = keyAt + rounded(key.length);
  entries.forEach((entry, position) => {
    writeEntry(block, at + HEAD_BYTES + position * ENTRY_BYTES, entry);
    if (entry.bytes === null) return;
    bytes.set(entry.bytes, from);
    from += rounded(entry.bytes.length);
  });
}

function writeEntry({ bytes, words, doubles }: Block, at: number, entry: SetEntry): void {
  doubles[at / 8] = entry.storedAt.getTime();
  words[at / 4 + 2] = entry.sizeBytes;
  words[at / 4 + 3] = entry.bytes === null ? 0 : entry.bytes.length + 1;
  words[at / 4 + 4] = entry.isFiller === true ? 1 : 0;
  bytes.write(entry.sha256, at + 24, 'hex');
}

function readEntry({ bytes, words, doubles }: Block, at: number, signature: Uint8Array | null): SetEntry {
  const entry: SetEntry = {
    sha256: bytes.toString('hex', at + 24, at + 24 + SHA256_BYTES),
    sizeBytes: words[at / 4 + 2] ?? 0,
    storedAt: new Date(doubles[at / 8] ?? 0),
    bytes: signature,
  };
  return words[at / 4 + 4] === 1 ? { ...entry, isFiller: true } : entry;
}

/** A view would keep a whole block in memory, and change when that is used again. */
function copied(bytes: Buffer, from: number, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length);
  copy.set(bytes.subarray(from, from + length));
  return copy;
}

/** Buffer.allocUnsafe() has several share a piece of memory, which stays as long as any of them. */
function copy(bytes: Uint8Array): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return own;
}

/** Those of a view say more of themselves than a record has places for. */
function isPlain({ sha256, sizeBytes, isRepeated, stored }: SetEntry): boolean {
  const isWord = Number.isInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= MOST_BYTES;
  return isWord && sha256.length === 2 * SHA256_BYTES && isRepeated !== true && stored === undefined;
}

function sizeOf(key: string, entries: readonly SetEntry[]): number {
  return entries.reduce(
    (sum, { bytes }) => sum + ENTRY_BYTES + rounded(bytes?.length ?? 0),
    HEAD_BYTES + rounded(key.length),
  );
}

function rounded(bytes: number): number {
  return 8 * Math.ceil(bytes / 8);
}

function* recordsOf(block: Block): Generator<number> {
  const { bytes, words, end } = block;
  for (let at = 0; at < end; at += words[at / 4 + 1] ?? end) {
    if (((bytes[at + FLAGS_AT] ?? 0) & IS_LIVE) !== 0) yield at;
  }
}

function hasKey({ bytes, words }: Block, at: number, key: string): boolean {
  if (words[at / 4 + 2] !== key.length) return false;
  const keyAt = at + HEAD_BYTES + (bytes[at + COUNT_AT] ?? 0) * ENTRY_BYTES;
  for (let position = 0; position < key.length; position += 1)
    if (bytes[keyAt + position] !== key.charCodeAt(position)) return false;
  return true;
}

const NOT_ASCII = 0;

/** Of 32 bits, never 0 but for a key that has other characters than ASCII, which no record has. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let position = 0; position < key.length; position += 1) {
    const code = key.charCodeAt(position);
    if (code > 0x7f) return NOT_ASCII;
    hash = Math.imul(hash ^ code, 0x01000193);
  }
  return (hash ^ (hash >>> 15)) >>> 0 || 1;
}
