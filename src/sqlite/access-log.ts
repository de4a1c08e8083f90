// The access log as the main thread sees it: it sends batches, split at midnight UTC, to the writer thread.
import type {
  AccessBatch,
  AccessLimits,
  AccessLog,
  AccessPruned,
  MissingCount,
  ReadCount,
} from '../domain/ports.ts';
import { dayOf } from './access-days.ts';
import type { Writer } from './writer.ts';

// The size of one count in the writer's queue, without its texts.
const COUNT_BYTES = 600;
const PRUNE_BYTES = 100;

interface DayBatch {
  readonly reads: ReadCount[];
  readonly missing: MissingCount[];
}

export class SqliteAccessLog implements AccessLog {
  readonly #writer: Writer;

  constructor(writer: Writer) {
    this.#writer = writer;
  }

  /** Each day of the batch is one transaction, so that another try after a lock counts nothing twice. */
  async write(batch: AccessBatch): Promise<void> {
    const days = [...byDay(batch)];
    const written = days.map(([day, ofDay]) =>
      this.#writer.run('access.write', { day, batch: ofDay }, sizeOf(ofDay)),
    );
    const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  prune(limits: AccessLimits): Promise<AccessPruned> {
    return this.#writer.run('access.prune', limits, PRUNE_BYTES);
  }
}

function byDay({ reads, missing }: AccessBatch): Map<string, DayBatch> {
  const days = new Map<string, DayBatch>();
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
