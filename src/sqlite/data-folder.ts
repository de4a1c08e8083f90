// The folder that holds the databases: made so that it survives a power cut with all that is in it.
import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { syncFolder } from './open.ts';

/** Makes it with its missing parents. @throws the system's error */
export function makeDataFolder(dataDir: string): void {
  const path = resolve(dataDir);
  const firstMade = mkdirSync(path, { recursive: true });
  if (firstMade === undefined) return;
  // a new folder is an entry of its parent, up to one that was there
  const last = dirname(firstMade);
  for (let made = path; made !== last; made = dirname(made)) syncFolder(dirname(made));
}
