// Who is to be forgotten: names in the reasons of events.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isNamedIn } from '../../src/domain/person.ts';

const named = (text: string, action: string, reason: unknown) =>
  isNamedIn({ action, reason }, { kind: 'actor', text });

test('an event names who it is about, by the whole name, and nobody else', () => {
  const cases: readonly (readonly [action: string, reason: string, names: readonly string[]])[] = [
    ['token-create', 'Alice Smith (uploader)', ['Alice Smith']],
    ['token-create', 'ci (auditor until 2026-12-01T00:00:00.000Z)', ['ci']],
    ['token-create', 'ci-1 (uploader of the signer release)', ['ci-1', 'release']],
    [
      'token-create',
      'ci-1 (uploader of the signer release until 2026-12-01T00:00:00.000Z)',
      ['ci-1', 'release'],
    ],
    ['token-revoke', 'Alice Smith', ['Alice Smith']],
    ['signer-add', 'release', ['release']],
    ['signer-edit', 'release: for Alice Smith', ['release']],
    ['signer-disable', 'release', ['release']],
    ['signer-remove', 'release, and its tokens revoked: ci, ci-1', ['release', 'ci', 'ci-1']],
    ['signer-remove', 'release', ['release']],
    ['signer-remove', 'release, with its grants, OIDC subjects and tokens', ['release']],
    ['grant-add', 'release: team/** by 0123456789ABCDEF for of', ['release']],
    ['grant-remove', 'release: team/** by 0123456789ABCDEF', ['release']],
    ['oidc-add', 'release: https://ci.example.com sub=ops', ['release', 'ops']],
    ['log-out', 'Alice Smith, logged in at 2026-01-01T00:00:00.000Z', ['Alice Smith']],
    ['query', 'access token=Alice Smith status=200', ['Alice Smith']],
    ['query', 'who ci', ['ci']],
    ['export', 'audit actor=ci', ['ci']],
    ['upload', 'no grant of the signer "release" covers the tag "v1"; ask ops', ['release']],
    ['log-in', 'the token "ci" belongs to the signer "release", which is disabled', ['ci', 'release']],
    ['withdraw', 'ops: Alice Smith left (until 2026-12-01T00:00:00.000Z)', []],
    ['withdraw-end', 'ops', []],
    ['key-revoke', 'ci: the disk of Alice was stolen', []],
    ['settings', 'release has another rule', ['release']],
  ];
  const people = [
    'Alice',
    'Alice Smith',
    'Smith',
    'ci',
    'ci-1',
    'release',
    'of',
    'signer',
    'ops',
    'team/**',
    '',
  ];
  for (const [action, reason, names] of cases)
    assert.deepEqual(
      people.filter((text) => named(text, action, reason)),
      people.filter((text) => names.includes(text)),
      `${action}: ${reason}`,
    );
  assert.ok(!named('ci', 'upload', null));
});

test('who comes through an OpenID provider has a name with blanks', () => {
  const anna = 'https://sso.example.com anna';
  assert.ok(named(anna, 'log-out', `${anna}, logged in at 2026-01-01T00:00:00.000Z`));
  assert.ok(!named(anna, 'log-out', `${anna}bel, logged in at 2026-01-01T00:00:00.000Z`));
  assert.ok(!named('https://sso.example.com', 'log-out', `${anna}, logged in at 2026-01-01T00:00:00.000Z`));
  assert.ok(named(anna, 'query', `audit actor=${anna}`));
});

test('an address is found in whatever was written', () => {
  const at = { kind: 'address', text: '192.0.2.0/24' } as const;
  assert.ok(isNamedIn({ action: 'query', reason: 'access address=192.0.2.7' }, at));
  assert.ok(!isNamedIn({ action: 'query', reason: 'access address=198.51.100.7' }, at));
});
