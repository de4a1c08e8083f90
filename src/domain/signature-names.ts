// Which files of an image's folder make up its set: numeric order from 1 to the first missing number.
import { MAX_SIGNATURES_PER_IMAGE } from './limits.ts';
import { parseSignatureName } from './lookaside-path.ts';

export interface SignatureNumbers {
  /** 1, 2, … without a gap. */
  readonly dense: readonly number[];
  /** Numbers behind a gap: clients stop before them (signature-protocols.md, "Path structure"). */
  readonly hidden: readonly number[];
}

/** The numbers of the signatures among any file names. */
export function signatureNumbers(names: Iterable<string>): SignatureNumbers {
  const found = new Set<number>();
  for (const name of names) {
    const number = parseSignatureName(name);
    if (number !== null) found.add(number);
  }
  const sorted = [...found].sort((a, b) => a - b);
  const gap = sorted.findIndex((number, position) => number !== position + 1);
  if (gap === -1) return { dense: sorted, hidden: [] };
  return { dense: sorted.slice(0, gap), hidden: sorted.slice(gap) };
}

/** The first 127 of what could be served: a 128th makes current clients refuse the image. */
export function withinLimit<T>(entries: readonly T[]): readonly T[] {
  return entries.length <= MAX_SIGNATURES_PER_IMAGE ? entries : entries.slice(0, MAX_SIGNATURES_PER_IMAGE);
}
