// DATA/reserve: room that each start gives up and takes again, so that databases can be opened on a disk that has
// become full meanwhile, and reads go on. docs/decisions/full-disk.md says why.
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../domain/errors.ts';

/** A -shm file of 32 KiB for each of two databases, a journal with what a start writes, and as much again. */
const RESERVE_BYTES = 256 * 1024;

/** Makes room for opening. */
export function giveUpReserve(dataDir: string): void {
  try {
    rmSync(join(dataDir, 'reserve'), { force: true });
  } catch (error) {
    if (systemCode(error) === null) throw error; // a folder that is not ours has its own complaint when it is written to
  }
}

/** Takes the room for the next start, or nothing where it does not fit. */
export function takeReserve(dataDir: string): void {
  if (!fill(dataDir)) giveUpReserve(dataDir);
}

/** Takes what there is of it: on a full disk, what closing the databases has given back. */
export function takeReserveLeft(dataDir: string): void {
  fill(dataDir);
}

/** Whether all of it was there to take. */
function fill(dataDir: string): boolean {
  try {
    // random: zeros would take no room on a file system that compresses
    writeFileSync(join(dataDir, 'reserve'), randomBytes(RESERVE_BYTES), { mode: 0o600 });
    return true;
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return false;
  }
}
