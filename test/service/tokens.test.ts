import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { Token, TokenStore } from '../../src/domain/ports.ts';
import { createTokenService } from '../../src/service/tokens.ts';
import { createClock } from './hand-driven.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** A store in memory that knows hashes only. */
function createStore() {
  const tokens = new Map<string, Token & { readonly hash: string }>();
  const looked: string[] = [];
  const store: TokenStore = {
    find(hash) {
      looked.push(hash);
      return [...tokens.values()].find((token) => token.hash === hash && token.revokedAt === null) ?? null;
    },
    list: () => [...tokens.values()],
    async create(token) {
      if (tokens.has(token.name)) throw new LookasideError('NAME_TAKEN', 'taken');
      const created = { ...token, revokedAt: null };
      tokens.set(token.name, created);
      return created;
    },
    async revoke(name, revokedAt) {
      const token = tokens.get(name);
      if (token === undefined) return null;
      const revoked = { ...token, revokedAt: token.revokedAt ?? revokedAt };
      tokens.set(name, revoked);
      return revoked;
    },
  };
  return { store, tokens, looked };
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
    service: createTokenService({ store: backing.store, clock, randomBytes, sha256 }),
  };
}

describe('tokens', () => {
  test('the text is lookaside_ and 32 random bytes in hex, and only its hash is kept', async () => {
    const { service, tokens, clock } = open();
    const text = await service.create('ci', 'uploader');
    assert.equal(text, `lookaside_${'01'.repeat(32)}`);
    const kept = {
      name: 'ci',
      role: 'uploader',
      hash: sha256(text),
      createdAt: clock.now(),
      revokedAt: null,
    };
    assert.deepEqual([...tokens.values()], [kept]);
    assert.doesNotMatch(JSON.stringify([...tokens]), new RegExp(text));
    assert.notEqual(await service.create('other', 'reader'), text);
  });

  test('the holder of the text is found, until it is revoked', async () => {
    const { service, clock } = open();
    const text = await service.create('ci', 'reader');
    assert.equal(service.find(text)?.name, 'ci');
    clock.pass(5000);
    const revoked = await service.revoke('ci');
    assert.deepEqual(revoked.revokedAt, clock.now());
    assert.equal(service.find(text), null);
    assert.deepEqual((await service.revoke('ci')).revokedAt, revoked.revokedAt);
  });

  test('no text that is not one of ours is looked for at all', () => {
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
      assert.equal(service.find(text), null, text);
    assert.deepEqual(looked, []);
    assert.equal(service.find(`lookaside_${hex}`), null);
    assert.deepEqual(looked, [sha256(`lookaside_${hex}`)]);
  });

  for (const name of ['a', '0', 'ci', 'CI-2', 'joe@example.com', 'a_b.c-d', 'x'.repeat(64)]) {
    test(`${name} is a name`, async () => {
      const { service } = open();
      await service.create(name, 'reader');
      assert.deepEqual(
        service.list().map((token) => token.name),
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
        service.create(name, 'reader'),
        (error) =>
          isLookasideError(error, 'REQUEST_INVALID') && error.message.includes('is no name for a token'),
      );
      assert.equal(tokens.size, 0);
    });
  }

  test('a refused name is shown to its first 80 characters', async () => {
    const { service } = open();
    await assert.rejects(service.create('y'.repeat(10_000), 'reader'), (error) => {
      return error instanceof Error && error.message.includes(`"${'y'.repeat(80)}"`);
    });
  });

  test('a name is given once, also after its token was revoked', async () => {
    const { service } = open();
    const text = await service.create('ci', 'reader');
    const taken = (error: unknown) => isLookasideError(error, 'NAME_TAKEN');
    await assert.rejects(service.create('ci', 'admin'), taken);
    assert.equal(service.find(text)?.role, 'reader');
    await service.revoke('ci');
    await assert.rejects(service.create('ci', 'admin'), taken);
  });

  test('a token that nobody made cannot be revoked', async () => {
    const { service } = open();
    await assert.rejects(service.revoke('nobody'), (error) => {
      return isLookasideError(error, 'NOT_FOUND') && error.message.includes('"nobody"');
    });
  });
});
