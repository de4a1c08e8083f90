// Uploads: a signature is verified, compared with its place, then stored. A refused upload leaves only an audit event.
import { forEachConcurrently, mapInOrder } from '../domain/concurrency.ts';
import { isSameSignature, type Judged, saysTheSame, standsInFor } from '../domain/equivalence.ts';
import { type ErrorCode, isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import type { RegisteredKey } from '../domain/key.ts';
import { MAX_SIGNATURE_BYTES, MAX_SIGNATURES_PER_CLAIM } from '../domain/limits.ts';
import {
  claimedImage,
  digestRefusal,
  imageNamed,
  remapOf,
  signaturePath,
  tooLongClaim,
} from '../domain/placement.ts';
import type {
  Appended,
  Clock,
  IndexedSignature,
  KeyStore,
  SignatureAppender,
  UploadReview,
  Verifier,
} from '../domain/ports.ts';
import type { BatchPart, BatchResult, Receipt, Warning } from '../domain/receipt.ts';
import { parseReference } from '../domain/reference.ts';
import { readerWarnings } from '../domain/release-readers.ts';
import { type Remap, remapWarning } from '../domain/remap.ts';
import { type State, stateOf } from '../domain/state.ts';
import type { Claim, Judgement, Refusal } from '../domain/verdict.ts';
import type { Actor, MakeEvent } from './audit.ts';
import type { RefusalRecorder } from './refusals.ts';

export interface UploaderOptions {
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly keys: Pick<KeyStore, 'find'>;
  readonly appender: Pick<SignatureAppender, 'append'>;
  /** Makes the missing verdicts of the image's stored signatures, as far as that is possible now. */
  readonly judgeImage: (image: ImageId) => Promise<void>;
  readonly refusals: Pick<RefusalRecorder, 'record'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  readonly maxBytes: () => number;
  /** What the operator allows. */
  readonly remaps: () => readonly Remap[];
}

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

/** A signature that verified, made by a registered key that is valid now. */
interface Verified {
  readonly judgement: Judgement;
  readonly claim: Claim;
  readonly fingerprint: string;
  readonly signingFingerprint: string;
  readonly signedAt: Date;
}

/** What a refusal is about. */
interface Refusable {
  readonly image: ImageId | null;
  readonly site: string;
  readonly bytes: Uint8Array;
  /** Fingerprint of the primary key, once the signature is verified. */
  readonly fingerprint: string | null;
}

interface PlacedPart {
  readonly part: number;
  readonly verified: Verified;
  readonly request: UploadRequest;
}

const EXAMINED_AT_ONCE = 4;
const IMAGES_AT_ONCE = 8;

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

export function createUploader(options: UploaderOptions): Uploader {
  const { keys, appender, makeEvent, clock } = options;

  async function verify(bytes: Uint8Array): Promise<Verified> {
    const maxBytes = options.maxBytes();
    if (bytes.length > maxBytes) {
      const found = bytes.length > MAX_SIGNATURE_BYTES ? `over ${MAX_SIGNATURE_BYTES}` : bytes.length;
      throw new LookasideError(
        'TOO_LARGE',
        `the signature has ${found} bytes; at most ${maxBytes} are taken (LOOKASIDE_MAX_SIGNATURE_BYTES)`,
      );
    }
    const judgement = await options.verifier.examine(bytes, clock.now(), 'upload');
    refuseIf(judgement.refusal);
    const { claim, fingerprint, signingFingerprint, signedAt } = judgement;
    if (claim === null || fingerprint === null || signingFingerprint === null || signedAt === null) {
      throw new Error(`the verdict ${judgement.verdict} without a refusal lacks its claim`);
    }
    return { judgement, claim, fingerprint, signingFingerprint, signedAt };
  }

  async function store(verified: Verified, request: UploadRequest, actor: Actor): Promise<Receipt> {
    const { image, bytes, number } = request;
    const { judgement, claim, fingerprint } = verified;
    refuseIf(digestRefusal(image, claim));
    const remap =
      remapOf(image, claim, { asked: request.signedFor ?? [], allowed: options.remaps() })?.text ?? null;
    await options.judgeImage(image);
    const mayBeEquivalent = number === null && !request.force;
    let standIn: IndexedSignature | null = null;
    const appended = await appender.append({
      image,
      bytes,
      judgement,
      number,
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
        const found = await review(image, verified, served, mayBeEquivalent);
        standIn = found.standIn;
        return found;
      },
    });
    return toReceipt(image, { ...describe(verified, standIn), remap }, appended);
  }

  /** @throws LookasideError TOO_MANY_SIGNATURES */
  async function review(
    image: ImageId,
    verified: Verified,
    served: readonly IndexedSignature[],
    mayBeEquivalent: boolean,
  ): Promise<UploadReview> {
    const stateNow = await findStates(served);
    const good = served.filter((signature) => stateNow(signature) === 'verified');
    const uploaded = judgedOf(verified);
    const standIns = good.filter((signature) => standsInFor(signature, uploaded));
    const same = standIns.find((signature) => isSameSignature(signature, uploaded)) ?? null;
    const equivalent = mayBeEquivalent ? (standIns[0] ?? null) : null;
    const standIn = same ?? equivalent;
    if (standIn === null)
      refuseCrowd(
        image,
        verified,
        good.filter((one) => saysTheSame(one, uploaded)),
      );
    return {
      standIn,
      outcome: same === null ? 'equivalent' : 'same',
      needless: needlessOf(served, stateNow),
    };
  }

  /**
   * Finds the state of each of these signatures. Each key is looked up once, and all at the same time, so that all states
   * rest on the same answers.
   */
  async function findStates(served: readonly IndexedSignature[]): Promise<(one: IndexedSignature) => State> {
    const fingerprints = new Set(served.flatMap(({ fingerprint }) => fingerprint ?? []));
    const found = await Promise.all(
      [...fingerprints].map(async (fingerprint) => [fingerprint, await keys.find(fingerprint)] as const),
    );
    const known = new Map<string | null, RegisteredKey | null>(found);
    const now = clock.now();
    return (signature) => stateOf(signature, known.get(signature.fingerprint) ?? null, now);
  }

  async function toReceipt(image: ImageId, signature: Described, appended: Appended): Promise<Receipt> {
    const { fingerprint, signingFingerprint, dockerReference, signedAt } = signature;
    const now = { verdict: 'good', signingFingerprint, expiresAt: signature.expiresAt } as const;
    const key = await keys.find(fingerprint);
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

  function verifyFor(about: Omit<Refusable, 'fingerprint'>, actor: Actor): Promise<Verified> {
    return recordingRefusals({ ...about, fingerprint: null }, actor, () => verify(about.bytes));
  }

  function storeFor(verified: Verified, request: UploadRequest, actor: Actor): Promise<Receipt> {
    const { image, bytes } = request;
    const { fingerprint } = verified;
    return recordingRefusals({ image, site: image.site, bytes, fingerprint }, actor, () =>
      store(verified, request, actor),
    );
  }

  async function upload(request: UploadRequest, actor: Actor): Promise<Receipt> {
    const { image, bytes } = request;
    const verified = await verifyFor({ image, site: image.site, bytes }, actor);
    return storeFor(verified, request, actor);
  }

  async function uploadBatch(
    parts: readonly BatchPart[],
    { site, ...how }: UploadBatchOptions,
    actor: Actor,
  ): Promise<readonly BatchResult[]> {
    const results: BatchResult[] = [];
    const examined = mapInOrder(numbered(parts), EXAMINED_AT_ONCE, async ({ part, bytes, fileName }) => {
      try {
        const named = fileName === null ? null : imageNamed(site, fileName);
        const verified = await verifyFor({ image: named, site, bytes }, actor);
        const image = named ?? claimedImage(site, verified.claim);
        if (image === null)
          throw tooLongClaim(verified.claim) ?? new Error('a verified claim names no repository');
        return { part, verified, request: { image, bytes, number: null, ...how } };
      } catch (error) {
        results[part] = toRefused(part, error);
        return null;
      }
    });
    // parts of one image are stored in their order; different images are stored at the same time
    const placed = new Map<string, PlacedPart[]>();
    for await (const item of examined) {
      if (item === null) continue;
      const key = imageKey(item.request.image);
      placed.set(key, [...(placed.get(key) ?? []), item]);
    }
    await forEachConcurrently(placed.values(), IMAGES_AT_ONCE, async (ofImage) => {
      for (const { part, verified, request } of ofImage) {
        try {
          const receipt = await storeFor(verified, request, actor);
          results[part] = { part, result: receipt.created ? 'created' : 'exists', ...receipt };
        } catch (error) {
          results[part] = toRefused(part, error);
        }
      }
    });
    return results;
  }

  return { upload, uploadBatch };
}

/** What a receipt says about the stored signature. */
interface Described {
  readonly fingerprint: string;
  readonly signingFingerprint: string;
  readonly dockerReference: string;
  readonly signedAt: Date;
  readonly expiresAt: Date | null;
  readonly remap: string | null;
}

function describe(verified: Verified, standIn: IndexedSignature | null): Omit<Described, 'remap'> {
  const { fingerprint, claim, judgement } = verified;
  return {
    fingerprint,
    signingFingerprint: verified.signingFingerprint, // a stand-in has the same one
    dockerReference: claim.dockerReference,
    signedAt: standIn?.signedAt ?? verified.signedAt,
    expiresAt: standIn === null ? judgement.expiresAt : standIn.expiresAt,
  };
}

function judgedOf({ judgement, claim }: Verified): Judged {
  return { ...judgement, dockerReference: claim.dockerReference };
}

/**
 * States that no client accepts, whatever keys it has. `unknown-key`, for example, may be good for a client that has the key.
 */
const WORTHLESS: ReadonlySet<State> = new Set(['bad', 'unreadable', 'expired', 'key-expired', 'key-revoked']);

/** Served numbers of the signatures that no client accepts, or that another one of them makes needless. */
function needlessOf(
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

function warningsOf(image: ImageId, signature: Described, { outcome, number }: Appended): readonly Warning[] {
  const reference = parseReference(signature.dockerReference);
  const found: (Warning | null)[] = [
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
  return found.filter((warning) => warning !== null);
}

function refuseIf(refusal: Refusal | null): void {
  if (refusal !== null) throw new LookasideError(refusal.code, refusal.message);
}

function toRefused(part: number, error: unknown): BatchResult {
  if (!isLookasideError(error)) throw error;
  const { code, message, detail } = error;
  return { part, result: 'refused', code, message, ...(detail === null ? {} : { detail }) };
}

async function* numbered(parts: readonly BatchPart[]) {
  for (const [part, { bytes, fileName }] of parts.entries()) yield { part, bytes, fileName };
}
