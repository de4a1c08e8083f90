// Puts uploads back that another program has overwritten or deleted in a shared tree, each once, at the next number. Also
// finishes unfinished uploads of an image when it is looked at. Both happen in the background.
import type { NewAuditEvent } from '../domain/audit.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { BEING_WRITTEN_MS } from '../domain/limits.ts';
import type { Log, Upload, UploadStore } from '../domain/ports.ts';
import { createLooker, isFull, type Look, type TreeAndIndex } from './look.ts';
import type { Ending } from './unfinished.ts';

export interface TenderOptions extends TreeAndIndex {
  readonly ending: Ending;
  readonly uploads: UploadStore;
  /** Makes files and index what the image's tombstones say. */
  readonly settle: (image: ImageId) => Promise<void>;
  readonly makeRestoreEvent: (image: ImageId, sha256: string) => NewAuditEvent;
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  readonly log: Log;
}

/** What a look at an image found, as far as it decides whether something must be mended. */
export type Seen = Pick<Look, 'signatures' | 'isEmpty' | 'isBeingWritten' | 'lastNumber' | 'problems'>;

export interface Tender {
  /**
   * Finishes the image's unfinished uploads in the background. Puts back uploads that are gone from a shared tree's folder, if
   * the folder still holds a signature: an empty or missing folder is its owner's wish. Never throws.
   */
  tend(image: ImageId, seen: Seen): void;
  /** Resolves when no such work is under way. */
  idle(): Promise<void>;
}

export function createTender(options: TenderOptions): Tender {
  const { kind, uploads, changes, ending, log } = options;
  const { lookSettled } = createLooker(options);
  const tending = new Set<Promise<void>>();
  /** Keys of the images that this work is changing. */
  const mended = new Set<string>();

  function tend(image: ImageId, seen: Seen): void {
    if (mended.has(imageKey(image))) return;
    if (changes.unfinishedOf(image).length === 0 && !isUnsettled(image, seen) && !mayLack(seen)) return;
    const job = mendWhatLacks(image, seen)
      .catch((error: unknown) => logTrouble(image, error))
      .finally(() => tending.delete(job));
    tending.add(job);
  }

  /** Other calls meanwhile have seen other folders: each decides for itself, until one of them begins to put back. */
  async function mendWhatLacks(image: ImageId, seen: Seen): Promise<void> {
    const isUnfinished = changes.unfinishedOf(image).length > 0 || isUnsettled(image, seen);
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

  /** Withdrawn bytes may have come back. */
  function isUnsettled(image: ImageId, { problems }: Pick<Seen, 'problems'>): boolean {
    return changes.isUnsettled(image) || problems.some((problem) => problem.kind === 'withdrawn');
  }

  function logTrouble(image: ImageId, error: unknown): void {
    log.warn(
      { err: error, image: imageFolder(image) },
      'uploads could not be compared with the tree; this is tried again when the image is read',
    );
  }

  async function mend(image: ImageId): Promise<void> {
    // a program that overwrites one signature goes on to delete others: wait until it has finished
    if (kind === 'shared') await options.wait(BEING_WRITTEN_MS);
    await changes.inTurn(image, async () => {
      await ending.finishAll(image);
      if (isUnsettled(image, await lookSettled(image))) await options.settle(image);
      await putBackAll(image);
    });
  }

  /** Whether uploads may be put back: into a shared tree's folder that still holds a signature. */
  function mayLack(seen: Seen): boolean {
    return kind === 'shared' && !seen.isEmpty && !seen.isBeingWritten && !isFull(seen);
  }

  /** The image's uploads that its folder has lost. */
  function lacking(seen: Seen, uploaded: readonly Upload[]): readonly Upload[] {
    if (!mayLack(seen)) return [];
    const there = new Set(seen.signatures.map(({ sha256 }) => sha256));
    return uploaded.filter(({ sha256 }) => !there.has(sha256));
  }

  async function putBackAll(image: ImageId): Promise<void> {
    if (kind === 'owned') return;
    const tried = new Set<string>();
    // asked once and first: during the image's turn no upload is added. After the last look nothing may be awaited: a
    // later call that finds something missing would meet this work as if it still ran
    const uploaded = await uploads.ofImage(image);
    for (;;) {
      // look again each time: filling a gap may bring back other files
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
    const left = await ending.place({ kind: 'restore', image, sha256, event }, null, bytes, from);
    await ending.keepEvent(left);
    await ending.record(image);
    log.warn(fields, 'another program had overwritten or deleted an uploaded signature; it was put back');
  }

  return {
    tend,
    async idle() {
      while (tending.size > 0) await Promise.all(tending);
    },
  };
}
