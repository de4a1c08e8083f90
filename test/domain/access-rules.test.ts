import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type AccessRules,
  type AccessState,
  checkRules,
  planAccess,
  rulesOf,
  textOfChange,
} from '../../src/domain/access-rules.ts';
import type { Token } from '../../src/domain/ports.ts';

const [A, B] = ['AB'.repeat(20), 'CD'.repeat(20)];
const AT = new Date(0);
const token = (name: string, more: Partial<Token> = {}): Token => ({
  name,
  role: 'uploader',
  createdAt: AT,
  expiresAt: null,
  revokedAt: null,
  signer: null,
  disabledAt: null,
  lastUsedAt: null,
  ...more,
});
const STATE: AccessState = {
  signers: [{ name: 'ci', description: '', createdAt: AT, disabledAt: null }],
  grants: [{ id: 7, signer: 'ci', repositories: ['a', 'b'], fingerprints: [A], tags: [], createdAt: AT }],
  subjects: [],
  tokens: [
    token('ci-1', { signer: 'ci' }),
    token('old', { revokedAt: AT }),
    token('root', { role: 'admin' }),
    token('free'),
  ],
  keys: [{ fingerprint: A, retiredAt: null }],
};
const NOTHING: AccessRules = { keys: null, signers: null, tokens: null };
const ci = { name: 'ci', description: null, disabled: null, oidc: null, grants: null };

const plan = (rules: Partial<AccessRules>, prune = false) =>
  planAccess(STATE, checkRules({ ...NOTHING, ...rules }), { prune, keyChanges: [] });
const texts = (rules: Partial<AccessRules>, prune = false) => plan(rules, prune).changes.map(textOfChange);

