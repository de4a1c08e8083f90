// The uploads that are under way in a tree, as a process sees them that does not do them.
import { close, constants, promises as fs, fstat } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemCode } from '../domain/errors.ts';
import { readAtMost } from './bounded-read.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import { type Entry, entryIn, type Opened, openAt, type Placed } from './opened.ts';
import { ABSENT, closing, openOwn, openRootFolder, orNull, unavailable } from './root.ts';

/** Where a root keeps intents and the bytes that they describe. */
export const PREPARED_FOLDER = join(PRIVATE_FOLDER, 'tmp');

/** A file of one intent. */
export const INTENT_SUFFIX = '.intent';
/** A file of the intents of images that began together, a line each. */
export const INTENTS_SUFFIX = '.intents';

/** The largest file of an intent. */
export const MAX_INTENT_BYTES = 64 * 1024;

const statFile = promisify(fstat);
const closeFile = promisify(close);

/** Texts for parseIntent, by any user. An upload that ends meanwhile may be missing. @throws LookasideError STORE_UNAVAILABLE */
export async function readIntents(root: string): Promise<readonly string[]> {
  const name = join(root, PREPARED_FOLDER);
  const folder = await closing(await openRootFolder(root), ({ where }) =>
    orNull(() => openOwn(where, PREPARED_FOLDER, name), name),
  );
  return folder === null ? [] : closing(folder, readAll);
}

async function readAll(folder: Placed): Promise<readonly string[]> {
  const names = (await orNull(() => fs.readdir(folder.path), folder.name)) ?? [];
  const texts: string[] = [];
  for (const name of names) {
    if (!name.endsWith(INTENT_SUFFIX) && !name.endsWith(INTENTS_SUFFIX)) continue;
    const text = await readIntent(entryIn(folder, name));
    if (text !== null) texts.push(...(name.endsWith(INTENTS_SUFFIX) ? intentsOf(text) : [text]));
  }
  return texts;
}

/** JSON has no line breaks. The last one may be cut short. */
export function intentsOf(text: string): readonly string[] {
  return text.split('\n');
}

/** Null when it is not a regular file or too large. A link is not followed. @throws LookasideError STORE_UNAVAILABLE */
export async function readIntent({ path, name }: Entry): Promise<string | null> {
  let file: Opened;
  try {
    file = await openAt(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    // ENXIO: a socket
    if (ABSENT.has(systemCode(error) ?? '') || systemCode(error) === 'ENXIO') return null;
    throw unavailable(name, error);
  }
  try {
    const stats = await statFile(file.descriptor);
    if (!stats.isFile() || stats.size > MAX_INTENT_BYTES) return null;
    const bytes = await readAtMost(file.descriptor, stats.size, MAX_INTENT_BYTES);
    return bytes === null ? null : Buffer.from(bytes).toString();
  } catch (error) {
    throw unavailable(name, error);
  } finally {
    await closeFile(file.descriptor);
  }
}
