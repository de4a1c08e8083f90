// Unpacks bzip2: gpg writes it when told to, every client reads it, and node:zlib cannot. Written from the format's
// description (github.com/dsnet/compress, doc/bzip2-format.pdf). The output is bounded, and the checksums are checked.

/** `cut`: not a whole bzip2 stream. `too-large`: more than `maxBytes`. `usedBytes`: where the stream ended in `packed`. */
export type Bzip2Outcome = { readonly content: Uint8Array; readonly usedBytes: number } | 'cut' | 'too-large';

export function unpackBzip2(packed: Uint8Array, maxBytes: number): Bzip2Outcome {
  try {
    return unpack(new Bits(packed), maxBytes);
  } catch (error) {
    if (error instanceof Cut) return 'cut';
    throw error;
  }
}

const BLOCK_MAGIC = [0x314159, 0x265359] as const;
const END_MAGIC = [0x177245, 0x385090] as const;
const BLOCK_UNIT_BYTES = 100_000;
const GROUP_SYMBOLS = 50;
const MAX_CODE_BITS = 20;

// These buffers are kept for the next stream; a thread unpacks one stream at a time. New buffers for each stream would be
// garbage that is collected late: under Node.js 24 two threads held 136 MiB of it after 240 bombs.
let keptBlock = new Uint32Array(0);
let keptOutput = new Uint8Array(0);

/** The previous content is still in it. */
function blockOf(length: number): Uint32Array {
  if (keptBlock.length < length) keptBlock = new Uint32Array(length);
  return keptBlock.subarray(0, length);
}

function outputOf(length: number): Uint8Array {
  if (keptOutput.length < length) keptOutput = new Uint8Array(length);
  return keptOutput.subarray(0, length);
}

class Cut extends Error {}

class Bits {
  readonly #bytes: Uint8Array;
  #position = 0;
  #held = 0;
  #heldBits = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** At most 24 bits. */
  read(count: number): number {
    while (this.#heldBits < count) {
      const next = this.#bytes[this.#position];
      if (next === undefined) throw new Cut();
      this.#position += 1;
      this.#held = ((this.#held & 0xff_ffff) << 8) | next;
      this.#heldBits += 8;
    }
    this.#heldBits -= count;
    return (this.#held >>> this.#heldBits) & ((1 << count) - 1);
  }

  /** 32 bits. */
  readWord(): number {
    return this.read(16) * 0x1_0000 + this.read(16);
  }

  /** How many bytes were read; a byte counts from its first bit on. */
  get usedBytes(): number {
    return this.#position;
  }
}

/** Takes the unpacked bytes of a block and computes their checksum. */
class Output {
  readonly #bytes: Uint8Array;
  #size = 0;
  #crc = 0xffff_ffff;

  constructor(maxBytes: number) {
    this.#bytes = outputOf(maxBytes);
  }

  /** False when there is no room. */
  write(byte: number, times: number): boolean {
    if (this.#size + times > this.#bytes.length) return false;
    for (let left = times; left > 0; left -= 1) {
      this.#bytes[this.#size] = byte;
      this.#size += 1;
      this.#crc = (this.#crc << 8) ^ (CRC_TABLE[((this.#crc >>> 24) ^ byte) & 0xff] ?? 0);
    }
    return true;
  }

  /** The checksum since the last call. */
  takeCrc(): number {
    const crc = ~this.#crc >>> 0;
    this.#crc = 0xffff_ffff;
    return crc;
  }

  content(): Uint8Array {
    return this.#bytes.slice(0, this.#size);
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index << 24;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc << 1) ^ (crc < 0 ? 0x04c1_1db7 : 0);
  return crc;
});

function unpack(bits: Bits, maxBytes: number): Bzip2Outcome {
  if (bits.read(24) !== 0x42_5a68) throw new Cut(); // "BZh"
  const level = bits.read(8) - 0x30;
  if (level < 1 || level > 9) throw new Cut();
  let block: Uint32Array | null = null;
  const output = new Output(maxBytes);
  let combinedCrc = 0;
  for (;;) {
    const magic = [bits.read(24), bits.read(24)] as const;
    const crc = bits.readWord();
    if (magic[0] === END_MAGIC[0] && magic[1] === END_MAGIC[1]) {
      if (crc !== combinedCrc) throw new Cut();
      return { content: output.content(), usedBytes: bits.usedBytes };
    }
    if (magic[0] !== BLOCK_MAGIC[0] || magic[1] !== BLOCK_MAGIC[1]) throw new Cut();
    if (bits.read(1) === 1) throw new Cut(); // randomised: not written since 1998
    const origin = bits.read(24);
    block ??= blockOf(level * BLOCK_UNIT_BYTES);
    const size = readBlock(bits, block);
    if (!writeBlock(block.subarray(0, size), origin, output)) return 'too-large';
    if (output.takeCrc() !== crc) throw new Cut();
    combinedCrc = (((combinedCrc << 1) | (combinedCrc >>> 31)) ^ crc) >>> 0;
  }
}

/** Fills `block` with the bytes of the transformed block, and returns their number. */
function readBlock(bits: Bits, block: Uint32Array): number {
  const recent = readSymbolMap(bits); // move-to-front
  const endOfBlock = recent.length + 1;
  const nextSymbol = readCodes(bits, endOfBlock + 1);
  let size = 0;
  let run = 0;
  let runUnit = 1;
  for (;;) {
    const symbol = nextSymbol();
    if (symbol <= 1) {
      run += runUnit << symbol; // bijective base 2: RUNA is one, RUNB two
      if (run > block.length) throw new Cut();
      runUnit <<= 1;
      continue;
    }
    if (run > 0) {
      if (size + run > block.length) throw new Cut();
      block.fill(recent[0] ?? 0, size, size + run);
      size += run;
      run = 0;
      runUnit = 1;
    }
    if (symbol === endOfBlock) return size;
    const byte = recent[symbol - 1];
    if (byte === undefined || size === block.length) throw new Cut();
    recent.copyWithin(1, 0, symbol - 1);
    recent[0] = byte;
    block[size] = byte;
    size += 1;
  }
}

function readSymbolMap(bits: Bits): Uint8Array {
  const rows = bits.read(16);
  const symbols: number[] = [];
  for (let row = 0; row < 16; row += 1) {
    if ((rows & (0x8000 >> row)) === 0) continue;
    const columns = bits.read(16);
    for (let column = 0; column < 16; column += 1) {
      if ((columns & (0x8000 >> column)) !== 0) symbols.push(row * 16 + column);
    }
  }
  if (symbols.length === 0) throw new Cut();
  return Uint8Array.from(symbols); // moving bytes within a typed array is fast
}

/** Returns a function that reads the next symbol. Each group of 50 has a selector, which names its Huffman table. */
function readCodes(bits: Bits, symbols: number): () => number {
  const tableCount = bits.read(3);
  const selectorCount = bits.read(15);
  if (tableCount < 2 || tableCount > 6 || selectorCount === 0) throw new Cut();
  const selectors = readSelectors(bits, selectorCount, tableCount);
  const tables = Array.from({ length: tableCount }, () => readTable(bits, symbols));
  let group = -1;
  let left = 0;
  let table: HuffmanTable | undefined;
  return () => {
    if (left === 0) {
      group += 1;
      left = GROUP_SYMBOLS;
      table = tables[selectors[group] ?? -1];
    }
    left -= 1;
    if (table === undefined) throw new Cut();
    return readSymbol(bits, table);
  };
}

function readSelectors(bits: Bits, count: number, tableCount: number): Uint8Array {
  const recent = Array.from({ length: tableCount }, (_, index) => index);
  const selectors = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) {
    let place = 0;
    while (bits.read(1) === 1) place += 1;
    const [selector] = recent.splice(place, 1);
    if (selector === undefined) throw new Cut();
    recent.unshift(selector);
    selectors[index] = selector;
  }
  return selectors;
}

