// Adding signatures to a tree: uploads, what a crash left of them, and uploads that another program overwrote. The
// order of the steps is what makes an upload whole or absent: docs/decisions/uploads.md.
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { type Intent, intentText, parseIntent, type UploadIntent } from '../domain/intent.ts';
import { BEING_WRITTEN_MS, MAX_FILE_NUMBER, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type {
  Appended,
  AuditLog,
  Log,
  RecordedSignature,
  SignatureAppender,
  Upload,
  UploadReview,
  UploadStore,
  VerdictIndex,
  VerifiedUpload,
} from '../domain/ports.ts';
import { DAMAGE_KINDS, type SignatureFile, type TreeWriter } from '../domain/tree.ts';
import type { Judgement } from '../domain/verdict.ts';
import type { Unfinished } from './image-changes.ts';
import { createLooker, type Look, type TreeAndIndex, unlessUnusable } from './look.ts';

export interface AppenderOptions extends TreeAndIndex {
  readonly writer: TreeWriter;
  readonly uploads: UploadStore;
  readonly verdicts: Pick<VerdictIndex, 'ofImage'>;
  readonly audit: AuditLog;
  readonly makeRestoreEvent: (image: ImageId, sha256: string) => NewAuditEvent;
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /** On the file system of the databases: the tree may be on another. */
  readonly dataFreeBytes: () => Promise<number>;
  /** Space on each disk that uploads leave free. */
  readonly minFreeBytes: number;
  /** What was read of the image before is no longer true. */
  readonly onChanged: (image: ImageId) => void;
  /** Something of the image was recorded without a verdict. */
  readonly onRecorded: (image: ImageId) => void;
  readonly log: Log;
}

/** What a look tells of the need to mend. */
export type Seen = Pick<Look, 'signatures' | 'isEmpty' | 'isBeingWritten' | 'lastNumber'>;

/** Served numbers; null when nobody looked. */
type Needless = UploadReview['needless'] | null;

export interface Appender extends SignatureAppender {
  /**
   * Ends in the background what is unfinished of the image, and puts back what was uploaded and has gone from a shared
   * tree's folder that still holds a signature; an empty or missing folder is its owner's wish. Never throws.
   */
  tend(image: ImageId, seen: Seen): void;
  /** Resolves when nothing is being tended any more. */
  idle(): Promise<void>;
}

export function createAppender(options: AppenderOptions): Appender {
  const { tree, kind, index, uploads, changes, writer, log } = options;
  const { lookSettled } = createLooker(options);
  const tending = new Set<Promise<void>>();
  /** Keys of the images that are being mended. */
  const mended = new Set<string>();

  async function append(upload: VerifiedUpload): Promise<Appended> {
    return changes.inTurn(upload.image, async () => {
      await finishAll(upload.image);
      const seen = await lookSettled(upload.image);
      const same = await findSame(upload, seen);
      if (same !== null) return same;
      const review = await reviewed(upload, seen);
      const standIn = await findStandIn(upload.image, review);
      return standIn ?? (await add(upload, seen, review?.needless ?? null));
    });
  }

  async function findSame(upload: VerifiedUpload, seen: Look): Promise<Appended | null> {
    const sha256 = options.sha256(upload.bytes);
    const position = seen.signatures.findIndex((signature) => signature.sha256 === sha256);
    const signature = seen.signatures[position];
    if (signature === undefined) return null;
    const auditSeq = await auditSeqOf(upload.image, sha256);
    await makeSound(upload, signature, seen);
    // who put it there may not have waited for the disk
    if (auditSeq === null) await writer.makeDurable(imageFolder(upload.image), signature.number);
    return { outcome: 'exists', number: position + 1, sha256, auditSeq };
  }

  /** An owned file that is damaged is served from the index alone: here are its bytes again. */
  async function makeSound({ image, bytes }: VerifiedUpload, { number }: RecordedSignature, seen: Look) {
    const path = `${imageFolder(image)}/signature-${number}`;
    if (!seen.problems.some((problem) => problem.path === path && DAMAGE_KINDS.has(problem.kind))) return;
    await writer.restore(imageFolder(image), number, bytes);
    options.report(image, (await lookSettled(image)).problems);
  }

  /** Null when the upload asks for none. */
  async function reviewed({ image, review }: VerifiedUpload, seen: Look): Promise<UploadReview | null> {
    if (review === null) return null;
    const numbers = new Map(seen.signatures.map(({ sha256 }, position) => [sha256, position + 1]));
    const judged = await unlessUnusable(() => options.verdicts.ofImage(image), []);
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

  async function add(upload: VerifiedUpload, seen: Look, needless: Needless): Promise<Appended> {
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
    const left = await place(intent, judgement, bytes, seen.lastNumber + 1);
    const auditSeq = await keep(left, intent, bytes);
    const signatures = await record(image);
    const position = signatures?.findIndex((signature) => signature.sha256 === sha256) ?? -1;
    const number = position === -1 ? seen.signatures.length + 1 : position + 1;
    return { outcome: 'created', number, sha256, auditSeq };
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

  /** Of both: once the file is in its place it is served, also when its provenance finds no room. */
  async function checkReserve(): Promise<void> {
    checkFree(tree.root, await writer.freeBytes());
    checkFree('the data directory', await options.dataFreeBytes());
  }

  function checkFree(place: string, freeBytes: number): void {
    if (freeBytes >= options.minFreeBytes) return;
    const message = `${freeBytes} bytes are free for ${place}, and ${options.minFreeBytes} are kept in reserve (LOOKASIDE_MIN_FREE); free some space, then upload again`;
    throw new LookasideError('DISK_FULL', message);
  }

  /** Until this resolves nothing was stored; from then on the file is there for good. */
  async function place(
    intent: Intent,
    judgement: Judgement | null,
    bytes: Uint8Array,
    from: number,
  ): Promise<Unfinished> {
    const prepared = await writer.prepare(intentText(intent), bytes);
    try {
      await writer.place(prepared, imageFolder(intent.image), from);
      return { prepared, intent, judgement, isKept: false };
    } catch (error) {
      await writer.discard(prepared);
      // a reader may have seen the file before it was taken away again
      announce(intent.image);
      throw error;
    }
  }

  /** Provenance and audit event. Failing, they are written later: the file stays. */
  async function keep(left: Unfinished, intent: UploadIntent, bytes: Uint8Array): Promise<number> {
    const { image, sha256, uploader, storedAt, remap, event } = intent;
    const kept = kind === 'shared' ? bytes : null;
    return keeping(left, async () => {
      const upload = { image, sha256, sizeBytes: bytes.length, uploader, storedAt, bytes: kept, remap };
      return (await uploads.add(upload, event)).auditSeq;
    });
  }

  async function keeping<T>(left: Unfinished, act: () => Promise<T>): Promise<T> {
    try {
      const kept = await act();
      changes.leaveUnfinished({ ...left, isKept: true });
      return kept;
    } catch (error) {
      changes.leaveUnfinished(left);
      announce(left.intent.image);
      throw error;
    }
  }

  /**
   * Records the image as it is and so ends all that is unfinished of it and kept. The signatures; null when the index
   * could not be written: until it can, reads look at the disk.
   */
  async function record(image: ImageId): Promise<readonly RecordedSignature[] | null> {
    const ended = changes.unfinishedOf(image).filter(({ isKept }) => isKept);
    const judgements = new Map(ended.map(({ intent, judgement }) => [intent.sha256, judgement]));
    try {
      const seen = await lookSettled(image);
      if (seen.isUnsure) throw stillChecked(imageFolder(image));
      // what is looked at from here on sees the file; what was before must not be recorded over it
      changes.changed(image);
      const signatures = seen.signatures.map((signature) => {
        const judgement = judgements.get(signature.sha256) ?? null;
        return judgement === null ? signature : { ...signature, judgement };
      });
      await index.record([{ image, signatures }]);
      for (const left of ended) {
        await writer.discard(left.prepared);
        changes.finished(left);
      }
      if ([...judgements.values()].includes(null)) options.onRecorded(image);
      return signatures;
    } catch (error) {
      log.warn({ err: error, image: imageFolder(image) }, 'an upload could not be written to the index yet');
      return null;
    } finally {
      announce(image);
    }
  }

  function announce(image: ImageId): void {
    changes.changed(image);
    options.onChanged(image);
  }

  async function finishAll(image: ImageId): Promise<void> {
    if (changes.unfinishedOf(image).length === 0) return;
    for (const left of changes.unfinishedOf(image)) {
      if (!left.isKept) await finish(left);
    }
    await record(image);
  }

  /** A file that is in its place becomes an upload; without one there never was an upload. */
  async function finish(left: Unfinished): Promise<void> {
    const { intent } = left;
    const folder = imageFolder(intent.image);
    const file = await findFile(folder, intent.sha256);
    if (file === null) {
      await writer.discard(left.prepared);
      changes.finished(left);
      return;
    }
    await writer.makeDurable(folder, file.number);
    if (intent.kind === 'restore') {
      await keeping(left, () => options.audit.append(intent.event));
      return;
    }
    const bytes = await tree.readFile(folder, file.number);
    if (bytes === null || options.sha256(bytes) !== intent.sha256) {
      throw new LookasideError('BUSY', `${folder} changes while an upload is ended; try again in a moment`);
    }
    await keep(left, intent, bytes);
  }

  /** The file with these bytes, behind a gap too. */
  async function findFile(folder: string, sha256: string): Promise<SignatureFile | null> {
    const inLine = await tree.readImage(folder);
    if (inLine === null) return null;
    const all = inLine.hidden.length === 0 ? inLine : await tree.readImage(folder, inLine.hidden);
    return all?.files.find((file) => file.sha256 === sha256) ?? null;
  }

  async function recover(): Promise<void> {
    for (const { prepared, intent: text } of await writer.leftOver()) {
      const intent = text === null ? null : parseIntent(text);
      if (intent === null) {
        await writer.discard(prepared);
        continue;
      }
      changes.leaveUnfinished({ prepared, intent, judgement: null, isKept: false });
      try {
        await changes.inTurn(intent.image, () => finishAll(intent.image));
      } catch (error) {
        const image = imageFolder(intent.image);
        log.error({ err: error, image }, 'an interrupted upload could not be ended; it is tried again later');
      }
    }
  }

  function tend(image: ImageId, seen: Seen): void {
    if (mended.has(imageKey(image))) return;
    if (changes.unfinishedOf(image).length === 0 && !mayLack(seen)) return;
    const job = mendWhatLacks(image, seen)
      .catch((error: unknown) => logTrouble(image, error))
      .finally(() => tending.delete(job));
    tending.add(job);
  }

  /** Who asks meanwhile has seen something else: each asks for itself, until one of them mends. */
  async function mendWhatLacks(image: ImageId, seen: Seen): Promise<void> {
    const isUnfinished = changes.unfinishedOf(image).length > 0;
    if (!isUnfinished && lacking(seen, await uploads.ofImage(image)).length === 0) return;
    const key = imageKey(image);
    if (mended.has(key)) return;
    mended.add(key);
    try {
      await mend(image);
    } finally {
      mended.delete(key);
    }
  }

  function logTrouble(image: ImageId, error: unknown): void {
    log.warn(
      { err: error, image: imageFolder(image) },
      'uploads could not be held against the tree; that is tried again when the image is looked at',
    );
  }

  async function mend(image: ImageId): Promise<void> {
    // who overwrites one signature goes on to delete others: let it come to an end
    if (kind === 'shared') await options.wait(BEING_WRITTEN_MS);
    await changes.inTurn(image, async () => {
      await finishAll(image);
      await putBackAll(image);
    });
  }

  /** Whether uploads may be put back: into a shared tree's folder that still holds a signature. */
  function mayLack(seen: Seen): boolean {
    return kind === 'shared' && !seen.isEmpty && !seen.isBeingWritten && !isFull(seen);
  }

  /** Of the image's uploads those that its folder has lost. */
  function lacking(seen: Seen, uploaded: readonly Upload[]): readonly Upload[] {
    if (!mayLack(seen)) return [];
    const there = new Set(seen.signatures.map(({ sha256 }) => sha256));
    return uploaded.filter(({ sha256 }) => !there.has(sha256));
  }

  async function putBackAll(image: ImageId): Promise<void> {
    if (kind === 'owned') return;
    const tried = new Set<string>();
    // once and first: in turn nobody adds one, and after the last look nothing may be waited for, so that whoever
    // finds something missing later is not turned away by a mending that has ended
    const uploaded = await uploads.ofImage(image);
    for (;;) {
      // anew each time: filling a gap may bring back others
      const seen = await lookSettled(image);
      const upload = lacking(seen, uploaded).find(({ sha256 }) => !tried.has(sha256));
      if (upload === undefined) return;
      tried.add(upload.sha256);
      await putBack(image, upload, seen.lastNumber + 1);
    }
  }

  async function putBack(image: ImageId, { sha256, auditSeq }: Upload, from: number): Promise<void> {
    const fields = { image: imageFolder(image), sha256, auditSeq };
    const bytes = await uploads.bytesOf(image, sha256);
    if (bytes === null || options.sha256(bytes) !== sha256) {
      log.error(fields, 'an uploaded signature has gone from the shared tree, and its bytes were not kept');
      return;
    }
    const event = options.makeRestoreEvent(image, sha256);
    const left = await place({ kind: 'restore', image, sha256, event }, null, bytes, from);
    await keeping(left, () => options.audit.append(event));
    await record(image);
    log.warn(fields, 'another program had overwritten or deleted an uploaded signature; it was put back');
  }

  return {
    append,
    recover,
    tend,
    async idle() {
      while (tending.size > 0) await Promise.all(tending);
    },
  };
}

/** A file above MAX_FILE_NUMBER would never be looked at. */
function isFull({ signatures, lastNumber }: Seen): boolean {
  return signatures.length >= MAX_SIGNATURES_PER_IMAGE || lastNumber >= MAX_FILE_NUMBER;
}

function tooMany(folder: string, count: number, needless: Needless): LookasideError {
  if (count < MAX_SIGNATURES_PER_IMAGE) {
    const message = `${folder} has files up to signature-${MAX_FILE_NUMBER}, the last that is looked at, and ${count} of them are served; lookaside fsck names the others. Delete those, rename the rest so that no number is missing, then upload again`;
    return new LookasideError('TOO_MANY_SIGNATURES', message);
  }
  const message = `${folder} has ${count} signatures, and clients refuse an image with more; none can be added`;
  if (needless === null) return new LookasideError('TOO_MANY_SIGNATURES', message);
  const advice =
    needless.length === 0
      ? 'each of them serves some client'
      : `no client needs ${needless.map((number) => `signature-${number}`).join(', ')}, which could be withdrawn`;
  return new LookasideError('TOO_MANY_SIGNATURES', `${message}; ${advice}`, { detail: { needless } });
}

function stillChecked(folder: string): LookasideError {
  const message = `the index is being checked, which decides the numbers of ${folder}; try again in a moment`;
  return new LookasideError('BUSY', message);
}
