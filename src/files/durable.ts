// Makes folders that survive a power cut, and names the one folder inside a root that is ours.
import { promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';

/** Holds intents and temporary files inside a root: never listed, served or adopted. */
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

async function syncFolder(path: string): Promise<void> {
  const handle = await fs.open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
