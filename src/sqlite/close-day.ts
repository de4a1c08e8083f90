// Makes a day of the access record that is over quick to ask. A thread does it: indexes of a busy day take seconds.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { LookasideError } from '../domain/errors.ts';
import type { CloseOutcome, DayTotals } from './day-totals.ts';

const DAY_FILE = /^([0-9]{4}-[0-9]{2}-[0-9]{2})\.db$/;

/** The days that are there, oldest first. */
export function daysIn(dataDir: string): readonly string[] {
  const folder = join(dataDir, 'access');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return names.flatMap((name) => DAY_FILE.exec(name)?.[1] ?? []).sort();
}

/** Null when that was done already, or the day is gone. @throws LookasideError STORE_UNAVAILABLE */
export async function closeDay(dataDir: string, day: string): Promise<DayTotals | null> {
  const file = join(dataDir, 'access', `${day}.db`);
  if (!existsSync(file)) return null;
  const outcome = await inThread(file);
  if (outcome.outcome === 'done') return outcome.totals;
  throw new LookasideError('STORE_UNAVAILABLE', `cannot tidy up ${file}: ${whyNot(outcome)}`);
}

function whyNot({ message, isDamaged }: Extract<CloseOutcome, { readonly outcome: 'failed' }>): string {
  if (!isDamaged) return message;
  return `${message}; put the file back from a backup, or move it away: the reads of that day are then missing in the record`;
}

function inThread(file: string): Promise<CloseOutcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./close-day-thread.js', import.meta.url), {
      name: 'close-day',
      workerData: { file },
    });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the thread that tidies up a day ended without an answer')));
  });
}
