// Keeps unsigned.db up to the days of the access record. A thread does it: a busy day takes a second.
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { LookasideError } from '../domain/errors.ts';
import { daysIn } from './close-day.ts';
import { type PackOutcome, unsignedFileOf } from './unsigned-store.ts';

/**
 * Call it behind closeDay(), and one call at a time. The file has at most `mostBytes`. @throws LookasideError STORE_UNAVAILABLE
 */
export async function packUnsigned(dataDir: string, mostBytes: number): Promise<void> {
  if (daysIn(dataDir).length === 0 && !existsSync(unsignedFileOf(dataDir))) return;
  const { failed } = await inThread(dataDir, mostBytes);
  if (failed === null) return;
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `cannot bring ${unsignedFileOf(dataDir)} up to date: ${failed}`,
  );
}

function inThread(dataDir: string, mostBytes: number): Promise<PackOutcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./pack-unsigned-thread.js', import.meta.url), {
      name: 'pack-unsigned',
      workerData: { dataDir, mostBytes },
    });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () =>
      reject(new Error('the thread that sums up missing images ended without an answer')),
    );
  });
}
