// A disk with no room for another byte.
import { open } from 'node:fs/promises';
import { systemCode } from '../../src/domain/errors.ts';

/** Writes this file until there is none. */
export async function fill(file: string): Promise<void> {
  const filler = await open(file, 'w');
  try {
    for (const blockBytes of [64 * 1024, 4096, 1]) {
      const block = Buffer.alloc(blockBytes);
      try {
        for (;;) await filler.write(block);
      } catch (error) {
        if (systemCode(error) !== 'ENOSPC') throw error;
      }
    }
  } finally {
    await filler.close();
  }
}
