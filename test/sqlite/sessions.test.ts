import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openTokensReadOnly } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { tokenNamed } from '../contract/token-store.ts';
import { sha256 } from '../service/session-memory.ts';
import { events, open, temporaryFolder } from './scratch.ts';

const BEGUN = new Date('2026-11-22T10:00:00.000Z');
const ENDS = new Date('2026-11-22T22:00:00.000Z');
const session = (text: string, token = 'alice', createdAt = BEGUN) => ({
  hash: sha256(text),
  token,
  createdAt,
  expiresAt: ENDS,
});
const logIn = () => auditEvent({ action: 'log-in' });
const logOut = () => auditEvent({ action: 'log-out', result: 'removed' });

describe('the SQLite sessions', () => {
  it('are found with their token as it is now, also after another start, until they are ended', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    await databases.tokens.create(tokenNamed('alice'), auditEvent());
    const id = await databases.sessions.add(session('one'), logIn());
    await databases.sessions.add(session('two'), logIn());
    await databases.close();
    const again = (await open(dataDir)).databases;
    t.after(() => again.close());
    const found = await again.sessions.find(sha256('one'));
    assert.deepEqual(found, { id, token: (await again.tokens.list())[0], createdAt: BEGUN, expiresAt: ENDS });
    assert.equal(await again.sessions.find(sha256('three')), null);
    await again.tokens.revoke('alice', BEGUN, auditEvent());
    assert.deepEqual((await again.sessions.find(sha256('one')))?.token.revokedAt, BEGUN);
    const reader = openTokensReadOnly(dataDir);
    assert.equal((await reader?.sessions.list())?.length, 2, 'another process reads them');
    reader?.close();
    assert.equal(await again.sessions.end(Number(id), logOut()), true);
    assert.equal(await again.sessions.end(Number(id), logOut()), false);
    assert.equal(await again.sessions.find(sha256('one')), null);
    assert.equal((await again.sessions.list()).length, 1);
    const told = events(dataDir).map(({ leaf }) => JSON.parse(leaf).action);
    assert.deepEqual(
      told.filter((action) => action.startsWith('log-')),
      ['log-in', 'log-in', 'log-out'],
    );
  });

  it('of an OpenID provider say themselves who it is, and end with their signer', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const { sessions, signers } = databases;
    const issuer = 'https://sso.example.com';
    const identity = { issuer, shownName: 'anna', role: 'auditor', signer: null } as const;
    const id = await sessions.add({ ...session('one', `${issuer} a1`), identity }, logIn());
    const bound = { ...identity, role: 'uploader', signer: 'release' } as const;
    const ofSigner = { ...session('two', `release ${issuer} a1`), identity: bound };
    assert.equal(await sessions.add(ofSigner, logIn()), null, 'there is no such signer');
    const added = { name: 'release', description: '', createdAt: BEGUN };
    await signers.add(added, auditEvent());
    await sessions.add(ofSigner, logIn());
    const found = await sessions.find(sha256('one'));
    assert.equal(found?.id, id);
    assert.deepEqual(found?.identity, { issuer, shownName: 'anna' });
    const { name, role, signer, revokedAt, disabledAt } = found?.token ?? {};
    assert.deepEqual(
      [name, role, signer, revokedAt, disabledAt],
      [`${issuer} a1`, 'auditor', null, null, null],
    );
    await signers.setDisabled('release', ENDS, auditEvent());
    const second = (await sessions.list())[1]?.token;
    assert.deepEqual([second?.role, second?.signer, second?.disabledAt], ['uploader', 'release', ENDS]);
    await signers.remove('release', ENDS, auditEvent());
    assert.deepEqual(
      (await sessions.list()).map((one) => one.token.name),
      [`${issuer} a1`],
    );
  });

  it('of one person are a hundred at most, and those of others stay', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    const { sessions } = databases;
    const identity = { issuer: 'https://i.example', shownName: 'x', role: 'reader', signer: null } as const;
    await sessions.add({ ...session('other', 'https://i.example b'), identity }, logIn());
    for (let n = 0; n < 101; n += 1)
      await sessions.add({ ...session(`n${n}`, 'https://i.example a'), identity }, logIn());
    assert.equal((await sessions.list()).length, 101);
    assert.equal(await sessions.find(sha256('n0')), null, 'the oldest has ended');
    assert.notEqual(await sessions.find(sha256('other')), null);
  });

  it('begin with a token in force alone, and with an event or not at all', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.tokens.create(tokenNamed('alice'), auditEvent());
    await assert.rejects(databases.sessions.add(session('one'), auditEvent({ salt: 'ab' })));
    assert.equal(await databases.sessions.add(session('one', 'nobody'), logIn()), null);
    await databases.tokens.revoke('alice', BEGUN, auditEvent());
    assert.equal(await databases.sessions.add(session('one'), logIn()), null);
    assert.deepEqual(await databases.sessions.list(), []);
    assert.equal(events(dataDir).length, 2);
  });

  it('that are over are deleted at the next log-in, and the oldest beyond a hundred of one token', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    for (const name of ['alice', 'bob']) await databases.tokens.create(tokenNamed(name), auditEvent());
    await databases.sessions.add(session('of bob', 'bob'), logIn());
    for (let number = 1; number <= 101; number += 1)
      await databases.sessions.add(session(`${number}`), logIn());
    assert.equal(await databases.sessions.find(sha256('1')), null);
    assert.equal((await databases.sessions.list()).length, 101);
    await databases.sessions.add(
      { ...session('new', 'bob', ENDS), expiresAt: new Date('2026-11-23') },
      logIn(),
    );
    assert.deepEqual(
      (await databases.sessions.list()).map(({ token }) => token.name),
      ['bob'],
    );
  });
});
