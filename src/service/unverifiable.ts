// Uploads that no program here can verify: taken only where the operator says so, only beside a signature that was verified,
// and few. What they say of themselves decides where they may not be stored, and is shown nowhere.
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { MAX_UNVERIFIABLE_PER_IMAGE } from '../domain/limits.ts';
import type { Appended, IndexedSignature } from '../domain/ports.ts';
import type { Warning } from '../domain/receipt.ts';
import type { Claim, Judgement } from '../domain/verdict.ts';

export interface Unverifiable {
  readonly judgement: Judgement;
  /** The claim of its payload, which is not verified. */
  readonly untrustedClaim: Claim;
}

export interface Beside {
  /** The image's served signatures, and what is known of each. */
  readonly served: readonly IndexedSignature[];
  readonly isVerifiedNow: (signature: IndexedSignature) => boolean;
  /** SHA-256 of the blobs that the same uploader has brought to the image. */
  readonly own: ReadonlySet<string>;
  /** What the payload of a stored one says, verified by nobody; null when nothing. */
  readonly untrustedClaimOf: (signature: IndexedSignature) => Promise<Claim | null>;
  /** Store it although another by that key says the same. */
  readonly force: boolean;
}

/**
 * A stored one by the same uploader that names the same key and says the same, which makes this one needless; null: it is to be
 * stored. @throws LookasideError ALGORITHM_UNSUPPORTED without a verified signature beside it, TOO_MANY_SIGNATURES
 */
export async function findRepeated(
  image: ImageId,
  { judgement, untrustedClaim }: Unverifiable,
  beside: Beside,
): Promise<IndexedSignature | null> {
  const { served, own, force } = beside;
  const { dockerReference } = untrustedClaim;
  const companion = served.find(
    (one) => own.has(one.sha256) && one.dockerReference === dockerReference && beside.isVerifiedNow(one),
  );
  if (companion === undefined) throw unaccompanied(image, judgement, dockerReference);
  const unverifiable = served.filter(({ verdict }) => verdict === 'unsupported');
  if (!force) {
    for (const one of unverifiable) {
      if (!own.has(one.sha256) || one.issuer !== judgement.issuer) continue;
      if ((await beside.untrustedClaimOf(one))?.dockerReference === dockerReference) return one;
    }
  }
  if (unverifiable.length >= MAX_UNVERIFIABLE_PER_IMAGE) throw tooMany(image, unverifiable);
  return null;
}

export function unverifiableWarnings({ outcome, number }: Appended): readonly Warning[] {
  const warnings: Warning[] = [
    {
      code: 'UNVERIFIABLE',
      message:
        'nothing here can verify this signature, and it is shown as unsupported; clients that cannot either go by the one beside it',
    },
  ];
  if (outcome !== 'equivalent') return warnings;
  const message = `signature-${number} names the same key and says the same, so nothing was stored; force=1 stores it all the same`;
  return [...warnings, { code: 'EQUIVALENT_EXISTS', message }];
}

export function placelessRefusal(): LookasideError {
  return new LookasideError(
    'ALGORITHM_UNSUPPORTED',
    'the signature cannot be verified here, so its file name must say where it belongs: REPOSITORY@ALGORITHM=HEX/signature-N, beside a verified one of the same name',
  );
}

function unaccompanied(image: ImageId, { refusal }: Judgement, dockerReference: string): LookasideError {
  return new LookasideError(
    'ALGORITHM_UNSUPPORTED',
    `${refusal?.message ?? ''}. This server stores such a signature only beside one of version 4 that it could verify, of the same image and the same name ${dockerReference}, by the same uploader: ${imageFolder(image)} has none. Upload that one first`,
  );
}

function tooMany(image: ImageId, unverifiable: readonly IndexedSignature[]): LookasideError {
  const needless = unverifiable.map(({ servedNumber }) => servedNumber);
  return new LookasideError(
    'TOO_MANY_SIGNATURES',
    `${imageFolder(image)} has ${unverifiable.length} signatures that cannot be verified here, the most that are taken; its other numbers are kept for those that clients can verify`,
    { detail: { needless } },
  );
}
