import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { Role } from '../../src/domain/ports.ts';
import { openTokensReadOnly } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { sha256 } from '../contract/signature-index.ts';
import { type Cleanup, change, events, open, temporaryFolder } from './scratch.ts';

const CREATED_AT = new Date('2026-11-22T10:00:00.000Z');
const REVOKED_AT = new Date('2026-11-23T10:00:00.000Z');

function token(
  name: string,
  role: Role = 'admin',
): { name: string; role: Role; hash: string; createdAt: Date } {
  return { name, role, hash: sha256(`secret of ${name}`), createdAt: CREATED_AT };
}

describe('a token', () => {
  it('is found by its hash from its creation on, also after a restart', async (t) => {
    const dataDir = temporaryFolder(t);
    const first = await open(dataDir);
    const alice = token('alice', 'uploader');
    const created = { name: 'alice', role: 'uploader', createdAt: CREATED_AT, revokedAt: null };
    assert.deepEqual(await first.databases.tokens.create(alice, auditEvent()), created);
    assert.deepEqual(first.databases.tokens.find(alice.hash), created);
    await first.databases.close();
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    assert.deepEqual(databases.tokens.find(alice.hash), created);
    assert.deepEqual(databases.tokens.list(), [created]);
  });

  it('is found by nothing but its whole hash', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    const { hash } = await databases.tokens.create(token('alice'), auditEvent()).then(() => token('alice'));
    for (const wrong of [
      '',
      hash.slice(0, 62),
      `${hash}00`,
      hash.toUpperCase(),
      sha256('x'),
      'secret of alice',
    ]) {
      assert.equal(databases.tokens.find(wrong), null);
    }
  });

  it('that is revoked is found no more but stays in the list, with the first time of its revocation', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    await databases.tokens.create(token('alice'), auditEvent());
    await databases.tokens.create(token('bob'), auditEvent());
    const revoked = { name: 'alice', role: 'admin', createdAt: CREATED_AT, revokedAt: REVOKED_AT };
    assert.deepEqual(await databases.tokens.revoke('alice', REVOKED_AT, auditEvent()), revoked);
    assert.deepEqual(await databases.tokens.revoke('alice', new Date(), auditEvent()), revoked);
    assert.equal(databases.tokens.find(token('alice').hash), null);
    assert.equal(databases.tokens.find(token('bob').hash)?.name, 'bob');
    await databases.close();

    const again = await open(dataDir);
    t.after(() => again.databases.close());
    assert.deepEqual(again.databases.tokens.list()[0], revoked);
    assert.equal(again.databases.tokens.find(token('alice').hash), null);
  });

  it('that does not exist cannot be revoked', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    assert.equal(await databases.tokens.revoke('nobody', REVOKED_AT, auditEvent()), null);
  });

  it('has a name that no other has, not even after its revocation', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    await databases.tokens.create(token('alice'), auditEvent());
    await databases.tokens.revoke('alice', REVOKED_AT, auditEvent());
    const second = { ...token('alice'), hash: sha256('other') };
    await assert.rejects(databases.tokens.create(second, auditEvent()), (error) =>
      isLookasideError(error, 'NAME_TAKEN'),
    );
    assert.equal(databases.tokens.find(second.hash), null);
    assert.equal(databases.tokens.list().length, 1);
    assert.equal(databases.health().state.lastWriteSucceeded, true);
  });

  it('is read by another process while the server runs, and when none runs', async (t) => {
    const dataDir = temporaryFolder(t);
    assert.equal(openTokensReadOnly(dataDir), null);
    const { databases } = await open(dataDir);
    await databases.tokens.create(token('alice'), auditEvent());
    for (const isOpen of [true, false]) {
      const reader = openTokensReadOnly(dataDir);
      assert.equal(reader?.list()[0]?.name, 'alice');
      assert.equal(reader?.find(token('alice').hash)?.name, 'alice');
      reader?.close();
      if (isOpen) await databases.close();
    }
  });
});

describe('the audit log', () => {
  const told = (dataDir: string) =>
    events(dataDir).map(({ seq, leaf }) => [seq, JSON.parse(leaf).action, JSON.parse(leaf).result]);

  it('tells of each token that was made or revoked, and of nothing that changed nothing', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const made = auditEvent({ action: 'token-create', result: 'created' });
    const revoked = auditEvent({ action: 'token-revoke', result: 'revoked' });
    await databases.tokens.create(token('alice'), made);
    await assert.rejects(databases.tokens.create({ ...token('alice'), hash: sha256('other') }, made));
    await databases.tokens.revoke('alice', REVOKED_AT, revoked);
    await databases.tokens.revoke('alice', REVOKED_AT, revoked);
    await databases.tokens.revoke('nobody', REVOKED_AT, revoked);
    await databases.tokens.create(token('bob'), made);
    assert.deepEqual(told(dataDir), [
      [1, 'token-create', 'created'],
      [2, 'token-revoke', 'revoked'],
      [3, 'token-create', 'created'],
    ]);
  });

  it('and the token are both left as they were when the event cannot be written', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const unwritable = auditEvent({ salt: 'ab' });
    await databases.tokens.create(token('alice'), auditEvent());
    await assert.rejects(databases.tokens.create(token('bob'), unwritable));
    await assert.rejects(databases.tokens.revoke('alice', REVOKED_AT, unwritable));
    assert.deepEqual(
      databases.tokens.list().map(({ name, revokedAt }) => [name, revokedAt]),
      [['alice', null]],
    );
    assert.equal(events(dataDir).length, 1);
  });
});

describe('state.db', () => {
  async function filled(t: Cleanup): Promise<string> {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    for (let number = 0; number < 200; number += 1)
      await databases.tokens.create(token(`token-${number}`), auditEvent());
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
  for (const [what, found, spoil] of spoilt) {
    it(`${what} stops the start by name, says what to do and stays as it is`, async (t) => {
      const dataDir = await filled(t);
      const file = join(dataDir, 'state.db');
      spoil(file);
      const before = readFileSync(file);
      await assert.rejects(open(dataDir), (error) => {
        assert.ok(isLookasideError(error, 'STATE_UNUSABLE'));
        assert.match(error.message, found);
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
    await assert.rejects(databases.tokens.create(token('late'), auditEvent()), (error) =>
      isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
    assert.equal(databases.tokens.find(token('late').hash), null);
    assert.equal(databases.health().state.lastWriteSucceeded, false);
  });

  function overwrite(file: string, offset: number): void {
    const content = readFileSync(file);
    content.fill('damage', offset, offset + 4096);
    writeFileSync(file, content);
  }
});
