import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import {
  checkSubject,
  isJwt,
  matchesClaim,
  matchesSubject,
  parseClaims,
  untrustedIssuerOf,
} from '../../src/domain/oidc.ts';

const GITHUB = 'https://token.actions.githubusercontent.com';

const MATCHES: readonly (readonly [pattern: string, value: string, isMet: boolean])[] = [
  ['team/app', 'team/app', true],
  ['team/app', 'team/app2', false],
  ['team/app', 'evil/team/app', false],
  ['team/app', 'Team/app', false],
  ['team/*', 'team/app', true],
  ['team/*', 'team-evil/app', false],
  ['team/*', 'team/app/x', false],
  ['team/**', 'team/app/x', true],
  ['team*', 'team-evil', true],
  ['team*', 'team/app', false],
  ['repo:team/*:ref:refs/heads/main', 'repo:team/app:ref:refs/heads/main', true],
  // the owner of a repository may choose the names of branches and environments
  ['repo:team/*:ref:refs/heads/main', 'repo:team/app:ref:refs/heads/x:ref:refs/heads/main', false],
  ['repo:team/app:environment:prod', 'repo:team/app:environment:prod2', false],
  ['refs/tags/v*.*', 'refs/tags/v1.2', true],
  ['refs/tags/v*.*', 'refs/tags/v12', false],
  ['refs/heads/**', 'refs/heads/feature/x', true],
  ['**/main', 'refs/heads/main', true],
  ['a*b*c', 'abxbc', true],
  ['a*b*c', 'abxbcd', false],
  ['a*/*b', 'a/b', true],
  ['*a', 'ba', true],
  ['a.c', 'abc', false],
  ['a?', 'ab', false],
  ['a[bc]', 'ab', false],
  ['^a$', 'a', false],
  ['a', 'a\n', false],
  ['team/app', 'team/\u0430pp', false],
  ['caf\u00e9', 'cafe\u0301', false],
];

describe('the pattern of a claim', () => {
  test('matches a whole value, and never more than it says', () => {
    for (const [pattern, value, isMet] of MATCHES) {
      assert.equal(matchesClaim(pattern, value), isMet, `${pattern} for ${value}`);
    }
  });

  test('of many stars is decided for a long value as well', () => {
    assert.equal(matchesClaim(`${'a*'.repeat(200)}b`, 'a'.repeat(8000)), false);
    assert.equal(matchesClaim('**a'.repeat(100), 'a'.repeat(8000)), true);
  });
});

describe('the claims of a token', () => {
  const subject = { claims: { repository: 'team/*', ref_protected: 'true', run: '7' } };
  const met = { repository: 'team/app', ref_protected: true, run: 7 };

  test('meet a subject when they meet all of its patterns', () => {
    assert.ok(matchesSubject(subject, { ...met, more: 'x' }));
    for (const changed of [
      { repository: 'evil/app' },
      { ref_protected: false },
      { run: null },
      { repository: ['team/app'] },
      { repository: { toString: () => 'team/app' } },
      { repository: undefined },
    ]) {
      assert.ok(!matchesSubject(subject, { ...met, ...changed }), JSON.stringify(changed));
    }
  });

  test('are not looked for in the prototype of all objects', () => {
    assert.ok(!matchesSubject({ claims: { constructor: '**x**' } }, {}));
    assert.ok(!matchesSubject({ claims: { ['__proto__']: 'x' } }, JSON.parse('{"__proto__":"y"}')));
  });
});

