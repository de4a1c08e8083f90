// Adding signatures to a tree, one upload to an image at a time. The order of the steps is what makes an upload whole or
// absent: docs/decisions/uploads.md.
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { UploadIntent } from '../domain/intent.ts';
import { MAX_INDEXED_BYTES } from '../domain/limits.ts';
import { requireNextNumber } from '../domain/next-number.ts';
import type {
  Appended,
  RecordedSignature,
  SignatureAppender,
  UploadReview,
  VerdictIndex,
  VerifiedUpload,
} from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';
import { DAMAGE_KINDS } from '../domain/tree.ts';
import { createFreeSpaceCheck } from './free-space.ts';
import { sameSignatures } from './image-state.ts';
import {
  createLooker,
  isFull,
  type Look,
  type Needless,
  stillChecked,
  tooMany,
  unlessUnusable,
} from './look.ts';
import { createTender, type Tender, type TenderOptions } from './put-back.ts';
import { createEnding } from './unfinished.ts';
import { createWithdrawer, type WithdrawerOptions } from './withdraw.ts';

export interface AppenderOptions
  extends Omit<WithdrawerOptions, 'ending'>,
    Pick<TenderOptions, 'makeRestoreEvent'> {
  readonly verdicts: Pick<VerdictIndex, 'ofImage'>;
  /** Free bytes on the file system of the databases; the tree may be on another. */
  readonly dataFreeBytes: () => Promise<number>;
  /** Space on each disk that uploads leave free. */
  readonly minFreeBytes: number;
  readonly monotonicMs: () => number;
}

export interface Appender extends SignatureAppender, Tender {}

export function createAppender(options: AppenderOptions): Appender {
  const { tree, uploads, changes, writer } = options;
  const { lookSettled, guessAbsent } = createLooker(options);
  const ending = createEnding(options);
  // both disks: once the file is in its place it is served, even if its provenance then finds no space
  const checkReserve = createFreeSpaceCheck({
    disks: [
      { holds: tree.root, freeBytes: () => writer.freeBytes() },
      { holds: 'the data directory', freeBytes: options.dataFreeBytes },
    ],
    minFreeBytes: () => options.minFreeBytes,
    monotonicMs: options.monotonicMs,
  });
  const { finishAll, place, placeFirst, keep, record } = ending;
  const withdrawer = createWithdrawer({ ...options, ending });

  async function append(upload: VerifiedUpload): Promise<Appended> {
    return changes.inTurn(upload.image, async () => {
      await finishAll(upload.image);
      await refuseWithdrawn(options, upload);
      const absent = await guessAbsent(upload.image);
      const appended = absent === null ? null : await appendTo(absent, upload, true);
      return appended ?? required(await appendTo(await lookSettled(upload.image), upload, false));
    });
  }

  /** Null, only when the image must be new, and nothing is stored: it has a folder. */
  async function appendTo(seen: Look, upload: VerifiedUpload, mustBeNew: boolean): Promise<Appended | null> {
    const same = await findSame(upload, seen);
    if (same !== null) return same;
    const review = await reviewed(upload, seen);
    const standIn = await findStandIn(upload.image, review);
    return standIn ?? (await add(upload, seen, { needless: review?.needless ?? null, mustBeNew }));
  }

  async function findSame(upload: VerifiedUpload, seen: Look): Promise<Appended | null> {
    const sha256 = options.sha256(upload.bytes);
    // a filler is no place of its own: it may become another one's
    const position = seen.signatures.findIndex((one) => one.sha256 === sha256 && one.isFiller !== true);
    const signature = seen.signatures[position];
    if (signature === undefined) return null;
    const auditSeq = await auditSeqOf(upload.image, sha256);
    await makeSound(upload, signature, seen);
    // whoever put it there may not have waited for the disk
    if (auditSeq === null) await writer.makeDurable(imageFolder(upload.image), signature.number);
    return { outcome: 'exists', number: position + 1, sha256, auditSeq };
  }

  /** A damaged file of an owned tree is served from the index alone; the upload brings its bytes back. */
  async function makeSound({ image, bytes }: VerifiedUpload, { number }: RecordedSignature, seen: Look) {
    const path = `${imageFolder(image)}/signature-${number}`;
    if (!seen.problems.some((problem) => problem.path === path && DAMAGE_KINDS.has(problem.kind))) return;
    await writer.restore(imageFolder(image), number, bytes);
    options.report(image, (await lookSettled(image)).problems);
  }

  /** Null when the upload asks for none. */
  async function reviewed({ image, review }: VerifiedUpload, seen: Look): Promise<UploadReview | null> {
    if (review === null) return null;
    const numbers = new Map(
      seen.signatures.flatMap(({ sha256, isFiller }, position) =>
        isFiller === true ? [] : [[sha256, position + 1] as const],
      ),
    );
    const judged = numbers.size === 0 ? [] : await unlessUnusable(() => options.verdicts.ofImage(image), []);
    return review(
      judged.flatMap((signature) => {
        const servedNumber = numbers.get(signature.sha256);
        return servedNumber === undefined ? [] : [{ ...signature, servedNumber }];
      }),
    );
  }

  async function findStandIn(image: ImageId, review: UploadReview | null): Promise<Appended | null> {
    if (review === null || review.standIn === null) return null;
    const { servedNumber: number, sha256 } = review.standIn;
    return { outcome: review.outcome, number, sha256, auditSeq: await auditSeqOf(image, sha256) };
  }

  async function auditSeqOf(image: ImageId, sha256: string): Promise<number | null> {
    const uploaded = await uploads.ofImage(image);
    return uploaded.find((upload) => upload.sha256 === sha256)?.auditSeq ?? null;
  }

  async function add(
    upload: VerifiedUpload,
    seen: Look,
    { needless, mustBeNew }: { readonly needless: Needless; readonly mustBeNew: boolean },
  ): Promise<Appended | null> {
    const { image, bytes, judgement, uploader, event, remap } = upload;
    checkPlace(upload, seen, needless);
    await checkReserve();
    const sha256 = options.sha256(bytes);
    const intent: UploadIntent = {
      kind: 'upload',
      image,
      sha256,
      uploader,
      storedAt: event.at,
      remap,
      event,
    };
    const left = mustBeNew
      ? await placeFirst(intent, judgement, bytes)
      : await place(intent, judgement, bytes, seen.lastNumber + 1);
    if (left === null) return null;
    const auditSeq = await keep(left, intent, bytes);
    const signatures = await record(image, await knownAfter(upload, seen, left.number));
    const position = signatures?.findIndex((signature) => signature.sha256 === sha256) ?? -1;
    const number = position === -1 ? seen.signatures.length + 1 : position + 1;
    return { outcome: 'created', number, sha256, auditSeq };
  }

  /** What a look would find after the upload; null where only a look tells. */
  async function knownAfter(upload: VerifiedUpload, seen: Look, number: number) {
    const { image } = upload;
    if (options.kind === 'shared' || !isAsRecorded(seen) || changes.unfinishedOf(image).length > 1)
      return null;
    // another file may have been put at the number that was free
    if (number !== seen.lastNumber + 1) return null;
    // a withdrawn one may have made another one's file a filler
    if ((await options.tombstones.ofImage(image)).length > 0) return null;
    return [...seen.signatures, recordedOf(upload, number, options.sha256(upload.bytes))];
  }

  return {
    append,
    withdraw: withdrawer.withdraw,
    withdrawOrdered: withdrawer.withdrawOrdered,
    lift: withdrawer.lift,
    async recover() {
      await ending.recover();
      await withdrawer.recoverWithdrawals();
    },
    ...createTender({ ...options, ending, settle: withdrawer.settle }),
  };
}

