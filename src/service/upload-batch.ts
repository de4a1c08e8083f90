// Many uploads at once: each is examined by itself, and those of one image are stored in their order.
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey } from '../domain/image.ts';
import { claimedImage, tooLongClaim } from '../domain/placement.ts';
import type { BatchPart, BatchResult, Receipt } from '../domain/receipt.ts';
import type { BatchBounds } from './batch-bounds.ts';
import { placelessRefusal, type Unverifiable } from './unverifiable.ts';
import type { Verified } from './upload-review.ts';
import { imageOfName, partNames } from './whole-images.ts';

export interface BatchSteps {
  /** Where the parts go. */
  readonly site: string;
  readonly verify: (part: {
    readonly site: string;
    /** Null: only what it claims tells. */
    readonly image: ImageId | null;
    readonly bytes: Uint8Array;
  }) => Promise<Verified | Unverifiable>;
  /** Whether what `store` has thrown is not that part's fault, and the parts after it would meet it too. */
  readonly endsAll: (error: unknown) => boolean;
  /** Behind what its image has. */
  readonly store: (verified: Verified | Unverifiable, image: ImageId, bytes: Uint8Array) => Promise<Receipt>;
}

interface PlacedPart {
  readonly part: number;
  readonly verified: Verified | Unverifiable;
  readonly image: ImageId;
  readonly bytes: Uint8Array;
}

export type UploadEach = (parts: readonly BatchPart[], steps: BatchSteps) => Promise<readonly BatchResult[]>;

/**
 * The results are in the order of the parts; a refused part never stops the others. After stop() of the bounds the rest is
 * refused as BUSY, beside the receipts of what is stored. @throws nothing that is one part's fault
 */
export function createUploadEach(bounds: BatchBounds): UploadEach {
  return (parts, steps) => uploadEach(parts, steps, bounds);
}

async function uploadEach(
  parts: readonly BatchPart[],
  { site, verify, store, endsAll }: BatchSteps,
  { handle, requireRunning }: BatchBounds,
): Promise<readonly BatchResult[]> {
  const results: BatchResult[] = [];
  const names = partNames(site, parts);
  let end: { readonly error: unknown } | null = null;
  let stored = 0;

  async function storeAll(ofImage: readonly PlacedPart[]): Promise<void> {
    // what stands beside a verified one comes after it
    for (const { part, verified, image, bytes } of ofImage.toSorted(verifiedFirst)) {
      if (end !== null) {
        results[part] = toRefused(part, end.error);
        continue;
      }
      const storedBefore = stored;
      try {
        requireRunning();
        const receipt = await store(verified, image, bytes);
        stored += 1;
        results[part] = { part, result: receipt.created ? 'created' : 'exists', ...receipt };
      } catch (error) {
        results[part] = toRefused(part, error);
        // a slow store goes on with the others
        if (stored === storedBefore && endsAll(error)) end = { error };
      }
    }
  }

  await handle<PlacedPart>(parts, {
    names,
    async examine({ bytes }, part) {
      try {
        requireRunning();
        const named = imageOfName(names[part]);
        const verified = await verify({ image: named, site, bytes });
        const image = named ?? imageOf(site, verified);
        return { image: imageKey(image), item: { part, verified, image, bytes } };
      } catch (error) {
        results[part] = toRefused(part, error);
        return null;
      }
    },
    store: storeAll,
  });
  return results;
}

/** Where the verified claim says that it belongs: a place that only unverified bytes name is none. @throws LookasideError */
function imageOf(site: string, verified: Verified | Unverifiable): ImageId {
  if (!('claim' in verified)) throw placelessRefusal();
  const image = claimedImage(site, verified.claim);
  if (image !== null) return image;
  throw tooLongClaim(verified.claim) ?? new Error('a verified claim names no repository');
}

function verifiedFirst(one: PlacedPart, other: PlacedPart): number {
  return Number('untrustedClaim' in one.verified) - Number('untrustedClaim' in other.verified);
}

function toRefused(part: number, error: unknown): BatchResult {
  if (!isLookasideError(error)) throw error;
  const { code, message, detail } = error;
  return { part, result: 'refused', code, message, ...(detail === null ? {} : { detail }) };
}
