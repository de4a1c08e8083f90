// What every SessionStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { NewSession, SessionStore, SignerStore, TokenStore } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { sha256 } from './signature-index.ts';
import { tokenNamed } from './token-store.ts';
import { testOver } from './under-test.ts';

export interface SessionStores {
  readonly sessions: SessionStore;
  readonly signers: SignerStore;
  readonly tokens: TokenStore;
}

export interface SessionStoresUnderTest extends SessionStores {
  /** The same as another start finds it. */
  reopen(): Promise<SessionStores>;
  /** Action of each audit event, in their order. */
  recordedActions(): Promise<readonly string[]>;
  close(): Promise<void>;
}

const BEGUN = new Date('2026-11-22T10:00:00.000Z');
const ENDS = new Date('2026-11-22T22:00:00.000Z');
const ISSUER = 'https://sso.example.com';

const session = (text: string, token = 'alice', createdAt = BEGUN): NewSession => ({
  ...{ hash: sha256(text), token, createdAt },
  expiresAt: ENDS,
});
const logIn = () => auditEvent({ action: 'log-in' });
const logOut = () => auditEvent({ action: 'log-out', result: 'removed' });

const ANNA = { issuer: ISSUER, shownName: 'anna', role: 'auditor', signer: null } as const;

const namesIn = async (sessions: SessionStore) => (await sessions.list()).map(({ token }) => token.name);

export function sessionStoreContract(name: string, open: () => Promise<SessionStoresUnderTest>): void {
  const test = testOver(open);

  describe(name, () => {
    test('are found with their token as it is now, also after another start, until they are ended', async (under) => {
      await under.tokens.create(tokenNamed('alice'), auditEvent());
      const id = await under.sessions.add(session('one'), logIn());
      await under.sessions.add(session('two'), logIn());
      const again = await under.reopen();
      const stored = await again.sessions.find(sha256('one'));
      const [token] = await again.tokens.list();
      assert.deepEqual(stored, { id, token, createdAt: BEGUN, expiresAt: ENDS });
      assert.equal(await again.sessions.find(sha256('three')), null);
      await again.tokens.revoke('alice', BEGUN, auditEvent());
      assert.deepEqual((await again.sessions.find(sha256('one')))?.token.revokedAt, BEGUN);
      assert.equal(await again.sessions.end(Number(id), logOut()), true);
      assert.equal(await again.sessions.end(Number(id), logOut()), false);
      assert.equal(await again.sessions.find(sha256('one')), null);
      assert.equal((await again.sessions.list()).length, 1);
      assert.deepEqual(
        (await under.recordedActions()).filter((action) => action.startsWith('log-')),
        ['log-in', 'log-in', 'log-out'],
      );
    });

    test('of an OpenID provider say themselves who it is, and end with their signer', async (under) => {
      const id = await under.sessions.add({ ...session('one', `${ISSUER} a1`), identity: ANNA }, logIn());
      const bound = { ...ANNA, role: 'uploader', signer: 'release' } as const;
      const ofSigner = { ...session('two', `release ${ISSUER} a1`), identity: bound };
      assert.equal(await under.sessions.add(ofSigner, logIn()), null, 'there is no such signer');
      const { sessions, signers } = await under.reopen();
      await signers.add({ name: 'release', description: '', createdAt: BEGUN }, auditEvent());
      await sessions.add(ofSigner, logIn());
      const stored = await sessions.find(sha256('one'));
      assert.equal(stored?.id, id);
      assert.deepEqual(stored?.identity, { issuer: ISSUER, shownName: 'anna' });
      const none = { signer: null, disabledAt: null, expiresAt: null, revokedAt: null, lastUsedAt: null };
      assert.deepEqual(stored?.token, { name: `${ISSUER} a1`, role: 'auditor', createdAt: BEGUN, ...none });
      await signers.setDisabled('release', ENDS, auditEvent());
      const second = (await sessions.list())[1]?.token;
      assert.deepEqual([second?.role, second?.signer, second?.disabledAt], ['uploader', 'release', ENDS]);
      await signers.remove('release', ENDS, auditEvent());
      assert.deepEqual(await namesIn(sessions), [`${ISSUER} a1`]);
    });

    test('of one person are a hundred at most, and those of others stay', async ({ sessions }) => {
      await sessions.add({ ...session('other', `${ISSUER} b`), identity: ANNA }, logIn());
      for (let n = 0; n < 101; n += 1)
        await sessions.add({ ...session(`n${n}`, `${ISSUER} a`), identity: ANNA }, logIn());
      assert.equal((await sessions.list()).length, 101);
      assert.equal(await sessions.find(sha256('n0')), null, 'the oldest has ended');
      assert.notEqual(await sessions.find(sha256('other')), null);
    });

    test('begin with a token in force alone, and with an event or not at all', async ({
      sessions,
      tokens,
      recordedActions,
    }) => {
      await tokens.create(tokenNamed('alice'), auditEvent());
      await assert.rejects(sessions.add(session('one'), auditEvent({ salt: 'ab' })));
      assert.equal(await sessions.add(session('one', 'nobody'), logIn()), null);
      await tokens.revoke('alice', BEGUN, auditEvent());
      assert.equal(await sessions.add(session('one'), logIn()), null);
      assert.deepEqual(await sessions.list(), []);
      assert.equal((await recordedActions()).length, 2);
    });

    test('that are over are deleted at the next log-in, and the oldest beyond a hundred of one token', async ({
      sessions,
      tokens,
    }) => {
      for (const one of ['alice', 'bob']) await tokens.create(tokenNamed(one), auditEvent());
      await sessions.add(session('of bob', 'bob'), logIn());
      for (let number = 1; number <= 101; number += 1) await sessions.add(session(`${number}`), logIn());
      assert.equal(await sessions.find(sha256('1')), null);
      assert.equal((await sessions.list()).length, 101);
      const next = { ...session('new', 'bob', ENDS), expiresAt: new Date('2026-11-23') };
      await sessions.add(next, logIn());
      assert.deepEqual(await namesIn(sessions), ['bob']);
    });
  });
}
