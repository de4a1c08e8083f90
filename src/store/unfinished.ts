// The steps of an upload: its file takes its place, its provenance is written, and the index records it. Steps that a crash or
// a failure has cut off are done later, in the same order: docs/decisions/uploads.md.
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { type Intent, intentText, parseIntent, type UploadIntent } from '../domain/intent.ts';
import type { AuditLog, Log, RecordedSignature, TombstoneStore, UploadStore } from '../domain/ports.ts';
import { PlaceUnknown, type SignatureFile, type Tree, type TreeWriter } from '../domain/tree.ts';
import type { Judgement } from '../domain/verdict.ts';
import type { ImageChanges, Unfinished } from './image-changes.ts';
import { createLooker, stillChecked, type TreeAndIndex } from './look.ts';

export interface EndingOptions extends TreeAndIndex {
  readonly writer: TreeWriter;
  readonly uploads: UploadStore;
  readonly audit: AuditLog;
  readonly tombstones: Pick<TombstoneStore, 'ofImage' | 'lift'>;
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /** What was read of the image before is no longer true. */
  readonly onChanged: (image: ImageId) => void;
  /** Something of the image was recorded without a verdict. */
  readonly onRecorded: (image: ImageId) => void;
  readonly log: Log;
}

/** A file that has just come into its place. */
export interface Placed extends Unfinished {
  readonly number: number;
}

/** The steps of adding a file, in their order, each in the image's turn; and the completion of those that were cut off. */
export interface Ending {
  /** Before this resolves nothing is stored; afterwards the file stays for good. */
  place(intent: Intent, judgement: Judgement | null, bytes: Uint8Array, from: number): Promise<Placed>;
  /** The same for the first file of an image that has no folder. Null, and nothing is stored: it has one. */
  placeFirst(intent: Intent, judgement: Judgement | null, bytes: Uint8Array): Promise<Placed | null>;
  /** Writes provenance and audit event; the event's number. If that fails they are written later: the file stays. */
  keep(left: Unfinished, intent: UploadIntent, bytes: Uint8Array): Promise<number>;
  /** Writes the audit event alone, for bytes that were uploaded before; with the end of their withdrawal, when it is the event of that. */
  keepEvent(left: Unfinished): Promise<void>;
  /**
   * Records the image as it is, which completes its unfinished uploads that have their provenance. The signatures; null when the
   * index could not be written: until it can be, reads look at the disk. `known`: what a look would find, if that is certain.
   */
  record(
    image: ImageId,
    known?: readonly RecordedSignature[] | null,
  ): Promise<readonly RecordedSignature[] | null>;
  /** Completes the image's unfinished uploads. */
  finishAll(image: ImageId): Promise<void>;
  /** Completes all uploads that a crash cut off; one that cannot be completed yet is tried again at the image's next upload. */
  recover(): Promise<void>;
}

export function createEnding(options: EndingOptions): Ending {
  const { tree, kind, index, uploads, changes, writer, log } = options;
  const { lookSettled } = createLooker(options);

  async function keep(left: Unfinished, intent: UploadIntent, bytes: Uint8Array): Promise<number> {
    const { image, sha256, uploader, storedAt, remap, event } = intent;
    const kept = kind === 'shared' ? bytes : null;
    return keeping(left, async () => {
      const upload = { image, sha256, sizeBytes: bytes.length, uploader, storedAt, bytes: kept, remap };
      return (await uploads.add(upload, event)).auditSeq;
    });
  }

  async function keepEvent(left: Unfinished): Promise<void> {
    const { image, sha256, event } = left.intent;
    await keeping(left, async () => {
      // the event of a withdrawal's end belongs to the tombstone: alone, it would be told of one that goes on, and then once more
      if (event.action === 'withdraw-end') await options.tombstones.lift(image, sha256, event);
      else await options.audit.append(event);
    });
  }

  async function keeping<T>(left: Unfinished, act: () => Promise<T>): Promise<T> {
    // before the write: a read may see the new rows before we hear of them, and the next read must not ask the index alone
    if (kind === 'owned') changes.leaveUnfinished(left);
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

  async function record(
    image: ImageId,
    known: readonly RecordedSignature[] | null = null,
  ): Promise<readonly RecordedSignature[] | null> {
    const ended = changes.unfinishedOf(image).filter(({ isKept }) => isKept);
    const judgements = new Map(ended.map(({ intent, judgement }) => [intent.sha256, judgement]));
    try {
      const present = known ?? (await look(image));
      // looks from here on see the file; an earlier look must not be recorded over it
      changes.changed(image);
      const signatures = present.map((signature) => {
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

  async function look(image: ImageId): Promise<readonly RecordedSignature[]> {
    const seen = await lookSettled(image);
    if (seen.isUnsure) throw stillChecked(imageFolder(image));
    return seen.signatures;
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

  /** A file in its place becomes an upload; without a file there was no upload. */
  async function finish(left: Unfinished): Promise<void> {
    const { intent } = left;
    const folder = imageFolder(intent.image);
    const file = await findFile(tree, folder, intent.sha256);
    if (file === null) {
      await writer.discard(left.prepared);
      changes.finished(left);
      return;
    }
    await writer.makeDurable(folder, file.number);
    if (intent.kind === 'restore') {
      await keepEvent(left);
      return;
    }
    const bytes = await tree.readFile(folder, file.number);
    if (bytes === null || options.sha256(bytes) !== intent.sha256) {
      throw new LookasideError('BUSY', `${folder} changes while an upload is ended; try again in a moment`);
    }
    await keep(left, intent, bytes);
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

  return {
    ...createPlacing(writer, changes, announce),
    keep,
    keepEvent,
    record,
    finishAll,
    recover,
  };
}

function createPlacing(
  writer: TreeWriter,
  changes: ImageChanges,
  announce: (image: ImageId) => void,
): Pick<Ending, 'place' | 'placeFirst'> {
  return {
    async place(intent, judgement, bytes, from) {
      const prepared = await writer.prepare(intentText(intent), bytes);
      try {
        const number = await writer.place(prepared, imageFolder(intent.image), from);
        return { prepared, intent, judgement, isKept: false, number };
      } catch (error) {
        // the next upload to the image, or look at it, finds out whether it has come to be one
        if (error instanceof PlaceUnknown)
          changes.leaveUnfinished({ prepared, intent, judgement, isKept: false });
        else await writer.discard(prepared);
        // a reader may have seen the file before it was removed again
        announce(intent.image);
        throw error;
      }
    },
    async placeFirst(intent, judgement, bytes) {
      try {
        const prepared = await writer.addNew(imageFolder(intent.image), intentText(intent), bytes);
        if (prepared !== null) return { prepared, intent, judgement, isKept: false, number: 1 };
        // a reader may have seen it before it was taken back, as another one of its group has failed
        announce(intent.image);
        return null;
      } catch (error) {
        // its intent has a name that only the next start can know
        if (error instanceof PlaceUnknown)
          changes.leaveUnfinished({ prepared: intent.sha256, intent, judgement, isKept: false });
        announce(intent.image);
        throw error;
      }
    },
  };
}

/** The file with these bytes, even behind a gap. */
async function findFile(
  tree: Pick<Tree, 'readImage'>,
  folder: string,
  sha256: string,
): Promise<SignatureFile | null> {
  const inLine = await tree.readImage(folder);
  if (inLine === null) return null;
  const all = inLine.hidden.length === 0 ? inLine : await tree.readImage(folder, inLine.hidden);
  return all?.files.find((file) => file.sha256 === sha256) ?? null;
}
