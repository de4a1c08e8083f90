// What every TokenStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { Role, Token, TokenStore } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { sha256 } from './signature-index.ts';
import { testOver } from './under-test.ts';

export interface TokenStoreUnderTest {
  readonly tokens: TokenStore;
  /** The same tokens as another start finds them. */
  reopen(): Promise<TokenStore>;
  /** Action and result of each audit event, in their order. */
  recordedActions(): Promise<readonly (readonly [string, string])[]>;
  close(): Promise<void>;
}

const CREATED_AT = new Date('2026-11-22T10:00:00.123Z');
const REVOKED_AT = new Date('2026-11-23T10:00:00.456Z');

/** What a token has that belongs to no signer and was never used. */
export const UNBOUND = { signer: null, disabledAt: null, lastUsedAt: null } as const;

export function tokenNamed(
  name: string,
  role: Role = 'admin',
): {
  name: string;
  role: Role;
  hash: string;
  createdAt: Date;
  expiresAt: Date | null;
  signer: string | null;
} {
  const hash = sha256(`secret of ${name}`);
  return { name, role, hash, createdAt: CREATED_AT, expiresAt: null, signer: null };
}

/** Memory and the store itself must say the same. */
async function findToken(tokens: TokenStore, hash: string): Promise<Token | null> {
  const peeked = tokens.peek(hash);
  assert.deepEqual(await tokens.find(hash), peeked);
  return peeked;
}

