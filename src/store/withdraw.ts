// Withdrawing signatures. The tombstone is written first, and decides from then on what is served; files and index follow, and
// what a crash or a failure cuts short is done later: docs/decisions/withdrawing.md.
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type {
  Appended,
  NewTombstone,
  OrderedWithdrawal,
  RecordedSignature,
  TombstoneStore,
  Withdrawal,
} from '../domain/ports.ts';
import { type Tombstone, withdrawnOf, withFillers } from '../domain/tombstone.ts';
import { createLooker, isFull, stillChecked, tooMany } from './look.ts';
import type { Ending, EndingOptions } from './unfinished.ts';

export interface WithdrawerOptions extends EndingOptions {
  readonly tombstones: TombstoneStore;
  readonly ending: Ending;
  /** Name of the site. */
  readonly site: string;
  /** The audit event of a withdrawal that has ended. */
  readonly makeLiftEvent: (tombstone: Tombstone) => NewAuditEvent;
}

export interface Withdrawer {
  withdraw(withdrawal: Withdrawal): Promise<Tombstone>;
  /** Those of the signatures that stand there, under an event that is written already; how many they were. */
  withdrawOrdered(order: OrderedWithdrawal): Promise<number>;
  /** Puts it back at the next number. Null when it is not withdrawn. */
  lift(tombstone: Tombstone): Promise<Appended['number'] | null>;
  /** In the image's turn: makes files and index what the tombstones say. */
  settle(image: ImageId): Promise<void>;
  /** Ends what a crash has left; what cannot be ended yet is ended with the next look at the image. */
  recoverWithdrawals(): Promise<void>;
}

