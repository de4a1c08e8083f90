// An image that has as many signatures as clients read.
import { LookasideError } from './errors.ts';

/** TOO_MANY_SIGNATURES. `needless`: numbers that no client needs, which could be withdrawn; null when nobody looked for them. */
export function imageFull(folder: string, count: number, needless: readonly number[] | null): LookasideError {
  const message = `${folder} has ${count} signatures, and clients refuse an image with more; none can be added`;
  if (needless === null) return new LookasideError('TOO_MANY_SIGNATURES', message);
  const advice =
    needless.length === 0
      ? 'each of them serves some client'
      : `no client needs ${needless.map((number) => `signature-${number}`).join(', ')}, which could be withdrawn`;
  return new LookasideError('TOO_MANY_SIGNATURES', `${message}; ${advice}`, { detail: { needless } });
}
