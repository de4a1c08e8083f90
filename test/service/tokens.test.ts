import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { Role, Token, TokenStore } from '../../src/domain/ports.ts';
import { type Actor, createEventMaker } from '../../src/service/audit.ts';
import { createTokenService, type TokenService } from '../../src/service/tokens.ts';
import { createClock, createLog } from './hand-driven.ts';

const ALICE: Actor = { name: 'alice', address: '192.0.2.7', requestId: null };

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** A store in memory that knows hashes only, and keeps the events of what changed. */
function createStore() {
  const tokens = new Map<string, Token & { readonly hash: string }>();
  const looked: string[] = [];
  const events: NewAuditEvent[] = [];
  const noted: { readonly name: string; readonly at: Date }[] = [];
  const named = (hash: string) => {
    looked.push(hash);
    return [...tokens.values()].find((token) => token.hash === hash && token.revokedAt === null) ?? null;
  };
  const store: TokenStore = {
    peek: named,
    find: async (hash) => named(hash),
    list: async () => [...tokens.values()],
    async create(token, event) {
      if (tokens.has(token.name)) throw new LookasideError('NAME_TAKEN', 'taken');
      const created = { ...token, revokedAt: null, disabledAt: null, lastUsedAt: null };
      tokens.set(token.name, created);
      events.push(event);
      return created;
    },
    async revoke(name, revokedAt, event) {
      const token = tokens.get(name);
      if (token === undefined) return null;
      const revoked = { ...token, revokedAt: token.revokedAt ?? revokedAt };
      tokens.set(name, revoked);
      if (token.revokedAt === null) events.push(event);
      return revoked;
    },
    noteUse: async (uses) => void noted.push(...uses),
  };
  return { store, noted, tokens, looked, events };
}

function open() {
  const clock = createClock();
  const backing = createStore();
  let made = 0;
  const randomBytes = (count: number) => {
    made += 1;
    return new Uint8Array(count).fill(made);
  };
  return {
    clock,
    ...backing,
    service: createTokenService({
      store: backing.store,
      clock,
      makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count) }),
      randomBytes,
      sha256,
      log: createLog(),
    }),
  };
}

async function make(
  service: TokenService,
  name: string,
  role: Role,
  lifeMs: number | null = null,
): Promise<string> {
  return (await service.create({ name, role, lifeMs }, ALICE)).text;
}