interface HuffmanTable {
  /** `counts`: how many codes there are of each length. `symbols`: the symbols in the order of their codes. */
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
}

function readTable(bits: Bits, symbols: number): HuffmanTable {
  const lengths = new Uint8Array(symbols);
  let length = bits.read(5);
  for (let symbol = 0; symbol < symbols; symbol += 1) {
    for (;;) {
      if (length < 1 || length > MAX_CODE_BITS) throw new Cut();
      if (bits.read(1) === 0) break;
      length += bits.read(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  const counts = new Uint16Array(MAX_CODE_BITS + 1);
  for (const each of lengths) counts[each] = (counts[each] ?? 0) + 1;
  const order = Uint16Array.from(lengths.keys()).sort(
    (a, b) => (lengths[a] ?? 0) - (lengths[b] ?? 0) || a - b,
  );
  return { counts, symbols: order };
}

// Canonical codes: those of one length are consecutive, and follow those of the length before.
function readSymbol(bits: Bits, { counts, symbols }: HuffmanTable): number {
  let code = 0;
  let first = 0;
  let index = 0;
  for (let length = 1; length <= MAX_CODE_BITS; length += 1) {
    code |= bits.read(1);
    const count = counts[length] ?? 0;
    const symbol = code - first < count ? symbols[index + code - first] : undefined;
    if (symbol !== undefined) return symbol;
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  throw new Cut();
}

/** Undoes the Burrows-Wheeler transform in place and the run-length step before it; false when there is no room. */
function writeBlock(block: Uint32Array, origin: number, output: Output): boolean {
  if (origin >= block.length) throw new Cut();
  linkBlock(block);
  let entry = block[origin] ?? 0;
  let last = -1;
  let repeated = 0;
  for (let left = block.length; left > 0; left -= 1) {
    entry = block[entry >>> 8] ?? 0;
    const byte = entry & 0xff;
    if (repeated === 4) {
      if (!output.write(last, byte)) return false; // after four equal bytes comes the number of further ones
      repeated = 0;
      last = -1;
      continue;
    }
    repeated = byte === last ? repeated + 1 : 1;
    last = byte;
    if (!output.write(byte, 1)) return false;
  }
  return true;
}

/** Each entry keeps its byte in the low 8 bits; the bits above get the position of the byte that follows. */
function linkBlock(block: Uint32Array): void {
  const starts = new Uint32Array(257);
  for (const entry of block) starts[(entry & 0xff) + 1] = (starts[(entry & 0xff) + 1] ?? 0) + 1;
  for (let byte = 1; byte <= 256; byte += 1) starts[byte] = (starts[byte] ?? 0) + (starts[byte - 1] ?? 0);
  for (let index = 0; index < block.length; index += 1) {
    const byte = (block[index] ?? 0) & 0xff;
    const place = starts[byte] ?? 0;
    starts[byte] = place + 1;
    block[place] = ((block[place] ?? 0) & 0xff) | (index << 8);
  }
}
