// From one key to another: how far the images of the old key are signed by the new one, and what is left to sign.
import { LookasideError } from './errors.ts';

/** Images with a signature by the old key alone, by both, by the new one alone. What others have signed beside counts nowhere. */
export interface RotationCounts {
  readonly old: number;
  readonly both: number;
  readonly new: number;
}

/** What the old key has signed and the new one has not: an image under one name. */
export interface RotationWork {
  readonly site: string;
  /** `team/app@sha256:…`. */
  readonly image: string;
  /** The digest of the manifest, `sha256:…`. */
  readonly digest: string;
  /** The docker-reference of the old signature, as the new one must have it. */
  readonly reference: string;
}

/** The first part says how many, parts with work follow, and the last part is `end`: an answer without it was cut off. */
export type RotationPart =
  | {
      readonly old: string;
      readonly new: string;
      readonly images: RotationCounts;
      /** In words for people, what may be missing. */
      readonly gaps: readonly string[];
    }
  | { readonly work: readonly RotationWork[] }
  | { readonly end: { readonly work: number } };

/** Where the next piece of work begins: behind this row of that site. Null: at the beginning. */
export type RotationPlace =
  | readonly [site: string, path: string, layout: string, algorithm: string, hex: string, reference: string]
  | null;

/** @throws LookasideError REQUEST_INVALID */
export function refuseSameKey(old: string, next: string): void {
  if (old !== next) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `both names are those of the key ${old}; wanted the key that ends, and the one that takes its place`,
  );
}
