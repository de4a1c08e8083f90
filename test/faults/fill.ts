// A disk with no room for another byte.
import { type FileHandle, open } from 'node:fs/promises';
import { systemCode } from '../../src/domain/errors.ts';

/** Writes this file until there is none. */
export async function fill(file: string): Promise<void> {
  const filler = await open(file, 'w');
  try {
    await fillWith(filler);
  } finally {
    await filler.close();
  }
}

/** Writes to the file until there is none; how many bytes that were. */
export async function fillWith(filler: FileHandle): Promise<number> {
  let sizeBytes = 0;
  for (const blockBytes of [64 * 1024, 4096, 1]) {
    const block = Buffer.alloc(blockBytes);
    try {
      for (;;) sizeBytes += (await filler.write(block)).bytesWritten;
    } catch (error) {
      if (systemCode(error) !== 'ENOSPC') throw error;
    }
  }
  return sizeBytes;
}
