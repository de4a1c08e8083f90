// The access log as the main thread sees it: it sends batches, split at midnight UTC, to the writer thread.
import { LookasideError } from '../domain/errors.ts';
import type { AccessBatch, AccessLimits, AccessLog, AccessPruned } from '../domain/ports.ts';
import { sizeOf } from './access-columns.ts';
import { closeDay, daysIn } from './close-day.ts';
import { messageOf } from './open.ts';
import { packUnsigned } from './pack-unsigned.ts';
import { dayOf, type PackedDays, packDays } from './packed-days.ts';
import type { Writer } from './writer.ts';

// The size of one hour's count in the writer's queue.
const COUNT_BYTES = 600;
const PRUNE_BYTES = 100;
const LATE_MS = 120_000;
/** What was asked for since is read from the day itself. */
const PACK_EVERY_MS = 600_000;
/** A damaged day stays damaged, and its indexes are seconds of work. */
const CLOSE_AGAIN_MS = 600_000;
/** The part of the record's share of the disk that the sums over unsigned images may take; they can be made anew, and days cannot. */
const UNSIGNED_SHARE = 1 / 4;

export class SqliteAccessLog implements AccessLog {
  readonly #writer: Writer;
  readonly #dataDir: string;
  /** Days that are known to be done; a change takes its day out. */
  readonly #closed = new Set<string>();
  /** When it was last tried in vain to close a day. */
  readonly #failedAtMs = new Map<string, number>();
  #packedAtMs = Number.NEGATIVE_INFINITY;
  readonly #stopping = new AbortController();
  /** What tidies up now, one at a time. */
  #tidying: Promise<void> | null = null;
  #maxBytes = Number.POSITIVE_INFINITY;

  constructor(writer: Writer, dataDir: string) {
    this.#writer = writer;
    this.#dataDir = dataDir;
  }

  /** Each day of the batch is one transaction, so that another try after a lock counts nothing twice. */
  async write(batch: AccessBatch): Promise<void> {
    await this.writePacked(await packDays(batch));
  }

  /** The same of a batch that another process has packed. @throws BUSY, STORE_UNAVAILABLE */
  async writePacked(days: PackedDays): Promise<void> {
    const written = [...days].map(([day, ofDay]) =>
      this.changing(day, () => this.#writer.run('access.write', { day, batch: ofDay }, sizeOf(ofDay))),
    );
    const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  /** What changes a day opens it again: the next closeDays() closes it anew. */
  async changing<Out>(day: string, change: () => Promise<Out>): Promise<Out> {
    // what closes the day now has summed it up before
    this.#closed.delete(day);
    try {
      return await change();
    } finally {
      // meanwhile, it may have been seen as it was before, and taken for done
      this.#closed.delete(day);
    }
  }

  prune(limits: AccessLimits): Promise<AccessPruned> {
    this.#maxBytes = limits.maxBytes;
    return this.#writer.run('access.prune', limits, PRUNE_BYTES);
  }

  async closeDays(now: Date): Promise<void> {
    // two would write the same day's indexes; what this call would find, the next one does
    if (this.#tidying !== null) return;
    this.#tidying = this.#tidyUp(now);
    try {
      await this.#tidying;
    } catch (error) {
      if (!this.#stopping.signal.aborted) throw error; // the next start goes on with it
    } finally {
      this.#tidying = null;
    }
  }

  /** Ends what tidies up days: the next start goes on with it. Call it when the server begins to stop; close() waits for that. */
  hurry(): void {
    this.#stopping.abort();
  }

  /** Calls hurry(). No thread of ours writes afterwards. */
  async close(): Promise<void> {
    this.hurry();
    await Promise.allSettled([this.#tidying]);
  }

  async #tidyUp(now: Date): Promise<void> {
    // late reads of the last second still come
    const before = dayOf(new Date(now.getTime() - LATE_MS));
    const isDue = (sinceMs: number | undefined, everyMs: number) =>
      sinceMs === undefined || Math.abs(now.getTime() - sinceMs) >= everyMs;
    let isAnyNew = false;
    // a day that is damaged, or has no room, keeps no later one from being closed
    const failures: unknown[] = [];
    for (const day of daysIn(this.#dataDir)) {
      if (day >= before || this.#closed.has(day)) continue;
      if (!isDue(this.#failedAtMs.get(day), CLOSE_AGAIN_MS)) continue;
      this.#stopping.signal.throwIfAborted();
      this.#failedAtMs.delete(day);
      this.#closed.add(day);
      try {
        if (await this.#close(day, now)) isAnyNew = true;
      } catch (error) {
        this.#closed.delete(day);
        this.#failedAtMs.set(day, now.getTime());
        failures.push(error);
      }
    }
    if (isAnyNew || isDue(this.#packedAtMs, PACK_EVERY_MS)) {
      await this.#pack(now).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw togetherOf(failures);
  }

  /** False: it was closed before, is gone, or late reads have come meanwhile, so that the next call does it anew. */
  async #close(day: string, now: Date): Promise<boolean> {
    const totals = await closeDay(this.#dataDir, day, this.#stopping.signal);
    if (totals === null) return false;
    const sizeBytes = COUNT_BYTES * (totals.hours.length + totals.dropped.length);
    await this.#writer.run('state.put-access-hours', { day, ...totals }, sizeBytes);
    // behind this look, late reads come behind the mark and take it away
    if (!this.#closed.has(day)) return false;
    await this.#writer.run('access.mark-closed', { day, at: now }, PRUNE_BYTES);
    return true;
  }

  async #pack(now: Date): Promise<void> {
    this.#packedAtMs = now.getTime(); // a failure waits for the next time too: questions read the days themselves meanwhile
    await packUnsigned(this.#dataDir, this.#maxBytes * UNSIGNED_SHARE, this.#stopping.signal);
  }
}

const NAMED = 3;

function togetherOf(failures: readonly unknown[]): unknown {
  if (failures.length === 1) return failures[0];
  const more = failures.length > NAMED ? `; and ${failures.length - NAMED} more` : '';
  const message = failures.slice(0, NAMED).map(messageOf).join('; ') + more;
  return new LookasideError('STORE_UNAVAILABLE', message, { cause: failures[0] });
}
