// The upload of what nothing here can verify, step by step as that of a verified one.
import { LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import { digestRefusal, signaturePath } from '../domain/placement.ts';
import type { Appended, Clock, KeyStore, SignatureAppender, UploadStore } from '../domain/ports.ts';
import type { Receipt } from '../domain/receipt.ts';
import { tagOf } from '../domain/reference.ts';
import type { Claim, Judgement } from '../domain/verdict.ts';
import type { Actor, MakeEvent } from './audit.ts';
import type { SignerService } from './signers.ts';
import { findRepeated, type Unverifiable, unverifiableWarnings } from './unverifiable.ts';
import { findStates, needlessOf } from './upload-review.ts';

export interface UnverifiableOptions {
  /** What the operator takes though it cannot be verified. */
  readonly accepted: () => 'off' | 'v6';
  /** The claim of a signature of version 6, verified by nobody; null for all others, and for what holds no payload. */
  readonly untrustedClaim: (bytes: Uint8Array) => Claim | null;
  readonly readBlob: (image: ImageId, sha256: string) => Promise<Uint8Array | null>;
  readonly uploads: Pick<UploadStore, 'ofImage'>;
}

export interface UnverifiableUploadsOptions {
  readonly keys: Pick<KeyStore, 'find'>;
  readonly appender: Pick<SignatureAppender, 'append'>;
  readonly judgeImage: (image: ImageId) => Promise<void>;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  readonly unverifiable: UnverifiableOptions;
  readonly permit: SignerService['permit'];
}

/** As UploadRequest of upload.ts, which imports this file. */
export interface Placed {
  readonly image: ImageId;
  readonly bytes: Uint8Array;
  readonly number: number | null;
  readonly force: boolean;
  /** As VerifiedUpload. */
  readonly beginByMs?: number;
}

export interface UnverifiableUploads {
  /** Null for what can be verified, and for what is refused. @throws LookasideError ALGORITHM_UNSUPPORTED that says who could allow it */
  find(bytes: Uint8Array, judgement: Judgement): Unverifiable | null;
  store(unverifiable: Unverifiable, request: Placed, actor: Actor): Promise<Receipt>;
}

export function createUnverifiableUploads(options: UnverifiableUploadsOptions): UnverifiableUploads {
  const { accepted, untrustedClaim, readBlob, uploads } = options.unverifiable;

  async function ownBlobs(image: ImageId, { name }: Actor): Promise<ReadonlySet<string>> {
    const uploaded = await uploads.ofImage(image);
    return new Set(uploaded.flatMap(({ uploader, sha256 }) => (uploader === name ? [sha256] : [])));
  }

  async function claimOfStored(image: ImageId, sha256: string): Promise<Claim | null> {
    const stored = await readBlob(image, sha256);
    return stored === null ? null : untrustedClaim(stored);
  }

  async function store(unverifiable: Unverifiable, request: Placed, actor: Actor): Promise<Receipt> {
    const { image, bytes, number, beginByMs } = request;
    const { judgement } = unverifiable;
    const refusal = digestRefusal(image, unverifiable.untrustedClaim);
    if (refusal !== null) throw new LookasideError(refusal.code, refusal.message);
    const tag = tagOf(unverifiable.untrustedClaim.dockerReference);
    await options.permit(actor, { image, fingerprint: null, tag });
    await options.judgeImage(image);
    const signatureSha256 = options.sha256(bytes);
    const reason = `nothing here can verify it: ${judgement.refusal?.code ?? ''}`;
    const appended = await options.appender.append({
      image,
      bytes,
      judgement,
      number,
      ...(beginByMs === undefined ? {} : { beginByMs }),
      uploader: actor.name,
      remap: null,
      event: options.makeEvent(
        { action: 'upload', image, signatureSha256, result: 'created', reason },
        actor,
      ),
      async review(served) {
        const stateNow = await findStates(served, options);
        const standIn = await findRepeated(image, unverifiable, {
          served,
          isVerifiedNow: (one) => stateNow(one) === 'verified',
          own: await ownBlobs(image, actor),
          untrustedClaimOf: ({ sha256 }) => claimOfStored(image, sha256),
          force: request.force || number !== null,
        });
        return { standIn, outcome: 'equivalent', needless: needlessOf(served, stateNow) };
      },
    });
    return toReceipt(image, appended);
  }

  return {
    find(bytes, judgement) {
      const claim = judgement.verdict === 'unsupported' ? untrustedClaim(bytes) : null;
      if (claim === null) return null;
      if (accepted() === 'v6') return { judgement, untrustedClaim: claim };
      const message = `${judgement.refusal?.message ?? ''}. Its operator can have this server store one of version 6 beside a verified one: LOOKASIDE_ACCEPT_UNSUPPORTED=v6`;
      throw new LookasideError('ALGORITHM_UNSUPPORTED', message);
    },
    store,
  };
}

/** Nobody vouches for what it says of itself. */
function toReceipt(image: ImageId, appended: Appended): Receipt {
  return {
    path: signaturePath(image, appended.number),
    number: appended.number,
    created: appended.outcome === 'created',
    state: 'unsupported',
    fingerprint: null,
    signingFingerprint: null,
    manifestDigest: `${image.algorithm}:${image.hex}`,
    dockerReference: null,
    signedAt: null,
    signatureSha256: appended.sha256,
    auditSeq: appended.auditSeq,
    warnings: unverifiableWarnings(appended),
  };
}
