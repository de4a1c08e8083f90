// Who is to be forgotten: names in the reasons of events.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isNamedIn } from '../../src/domain/person.ts';

test('a name in a reason is the whole of it, with its blanks, and no part of another', () => {
  const of = (text: string) => (reason: unknown) => isNamedIn(reason, { kind: 'actor', text });
  const [anna, person] = [of('anna'), of('https://sso.example.com anna')];
  for (const reason of [
    'anna, logged in at 2026-01-01T00:00:00.000Z',
    'anna (reader)',
    'who anna',
    'access token=anna',
    'anna: team/** by 0123456789ABCDEF',
    'anna-1 (uploader of the signer anna until 2026-12-01)',
    'anna-1 (uploader of the signer anna)',
    'bob, and its tokens revoked: ann, anna',
    'no grant of the signer "anna" covers it',
  ])
    assert.ok(anna(reason), reason);
  for (const reason of ['hannah', 'anna-maria', 'joanna, logged in', 'anna,b', 'anna.b', 'anna:b', null, ''])
    assert.ok(!anna(reason), String(reason));
  assert.ok(person('https://sso.example.com anna, logged in at 2026-01-01T00:00:00.000Z'));
  assert.ok(person('release https://sso.example.com annabel https://sso.example.com anna'));
  assert.ok(!person('https://sso.example.com annabel, logged in at 2026-01-01T00:00:00.000Z'));
  assert.ok(!person('https://sso.example.com'));
});