export function createWithdrawer(options: WithdrawerOptions): Withdrawer {
  const { tree, tombstones, changes, ending, log } = options;
  const { lookSettled } = createLooker(options);

  async function withdraw(withdrawal: Withdrawal): Promise<Tombstone> {
    const { image } = withdrawal;
    return changes.inTurn(image, async () => {
      await ending.finishAll(image);
      if (changes.isUnsettled(image)) await settle(image);
      const tombstone = await bury(withdrawal);
      await settle(image);
      return tombstone;
    });
  }

  async function withdrawOrdered(order: OrderedWithdrawal): Promise<number> {
    const { image } = order;
    return changes.inTurn(image, async () => {
      await ending.finishAll(image);
      if (changes.isUnsettled(image)) await settle(image);
      const count = await buryAll(order);
      if (count > 0) await settle(image);
      return count;
    });
  }

  async function buryAll(order: OrderedWithdrawal): Promise<number> {
    const { image, auditSeq } = order;
    const seen = await lookSettled(image);
    if (seen.isUnsure) throw stillChecked(imageFolder(image));
    const rows = rowsOf(order, seen.signatures, await tombstones.ofImage(image));
    if (rows.length === 0) return 0;
    // as in bury()
    changes.leaveUnsettled(image);
    try {
      await tombstones.putAll(rows, auditSeq);
    } finally {
      announce(image);
    }
    return rows.length;
  }

  async function bury({ image, number, event: makeEvent, ...why }: Withdrawal): Promise<Tombstone> {
    const seen = await lookSettled(image);
    if (seen.isUnsure) throw stillChecked(imageFolder(image));
    const signature = seen.signatures[number - 1];
    if (signature === undefined || signature.isFiller === true) throw notThere(image, number, signature);
    const { sha256 } = signature;
    const event = makeEvent(sha256);
    const { by: withdrawnBy, reason, until } = why;
    const bytes = until === null ? null : await bytesOf(options, image, signature);
    const known = await tombstones.ofImage(image);
    const details = { image, sha256, number, auditSeq: 0, withdrawnAt: event.at, withdrawnBy, reason, until };
    const wanted: Tombstone = { ...details, fillers: [], isInForce: true };
    const others = known.filter((one) => one.sha256 !== sha256);
    const stay = withFillers(seen.signatures, [...others, wanted]);
    const places = new Set(seen.signatures.filter((one) => one.sha256 === sha256).map((one) => one.number));
    const fillers = stay.map((one) => one.number).filter((one) => places.has(one));
    // from now on reads look at tombstones, and the set in memory answers no more
    changes.leaveUnsettled(image);
    try {
      const { auditSeq } = await tombstones.put({ ...details, fillers, bytes }, event);
      return { ...wanted, fillers, auditSeq };
    } finally {
      // also after a failure: it may have been committed all the same
      announce(image);
    }
  }

  async function settle(image: ImageId): Promise<void> {
    const buried = await tombstones.ofImage(image);
    const gone = withdrawnOf(buried);
    const { signatures } = await lookSettled(image);
    await replaceFiles(options, image, gone, signatures);
    const recorded = await ending.record(image);
    if (recorded === null) {
      throw new LookasideError(
        'BUSY',
        `what is withdrawn from ${imageFolder(image)} is served no more, but the index does not know it yet; it is tried again by itself`,
      );
    }
    const settled = buried.map(({ sha256 }) => sha256);
    await tombstones.settle(image, settled, recorded.length === 0);
    changes.settled(image);
    announce(image);
  }

  async function lift(tombstone: Tombstone): Promise<number | null> {
    const { image, sha256 } = tombstone;
    return changes.inTurn(image, async () => {
      // while this waited, it may have ended, and the same bytes may have been withdrawn once more
      if (!(await isInForce(tombstones, tombstone))) return null;
      await ending.finishAll(image);
      if (changes.isUnsettled(image)) await settle(image);
      // an earlier try was still to be ended
      if (!(await isInForce(tombstones, tombstone)))
        return numberOf(sha256, (await lookSettled(image)).signatures);
      const bytes = await tombstones.bytesOf(image, sha256);
      const event = options.makeLiftEvent(tombstone);
      if (tombstone.until !== null && event.at < tombstone.until) return null; // the clock was set back
      if (bytes === null) {
        await tombstones.lift(image, sha256, event); // nothing is kept that could come back
        return null;
      }
      // a try that was cut short has left it there
      const isThere = (await tree.readImage(imageFolder(image)))?.files.some(
        (file) => file.sha256 === sha256,
      );
      const intent = { kind: 'restore', image, sha256, event } as const;
      const seen = await lookSettled(image);
      // behind the last number that is served it would be lost, bytes and all
      if (isThere !== true && isFull(seen)) throw tooMany(imageFolder(image), seen.signatures.length, null);
      const left = isThere === true ? null : await ending.place(intent, null, bytes, seen.lastNumber + 1);
      // Where this fails, the pair is left for the next try, not for the next start: by then the same bytes may be withdrawn once
      // more. The event belongs to the end of the withdrawal, in one transaction.
      if (left === null) await tombstones.lift(image, sha256, event);
      else await ending.keepEvent(left);
      announce(image);
      return numberOf(sha256, (await ending.record(image)) ?? []);
    });
  }

  async function recoverWithdrawals(): Promise<void> {
    for (const { image } of await tombstones.unsettled(options.site)) {
      changes.leaveUnsettled(image);
      try {
        await changes.inTurn(image, async () => {
          if (changes.isUnsettled(image)) await settle(image);
        });
      } catch (error) {
        log.error(
          { err: error, image: imageFolder(image) },
          'an interrupted withdrawal could not be ended; it is tried again when the image is read',
        );
      }
    }
  }

  function announce(image: ImageId): void {
    changes.changed(image);
    options.onChanged(image);
  }

  return { withdraw, withdrawOrdered, lift, settle, recoverWithdrawals };
}

/** This very withdrawal, not another one of the same bytes. */
async function isInForce(
  tombstones: Pick<TombstoneStore, 'ofImage'>,
  { image, sha256, auditSeq }: Tombstone,
): Promise<boolean> {
  const now = (await tombstones.ofImage(image)).find((one) => one.sha256 === sha256);
  return now?.isInForce === true && now.auditSeq === auditSeq;
}

