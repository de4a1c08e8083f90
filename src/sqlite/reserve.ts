// DATA/reserve: disk space that each start frees and then takes again. So the databases can be opened on a disk that has
// become full in between, and reads continue. docs/decisions/full-disk.md says why.
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../domain/errors.ts';

/** Room for a -shm file of 32 KiB for each of two databases and a journal with the writes of a start, doubled. */
const RESERVE_BYTES = 256 * 1024;

/** Frees space for opening the databases. */
export function giveUpReserve(dataDir: string): void {
  try {
    rmSync(join(dataDir, 'reserve'), { force: true });
  } catch (error) {
    if (systemCode(error) === null) throw error; // an unusable folder fails with its own error when it is written to
  }
}

/** Takes the space for the next start, or none of it when it does not fit. */
export function takeReserve(dataDir: string): void {
  if (!fill(dataDir)) giveUpReserve(dataDir);
}

/** Takes as much of the space as there is: on a full disk, what closing the databases has freed. */
export function takeReserveLeft(dataDir: string): void {
  fill(dataDir);
}

/** Whether the whole space could be taken. */
function fill(dataDir: string): boolean {
  try {
    // random bytes, because zeros take no space on a file system that compresses
    writeFileSync(join(dataDir, 'reserve'), randomBytes(RESERVE_BYTES), { mode: 0o600 });
    return true;
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return false;
  }
}
