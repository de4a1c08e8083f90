// Which days (UTC) of the record of reads have to go, wherever they are kept.
import type { AccessLimits, AccessPruned } from './ports.ts';

const DAY_MS = 86_400_000;

// A shorter pause in the record is normal: a start that leaves old days for a later prune does not report them.
const FAR_MS = 7 * DAY_MS;

export interface KeptDay {
  /** Like `2026-11-22`. */
  readonly day: string;
  readonly sizeBytes: number;
}

export interface DaysToPrune extends AccessPruned {
  /** Those that have to go. */
  readonly gone: readonly string[];
}

/**
 * Today's always stays. `kept`: by their names. `otherBytes`: what else counts.
 *
 * A clock that is years ahead would make all days too old. So the clock is trusted only after it has run steadily for a
 * day. Until then, ages are counted from the newest day that ended a day ago or earlier.
 */
export function daysToPrune(kept: readonly KeptDay[], limits: AccessLimits, otherBytes = 0): DaysToPrune {
  const { now, steadyMs, retentionMs, maxBytes } = limits;
  const nowMs = now.getTime();
  const today = now.toISOString().slice(0, 10);
  const newest = kept.findLast(({ day }) => endOf(day) + DAY_MS <= nowMs)?.day ?? null;
  const before = newest === null ? Number.NEGATIVE_INFINITY : endOf(newest);
  const believedMs = steadyMs >= DAY_MS ? nowMs : before;
  const tooOld = kept.filter(({ day }) => day !== today && endOf(day) <= nowMs - retentionMs);
  const gone = new Set(
    tooOld.filter(({ day }) => endOf(day) <= believedMs - retentionMs).map(({ day }) => day),
  );
  const doubted = tooOld.length - gone.size;
  let totalBytes = otherBytes;
  for (const { day, sizeBytes } of kept) if (!gone.has(day)) totalBytes += sizeBytes;
  // the oldest by name; days ahead of today, from a wrong clock, are treated like any other
  for (const { day, sizeBytes } of kept) {
    if (totalBytes <= maxBytes) break;
    if (day === today || gone.has(day)) continue;
    gone.add(day);
    totalBytes -= sizeBytes;
  }
  return {
    gone: [...gone],
    fits: totalBytes <= maxBytes,
    doubted: doubted === 0 || nowMs - believedMs < FAR_MS ? null : { days: doubted, newest },
  };
}

function endOf(day: string): number {
  return Date.parse(day) + DAY_MS;
}
