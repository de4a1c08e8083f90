// Which number an upload may have: the one behind the last.
import { LookasideError } from './errors.ts';

/** `number`: the one that the upload asks for; null: any. `folder` has `count` signatures. @throws LookasideError NUMBER_TAKEN, NUMBER_NOT_NEXT */
export function requireNextNumber(folder: string, count: number, number: number | null): void {
  const next = count + 1;
  if (number === null || number === next) return;
  const advice = `the next is signature-${next}: upload to that, or append with POST`;
  const detail = { detail: { next } };
  if (number < next) {
    const message = `signature-${number} of ${folder} holds other bytes, and what is served never changes; ${advice}`;
    throw new LookasideError('NUMBER_TAKEN', message, detail);
  }
  const message = `signature-${number} of ${folder} would leave a gap, at which clients stop; ${advice}`;
  throw new LookasideError('NUMBER_NOT_NEXT', message, detail);
}
