import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { decideGrant, type Grant, grantLists } from '../../src/domain/grant.ts';

const KEY = 'AB'.repeat(20);
const OTHER = 'CD'.repeat(20);

function grant(id: number, changes: Partial<Grant> = {}): Grant {
  const lists = { repositories: ['team/*'], fingerprints: [KEY], tags: [] };
  return { id, signer: 'ci', createdAt: new Date(0), ...lists, ...changes };
}

const QUESTION = { signer: 'ci', repository: 'team/app', fingerprint: KEY, tag: 'v1' };

describe('the decision about an upload', () => {
  test('is made by one grant that covers repository, key and tag', () => {
    const grants = [grant(1, { repositories: ['x'] }), grant(2, { tags: ['v*'] })];
    const decision = decideGrant(grants, QUESTION);
    assert.deepEqual([decision.allowed, decision.grant, decision.missing], [true, 2, []]);
    assert.match(decision.message, /^grant 2 of the signer "ci" covers the repository "team\/app"/);
  });

  const refusals: readonly (readonly [
    string,
    readonly Grant[],
    Partial<typeof QUESTION> | object,
    RegExp,
    object,
  ])[] = [
    [
      'a repository of nobody',
      [grant(1)],
      { repository: 'team-evil/app' },
      /covers the repository "team-evil\/app"; an/,
      ['repository'],
    ],
    [
      'a key of nobody',
      [grant(1)],
      { fingerprint: OTHER },
      new RegExp(`covers the key ${OTHER}; an`),
      ['key'],
    ],
    [
      'neither half',
      [grant(1)],
      { repository: 'x', fingerprint: OTHER },
      /"x" or the key CDCD/,
      ['repository', 'key'],
    ],
    [
      'halves of two grants',
      [grant(1, { fingerprints: [OTHER] }), grant(2, { repositories: ['x'] })],
      {},
      /together, though each by itself/,
      ['together'],
    ],
    ['another tag', [grant(1, { tags: ['v2*'] })], {}, /covers the tag "v1"/, ['tag']],
    [
      'no tag where one is wanted',
      [grant(1, { tags: ['*'] })],
      { tag: null },
      /a reference without a tag/,
      ['tag'],
    ],
    ['no grant at all', [], {}, /has no grants, so it may sign nothing/, ['repository', 'key']],
    [
      'a key that nobody can verify',
      [grant(1)],
      { fingerprint: null },
      /nothing here can verify which key/,
      ['key'],
    ],
  ];
  for (const [what, grants, changes, message, missing] of refusals) {
    test(`names what is missing, and who could add it: ${what}`, () => {
      const decision = decideGrant(grants, { ...QUESTION, ...changes });
      assert.deepEqual([decision.allowed, decision.grant, decision.missing], [false, null, missing]);
      assert.match(decision.message, message);
      assert.match(
        decision.message,
        /an administrator (?:adds one with: lookaside grant add --signer ci|can make)/,
      );
    });
  }
});

describe("a grant's lists", () => {
  test('are sorted and without repeats, so that the same grant is the same', () => {
    const lists = { repositories: ['b', 'a', 'b'], fingerprints: [OTHER, KEY], tags: ['v*', 'v*'] };
    assert.deepEqual(grantLists(lists), {
      repositories: ['a', 'b'],
      fingerprints: [KEY, OTHER],
      tags: ['v*'],
    });
  });

  test('are refused when one is empty, too long, or holds what is no pattern', () => {
    const good = { repositories: ['a'], fingerprints: [KEY], tags: [] };
    const wrong: readonly (readonly [object, RegExp])[] = [
      [{ repositories: [] }, /needs a repository/],
      [{ fingerprints: [] }, /needs a key/],
      [{ repositories: ['..'] }, /"\.\." is not a pattern of repositories; wanted/],
      [{ tags: ['v 1'] }, /"v 1" is not a pattern of tags; wanted/],
      [{ repositories: Array.from({ length: 101 }, (_, n) => `r${n}`) }, /at most 100 patterns/],
    ];
    for (const [changes, message] of wrong) {
      assert.throws(
        () => grantLists({ ...good, ...changes }),
        (error) => isLookasideError(error, 'REQUEST_INVALID') && message.test(error.message),
      );
    }
  });
});
