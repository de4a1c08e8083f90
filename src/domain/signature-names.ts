// Which files of an image's folder make up its set: numeric order from 1 to the first missing number.
import { MAX_SIGNATURES_PER_IMAGE } from './limits.ts';
import { parseSignatureName } from './lookaside-path.ts';

export interface SignatureNumbers {
  /** 1, 2, … without a gap. */
  readonly dense: readonly number[];
  /** Numbers behind a gap: clients stop before them (signature-protocols.md, "Path structure"). */
  readonly hidden: readonly number[];
  /** Names that are no signature's, temporary ones among them; the first 20 in order. */
  readonly strangers: readonly string[];
}

const MAX_STRANGERS = 20;

/** The numbers of the signatures among any file names. */
export function signatureNumbers(names: Iterable<string>): SignatureNumbers {
  const found = new Set<number>();
  const others: string[] = [];
  for (const name of names) {
    const number = parseSignatureName(name);
    if (number !== null) found.add(number);
    else others.push(name);
  }
  const strangers = others.sort().slice(0, MAX_STRANGERS);
  const sorted = [...found].sort((a, b) => a - b);
  const gap = sorted.findIndex((number, position) => number !== position + 1);
  if (gap === -1) return { dense: sorted, hidden: [], strangers };
  return { dense: sorted.slice(0, gap), hidden: sorted.slice(gap), strangers };
}

/** The first 127 of what could be served: a 128th makes current clients refuse the image. */
export function withinLimit<T>(entries: readonly T[]): readonly T[] {
  return entries.length <= MAX_SIGNATURES_PER_IMAGE ? entries : entries.slice(0, MAX_SIGNATURES_PER_IMAGE);
}
