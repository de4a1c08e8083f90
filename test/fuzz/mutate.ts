// Inputs made of other inputs: a few changes at a time, of the kinds that parsers stumble over.
import type { Random } from './random.ts';

const MAX_INPUT_BYTES = 8 * 1024;
const MAX_PIECE_BYTES = 64;
const EDGES = [0, 1, 0x7f, 0x80, 0xc0, 0xdf, 0xe0, 0xfe, 0xff];
const LENGTHS = [
  0, 1, 191, 192, 0xff, 0x1fff, 0x20bf, 0x20c0, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
];

export interface Material {
  readonly corpus: readonly Uint8Array[];
  /** Pieces that mean something in the format. */
  readonly words: readonly Uint8Array[];
}

type Change = (input: Buffer, material: Material, random: Random) => Buffer;

const place = (input: Buffer, random: Random) => random.below(input.length + 1);
const piece = (of: Uint8Array, random: Random) => {
  const from = random.below(of.length + 1);
  return of.subarray(from, from + 1 + random.below(MAX_PIECE_BYTES));
};

function replace(input: Buffer, at: number, removed: number, added: Uint8Array): Buffer {
  return Buffer.concat([input.subarray(0, at), added, input.subarray(Math.min(at + removed, input.length))]);
}

const CHANGES: readonly Change[] = [
  (input, _, random) => {
    const at = place(input, random);
    return replace(input, at, 1, Uint8Array.of((input[at] ?? 0) ^ (1 << random.below(8))));
  },
  (input, _, random) => replace(input, place(input, random), 1, Uint8Array.of(random.pick(EDGES))),
  (input, _, random) => replace(input, place(input, random), 1, Uint8Array.of(random.below(256))),
  (input, _, random) => {
    const at = place(input, random);
    return replace(input, at, 1, Uint8Array.of((input[at] ?? 0) + random.below(17) - 8));
  },
  (input, _, random) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(random.pick(LENGTHS));
    const octets = random.pick([2, 4]);
    return replace(input, place(input, random), octets, length.subarray(4 - octets));
  },
  (input, _, random) =>
    replace(input, place(input, random), 1 + random.below(MAX_PIECE_BYTES), Buffer.alloc(0)),
  (input, _, random) => input.subarray(0, place(input, random)),
  (input, _, random) => replace(input, place(input, random), 0, piece(input, random)),
  (input, { words }, random) =>
    words.length === 0
      ? input
      : replace(input, place(input, random), random.below(2) * 4, random.pick(words)),
  (input, { corpus }, random) => {
    const other = random.pick(corpus);
    return Buffer.concat([
      input.subarray(0, place(input, random)),
      other.subarray(random.below(other.length + 1)),
    ]);
  },
  (input, { corpus }, random) => replace(input, place(input, random), 0, piece(random.pick(corpus), random)),
];

/** One of the corpus, changed one to eight times; 8 KiB at most. */
export function mutate(material: Material, random: Random): Buffer {
  let input = Buffer.from(random.pick(material.corpus));
  for (let changes = 1 << random.below(4); changes > 0; changes -= 1) {
    input = Buffer.from(random.pick(CHANGES)(input, material, random));
  }
  return input.subarray(0, MAX_INPUT_BYTES);
}
