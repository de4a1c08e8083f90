// Keeps unsigned.db up to the days of the access record. A thread does it: a busy day takes a second.
import { existsSync } from 'node:fs';
import { LookasideError } from '../domain/errors.ts';
import { answerOf } from './answering-thread.ts';
import { daysIn } from './close-day.ts';
import { type PackOutcome, unsignedFileOf } from './unsigned-store.ts';

/**
 * Call it behind closeDay(), and one call at a time. The file has at most `mostBytes`. @throws LookasideError STORE_UNAVAILABLE; the signal's
 * reason
 */
export async function packUnsigned(dataDir: string, mostBytes: number, signal: AbortSignal): Promise<void> {
  if (daysIn(dataDir).length === 0 && !existsSync(unsignedFileOf(dataDir))) return;
  const { failed } = await answerOf<PackOutcome>(
    {
      name: 'pack-unsigned',
      script: new URL('./pack-unsigned-thread.js', import.meta.url),
      data: { dataDir, mostBytes },
    },
    signal,
  );
  if (failed === null) return;
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `cannot bring ${unsignedFileOf(dataDir)} up to date: ${failed}`,
  );
}
