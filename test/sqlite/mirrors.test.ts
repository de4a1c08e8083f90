import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mirrorStoreContract } from '../contract/mirror-store.ts';
import { reopenable } from './reopenable.ts';
import { events } from './scratch.ts';

mirrorStoreContract('mirrors in SQLite', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  const { databases, reopen, close } = await reopenable(dataDir);
  return {
    mirrors: databases.mirrors,
    reopen: async () => (await reopen()).mirrors,
    recordedActions: async () => events(dataDir).map(({ leaf }) => JSON.parse(leaf).action),
    close,
  };
});
