import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { indexText, searchKeys } from '../../src/domain/hkp.ts';
import { touchesPrefix } from '../../src/domain/pattern.ts';
import { FINGERPRINT, keyOf, SUBKEY } from '../service/judgements.ts';

const NOW = new Date('2026-11-22T10:00:00Z');

describe('a search of a key server', () => {
  const key = { ...keyOf(), userIds: ['Alice <alice@example.com>', 'Bob'] };
  const finds = (search: string, isExact = false) => searchKeys([key], search, isExact).length === 1;

  test('finds by fingerprint or key ID, of the key or a subkey, in either case', () => {
    const fingerprints = [FINGERPRINT, ...key.subkeys.map(({ fingerprint }) => fingerprint)];
    assert.ok(fingerprints.includes(SUBKEY));
    for (const one of fingerprints) {
      for (const search of [
        one,
        `0x${one}`,
        `0x${one.toLowerCase()}`,
        one.slice(-16),
        `0x${one.slice(-16)}`,
      ]) {
        assert.ok(finds(search), search);
      }
      // anybody can make a key with the same eight digits
      for (const search of [one.slice(-8), `0x${one.slice(-8)}`, `0x${one.slice(1)}`, '0x']) {
        assert.ok(!finds(search), search);
      }
    }
  });

  test('finds by a part of a user id, or by all of it', () => {
    for (const search of ['alice', 'ALICE@example', 'bob', ' Bob ']) assert.ok(finds(search), search);
    for (const search of ['', ' ', 'carol', '*', '.*']) assert.ok(!finds(search), search);
    assert.ok(finds('alice <alice@example.com>', true));
    assert.ok(!finds('alice', true));
  });
});

describe('the index of a key server', () => {
  test('has a line for each key and user id, and no user id makes one of its own', () => {
    const at = { createdAt: new Date(1_700_000_000_999), expiresAt: null, revokedAt: null };
    const rsa = { ...keyOf(), ...at, algorithm: 'rsa3072', userIds: ['a:b%\npub:evil', 'é'] };
    const others = [
      { ...rsa, algorithm: 'ed25519', userIds: [], expiresAt: new Date(NOW.getTime() - 1000) },
      { ...rsa, algorithm: 'nistp256', userIds: [], revokedAt: NOW },
      { ...rsa, algorithm: 'strange', userIds: [] },
    ];
    assert.deepEqual(indexText([rsa, ...others], NOW).split('\n'), [
      'info:1:4',
      `pub:${FINGERPRINT}:1:3072:1700000000::`,
      'uid:a%3Ab%25%0Apub%3Aevil:::',
      'uid:%C3%A9:::',
      `pub:${FINGERPRINT}:22:256:1700000000:${NOW.getTime() / 1000 - 1}:e`,
      `pub:${FINGERPRINT}:19:256:1700000000::r`,
      `pub:${FINGERPRINT}:::1700000000::`,
      '',
    ]);
  });
});

test('a keyring has the keys of patterns that match its prefix or something below', () => {
  const rows: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['team/app', ['team', 'team/app'], ['team/app/x', 'tea', 'app', 'team-evil', 'team/ap']],
    ['team/*', ['team', 'team/x'], ['team/x/y', 'x']],
    ['team/**', ['team', 'team/x', 'team/x/y'], ['team-evil', 'x']],
    ['*/app', ['team', 'x', 'x/app'], ['x/y']],
    ['**', ['x', 'x/y'], []],
  ];
  for (const [pattern, touched, others] of rows) {
    for (const prefix of touched) assert.ok(touchesPrefix(pattern, prefix), `${pattern} ${prefix}`);
    for (const prefix of others) assert.ok(!touchesPrefix(pattern, prefix), `${pattern} ${prefix}`);
  }
});