describe('tokens', () => {
  test('the text is lookaside_ and 32 random bytes in hex, and only its hash is kept', async () => {
    const { service, tokens, clock } = open();
    const text = await make(service, 'ci', 'uploader');
    assert.equal(text, `lookaside_${'01'.repeat(32)}`);
    const kept = {
      name: 'ci',
      role: 'uploader',
      hash: sha256(text),
      createdAt: clock.now(),
      expiresAt: null,
      revokedAt: null,
      signer: null,
      disabledAt: null,
      lastUsedAt: null,
    };
    assert.deepEqual([...tokens.values()], [kept]);
    assert.doesNotMatch(JSON.stringify([...tokens]), new RegExp(text));
    assert.notEqual(await make(service, 'other', 'reader'), text);
  });

  test('the token of a signer is an uploader, and no other role', async () => {
    const { service, tokens } = open();
    for (const role of ['admin', 'auditor', 'reader'] as const) {
      await assert.rejects(
        service.create({ name: 'x', role, lifeMs: null, signer: 'ci' }, ALICE),
        (error) => isLookasideError(error, 'REQUEST_INVALID') && /has the role uploader/.test(error.message),
      );
    }
    assert.equal(tokens.size, 0);
    await service.create({ name: 'x', role: 'uploader', lifeMs: null, signer: 'ci' }, ALICE);
    assert.equal(tokens.get('x')?.signer, 'ci');
  });

  test('its uses are written once a minute, and only what is new', async () => {
    const { service, noted, clock } = open();
    const text = await make(service, 'ci', 'reader');
    const token = service.peek(text)?.token ?? assert.fail();
    const minute = (at: Date) => new Date(Math.floor(at.getTime() / 60_000) * 60_000);
    for (let n = 0; n < 5; n += 1) service.used(token);
    await service.writeUses();
    await service.writeUses();
    const first = { name: 'ci', at: minute(clock.now()) };
    assert.deepEqual(noted, [first]);
    service.used({ ...token, lastUsedAt: first.at });
    await service.writeUses();
    assert.deepEqual(noted, [first]);
    clock.pass(60_000);
    service.used({ ...token, lastUsedAt: first.at });
    await service.writeUses();
    assert.deepEqual(noted, [first, { name: 'ci', at: minute(clock.now()) }]);
  });

  test('the holder of the text is found, until it is revoked', async () => {
    const { service, clock } = open();
    const text = await make(service, 'ci', 'reader');
    assert.equal(service.peek(text)?.token.name, 'ci');
    assert.equal((await service.find(text))?.token.name, 'ci');
    clock.pass(5000);
    const revoked = await service.revoke('ci', ALICE);
    assert.deepEqual(revoked.revokedAt, clock.now());
    assert.equal(service.peek(text), null);
    assert.equal(await service.find(text), null);
    assert.deepEqual((await service.revoke('ci', ALICE)).revokedAt, revoked.revokedAt);
  });

  test('a token with an end is in force until then by our clock, and listed as expired from then on', async () => {
    const { service, clock, events } = open();
    const { text, expiresAt } = await service.create({ name: 'ci', role: 'reader', lifeMs: 5000 }, ALICE);
    assert.deepEqual(expiresAt, new Date('2026-11-22T10:00:05.000Z'));
    assert.equal(events[0]?.private.reason, 'ci (reader, until 2026-11-22T10:00:05.000Z)');
    const states = async () => [
      service.peek(text)?.state,
      (await service.find(text))?.state,
      (await service.list())[0]?.state,
    ];
    clock.pass(4999);
    assert.deepEqual(await states(), ['valid', 'valid', 'valid']);
    clock.pass(1);
    assert.deepEqual(await states(), ['expired', 'expired', 'expired']);
    assert.equal((await service.revoke('ci', ALICE)).state, 'revoked');
    assert.deepEqual(await states(), [undefined, undefined, 'revoked']);
  });

  for (const lifeMs of [0, -1, 1.5, Number.NaN, Number.MAX_SAFE_INTEGER]) {
    test(`a token that lasts ${lifeMs} ms is not made`, async () => {
      const { service, tokens } = open();
      await assert.rejects(make(service, 'ci', 'reader', lifeMs), (error) =>
        isLookasideError(error, 'REQUEST_INVALID'),
      );
      assert.equal(tokens.size, 0);
    });
  }

  test('no text that is not one of ours is looked for at all', async () => {
    const { service, looked } = open();
    const hex = 'ab'.repeat(32);
    const texts = [
      '',
      hex,
      `lookaside_${hex}0`,
      `lookaside_${hex.slice(1)}`,
      `lookaside_${hex.toUpperCase()}`,
    ];
    for (const text of [
      ...texts,
      `Lookaside_${hex}`,
      ` lookaside_${hex}`,
      `lookaside_${hex}\n`,
      `lookaside_${sha256('')}x`,
    ])
      assert.deepEqual([service.peek(text), await service.find(text)], [null, null], text);
    assert.deepEqual(looked, []);
    const ours = `lookaside_${hex}`;
    assert.deepEqual([service.peek(ours), await service.find(ours)], [null, null]);
    assert.deepEqual(looked, [sha256(ours), sha256(ours)]);
  });

  for (const name of ['a', '0', 'ci', 'CI-2', 'joe@example.com', 'a_b.c-d', 'x'.repeat(64)]) {
    test(`${name} is a name`, async () => {
      const { service } = open();
      await make(service, name, 'reader');
      assert.deepEqual(
        (await service.list()).map((token) => token.name),
        [name],
      );
    });
  }

  for (const name of [
    '',
    ' ',
    'a b',
    '-a',
    '.a',
    '_a',
    '@a',
    'a/b',
    'ä',
    'a\n',
    '\u202ea',
    'a"b',
    'x'.repeat(65),
  ]) {
    test(`${JSON.stringify(name)} is no name, and nothing is made`, async () => {
      const { service, tokens } = open();
      await assert.rejects(
        make(service, name, 'reader'),
        (error) =>
          isLookasideError(error, 'REQUEST_INVALID') && error.message.includes('is not a name for a token'),
      );
      assert.equal(tokens.size, 0);
    });
  }

  test('a refused name is shown to its first 80 characters', async () => {
    const { service } = open();
    await assert.rejects(make(service, 'y'.repeat(10_000), 'reader'), (error) => {
      return error instanceof Error && error.message.includes(`"${'y'.repeat(80)}"`);
    });
  });

  test('a name is given once, also after its token was revoked', async () => {
    const { service } = open();
    const text = await make(service, 'ci', 'reader');
    const taken = (error: unknown) => isLookasideError(error, 'NAME_TAKEN');
    await assert.rejects(make(service, 'ci', 'admin'), taken);
    assert.equal(service.peek(text)?.token.role, 'reader');
    await service.revoke('ci', ALICE);
    await assert.rejects(make(service, 'ci', 'admin'), taken);
  });

  test('a token that nobody made cannot be revoked', async () => {
    const { service } = open();
    await assert.rejects(service.revoke('nobody', ALICE), (error) => {
      return isLookasideError(error, 'NOT_FOUND') && error.message.includes('"nobody"');
    });
  });

  test('each change is told with who made it, and which token it is about', async () => {
    const { service, events, clock } = open();
    await make(service, 'ci', 'uploader');
    clock.pass(5000);
    await service.revoke('ci', { ...ALICE, name: 'bob' });
    const recorded = events.map(({ at, action, result, private: { actor, address, reason } }) => [
      at.toISOString(),
      action,
      result,
      actor,
      address,
      reason,
    ]);
    assert.deepEqual(recorded, [
      ['2026-11-22T10:00:00.000Z', 'token-create', 'created', 'alice', '192.0.2.7', 'ci (uploader)'],
      ['2026-11-22T10:00:05.000Z', 'token-revoke', 'revoked', 'bob', '192.0.2.7', 'ci'],
    ]);
  });

  for (const name of ['administrator', 'Administrator', 'server']) {
    test(`the name ${name}, which stands for another in the audit log, is given to no token`, async () => {
      const { service, tokens, events } = open();
      await assert.rejects(make(service, name, 'reader'), (error) =>
        isLookasideError(error, 'REQUEST_INVALID'),
      );
      assert.deepEqual([tokens.size, events.length], [0, 0]);
    });
  }
});
