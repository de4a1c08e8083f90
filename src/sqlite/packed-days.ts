// A batch of the record of reads, split at midnight UTC and packed. It touches no database, so that a reader process can do it.
import { setImmediate as breathe } from 'node:timers/promises';
import type { AccessBatch } from '../domain/ports.ts';
import { BatchPacker, type PackedBatch } from './access-columns.ts';

const DAY_MS = 86_400_000;
/** How many rows are packed at a time, in less than a millisecond. Those of half a second on a busy server take fifteen, and reads would wait. */
const ROWS_A_BREATH = 500;

/** By the UTC day, as in `2026-11-22`. */
export type PackedDays = ReadonlyMap<string, PackedBatch>;

/** Between two breaths requests are answered; the batch must stay as it is. */
export async function packDays({ reads, missing, dropped }: AccessBatch): Promise<PackedDays> {
  const days = new Map<string, BatchPacker>();
  if (dropped !== undefined) packerOf(days, dropped.firstAt).setDropped(dropped);
  const packerAt = lastOf((dayNumber) => packerOf(days, new Date(dayNumber * DAY_MS)));
  let rows = 0;
  for (const read of reads) {
    packerAt(dayNumberOf(read.firstAt)).addRead(read);
    rows += 1;
    if (rows % ROWS_A_BREATH === 0) await breathe();
  }
  for (const one of missing) {
    packerAt(dayNumberOf(one.firstAt)).addMissing(one);
    rows += 1;
    if (rows % ROWS_A_BREATH === 0) await breathe();
  }
  return new Map([...days].map(([day, packer]) => [day, packer.batch()]));
}

/** The UTC day of a time, as in a file's name: `2026-11-22`. */
export function dayOf(time: Date): string {
  return time.toISOString().slice(0, 10);
}

function dayNumberOf(time: Date): number {
  return Math.floor(time.getTime() / DAY_MS);
}

/** As `find`, which is not asked again for the same number twice in a row: nearly all rows are of one day. */
function lastOf<Value>(find: (key: number) => Value): (key: number) => Value {
  let last: { readonly key: number; readonly value: Value } | null = null;
  return (key) => {
    if (last?.key !== key) last = { key, value: find(key) };
    return last.value;
  };
}

function packerOf(days: Map<string, BatchPacker>, time: Date): BatchPacker {
  const day = dayOf(time);
  const known = days.get(day);
  if (known !== undefined) return known;
  const packer = new BatchPacker();
  days.set(day, packer);
  return packer;
}
