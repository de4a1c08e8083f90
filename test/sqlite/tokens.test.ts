import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { openTokensReadOnly } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { tokenNamed, tokenStoreContract } from '../contract/token-store.ts';
import { reopenable } from './reopenable.ts';
import { type Cleanup, change, events, open, temporaryFolder } from './scratch.ts';

tokenStoreContract('the SQLite tokens', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  const { databases, reopen, close } = await reopenable(dataDir);
  return {
    tokens: databases.tokens,
    reopen: async () => (await reopen()).tokens,
    recordedActions: async () =>
      events(dataDir)
        .map(({ leaf }) => JSON.parse(leaf))
        .map(({ action, result }) => [action, result]),
    close,
  };
});

describe('a token', () => {
  it('whose name is taken already is no failure of the store', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    await databases.tokens.create(tokenNamed('alice'), auditEvent());
    const second = { ...tokenNamed('bob'), name: 'alice' };
    await assert.rejects(databases.tokens.create(second, auditEvent()));
    assert.equal(databases.health().state.lastWriteSucceeded, true);
  });

  it('is found and listed among thousands', async (t) => {
    const dataDir = temporaryFolder(t);
    await (await open(dataDir)).databases.close();
    change(
      join(dataDir, 'state.db'),
      `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
       INSERT INTO token (name, role, hash, created_at_ms)
       SELECT 'token-' || i, 'reader', unhex(printf('%064x', i)), i FROM n`,
    );
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const listed = (await databases.tokens.list()).map(({ name }) => name);
    assert.deepEqual(
      listed,
      Array.from({ length: 2500 }, (_, n) => `token-${n + 1}`),
    );
    for (const n of [1, 1000, 1001, 2500]) {
      assert.equal(databases.tokens.peek(n.toString(16).padStart(64, '0'))?.name, `token-${n}`);
    }
  });

  it('is read by another process while the server runs, and when none runs', async (t) => {
    const dataDir = temporaryFolder(t);
    assert.equal(openTokensReadOnly(dataDir), null);
    const { databases } = await open(dataDir);
    await databases.tokens.create(tokenNamed('alice'), auditEvent());
    for (const isOpen of [true, false]) {
      const reader = openTokensReadOnly(dataDir);
      assert.equal((await reader?.list())?.[0]?.name, 'alice');
      assert.equal((await reader?.find(tokenNamed('alice').hash))?.name, 'alice');
      reader?.close();
      if (isOpen) await databases.close();
    }
  });
});

describe('state.db', () => {
  async function filled(t: Cleanup): Promise<string> {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    for (let number = 0; number < 200; number += 1)
      await databases.tokens.create(tokenNamed(`token-${number}`), auditEvent());
    await databases.close();
    return dataDir;
  }

  const spoilt: readonly (readonly [string, RegExp, (file: string) => void])[] = [
    ['with a damaged header', /damaged/, (file) => overwrite(file, 0)],
    ['with a damaged page', /damaged/, (file) => overwrite(file, 4096)],
    ['that is no database', /damaged/, (file) => writeFileSync(file, 'text '.repeat(500))],
    ['of a newer version', /newer lookaside/, (file) => change(file, 'PRAGMA user_version = 99')],
    ['of another application', /not a lookaside state/, (file) => change(file, 'PRAGMA application_id = 7')],
  ];
  for (const [what, complaint, spoil] of spoilt) {
    it(`${what} stops the start by name, says what to do and stays as it is`, async (t) => {
      const dataDir = await filled(t);
      const file = join(dataDir, 'state.db');
      spoil(file);
      const before = readFileSync(file);
      await assert.rejects(open(dataDir), (error) => {
        assert.ok(isLookasideError(error, 'STATE_UNUSABLE'));
        assert.match(error.message, complaint);
        assert.ok(error.message.includes(file));
        assert.match(error.message, /put back its backup with: lookaside restore DIR --data/);
        return true;
      });
      assert.ok(before.equals(readFileSync(file)));
    });
  }

  it('that is missing beside a journal with its last changes is not begun anew', async (t) => {
    const dataDir = await filled(t);
    rmSync(join(dataDir, 'state.db'));
    writeFileSync(join(dataDir, 'state.db-wal'), 'changes');
    await assert.rejects(open(dataDir), (error) => isLookasideError(error, 'STATE_UNUSABLE'));
    assert.equal(readFileSync(join(dataDir, 'state.db-wal'), 'utf8'), 'changes');
  });

  it('that cannot be opened is STORE_UNAVAILABLE', async (t) => {
    const dataDir = temporaryFolder(t);
    mkdirSync(join(dataDir, 'state.db'));
    await assert.rejects(open(dataDir), (error) => isLookasideError(error, 'STORE_UNAVAILABLE'));
  });

  it('that was replaced while in use takes no more changes', async (t) => {
    const dataDir = await filled(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const content = readFileSync(join(dataDir, 'state.db'));
    rmSync(join(dataDir, 'state.db'));
    writeFileSync(join(dataDir, 'state.db'), content);
    await assert.rejects(databases.tokens.create(tokenNamed('late'), auditEvent()), (error) =>
      isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
    assert.equal(await databases.tokens.find(tokenNamed('late').hash), null);
    assert.equal(databases.health().state.lastWriteSucceeded, false);
  });

  function overwrite(file: string, offset: number): void {
    const content = readFileSync(file);
    content.fill('damage', offset, offset + 4096);
    writeFileSync(file, content);
  }
});
