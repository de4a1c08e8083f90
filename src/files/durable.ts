// Writing that survives a power cut: temporary file in the root's private folder, fsync, rename, fsync of every folder.

import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';

/** Owner of intents and temporary files inside a root: never listed, served or adopted. */
export const PRIVATE_FOLDER = '.lookaside';

/** Makes the folder and its missing parents below `root`; each new one survives a power cut. */
export async function makeFolderDurably(root: string, folder: string): Promise<void> {
  const path = join(root, folder);
  const firstMade = await fs.mkdir(path, { recursive: true, mode: 0o755 });
  if (firstMade === undefined) return;
  // a new folder is an entry of its parent: sync from the image's folder up to the parent of the first one made
  const last = dirname(firstMade);
  for (let made = path; ; made = dirname(made)) {
    await syncFolder(made);
    if (made === last) return;
  }
}

/** Replaces or makes `name` in a folder that is there: readers see the old bytes or the new, never a part. */
export async function replaceFileDurably(
  root: string,
  folder: string,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  await makeFolderDurably(root, join(PRIVATE_FOLDER, 'tmp'));
  const temporary = join(root, PRIVATE_FOLDER, 'tmp', randomUUID());
  try {
    const handle = await fs.open(temporary, 'wx', 0o644);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, join(root, folder, name));
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(join(root, folder));
}

/** Moves a folder out of the way into the root's private folder: what it holds is not ours to delete. */
export async function displaceFolder(root: string, name: string): Promise<void> {
  const displaced = join(PRIVATE_FOLDER, 'displaced');
  await makeFolderDurably(root, displaced);
  await fs.rename(join(root, name), join(root, displaced, randomUUID()));
  await syncFolder(join(root, displaced));
}

async function syncFolder(path: string): Promise<void> {
  const handle = await fs.open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
