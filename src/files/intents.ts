// The uploads that are under way in a tree, as whoever does not do them sees them.
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../domain/errors.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import { ABSENT, unavailable } from './root.ts';

const MAX_INTENT_BYTES = 64 * 1024;

/** Texts for parseIntent, of whichever user. One that ends meanwhile may be missing. @throws LookasideError STORE_UNAVAILABLE */
export async function readIntents(root: string): Promise<readonly string[]> {
  const folder = join(root, PRIVATE_FOLDER, 'tmp');
  const names = (await unlessAbsent(folder, () => fs.readdir(folder))) ?? [];
  const texts = names
    .filter((name) => name.endsWith('.intent'))
    .map((name) =>
      unlessAbsent(folder, async () => {
        const path = join(folder, name);
        const stats = await fs.lstat(path);
        return stats.isFile() && stats.size <= MAX_INTENT_BYTES ? fs.readFile(path, 'utf8') : null;
      }),
    );
  return (await Promise.all(texts)).filter((text) => text !== null);
}

async function unlessAbsent<T>(path: string, act: () => Promise<T>): Promise<T | null> {
  try {
    return await act();
  } catch (error) {
    if (ABSENT.has(systemCode(error) ?? '')) return null;
    throw unavailable(path, error);
  }
}
