// What an upload is held against: the signatures that its image has, of which one may stand in for it, and others be needless.
import { isSameSignature, type Judged, saysTheSame, standsInFor } from '../domain/equivalence.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { RegisteredKey } from '../domain/key.ts';
import { MAX_SIGNATURES_PER_CLAIM } from '../domain/limits.ts';
import type { Clock, IndexedSignature, KeyStore, UploadReview } from '../domain/ports.ts';
import { type State, stateOf } from '../domain/state.ts';
import { quoted } from '../domain/text.ts';
import type { Claim, Judgement } from '../domain/verdict.ts';

/** A signature that verified, made by a registered key that is valid now. */
export interface Verified {
  readonly judgement: Judgement;
  /** As VerifiedUpload. */
  readonly keyring: number | null;
  readonly claim: Claim;
  readonly fingerprint: string;
  readonly signingFingerprint: string;
  readonly signedAt: Date;
}

export interface ReviewerOptions {
  readonly keys: Pick<KeyStore, 'find'>;
  readonly clock: Clock;
}

/** @throws LookasideError TOO_MANY_SIGNATURES; KEY_UNKNOWN, KEY_REVOKED, KEY_RETIRED */
export type Review = (
  image: ImageId,
  verified: Verified,
  served: readonly IndexedSignature[],
  mayBeEquivalent: boolean,
) => Promise<KeyedReview>;

export interface KeyedReview extends UploadReview {
  /** The uploaded signature's; null when there is none. */
  readonly key: RegisteredKey | null;
}

export function createReview(options: ReviewerOptions): Review {
  return async function review(
    image: ImageId,
    verified: Verified,
    served: readonly IndexedSignature[],
    mayBeEquivalent: boolean,
  ): Promise<KeyedReview> {
    const known = await findKeys([...fingerprintsOf(served), verified.fingerprint], options);
    const stateNow = statesBy(known, options);
    const good = served.filter((signature) => stateNow(signature) === 'verified');
    const uploaded = judgedOf(verified);
    const standIns = good.filter((signature) => standsInFor(signature, uploaded));
    const same = standIns.find((signature) => isSameSignature(signature, uploaded)) ?? null;
    const equivalent = mayBeEquivalent ? (standIns[0] ?? null) : null;
    const standIn = same ?? equivalent;
    if (standIn === null) {
      refuseRemoved(verified, known);
      refuseRevoked(verified, known);
      refuseRetired(verified, known);
      refuseCrowd(
        image,
        verified,
        good.filter((one) => saysTheSame(one, uploaded)),
      );
    }
    return {
      standIn,
      outcome: same === null ? 'equivalent' : 'same',
      needless: needlessOf(served, stateNow),
      key: known.get(verified.fingerprint) ?? null,
    };
  };
}

/**
 * Finds the state of each of these signatures. Each key is looked up once, and all at the same time, so that all states
 * rest on the same answers.
 */
export async function findStates(
  served: readonly IndexedSignature[],
  options: ReviewerOptions,
): Promise<(one: IndexedSignature) => State> {
  return statesBy(await findKeys(fingerprintsOf(served), options), options);
}

type KnownKeys = ReadonlyMap<string | null, RegisteredKey | null>;

async function findKeys(
  fingerprints: readonly string[],
  { keys }: Pick<ReviewerOptions, 'keys'>,
): Promise<KnownKeys> {
  const pairs = await Promise.all(
    [...new Set(fingerprints)].map(
      async (fingerprint) => [fingerprint, await keys.find(fingerprint)] as const,
    ),
  );
  return new Map<string | null, RegisteredKey | null>(pairs);
}

function fingerprintsOf(served: readonly IndexedSignature[]): readonly string[] {
  return served.flatMap(({ fingerprint }) => fingerprint ?? []);
}

function statesBy(
  known: KnownKeys,
  { clock }: Pick<ReviewerOptions, 'clock'>,
): (one: IndexedSignature) => State {
  const now = clock.now();
  return (signature) => stateOf(signature, known.get(signature.fingerprint) ?? null, now);
}

function judgedOf({ judgement, claim }: Verified): Judged {
  return { ...judgement, dockerReference: claim.dockerReference };
}

/**
 * States that no client accepts, whatever keys it has. `unknown-key`, for example, may be good for a client that has the key.
 */
const WORTHLESS: ReadonlySet<State> = new Set(['bad', 'unreadable', 'expired', 'key-expired', 'key-revoked']);

/** Served numbers of the signatures that no client accepts, or that another one of them makes needless. */
export function needlessOf(
  served: readonly IndexedSignature[],
  stateNow: (signature: IndexedSignature) => State,
): readonly number[] {
  const needed: IndexedSignature[] = [];
  const needless: number[] = [];
  for (const signature of served) {
    if (WORTHLESS.has(stateNow(signature)) || needed.some((other) => standsInFor(other, signature))) {
      needless.push(signature.servedNumber);
    } else {
      needed.push(signature);
    }
  }
  return needless;
}

/** Another node may have removed it since the signature was verified here. @throws LookasideError KEY_UNKNOWN */
function refuseRemoved({ fingerprint }: Verified, known: KnownKeys): void {
  if (known.get(fingerprint) !== null) return;
  throw new LookasideError(
    'KEY_UNKNOWN',
    `the key ${fingerprint} has just been removed, and no signature by it is taken; sign the image with another key, or let an administrator add this one again: lookaside key add FILE`,
  );
}

/** What the certificate says was looked at when the signature was verified. @throws LookasideError KEY_REVOKED */
function refuseRevoked({ fingerprint }: Verified, known: KnownKeys): void {
  const { revocation = null } = known.get(fingerprint) ?? {};
  if (revocation === null) return;
  throw new LookasideError(
    'KEY_REVOKED',
    `an administrator revoked the key ${fingerprint} at ${revocation.at.toISOString()}: ${quoted(revocation.reason)}; sign the image with another key`,
  );
}

/** Only what would be stored is refused: sending again what is stored succeeds as before. @throws LookasideError KEY_RETIRED */
function refuseRetired({ fingerprint }: Verified, known: KnownKeys): void {
  const retiredAt = known.get(fingerprint)?.retiredAt ?? null;
  if (retiredAt === null) return;
  throw new LookasideError(
    'KEY_RETIRED',
    `the key ${fingerprint} was retired at ${retiredAt.toISOString()}, and no new signature by it is taken; sign the image with the key that takes its place. An administrator can end the retirement: lookaside key retire ${fingerprint} --undo`,
    { detail: { retiredAt } },
  );
}

/** @throws LookasideError TOO_MANY_SIGNATURES when `ofClaim`, all verified, are as many as one claim may have */
function refuseCrowd(image: ImageId, { claim, fingerprint }: Verified, ofClaim: readonly IndexedSignature[]) {
  if (ofClaim.length < MAX_SIGNATURES_PER_CLAIM) return;
  const numbers = ofClaim.map(({ servedNumber }) => `signature-${servedNumber}`).join(', ');
  throw new LookasideError(
    'TOO_MANY_SIGNATURES',
    `${imageFolder(image)} has ${ofClaim.length} valid signatures by the key ${fingerprint} for ${claim.dockerReference} (${numbers}), and clients need one; the image's other numbers are kept for other signers and names`,
    { detail: { needless: ofClaim.map(({ servedNumber }) => servedNumber) } },
  );
}
