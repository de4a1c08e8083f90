// Which files of an image's folder make up its set: numeric order from 1 to the first missing number.
import { FirstNames } from './first-names.ts';
import { MAX_FILE_NUMBER, MAX_SIGNATURES_PER_IMAGE } from './limits.ts';
import { parseSignatureName } from './lookaside-path.ts';

export interface SignatureNumbers {
  /** 1, 2, … without a gap, to MAX_FILE_NUMBER at most. */
  readonly dense: readonly number[];
  /** Numbers behind a gap: clients stop before them (signature-protocols.md, "Path structure"). */
  readonly hidden: readonly number[];
  /** Numbers above MAX_FILE_NUMBER, which are only counted; null when there are none. */
  readonly beyond: Beyond | null;
  /** Names that no signature has, including temporary ones; the first 20 in order. */
  readonly strangers: readonly string[];
}

export interface Beyond {
  readonly count: number;
  readonly lowest: number;
}

/**
 * Gathers signature numbers from the names of a folder, which are added one by one. Its memory does not grow with the number
 * of names. Numbers in `wanted` are kept, however high they are.
 */
export class NumberGatherer {
  readonly #wanted: ReadonlySet<number>;
  readonly #present = new Set<number>();
  readonly #strangers = new FirstNames();
  #beyond: Beyond | null = null;

  constructor(wanted: Iterable<number> = []) {
    this.#wanted = new Set(wanted);
  }

  add(name: string): void {
    const number = parseSignatureName(name);
    if (number === null) this.#strangers.add(name);
    else if (number <= MAX_FILE_NUMBER || this.#wanted.has(number)) this.#present.add(number);
    else this.#countBeyond(number);
  }

  #countBeyond(number: number): void {
    const { count, lowest } = this.#beyond ?? { count: 0, lowest: number };
    this.#beyond = { count: count + 1, lowest: Math.min(lowest, number) };
  }

  numbers(): SignatureNumbers {
    const sorted = [...this.#present].sort((a, b) => a - b);
    const hidden = behindGap(sorted);
    const inLine = sorted.slice(0, sorted.length - hidden.length);
    return {
      // a wanted number 129 does not lengthen the line: it was asked for by number
      dense: inLine.slice(0, MAX_FILE_NUMBER),
      hidden: [...inLine.slice(MAX_FILE_NUMBER), ...hidden],
      beyond: this.#beyond,
      strangers: this.#strangers.first,
    };
  }
}

/** The numbers behind the first missing one; `sorted` is ascending. */
export function behindGap(sorted: readonly number[]): readonly number[] {
  const gap = sorted.findIndex((number, position) => number !== position + 1);
  return gap === -1 ? [] : sorted.slice(gap);
}

/** The first 127 of what could be served: a 128th makes current clients refuse the image. */
export function withinLimit<T>(entries: readonly T[]): readonly T[] {
  return entries.length <= MAX_SIGNATURES_PER_IMAGE ? entries : entries.slice(0, MAX_SIGNATURES_PER_IMAGE);
}
