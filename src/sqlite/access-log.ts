// The access log as the main thread sees it: it sends batches, split at midnight UTC, to the writer thread.
import type { AccessBatch, AccessLimits, AccessLog, AccessPruned } from '../domain/ports.ts';
import { sizeOf } from './access-columns.ts';
import { closeDay, daysIn } from './close-day.ts';
import { packUnsigned } from './pack-unsigned.ts';
import { dayOf, type PackedDays, packDays } from './packed-days.ts';
import type { Writer } from './writer.ts';

// The size of one hour's count in the writer's queue.
const COUNT_BYTES = 600;
const PRUNE_BYTES = 100;
const LATE_MS = 120_000;
/** What was asked for since is read from the day itself. */
const PACK_EVERY_MS = 600_000;
/** Of what the record may take on the disk, the sums over unsigned images may take that part; they can be made anew, and days cannot. */
const UNSIGNED_SHARE = 1 / 4;

export class SqliteAccessLog implements AccessLog {
  readonly #writer: Writer;
  readonly #dataDir: string;
  /** Days that are known to be done; a write takes its day out. */
  readonly #closed = new Set<string>();
  #packedAtMs = Number.NEGATIVE_INFINITY;
  #packing = false;
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
    for (const day of days.keys()) this.#closed.delete(day);
    const written = [...days].map(([day, ofDay]) =>
      this.#writer.run('access.write', { day, batch: ofDay }, sizeOf(ofDay)),
    );
    const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  prune(limits: AccessLimits): Promise<AccessPruned> {
    this.#maxBytes = limits.maxBytes;
    return this.#writer.run('access.prune', limits, PRUNE_BYTES);
  }

  async closeDays(now: Date): Promise<void> {
    // late reads of the last second still come
    const before = dayOf(new Date(now.getTime() - LATE_MS));
    let isAnyNew = false;
    for (const day of daysIn(this.#dataDir)) {
      if (day >= before || this.#closed.has(day)) continue;
      this.#closed.add(day);
      try {
        const totals = await closeDay(this.#dataDir, day);
        if (totals === null) continue;
        const sizeBytes = COUNT_BYTES * (totals.hours.length + totals.dropped.length);
        await this.#writer.run('state.put-access-hours', { day, ...totals }, sizeBytes);
        await this.#writer.run('access.mark-closed', { day, at: now }, PRUNE_BYTES);
        isAnyNew = true;
      } catch (error) {
        this.#closed.delete(day);
        throw error;
      }
    }
    if (isAnyNew || Math.abs(now.getTime() - this.#packedAtMs) >= PACK_EVERY_MS) await this.#pack(now);
  }

  async #pack(now: Date): Promise<void> {
    if (this.#packing) return;
    this.#packing = true;
    this.#packedAtMs = now.getTime(); // a failure waits for the next time too: questions read the days themselves meanwhile
    try {
      await packUnsigned(this.#dataDir, this.#maxBytes * UNSIGNED_SHARE);
    } finally {
      this.#packing = false;
    }
  }
}
