// Creates the folder that holds the databases, so that it and everything in it survive a power cut.
import { mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { syncFolder } from './open.ts';

/** Creates it with its missing parents. @throws the system's error */
export function makeDataFolder(dataDir: string): void {
  for (const path of missingFolders(resolve(dataDir))) {
    makeFolder(path);
    // a new folder is an entry in its parent
    syncFolder(dirname(path));
  }
}

/** The highest one first. The recursive mkdir of Node.js is of no use here: it never ends where mkdir fails as in /proc. */
function missingFolders(path: string): string[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return [...missingFolders(dirname(path)), path];
  if (!stats.isDirectory()) makeFolder(path); // the system says what stands there instead
  return [];
}

/** Another process may make it at the same time. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (!(statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false)) throw error;
  }
}
