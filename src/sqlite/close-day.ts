// Makes a day of the access record that is over quick to ask. A thread does it: indexes of a busy day take seconds.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { LookasideError } from '../domain/errors.ts';
import { answerOf } from './answering-thread.ts';
import type { CloseOutcome, DayTotals } from './day-totals.ts';

const DAY_FILE = /^([0-9]{4}-[0-9]{2}-[0-9]{2})\.db$/;

/** The days that are there, oldest first. */
export function daysIn(dataDir: string): readonly string[] {
  const folder = join(dataDir, 'access');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return names.flatMap((name) => DAY_FILE.exec(name)?.[1] ?? []).sort();
}

/** Null when that was done already, or the day is gone. @throws LookasideError STORE_UNAVAILABLE; the signal's reason */
export async function closeDay(dataDir: string, day: string, signal: AbortSignal): Promise<DayTotals | null> {
  const file = join(dataDir, 'access', `${day}.db`);
  if (!existsSync(file)) return null;
  const outcome = await answerOf<CloseOutcome>(
    { name: 'close-day', script: new URL('./close-day-thread.js', import.meta.url), data: { file } },
    signal,
  );
  if (outcome.outcome === 'done') return outcome.totals;
  throw new LookasideError('STORE_UNAVAILABLE', `cannot tidy up ${file}: ${whyNot(outcome)}`);
}

function whyNot({ message, isDamaged }: Extract<CloseOutcome, { readonly outcome: 'failed' }>): string {
  if (!isDamaged) return message;
  return `${message}; put the file back from a backup, or move it away: the reads of that day are then missing in the record`;
}
