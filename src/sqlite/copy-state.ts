// Copies state.db for a backup, also while a server runs.
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { StateCopy } from '../domain/backup.ts';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import type { CopyOutcome, CopyRequest } from './copy-request.ts';
import { restoreAdvice, stateFileOf } from './open.ts';

/**
 * Copies state.db, as it is at one moment after the call, into the empty file `copy`. The copy is complete and needs no -wal.
 * @throws LookasideError CONFIG_INVALID when there is no state.db; STATE_UNUSABLE, DISK_FULL, STORE_UNAVAILABLE
 */
export async function copyState(dataDir: string, copy: string): Promise<StateCopy> {
  const file = stateFileOf(dataDir);
  if (!existsSync(file)) {
    const message = `${dataDir} has no state.db, so there is nothing to back up; name the data directory with --data`;
    throw new LookasideError('CONFIG_INVALID', message);
  }
  const outcome = await inThread({ file, copy });
  if (outcome.outcome === 'done') return outcome.state;
  const { code, message } = outcome;
  const advice = code === 'STATE_UNUSABLE' ? `; ${restoreAdvice(dataDir)}` : '';
  throw new LookasideError(
    CODES[code ?? ''] ?? 'STORE_UNAVAILABLE',
    `cannot copy ${file}: ${message}${advice}`,
  );
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  STATE_UNUSABLE: 'STATE_UNUSABLE',
  SQLITE_FULL: 'DISK_FULL',
  ENOSPC: 'DISK_FULL',
};

function inThread(request: CopyRequest): Promise<CopyOutcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./copy-thread.js', import.meta.url), {
      name: 'state-copy',
      workerData: request,
    });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the thread that copies state.db ended without an answer')));
  });
}
