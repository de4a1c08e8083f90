import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accessStoreContract } from '../contract/access-store.ts';
import { signerStoresContract } from '../contract/signer-store.ts';
import { reopenable } from './reopenable.ts';
import { events } from './scratch.ts';

async function openStores() {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  const { databases, reopen, close } = await reopenable(dataDir);
  const { signers, grants, subjects, tokens, rules } = databases;
  return {
    signers,
    grants,
    subjects,
    tokens,
    rules,
    reopen,
    recordedActions: async () => events(dataDir).map(({ leaf }) => JSON.parse(leaf).action),
    close,
  };
}

signerStoresContract('the SQLite signers and grants', openStores);

accessStoreContract('who may sign what as a document in SQLite', async () => ({
  ...(await openStores()),
  // the keeper of the log makes them afterwards
  checkHashes: async () => undefined,
}));