export function tokenStoreContract(name: string, open: () => Promise<TokenStoreUnderTest>): void {
  const test = testOver(open);

  describe(name, () => {
    test('a token is found by its hash once it is made, and after another start', async (under) => {
      const alice = tokenNamed('alice', 'uploader');
      const created = {
        name: 'alice',
        role: 'uploader',
        createdAt: CREATED_AT,
        expiresAt: null,
        revokedAt: null,
        ...UNBOUND,
      };
      assert.deepEqual(await under.tokens.create(alice, auditEvent()), created);
      assert.deepEqual(under.tokens.peek(alice.hash), created);
      assert.deepEqual(await findToken(under.tokens, alice.hash), created);
      const again = await under.reopen();
      assert.deepEqual(await findToken(again, alice.hash), created);
      assert.deepEqual(await again.list(), [created]);
    });

    test('a token keeps the time at which it expires, and is found and listed after it', async (under) => {
      const expiresAt = new Date('2026-11-22T10:00:01.789Z');
      const alice = { ...tokenNamed('alice', 'uploader'), expiresAt };
      const created = {
        name: 'alice',
        role: 'uploader',
        createdAt: CREATED_AT,
        expiresAt,
        revokedAt: null,
        ...UNBOUND,
      };
      assert.deepEqual(await under.tokens.create(alice, auditEvent()), created);
      for (const tokens of [under.tokens, await under.reopen()]) {
        assert.deepEqual(await findToken(tokens, alice.hash), created);
        assert.deepEqual(await tokens.list(), [created]);
      }
    });

    test('a token is found by nothing but its whole hash', async ({ tokens }) => {
      const { hash } = tokenNamed('alice');
      await tokens.create(tokenNamed('alice'), auditEvent());
      const wrong = ['', hash.slice(0, 62), `${hash}00`, hash.toUpperCase(), sha256('x'), 'secret of alice'];
      for (const one of wrong) assert.equal(await findToken(tokens, one), null, one);
    });

    test('a revoked token is gone from memory at once, and listed with the first time of its revocation', async (under) => {
      const { tokens } = under;
      await tokens.create(tokenNamed('alice'), auditEvent());
      await tokens.create(tokenNamed('bob'), auditEvent());
      const revoked = {
        name: 'alice',
        role: 'admin',
        createdAt: CREATED_AT,
        expiresAt: null,
        revokedAt: REVOKED_AT,
        ...UNBOUND,
      };
      assert.deepEqual(await tokens.revoke('alice', REVOKED_AT, auditEvent()), revoked);
      assert.equal(tokens.peek(tokenNamed('alice').hash), null);
      assert.deepEqual(await tokens.revoke('alice', new Date(), auditEvent()), revoked);
      for (const store of [tokens, await under.reopen()]) {
        assert.equal(await findToken(store, tokenNamed('alice').hash), null);
        assert.equal((await findToken(store, tokenNamed('bob').hash))?.name, 'bob');
        assert.deepEqual((await store.list())[0], revoked);
      }
    });

    test('a token that nobody made cannot be revoked', async ({ tokens }) => {
      assert.equal(await tokens.revoke('nobody', REVOKED_AT, auditEvent()), null);
    });

    test('a name is given once, also after its token was revoked', async ({ tokens }) => {
      await tokens.create(tokenNamed('alice'), auditEvent());
      await tokens.revoke('alice', REVOKED_AT, auditEvent());
      const second = { ...tokenNamed('alice'), hash: sha256('other') };
      const isTaken = (error: unknown) => isLookasideError(error, 'NAME_TAKEN');
      await assert.rejects(tokens.create(second, auditEvent()), isTaken);
      assert.equal(await findToken(tokens, second.hash), null);
      assert.equal((await tokens.list()).length, 1);
    });

    test('only one of twenty that ask for one name at once gets it', async ({ tokens }) => {
      const asked = Array.from({ length: 20 }, (_, n) => ({ ...tokenNamed('alice'), hash: sha256(`${n}`) }));
      const answers = await Promise.allSettled(asked.map((token) => tokens.create(token, auditEvent())));
      assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, 1);
      const there = await Promise.all(asked.map(({ hash }) => findToken(tokens, hash)));
      assert.equal(there.filter((token) => token !== null).length, 1);
    });

    test('tokens are listed in the order of their making, and after another start', async (under) => {
      const names = ['c', 'a', 'B', '10', '9'];
      for (const one of names) await under.tokens.create(tokenNamed(one), auditEvent());
      await under.tokens.revoke('a', REVOKED_AT, auditEvent());
      for (const tokens of [under.tokens, await under.reopen()]) {
        assert.deepEqual(
          (await tokens.list()).map((token) => token.name),
          names,
        );
      }
    });

    test('the audit log tells of each token that was made or revoked, and of nothing that changed nothing', async ({
      tokens,
      recordedActions,
    }) => {
      const made = auditEvent({ action: 'token-create', result: 'created' });
      const revoked = auditEvent({ action: 'token-revoke', result: 'revoked' });
      await tokens.create(tokenNamed('alice'), made);
      await assert.rejects(tokens.create({ ...tokenNamed('alice'), hash: sha256('other') }, made));
      await tokens.revoke('alice', REVOKED_AT, revoked);
      await tokens.revoke('alice', REVOKED_AT, revoked);
      await tokens.revoke('nobody', REVOKED_AT, revoked);
      await tokens.create(tokenNamed('bob'), made);
      assert.deepEqual(await recordedActions(), [
        ['token-create', 'created'],
        ['token-revoke', 'revoked'],
        ['token-create', 'created'],
      ]);
    });

    test('its last use is kept, and found by another start', async (under) => {
      for (const name of ['alice', 'bob']) await under.tokens.create(tokenNamed(name), auditEvent());
      const at = new Date('2026-11-24T10:00:00.000Z');
      await under.tokens.noteUse([
        { name: 'alice', at },
        { name: 'gone', at },
      ]);
      for (const tokens of [under.tokens, await under.reopen()]) {
        const uses = (await tokens.list()).map(({ name: one, lastUsedAt }) => [one, lastUsedAt]);
        assert.deepEqual(uses, [
          ['alice', at],
          ['bob', null],
        ]);
      }
      assert.equal((await under.recordedActions()).length, 2);
    });

    test('a token of a signer that is not there is not made', async ({ tokens, recordedActions }) => {
      await assert.rejects(
        tokens.create({ ...tokenNamed('alice'), signer: 'nobody' }, auditEvent()),
        (error) => isLookasideError(error, 'NOT_FOUND'),
      );
      assert.deepEqual(await tokens.list(), []);
      assert.deepEqual(await recordedActions(), []);
    });

    test('a token is neither made nor revoked when its event cannot be written', async ({
      tokens,
      recordedActions,
    }) => {
      const unwritable = auditEvent({ salt: 'ab' });
      await tokens.create(tokenNamed('alice'), auditEvent());
      await assert.rejects(tokens.create(tokenNamed('bob'), unwritable));
      await assert.rejects(tokens.revoke('alice', REVOKED_AT, unwritable));
      assert.deepEqual(
        (await tokens.list()).map(({ name: one, revokedAt }) => [one, revokedAt]),
        [['alice', null]],
      );
      assert.notEqual(await findToken(tokens, tokenNamed('alice').hash), null);
      assert.equal((await recordedActions()).length, 1);
    });
  });
}