async function bytesOf(
  { tree, sha256: hash }: Pick<WithdrawerOptions, 'tree' | 'sha256'>,
  image: ImageId,
  { number, sha256, bytes }: RecordedSignature,
): Promise<Uint8Array> {
  const content = bytes ?? (await tree.readFile(imageFolder(image), number));
  if (content !== null && hash(content) === sha256) return content;
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `${imageFolder(image)}/signature-${number} is damaged, so it could not be put back later; withdraw it without an end, or restore it from a backup first`,
  );
}

/** Null: none. */
function numberOf(sha256: string, signatures: readonly RecordedSignature[]): number | null {
  const at = signatures.findIndex((one) => one.sha256 === sha256);
  return at === -1 ? null : at + 1;
}

function notThere(image: ImageId, number: number, recorded: RecordedSignature | undefined): LookasideError {
  const path = `${imageFolder(image)}/signature-${number}`;
  return new LookasideError(
    'NOT_FOUND',
    recorded === undefined
      ? `there is no ${path}; lookaside show names the signatures of an image`
      : `${path} was withdrawn already, and a copy of another signature stands there`,
  );
}

/** From the highest number down, so that no number is missing below one that is there. */
async function replaceFiles(
  { tree, writer }: Pick<WithdrawerOptions, 'tree' | 'writer'>,
  image: ImageId,
  gone: ReadonlySet<string>,
  signatures: readonly RecordedSignature[],
): Promise<void> {
  const folder = imageFolder(image);
  const numbers = signatures.map(({ number }) => number);
  const files = (await tree.readImage(folder, numbers))?.files ?? [];
  const sources = new Map(
    files.flatMap(({ number, sha256 }) => (sha256 === null ? [] : [[sha256, number] as const])).reverse(),
  );
  for (const { number, sha256 } of files.toSorted((a, b) => b.number - a.number)) {
    if (sha256 === null || !gone.has(sha256)) continue;
    const filler = signatures.find((one) => one.number === number);
    if (filler === undefined) await writer.remove(folder, number);
    else await fill(writer, folder, filler, sources.get(filler.sha256) ?? null);
  }
}

async function fill(
  writer: WithdrawerOptions['writer'],
  folder: string,
  filler: RecordedSignature,
  source: number | null,
): Promise<void> {
  if (source !== null) return writer.fill(folder, filler.number, source);
  // the other one's file is damaged, and served from the index alone
  if (filler.bytes !== null) return writer.restore(folder, filler.number, filler.bytes);
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `a signature of ${folder} is damaged, and was to take the place of one that is withdrawn; restore it from a backup`,
  );
}

/** Those of the ordered signatures that stand there, with the numbers of their fillers. */
function rowsOf(
  { image, sha256s, by, reason, at, auditSeq }: OrderedWithdrawal,
  signatures: readonly RecordedSignature[],
  known: readonly Tombstone[],
): readonly NewTombstone[] {
  const numbers = new Map<string, number>();
  for (const [position, { sha256, isFiller }] of signatures.entries()) {
    if (isFiller !== true && sha256s.has(sha256) && !numbers.has(sha256)) numbers.set(sha256, position + 1);
  }
  const details = { image, withdrawnAt: at, withdrawnBy: by, reason, until: null };
  const wanted = [...numbers].map(([sha256, number]) => ({ ...details, sha256, number }));
  const buried = wanted.map((one) => ({ ...one, auditSeq, fillers: [], isInForce: true }));
  const stay = withFillers(signatures, [...known.filter(({ sha256 }) => !numbers.has(sha256)), ...buried]);
  return wanted.map((one) => {
    const places = new Set(
      signatures.flatMap(({ sha256, number }) => (sha256 === one.sha256 ? [number] : [])),
    );
    const fillers = stay.flatMap(({ number }) => (places.has(number) ? [number] : []));
    return { ...one, fillers, bytes: null };
  });
}
