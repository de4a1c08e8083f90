// A data directory as a server leaves it, for tests that give commands ahead of the first start.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { openDatabases } from '../../src/sqlite/databases.ts';

/** Makes one where there is none. */
export async function makeDataDirectory(data: string): Promise<void> {
  if (existsSync(path.join(data, 'state.db'))) return;
  const databases = await openDatabases({ dataDir: data, onUnusable: () => undefined });
  await databases.close();
}