async function refuseWithdrawn(
  { tombstones, sha256: hash }: Pick<AppenderOptions, 'tombstones' | 'sha256'>,
  { image, bytes }: VerifiedUpload,
): Promise<void> {
  const sha256 = hash(bytes);
  const withdrawn = (await tombstones.ofImage(image)).find((one) => one.isInForce && one.sha256 === sha256);
  if (withdrawn === undefined) return;
  const { number, withdrawnAt, reason, until } = withdrawn;
  const back = until === null ? '' : `, until ${until.toISOString()}`;
  throw new LookasideError(
    'WITHDRAWN',
    `this was signature-${number} of ${imageFolder(image)}, and was withdrawn at ${withdrawnAt.toISOString()}${back}: ${quoted(reason)}; the same bytes are taken no more. Sign the image again if it should be signed`,
    { detail: { number, withdrawnAt, reason, until } },
  );
}

function required(appended: Appended | null): Appended {
  if (appended === null) throw new Error('only a folder that must be new may be in the way');
  return appended;
}

/** Whether nothing is in the image's folder but what is recorded. */
function isAsRecorded({ problems, recorded, signatures, isEmpty }: Look): boolean {
  return problems.length === 0 && sameSignatures(recorded, signatures) && (recorded.length > 0 || isEmpty);
}

/** As a look at the folder tells it: an upload has the time at which it was taken. */
function recordedOf({ bytes, event }: VerifiedUpload, number: number, sha256: string): RecordedSignature {
  const kept = bytes.length <= MAX_INDEXED_BYTES ? bytes : null;
  return { number, sha256, sizeBytes: bytes.length, storedAt: event.at, bytes: kept };
}

function checkPlace({ image, number }: VerifiedUpload, seen: Look, needless: Needless): void {
  const folder = imageFolder(image);
  if (seen.isBeingWritten) {
    const message = `another program is writing to ${folder}, which decides the numbers; try again in a moment`;
    throw new LookasideError('BUSY', message);
  }
  if (seen.isUnsure) throw stillChecked(folder);
  const count = seen.signatures.length;
  if (isFull(seen)) throw tooMany(folder, count, needless);
  requireNextNumber(folder, count, number);
}
