import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { openTokensReadOnly } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { sessionStoreContract } from '../contract/session-store.ts';
import { tokenNamed } from '../contract/token-store.ts';
import { events, open, temporaryFolder } from './scratch.ts';

sessionStoreContract('sessions in SQLite', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sessions-'));
  let { databases } = await open(dataDir);
  return {
    ...databases,
    async reopen() {
      await databases.close();
      ({ databases } = await open(dataDir));
      return databases;
    },
    recordedActions: async () => events(dataDir).map(({ leaf }) => JSON.parse(leaf).action),
    async close() {
      await databases.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
});

it('sessions in SQLite are read by another process beside the one that owns the data directory', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  t.after(() => databases.close());
  await databases.tokens.create(tokenNamed('alice'), auditEvent());
  const times = { createdAt: new Date(0), expiresAt: new Date(9e12) };
  await databases.sessions.add({ hash: 'ab'.repeat(32), token: 'alice', ...times }, auditEvent());
  const reader = openTokensReadOnly(dataDir);
  assert.equal((await reader?.sessions.list())?.length, 1);
  reader?.close();
});