describe('the plan of a document', () => {
  test('is empty for what is here, and for a document that says nothing, also with prune', () => {
    const here = rulesOf(STATE, new Map());
    for (const rules of [here, NOTHING, { signers: [ci] }]) assert.deepEqual(texts(rules, true), []);
  });

  test('knows a grant again whatever the order and the case of its parts', () => {
    const grants = [{ repositories: ['b', 'a', 'b'], fingerprints: [A.toLowerCase()], tags: [] }];
    assert.deepEqual(texts({ signers: [{ ...ci, grants }] }, true), []);
  });

  test('names a description as databases keep it, so that the next plan is empty', () => {
    const given = { ...ci, description: 'a\0b\ud800c\u{1f600}' };
    const { changes } = plan({ signers: [given] });
    const kept = 'a\ufffdb\ufffdc\u{1f600}';
    assert.deepEqual(changes, [{ kind: 'describe-signer', signer: 'ci', description: kept }]);
    const after = { ...STATE, signers: STATE.signers.map((one) => ({ ...one, description: kept })) };
    const rules = checkRules({ ...NOTHING, signers: [given] });
    assert.deepEqual(planAccess(after, rules, { prune: true, keyChanges: [] }).changes, []);
  });

  test('removes only by prune, and nothing of a section or list that is not there', () => {
    assert.deepEqual(texts({ signers: [{ ...ci, grants: [] }] }), []);
    assert.deepEqual(plan({ signers: [{ ...ci, grants: [] }] }).left, [`grant of ci: a, b by ${A}`]);
    assert.deepEqual(texts({ signers: [{ ...ci, grants: [] }] }, true), [`remove grant of ci: a, b by ${A}`]);
    assert.deepEqual(texts({ keys: [] }, true), [`remove key ${A}`]);
    // its tokens go with a signer
    assert.deepEqual(
      texts({ signers: [], tokens: [{ name: 'free', role: 'uploader', signer: null }] }, true),
      ['remove signer ci'],
    );
  });

  test('retires the keys that it says are retired, takes others back, and leaves those of which it says nothing', () => {
    const keys = (retired: boolean | null) => [{ fingerprint: A, certificate: null, retired }];
    const retiredHere = { ...STATE, keys: [{ fingerprint: A, retiredAt: AT }] };
    const changesOf = (state: AccessState, retired: boolean | null) =>
      planAccess(state, checkRules({ ...NOTHING, keys: keys(retired) }), {
        prune: true,
        keyChanges: [],
      }).changes.map(textOfChange);
    assert.deepEqual(changesOf(STATE, true), [`retire key ${A}`]);
    assert.deepEqual(changesOf(retiredHere, false), [`take uploads by key ${A} again`]);
    for (const [state, retired] of [
      [STATE, false],
      [STATE, null],
      [retiredHere, true],
      [retiredHere, null],
    ] as const)
      assert.deepEqual(changesOf(state, retired), []);
    assert.deepEqual(rulesOf(retiredHere, new Map()).keys, keys(true));
    // a key that comes with the document is added before it is retired
    const added = [{ kind: 'add-key', fingerprint: B }] as const;
    const wanted = checkRules({ ...NOTHING, keys: [{ fingerprint: B, certificate: 'x', retired: true }] });
    assert.deepEqual(
      planAccess(STATE, wanted, { prune: false, keyChanges: added }).changes.map(({ kind }) => kind),
      ['add-key', 'retire-key'],
    );
  });

  test('revokes no token of an administrator, who may be the one that applies it', () => {
    const { changes, left } = plan({ tokens: [] }, true);
    assert.deepEqual(changes.map(textOfChange), ['revoke token ci-1', 'revoke token free']);
    assert.match(left.join(), /token root, of the role admin/);
  });

  test('says what is to be done by hand about tokens, whose texts no document has', () => {
    const named = (name: string, signer: string | null = null) => ({
      name,
      role: 'uploader' as const,
      signer,
    });
    const { changes, todo } = plan({
      tokens: [named('new', 'ci'), named('old'), named('ci-1'), named('free')],
    });
    assert.deepEqual(changes, []);
    assert.equal(todo.length, 3);
    assert.match(todo[0] ?? '', /lookaside token create --name new --signer ci$/);
    assert.match(todo[1] ?? '', /old was revoked, and its name is taken for ever/);
    assert.match(todo[2] ?? '', /ci-1 has the signer ci here, which cannot be changed/);
  });

  test('gives no grant to a key that nobody has registered, and keeps one that is there', () => {
    const grants = [{ repositories: ['x'], fingerprints: [B], tags: [] }];
    assert.throws(
      () => plan({ signers: [{ ...ci, grants }] }),
      /names the key CD.*neither registered nor below keys/,
    );
    const kept = { ...STATE, keys: [] };
    assert.deepEqual(planAccess(kept, rulesOf(kept, new Map()), { prune: true, keyChanges: [] }).changes, []);
  });
});

test('a document that names something twice, or not as it is kept, is refused', () => {
  const grant = { repositories: ['x'], fingerprints: [A], tags: [] };
  for (const [rules, message] of [
    [{ signers: [ci, ci] }, /the signer "ci" stands there twice/],
    [
      {
        keys: [
          { fingerprint: A, certificate: null, retired: null },
          { fingerprint: A.toLowerCase(), certificate: null, retired: null },
        ],
      },
      /stands there twice/,
    ],
    [{ keys: [{ fingerprint: A.slice(-16), certificate: null, retired: null }] }, /is a key ID/],
    [{ signers: [{ ...ci, name: '../x' }] }, /is not a name for a signer/],
    [
      { signers: [{ ...ci, grants: [{ ...grant, repositories: ['../x'] }] }] },
      /is not a pattern of repositories/,
    ],
    [{ signers: [{ ...ci, oidc: [{ issuer: 'http://x', claims: { sub: 'y' } }] }] }, /is not an issuer/],
    [{ tokens: [{ name: 't', role: 'reader', signer: 'ci' }] }, /its role is uploader/],
  ] as const) {
    assert.throws(() => checkRules({ ...NOTHING, ...(rules as Partial<AccessRules>) }), message);
  }
});
