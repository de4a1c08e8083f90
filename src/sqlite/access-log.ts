// The access log as the main thread sees it: it sends batches, split at midnight UTC, to the writer thread.
import type {
  AccessBatch,
  AccessLimits,
  AccessLog,
  AccessPruned,
  DroppedCount,
  MissingCount,
  ReadCount,
} from '../domain/ports.ts';
import { dayOf } from './access-days.ts';
import { closeDay, daysIn } from './close-day.ts';
import type { Writer } from './writer.ts';

// The size of one count in the writer's queue, without its texts.
const COUNT_BYTES = 600;
const PRUNE_BYTES = 100;
const LATE_MS = 120_000;

interface DayBatch {
  readonly reads: ReadCount[];
  readonly missing: MissingCount[];
  dropped?: DroppedCount;
}

export class SqliteAccessLog implements AccessLog {
  readonly #writer: Writer;
  readonly #dataDir: string;
  /** Days that are known to be done; a write takes its day out. */
  readonly #closed = new Set<string>();

  constructor(writer: Writer, dataDir: string) {
    this.#writer = writer;
    this.#dataDir = dataDir;
  }

  /** Each day of the batch is one transaction, so that another try after a lock counts nothing twice. */
  async write(batch: AccessBatch): Promise<void> {
    const days = [...byDay(batch)];
    for (const [day] of days) this.#closed.delete(day);
    const written = days.map(([day, ofDay]) =>
      this.#writer.run('access.write', { day, batch: ofDay }, sizeOf(ofDay)),
    );
    const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  prune(limits: AccessLimits): Promise<AccessPruned> {
    return this.#writer.run('access.prune', limits, PRUNE_BYTES);
  }

  async closeDays(now: Date): Promise<void> {
    // late reads of the last second still come
    const before = dayOf(new Date(now.getTime() - LATE_MS));
    for (const day of daysIn(this.#dataDir)) {
      if (day >= before || this.#closed.has(day)) continue;
      this.#closed.add(day);
      try {
        const totals = await closeDay(this.#dataDir, day);
        if (totals === null) continue;
        const sizeBytes = COUNT_BYTES * (totals.hours.length + totals.dropped.length);
        await this.#writer.run('state.put-access-hours', { day, ...totals }, sizeBytes);
        await this.#writer.run('access.mark-closed', { day, at: now }, PRUNE_BYTES);
      } catch (error) {
        this.#closed.delete(day);
        throw error;
      }
    }
  }
}

function byDay({ reads, missing, dropped }: AccessBatch): Map<string, DayBatch> {
  const days = new Map<string, DayBatch>();
  if (dropped !== undefined) batchOf(days, dropped.firstAt).dropped = dropped;
  for (const read of reads) batchOf(days, read.firstAt).reads.push(read);
  for (const one of missing) batchOf(days, one.firstAt).missing.push(one);
  return days;
}

function batchOf(days: Map<string, DayBatch>, time: Date): DayBatch {
  const day = dayOf(time);
  const known = days.get(day);
  if (known !== undefined) return known;
  const batch: DayBatch = { reads: [], missing: [] };
  days.set(day, batch);
  return batch;
}

function sizeOf({ reads, missing }: AccessBatch): number {
  let sizeBytes = 0;
  for (const { image, agent } of reads) sizeBytes += COUNT_BYTES + image.path.length + (agent?.length ?? 0);
  for (const { image } of missing) sizeBytes += COUNT_BYTES + image.path.length;
  return sizeBytes;
}
