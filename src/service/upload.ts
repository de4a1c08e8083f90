// Uploads: a signature is verified, compared with its place, then stored. A refused upload leaves only an audit event.
import { type ErrorCode, isLookasideError, LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { RegisteredKey } from '../domain/key.ts';
import { MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { digestRefusal, remapOf, signaturePath } from '../domain/placement.ts';
import type {
  Appended,
  Clock,
  IndexedSignature,
  KeyStore,
  SignatureAppender,
  Verifier,
} from '../domain/ports.ts';
import type { BatchPart, BatchResult, Receipt, Warning } from '../domain/receipt.ts';
import { parseReference, tagOf } from '../domain/reference.ts';
import { readerWarnings } from '../domain/release-readers.ts';
import { type Remap, remapWarning } from '../domain/remap.ts';
import { stateOf } from '../domain/state.ts';
import type { Refusal } from '../domain/verdict.ts';
import type { Actor, MakeEvent } from './audit.ts';
import { type BatchBounds, createBatchBounds } from './batch-bounds.ts';
import type { RefusalRecorder } from './refusals.ts';
import type { SignerService } from './signers.ts';
import type { Unverifiable } from './unverifiable.ts';
import { createUploadEach } from './upload-batch.ts';
import { createReview, type Verified } from './upload-review.ts';
import {
  createUnverifiableUploads,
  type Placed,
  type UnverifiableOptions,
  type UnverifiableUploads,
} from './upload-unverifiable.ts';

export interface UploaderOptions {
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly keys: Pick<KeyStore, 'find'>;
  readonly appender: Pick<SignatureAppender, 'append'>;
  /** Makes the missing verdicts of the image's stored signatures, as far as that is possible now. */
  readonly judgeImage: (image: ImageId) => Promise<void>;
  /** As VerifiedUpload; left out for one process. */
  readonly keyringNumber?: () => number;
  /**
   * How many images of one batch are stored at once; left out for one process, where all batches share a bound. A change that waits
   * for a shared database is refused after a few seconds, so the others of its batch must not wait ahead of it.
   */
  readonly imagesOfBatch?: number;
  readonly refusals: Pick<RefusalRecorder, 'record'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  readonly maxBytes: () => number;
  readonly unverifiable: UnverifiableOptions;
  /** What the operator allows. */
  readonly remaps: () => readonly Remap[];
  /** All that an upload asks of a store that may be far away, within one bound of time; left out, there is none. */
  readonly inTime?: InTime;
  /** @throws LookasideError NOT_GRANTED when the actor's grants do not cover it */
  readonly permit: SignerService['permit'];
}

/**
 * The outcome of `act`, which is told by when a change must have begun.
 * @throws what `act` throws; STORE_UNAVAILABLE when it takes too long: it may be done all the same
 */
export type InTime = <T>(image: ImageId, act: (beginByMs: number) => Promise<T>) => Promise<T>;

export interface UploadRequest {
  readonly image: ImageId;
  readonly bytes: Uint8Array;
  /** The requested number; null: append. */
  readonly number: number | null;
  /** Append even when an equivalent signature is stored. */
  readonly force: boolean;
  /** By which the signed name may be another than that of the place. */
  readonly signedFor?: readonly Remap[];
}

/** How a signature is taken. */
export type UploadHow = Pick<UploadRequest, 'force' | 'signedFor'>;

export interface UploadBatchOptions extends UploadHow {
  /** Where they go. */
  readonly site: string;
}

export interface Uploader {
  /** @throws LookasideError, every code of an upload */
  upload(request: UploadRequest, actor: Actor): Promise<Receipt>;
  /**
   * The results are in the order of the parts; a refused part never stops the others. @throws nothing that is one part's
   * fault
   */
  uploadBatch(
    parts: readonly BatchPart[],
    options: UploadBatchOptions,
    actor: Actor,
  ): Promise<readonly BatchResult[]>;
}

/** What a refusal is about. */
interface Refusable {
  readonly image: ImageId | null;
  readonly site: string;
  readonly bytes: Uint8Array;
  /** Fingerprint of the primary key, once the signature is verified. */
  readonly fingerprint: string | null;
}

/** The server's faults, not the upload's: no event is written, and the same upload may succeed later. */
const NOT_THE_UPLOADS_FAULT: ReadonlySet<ErrorCode> = new Set([
  'BUSY',
  'STORE_UNAVAILABLE',
  'DISK_FULL',
  'READ_ONLY',
]);

export function isTheUploadsFault(code: ErrorCode): boolean {
  return !NOT_THE_UPLOADS_FAULT.has(code);
}

export function createUploader(options: UploaderOptions): Uploader & Pick<BatchBounds, 'stop'> {
  const { keys, appender, makeEvent, clock } = options;
  const review = createReview(options);
  const unverifiable = createUnverifiableUploads(options);
  const bounds = createBatchBounds(options.imagesOfBatch);
  const uploadEach = createUploadEach(bounds);

  async function store(verified: Verified, request: UploadRequest & Placed, asker: Actor): Promise<Receipt> {
    const { image, bytes, number, beginByMs } = request;
    const { judgement, keyring, claim, fingerprint } = verified;
    refuseIf(digestRefusal(image, claim));
    const remap =
      remapOf(image, claim, { asked: request.signedFor ?? [], allowed: options.remaps() })?.text ?? null;
    const tag = tagOf(claim.dockerReference);
    const wanted = { image, fingerprint, tag };
    const [actor] = await Promise.all([options.permit(asker, wanted), options.judgeImage(image)]);
    const mayBeEquivalent = number === null && !request.force;
    let standIn: IndexedSignature | null = null;
    let key: RegisteredKey | null = null;
    const appended = await appender.append({
      image,
      bytes,
      judgement,
      keyring,
      number,
      ...(beginByMs === undefined ? {} : { beginByMs }),
      uploader: actor.name,
      remap,
      event: makeEvent(
        {
          action: 'upload',
          image,
          signatureSha256: options.sha256(bytes),
          fingerprint,
          result: 'created',
          reason: remap === null ? null : `signed for ${claim.dockerReference}, taken by the remap ${remap}`,
        },
        actor,
      ),
      async review(served) {
        const reviewed = await review(image, verified, served, mayBeEquivalent);
        ({ standIn, key } = reviewed);
        return reviewed;
      },
    });
    return toReceipt(image, { ...describe(verified, standIn), remap, key }, appended);
  }

  async function toReceipt(image: ImageId, signature: Described, appended: Appended): Promise<Receipt> {
    const { fingerprint, signingFingerprint, dockerReference, signedAt } = signature;
    const now = { verdict: 'good', signingFingerprint, expiresAt: signature.expiresAt } as const;
    const key = signature.key?.fingerprint === fingerprint ? signature.key : await keys.find(fingerprint);
    return {
      path: signaturePath(image, appended.number),
      number: appended.number,
      created: appended.outcome === 'created',
      state: stateOf(now, key, clock.now()),
      fingerprint,
      signingFingerprint,
      manifestDigest: `${image.algorithm}:${image.hex}`,
      dockerReference,
      signedAt,
      signatureSha256: appended.sha256,
      auditSeq: appended.auditSeq,
      warnings: [
        ...warningsOf(image, signature, appended),
        ...remapWarning(signature.remap),
        ...readerWarnings({ image, number: appended.number, signingFingerprint, key }),
      ],
    };
  }

  /** The result of `act`. A refusal is recorded and then thrown on to the uploader. */
  async function recordingRefusals<T>(about: Refusable, actor: Actor, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (isLookasideError(error) && isTheUploadsFault(error.code)) {
        await recordRefusal(error, about, actor);
      }
      throw error;
    }
  }

  async function recordRefusal(
    { code: result, message: reason }: LookasideError,
    { image, site, bytes, fingerprint }: Refusable,
    actor: Actor,
  ): Promise<void> {
    // the bytes of a larger part are cut, so they have no useful hash
    const signatureSha256 = bytes.length > MAX_SIGNATURE_BYTES ? null : options.sha256(bytes);
    await options.refusals.record(
      { action: 'upload', image, site, signatureSha256, fingerprint, result, reason },
      actor,
    );
  }

  function verifyFor(about: Omit<Refusable, 'fingerprint'>, actor: Actor): Promise<Verified | Unverifiable> {
    return recordingRefusals({ ...about, fingerprint: null }, actor, () =>
      verify(about.bytes, options, unverifiable),
    );
  }

  function storeFor(
    verified: Verified | Unverifiable,
    request: UploadRequest,
    actor: Actor,
  ): Promise<Receipt> {
    const { image, bytes } = request;
    const fingerprint = 'fingerprint' in verified ? verified.fingerprint : null;
    const storing = (placed: UploadRequest & Placed) =>
      recordingRefusals({ image, site: image.site, bytes, fingerprint }, actor, () =>
        'fingerprint' in verified
          ? store(verified, placed, actor)
          : unverifiable.store(verified, placed, actor),
      );
    const { inTime } = options;
    if (inTime === undefined) return storing(request);
    return inTime(image, (beginByMs) => storing({ ...request, beginByMs }));
  }

  async function upload(request: UploadRequest, actor: Actor): Promise<Receipt> {
    const { image, bytes } = request;
    const verified = await verifyFor({ image, site: image.site, bytes }, actor);
    return storeFor(verified, request, actor);
  }

  return {
    upload,
    uploadBatch: (parts, { site, ...how }, actor) =>
      uploadEach(parts, {
        site,
        verify: (part) => verifyFor(part, actor),
        store: (verified, image, bytes) => storeFor(verified, { image, bytes, number: null, ...how }, actor),
        // each part has its time, and the others do not wait too for a store that has given no answer meanwhile
        endsAll: (error) => options.inTime !== undefined && isLookasideError(error, 'STORE_UNAVAILABLE'),
      }),
    stop: bounds.stop,
  };
}

/** What it is, so far as it can be verified here. @throws LookasideError, every code of a signature that is refused for itself */
async function verify(
  bytes: Uint8Array,
  options: UploaderOptions,
  unverifiable: UnverifiableUploads,
): Promise<Verified | Unverifiable> {
  const maxBytes = options.maxBytes();
  if (bytes.length > maxBytes) {
    const size = bytes.length > MAX_SIGNATURE_BYTES ? `over ${MAX_SIGNATURE_BYTES}` : bytes.length;
    throw new LookasideError(
      'TOO_LARGE',
      `the signature has ${size} bytes; at most ${maxBytes} are taken (LOOKASIDE_MAX_SIGNATURE_BYTES)`,
    );
  }
  const keyring = options.keyringNumber?.() ?? null;
  const judgement = await options.verifier.examine(bytes, options.clock.now(), 'upload');
  const unverified = unverifiable.find(bytes, judgement);
  if (unverified !== null) return unverified;
  refuseIf(judgement.refusal);
  const { claim, fingerprint, signingFingerprint, signedAt } = judgement;
  if (claim === null || fingerprint === null || signingFingerprint === null || signedAt === null) {
    throw new Error(`the verdict ${judgement.verdict} without a refusal lacks its claim`);
  }
  return { judgement, keyring, claim, fingerprint, signingFingerprint, signedAt };
}

/** What a receipt says about the stored signature. */
interface Described {
  readonly fingerprint: string;
  readonly signingFingerprint: string;
  readonly dockerReference: string;
  readonly signedAt: Date;
  readonly expiresAt: Date | null;
  readonly remap: string | null;
  /** The key that was looked up already; null: none was. */
  readonly key: RegisteredKey | null;
}

function describe(verified: Verified, standIn: IndexedSignature | null): Omit<Described, 'remap' | 'key'> {
  const { fingerprint, claim, judgement } = verified;
  return {
    fingerprint,
    signingFingerprint: verified.signingFingerprint, // a stand-in has the same one
    dockerReference: claim.dockerReference,
    signedAt: standIn?.signedAt ?? verified.signedAt,
    expiresAt: standIn === null ? judgement.expiresAt : standIn.expiresAt,
  };
}

function warningsOf(image: ImageId, signature: Described, { outcome, number }: Appended): readonly Warning[] {
  const reference = parseReference(signature.dockerReference);
  const warnings: (Warning | null)[] = [
    image.algorithm === 'sha256'
      ? null
      : {
          code: 'SHA512_DIGEST',
          message: `the manifest digest is ${image.algorithm}; most clients look for signatures by sha256 alone, so sign that digest too`,
        },
    signature.signingFingerprint === signature.fingerprint
      ? null
      : {
          code: 'SIGNING_SUBKEY',
          message: `signed by the subkey ${signature.signingFingerprint}; clients from before August 2025 accept primary keys alone (containers/podman#16406)`,
        },
    reference?.tag != null
      ? null
      : {
          code: 'REFERENCE_WITHOUT_TAG',
          message: `${signature.dockerReference} has no tag; with the default policy no client that pulls by tag accepts it`,
        },
    outcome !== 'same'
      ? null
      : {
          code: 'SAME_SIGNATURE',
          message: `signature-${number} is this signature with other unsigned bytes, so nothing was stored`,
        },
    outcome !== 'equivalent'
      ? null
      : {
          code: 'EQUIVALENT_EXISTS',
          message: `signature-${number} by the same key says the same to every client, and for as long, so nothing was stored; force=1 stores it all the same`,
        },
  ];
  return warnings.filter((warning) => warning !== null);
}

function refuseIf(refusal: Refusal | null): void {
  if (refusal !== null) throw new LookasideError(refusal.code, refusal.message);
}
