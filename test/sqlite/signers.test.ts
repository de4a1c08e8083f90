import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signerStoresContract } from '../contract/signer-store.ts';
import { reopenable } from './reopenable.ts';
import { events } from './scratch.ts';

signerStoresContract('the SQLite signers and grants', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  const { databases, reopen, close } = await reopenable(dataDir);
  const { signers, grants, subjects, tokens } = databases;
  return {
    signers,
    grants,
    subjects,
    tokens,
    reopen,
    recordedActions: async () => events(dataDir).map(({ leaf }) => JSON.parse(leaf).action),
    close,
  };
});
