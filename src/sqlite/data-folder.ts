// Creates the folder that holds the databases, so that it and everything in it survive a power cut.
import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { syncFolder } from './open.ts';

/** Creates it with its missing parents. @throws the system's error */
export function makeDataFolder(dataDir: string): void {
  const path = resolve(dataDir);
  const firstMade = mkdirSync(path, { recursive: true });
  if (firstMade === undefined) return;
  // a new folder is an entry in its parent, so each parent is synced, up to the first that already existed
  const last = dirname(firstMade);
  for (let made = path; made !== last; made = dirname(made)) syncFolder(dirname(made));
}
