import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  isRepositoryPattern,
  isTagPattern,
  matchesRepository,
  matchesTag,
} from '../../src/domain/pattern.ts';

describe('a pattern of repositories', () => {
  test('matches whole names, and nothing that only begins or ends like them', () => {
    const rows: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      ['team/app', ['team/app'], ['team/app2', 'team/app/x', 'team', 'xteam/app', 'x/team/app', 'team/ap']],
      [
        'team/*',
        ['team/app', 'team/a.b_c-d'],
        ['team', 'team/app/x', 'team-evil/app', 'team-evil', 'x/team/app'],
      ],
      [
        'team/**',
        ['team/app', 'team/app/x/y'],
        ['team', 'team-evil', 'team-evil/app', 'x/team/app', 'tea/m'],
      ],
      ['*', ['app'], ['team/app']],
      ['**', ['app', 'team/app', 'a/b/c/d'], []],
      ['*/app', ['team/app', 'x/app'], ['app', 'a/b/app', 'team/app2']],
      ['team/*/app', ['team/x/app'], ['team/app', 'team/x/y/app']],
    ];
    for (const [pattern, matching, others] of rows) {
      assert.ok(isRepositoryPattern(pattern), pattern);
      for (const path of matching) assert.ok(matchesRepository(pattern, path), `${pattern} ${path}`);
      for (const path of others) assert.ok(!matchesRepository(pattern, path), `${pattern} ${path}`);
    }
  });

  test('with tricks in it is none', () => {
    const tricks = [
      ...[
        '',
        '/',
        '/team/app',
        'team/app/',
        'team//app',
        '..',
        'team/..',
        '../team',
        '.',
        'team/.',
        './team',
      ],
      ...[
        'Team/app',
        'team/App',
        'TEAM/*',
        'team/app*',
        'te*m/app',
        'team/***',
        '**/app',
        'team/**/app',
        '*.*',
      ],
      ...[
        'tëam/app',
        'team/аpp',
        'team\u2215app',
        'team/app\u0000',
        'team/app\n',
        ' team/app',
        'team/%2e%2e',
      ],
      ...[
        'team/app:v1',
        'team/app@sha256:00',
        'registry.example:5000/team',
        'team\\app',
        'team/?',
        'team/[a]',
      ],
      `${'a/'.repeat(127)}aa`,
    ];
    for (const text of tricks) assert.ok(!isRepositoryPattern(text), JSON.stringify(text));
  });

  test('in lower case without a star matches itself alone', () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,3}(?:[._-][a-z0-9]{1,3})?$/);
    const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(path, path, (one, other) => {
        assert.ok(isRepositoryPattern(one));
        assert.equal(matchesRepository(one, other), one === other);
      }),
    );
  });
});

describe('a pattern of tags', () => {
  test('matches as a shell would, from the first to the last character', () => {
    const rows: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      ['v1', ['v1'], ['v10', 'xv1', 'V1']],
      ['v1.*', ['v1.', 'v1.2'], ['v1', 'v10.2', 'xv1.2']],
      ['*-release', ['-release', 'x-release'], ['release', 'x-release2']],
      ['a*b*c', ['abc', 'aXbYc', 'abbc'], ['ab', 'ac', 'acb', 'abcX']],
      ['ab*ba', ['abba', 'abXba'], ['aba']],
      ['*', ['v1', 'x'], []],
    ];
    for (const [pattern, matching, others] of rows) {
      assert.ok(isTagPattern(pattern), pattern);
      for (const tag of matching) assert.ok(matchesTag(pattern, tag), `${pattern} ${tag}`);
      for (const tag of others) assert.ok(!matchesTag(pattern, tag), `${pattern} ${tag}`);
    }
    for (const text of ['', 'v 1', 'v1?', 'ü', 'a'.repeat(129), 'a/b', 'v1\n']) {
      assert.ok(!isTagPattern(text), JSON.stringify(text));
    }
  });

  test('says the same as the regular expression that it means', () => {
    const pattern = fc.stringMatching(/^[ab*]{1,8}$/);
    const tag = fc.stringMatching(/^[ab]{1,8}$/);
    fc.assert(
      fc.property(pattern, tag, (one, other) => {
        assert.equal(matchesTag(one, other), new RegExp(`^${one.replaceAll('*', '.*')}$`).test(other));
      }),
      { numRuns: 500 },
    );
  });

  test('with many stars is decided at once', () => {
    assert.ok(!matchesTag(`${'a*'.repeat(63)}b`, 'a'.repeat(128)));
  });
});
