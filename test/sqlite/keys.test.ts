import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { openKeysReadOnly } from '../../src/sqlite/databases.ts';
import { newestVersion } from '../../src/sqlite/migrate.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { keyNamed, keyStoreContract } from '../contract/key-store.ts';
import { reopenable } from './reopenable.ts';
import { change, events, open, temporaryFolder } from './scratch.ts';

keyStoreContract('the SQLite keys', async () => {
  const { databases, reopen, close } = await reopenable(mkdtempSync(join(tmpdir(), 'lookaside-sqlite-')));
  return { keys: databases.keys, reopen: async () => (await reopen()).keys, close };
});

describe('a key', () => {
  it('is told in the audit log with each change', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const { fingerprint } = keyNamed('A');
    for (const result of ['added', 'updated']) {
      await databases.keys.put(keyNamed('A'), auditEvent({ action: 'key-add', fingerprint, result }));
    }
    const recorded = events(dataDir).map(({ leaf }) => JSON.parse(leaf));
    assert.deepEqual(
      recorded.map(({ seq, action, result }) => [seq, action, result]),
      [
        [1, 'key-add', 'added'],
        [2, 'key-add', 'updated'],
      ],
    );
    assert.ok(recorded.every((leaf) => leaf.fingerprint === fingerprint));
  });

  it('is neither there nor told when its event cannot be written', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await assert.rejects(databases.keys.put(keyNamed('A'), auditEvent({ salt: 'ab' })));
    assert.deepEqual(await databases.keys.list(), []);
    assert.deepEqual(events(dataDir), []);
    await databases.keys.put(keyNamed('A'), auditEvent());
    assert.equal(events(dataDir)[0]?.seq, 1);
  });

  it('with a fingerprint of another form is refused by the table', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    for (const fingerprint of ['', 'A'.repeat(39), 'a'.repeat(40), 'G'.repeat(40), 'A'.repeat(64)]) {
      await assert.rejects(databases.keys.put({ ...keyNamed('A'), fingerprint }, auditEvent()));
    }
    assert.deepEqual(await databases.keys.list(), []);
    assert.deepEqual(events(dataDir), []);
  });

  it('is read by another process while the server runs, and when none runs', async (t) => {
    const dataDir = temporaryFolder(t);
    assert.equal(openKeysReadOnly(dataDir), null);
    const { databases } = await open(dataDir);
    await databases.keys.put(keyNamed('A'), auditEvent());
    for (const isOpen of [true, false]) {
      const reader = openKeysReadOnly(dataDir);
      assert.equal((await reader?.list())?.[0]?.fingerprint, 'A'.repeat(40));
      assert.deepEqual((await reader?.find('A'.repeat(40)))?.userIds, ['A <A@example.com>']);
      reader?.close();
      if (isOpen) await databases.close();
    }
  });

  it('cannot be read from a damaged file, nor from one of an older version until a server has run', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    await databases.close();
    change(join(dataDir, 'state.db'), 'PRAGMA user_version = 1');
    assert.throws(
      () => openKeysReadOnly(dataDir),
      (error) => isLookasideError(error, 'STATE_UNUSABLE') && /start the server once/.test(error.message),
    );
    change(
      join(dataDir, 'state.db'),
      `PRAGMA user_version = ${newestVersion('state')}; DROP TABLE openpgp_key`,
    );
    assert.throws(
      () => openKeysReadOnly(dataDir),
      (error) => isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
  });
});
