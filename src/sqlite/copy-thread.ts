// Copies state.db as it is at one moment, while others write to it, and checks the copy. It has its own thread because
// copying a large file takes seconds.
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { systemCode } from '../domain/errors.ts';
import { connect } from './connect.ts';
import type { CopyOutcome, CopyRequest } from './copy-request.ts';
import { isCorruption, messageOf, openForReading, UnusableFile } from './open.ts';

const port = parentPort;
if (port === null) throw new Error('copy-thread is started by copy-state.ts');

// another process that opens or closes the database locks it for a moment
const BUSY_MS = 30_000;
const CHUNK_BYTES = 1024 * 1024;

port.postMessage(outcomeOf(workerData as CopyRequest)); // only copy-state.ts sets it

function outcomeOf({ file, copy }: CopyRequest): CopyOutcome {
  try {
    vacuumInto(file, copy);
    return { outcome: 'done', state: { ...measure(copy), auditSeq: lastEvent(copy) } };
  } catch (error) {
    const code = isCorruption(error) ? 'STATE_UNUSABLE' : systemCode(error);
    return { outcome: 'failed', code, message: messageOf(error) };
  }
}

function vacuumInto(file: string, copy: string): void {
  const db = openForReading(file, 'state', BUSY_MS);
  try {
    db.prepare('VACUUM INTO ?').run(copy);
  } finally {
    db.close();
  }
}

/** The number of the copy's last audit event. @throws UnusableFile when the copy is damaged, because then its source is */
function lastEvent(copy: string): number {
  const db = connect(copy, { readonly: true });
  try {
    const checkResult = String(db.pragma('integrity_check(1)', { simple: true }));
    if (checkResult !== 'ok') throw new UnusableFile('corrupt', `its copy is damaged: ${checkResult}`);
    return db.prepare<[], number>('SELECT coalesce(max(seq), 0) FROM audit_event').pluck().get() ?? 0;
  } finally {
    db.close();
  }
}

function measure(copy: string): { readonly sha256: string; readonly sizeBytes: number } {
  const descriptor = openSync(copy, 'r');
  try {
    fsyncSync(descriptor);
    const digest = createHash('sha256');
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let sizeBytes = 0;
    for (;;) {
      const length = readSync(descriptor, chunk);
      if (length === 0) return { sha256: digest.digest('hex'), sizeBytes };
      digest.update(chunk.subarray(0, length));
      sizeBytes += length;
    }
  } finally {
    closeSync(descriptor);
  }
}
