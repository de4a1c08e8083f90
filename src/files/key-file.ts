// Small files of which nothing may be lost: keys of the log, and the last checkpoint on another disk.
import { promises as fs } from 'node:fs';
import { dirname } from 'node:path';
import { systemCode } from '../domain/errors.ts';
import { onDisk, syncPath, writeText } from './tree-copy.ts';

/** The file's text; null when there is none. @throws LookasideError STORE_UNAVAILABLE, READ_ONLY */
export function readSmallFile(path: string): Promise<string | null> {
  return onDisk(path, () =>
    fs.readFile(path, 'utf8').catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }),
  );
}

/**
 * Replaces the file, or makes it with that mode; it is the old or the new one at every moment, and durable once resolved.
 * @throws LookasideError DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export function writeSmallFile(path: string, text: string, mode: number): Promise<void> {
  return onDisk(path, async () => {
    await writeText(path, text, mode);
    await syncPath(dirname(path));
  });
}