describe('a subject', () => {
  const refuse = (issuer: string, claims: Record<string, string>, message: RegExp) =>
    assert.throws(
      () => checkSubject({ issuer, claims }),
      (error) => {
        assert.ok(isLookasideError(error, 'REQUEST_INVALID'), String(error));
        assert.match(error.message, message);
        return true;
      },
      `${issuer} ${JSON.stringify(claims)}`,
    );

  test('is kept with its claims by name, so that the same one is the same', () => {
    const kept = checkSubject({ issuer: GITHUB, claims: { repository: 'team/app', environment: 'prod' } });
    assert.equal(
      JSON.stringify(kept),
      `{"issuer":"${GITHUB}","claims":{"environment":"prod","repository":"team/app"}}`,
    );
  });

  test('names an issuer by https, exactly as tokens write it', () => {
    for (const issuer of [
      'https://issuer.example',
      'https://issuer.example/',
      'https://gitlab.example.com/a/b',
    ])
      assert.equal(checkSubject({ issuer, claims: { sub: 'x' } }).issuer, issuer);
    checkSubject({ issuer: 'http://127.0.0.1:8080', claims: { sub: 'x' } });
    for (const issuer of [
      'http://issuer.example',
      'http://10.0.0.1',
      'file:///etc/passwd',
      'https://user:pass@issuer.example',
      'https://issuer.example?x',
      'https://issuer.example#',
      'https://Issuer.example',
      'https://issuer.example/a/../b',
      'https://issuer.example:443',
      'https://issuer.example\\x',
      ' https://issuer.example',
      'https://xn--\u00e9.example',
      'issuer.example',
      '',
    ])
      refuse(issuer, { sub: 'x' }, /is not an issuer; wanted its https URL/);
  });

  test('says who it is, by claims that say something', () => {
    const issuer = 'https://issuer.example';
    refuse(issuer, {}, /needs a claim/);
    for (const name of ['iss', 'aud', 'exp']) refuse(issuer, { [name]: 'x' }, /is checked for every token/);
    for (const name of ['', 'a b', '\u0430ud', 'x'.repeat(65)])
      refuse(issuer, { [name]: 'x' }, /is not the name of a claim/);
    for (const pattern of ['*', '**']) refuse(issuer, { sub: pattern }, /is met by every value/);
    for (const pattern of ['', ' x', 'x ', 'x\n', '\u202ex', '\u200b'])
      refuse(issuer, { sub: pattern }, /without blanks at its ends/);
    refuse(issuer, { sub: 'a***' }, /wanted \* or \*\*/);
    refuse(issuer, { sub: 'x'.repeat(1025) }, /at most 1024/);
    refuse(
      issuer,
      Object.fromEntries(Array.from({ length: 21 }, (_, n) => [`c${n}`, 'x'])),
      /at most 20 claims/,
    );
  });

  test('of an issuer that anybody can use says whose pipeline it is', () => {
    for (const claims of [
      { ref: 'refs/heads/main' },
      { repository: '*/app' },
      { repository_owner: 'team*' },
      { sub: 'repo:*' },
      { sub: '**:ref:refs/heads/main' },
    ])
      refuse(GITHUB, claims, /anybody can get tokens of .*: wanted one of the claims sub, repository,/);
    refuse('https://gitlab.com', { ref: 'main' }, /project_path/);
    for (const claims of [
      { repository: 'team/*' },
      { repository_owner: 'team', ref: 'refs/heads/main' },
      { sub: 'repo:team/*:environment:prod' },
      { repository_id: '42' },
    ])
      checkSubject({ issuer: GITHUB, claims });
    checkSubject({ issuer: 'https://gitlab.com', claims: { project_path: 'team/app' } });
    checkSubject({ issuer: 'https://gitlab.example.com', claims: { ref: 'main' } });
  });

  test('is read from texts, and a claim that is given twice is refused', () => {
    assert.deepEqual(parseClaims(['sub=a=b', 'x=']), { sub: 'a=b', x: '' });
    for (const text of ['sub', '=x', ''])
      assert.throws(() => parseClaims([text]), /is not a claim; wanted NAME=PATTERN/);
    assert.throws(() => parseClaims(['sub=a', 'sub=b']), /is given twice/);
  });
});

describe('a text', () => {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

  test('is taken for an OIDC token by its three parts, also without a signature', () => {
    assert.ok(isJwt('a.b.c') && isJwt('a.b.'));
    for (const text of ['a.b', 'a.b.c.d', 'a..c', 'a.b.c ', `lookaside_${'0'.repeat(64)}`])
      assert.ok(!isJwt(text), text);
  });

  test('names its issuer, or nothing when it cannot be read', () => {
    assert.equal(
      untrustedIssuerOf(`x.${part({ iss: 'https://\u00e9.example' })}.y`),
      'https://\u00e9.example',
    );
    for (const payload of [
      part({}),
      part({ iss: 1 }),
      part(null),
      part('iss'),
      '!',
      '',
      Buffer.from([0xff]).toString('base64url'),
    ])
      assert.equal(untrustedIssuerOf(`x.${payload}.y`), null);
  });
});
