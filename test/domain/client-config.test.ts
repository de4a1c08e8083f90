// The files of clients: what a merge keeps, what it adds, and what it refuses to open.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { isMap, parse, parseDocument } from 'yaml';
import { yamlEditor } from '../../src/domain/client-config/edit-yaml.ts';
import { withMirrors } from '../../src/domain/client-config/mirrored-scopes.ts';
import { planPodmanFiles } from '../../src/domain/client-config/podman-files.ts';
import { mergePolicy } from '../../src/domain/client-config/policy-merge.ts';
import { mergeRegistries, stagingInForce } from '../../src/domain/client-config/registries-merge.ts';
import { unifiedDiff } from '../../src/domain/client-config/unified-diff.ts';
import { isRegistryScope } from '../../src/domain/client-config/wanted.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { PolicyFault, parsePolicy } from '../../src/domain/policy/policy.ts';

const [A, B] = ['AA'.repeat(20), 'BB'.repeat(20)];
const ACCEPT = { type: 'insecureAcceptAnything' };
const REJECT = { type: 'reject' };
const signedBy = (...paths: readonly string[]) => ({
  type: 'signedBy',
  keyType: 'GPGKeys',
  ...(paths.length === 1 ? { keyPath: paths[0] } : { keyPaths: paths }),
});
const OURS = signedBy(`/k/${A}`);
const SIGSTORE = { type: 'sigstoreSigned', keyPath: '/cosign.pub' };

const key = (fingerprint: string) => ({ fingerprint, userIds: [], certificate: Buffer.from(fingerprint) });
const scope = (registry: string, ...fingerprints: readonly string[]) => ({
  registry,
  keys: fingerprints.map(key),
  identity: null,
});

function merge(policy: unknown, registry = 'r.example/team', { mayWiden = false, keys = [A] } = {}) {
  const { text, notes } = mergePolicy({
    existing: policy === null ? null : Buffer.from(JSON.stringify(policy)),
    scopes: [scope(registry, ...keys)],
    keyPathsOf: (one) => one.keys.map(({ fingerprint }) => `/k/${fingerprint}`),
    mayWiden,
  });
  parsePolicy(Buffer.from(text));
  return { policy: JSON.parse(text), notes: notes.map(({ code }) => code) };
}

const docker = (sections: object, standard: object = ACCEPT) => ({
  default: [standard],
  transports: { docker: sections },
});

/** The section of r.example/team after a merge, and what is said about it. */
const SECTIONS: readonly (readonly [
  name: string,
  before: object,
  after: readonly object[],
  notes: string[],
])[] = [
  ['accepted by default', docker({}), [OURS], []],
  ['accepted above', docker({ 'r.example': [ACCEPT] }, REJECT), [OURS], []],
  ['accepted by itself', docker({ 'r.example/team': [ACCEPT] }, REJECT), [OURS], []],
  ['accepted by a wildcard', docker({ '*.example': [ACCEPT] }, REJECT), [OURS], []],
  ['accepted for all of docker', docker({ '': [ACCEPT] }, REJECT), [OURS], []],
  [
    'by another key above',
    docker({ 'r.example': [signedBy('/x')] }),
    [signedBy('/x'), OURS],
    ['ALSO_WANTED'],
  ],
  ['by sigstore', docker({ 'r.example/team': [SIGSTORE] }), [SIGSTORE, OURS], ['ALSO_WANTED']],
  ['by our key and another', docker({ 'r.example/team': [signedBy(`/k/${A}`, '/x')] }), [OURS], []],
  ['by our key', docker({ 'r.example/team': [OURS] }), [OURS], []],
  ['by our key, inherited', docker({ 'r.example': [OURS] }), [OURS], []],
  [
    'by our key for its repository alone',
    docker({ 'r.example/team': [{ ...OURS, signedIdentity: { type: 'matchExact' } }] }),
    [{ ...OURS, signedIdentity: { type: 'matchExact' } }, OURS],
    ['ALSO_WANTED'],
  ],
  [
    'anything beside',
    docker({ 'r.example/team': [ACCEPT, signedBy('/x')] }),
    [signedBy('/x'), OURS],
    ['ALSO_WANTED'],
  ],
];

describe('a policy', () => {
  for (const [name, before, after, notes] of SECTIONS) {
    test(`that accepts ${name} asks for all of it and for our key`, () => {
      const merged = merge(before);
      const dockerPolicies = merged.policy.transports.docker;
      assert.deepEqual(dockerPolicies['r.example/team'] ?? dockerPolicies['r.example'], after);
      assert.deepEqual(merged.notes, notes);
      assert.deepEqual(merge(merged.policy).policy, merged.policy, 'a second merge changes nothing');
    });
  }

  test('that refuses a registry is not opened, unless somebody says so', () => {
    for (const refusing of [
      docker({}, REJECT),
      docker({ 'r.example': [REJECT] }),
      docker({ 'r.example/team': [OURS, REJECT] }),
      docker({ 'r.example/team': [{ type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchExact' } }] }),
    ]) {
      assert.throws(
        () => merge(refusing),
        (error: unknown) => isLookasideError(error, 'CONFIG_INVALID') && /--widen/.test(error.message),
      );
      const widened = merge(refusing, 'r.example/team', { mayWiden: true });
      assert.deepEqual(widened.policy.transports.docker['r.example/team'], [OURS]);
      assert.deepEqual(widened.notes, ['WIDENED']);
    }
  });

  test('gets no second key for a registry, unless somebody says so', () => {
    const before = docker({ 'r.example/team': [OURS] });
    const kept = merge(before, 'r.example/team', { keys: [A, B] });
    assert.deepEqual([kept.policy, kept.notes], [before, ['KEYS_NOT_ADDED']]);
    const widened = merge(before, 'r.example/team', { keys: [A, B], mayWiden: true });
    assert.deepEqual(widened.policy.transports.docker['r.example/team'], [signedBy(`/k/${A}`, `/k/${B}`)]);
  });

  test('that is not there yet refuses everything but what the keys sign', () => {
    const { policy, notes } = merge(null);
    assert.deepEqual(policy, docker({ 'r.example/team': [OURS] }, REJECT));
    assert.deepEqual(notes, ['POLICY_NEW']);
  });

  test('keeps every other section, in its place, and narrower ones are named', () => {
    const before = {
      default: [ACCEPT],
      transports: {
        'docker-daemon': { '': [ACCEPT] },
        docker: {
          'r.example/team/app': [ACCEPT],
          'r.example/team:v1': [REJECT],
          'r.example/teams': [REJECT],
        },
        atomic: {},
      },
    };
    const { policy, notes } = merge(before);
    assert.deepEqual(notes, ['NARROWER_SECTION', 'NARROWER_SECTION']);
    assert.deepEqual(Object.keys(policy.transports), ['docker-daemon', 'docker', 'atomic']);
    assert.deepEqual(policy.transports.docker, { ...before.transports.docker, 'r.example/team': [OURS] });
    assert.deepEqual(policy.transports['docker-daemon'], before.transports['docker-daemon']);
    // another port of the same host is another registry
    assert.deepEqual(merge(docker({ 'localhost:5000': [ACCEPT] }), 'localhost').notes, []);
    assert.deepEqual(merge(docker({ 'a.r.example': [ACCEPT] }), '*.r.example').notes, ['NARROWER_SECTION']);
  });

  test('of several registries, each is decided by what was there', () => {
    const { text } = mergePolicy({
      existing: Buffer.from(JSON.stringify(docker({ 'r.example': [signedBy('/x')] }))),
      scopes: [scope('r.example', A), scope('r.example/team', B)],
      keyPathsOf: (one) => one.keys.map(({ fingerprint }) => `/k/${fingerprint}`),
      mayWiden: false,
    });
    assert.deepEqual(JSON.parse(text).transports.docker, {
      'r.example': [signedBy('/x'), OURS],
      'r.example/team': [signedBy('/x'), signedBy(`/k/${B}`)],
    });
  });

  test('that clients refuse is refused with line and column', () => {
    for (const [text, line, column] of [
      ['{"default": [{"type": "reject"}],\n "default": []}', 2, 2],
      ['{"default": [{"type": "reject"}]\n // all\n}', 2, 2],
      ['{"default": [{"type": "reject"}],\n  "defaults": []}', 2, 3],
      ['{"default": [{"type": "reject"', 1, 31],
    ] as const) {
      assert.throws(
        () =>
          mergePolicy({
            existing: Buffer.from(text),
            scopes: [scope('r.example', A)],
            keyPathsOf: () => null,
            mayWiden: true,
          }),
        (error: unknown) => error instanceof PolicyFault && error.line === line && error.column === column,
        text,
      );
    }
  });

  test('keeps the indentation that it has', () => {
    const text = JSON.stringify(docker({}), null, '\t');
    const merged = mergePolicy({
      existing: Buffer.from(text),
      scopes: [scope('r.example', A)],
      keyPathsOf: () => null,
      mayWiden: false,
    });
    assert.match(merged.text, /\n\t\t"docker": \{\n\t\t\t"r\.example"/);
    assert.match(merged.text, new RegExp(`"keyData": "${Buffer.from(A).toString('base64')}"`));
  });
});

const editYaml = yamlEditor({ parse, parseDocument, isMap });

describe('registries.d', () => {
  const URL = 'https://sig.example';
  const file = (name: string, text: string) => ({ name, text, value: parse(text) });
  const mergeInto = (
    files: readonly ReturnType<typeof file>[],
    registry: string,
    staging: string | null = null,
  ) => mergeRegistries({ files, sections: [{ registry, staging }], lookaside: URL, editYaml });

  test('gets both spellings in a file of ours, or in the file that has the section already', () => {
    const fresh = mergeInto([], 'r.example:5000', 'file:///s');
    assert.deepEqual(parse(fresh.changed.get('lookaside.yaml') ?? ''), {
      docker: {
        'r.example:5000': {
          ...{ lookaside: URL, sigstore: URL },
          ...{ 'lookaside-staging': 'file:///s', 'sigstore-staging': 'file:///s' },
        },
      },
    });
    const other = file(
      'b.yaml',
      '# by hand\ndocker:\n  r.example: # ours\n    sigstore: http://me:the-token@old\n',
    );
    const edited = mergeInto([other], 'r.example');
    assert.deepEqual([...edited.changed.keys()], ['b.yaml']);
    assert.match(
      edited.changed.get('b.yaml') ?? '',
      /# by hand\n[\s\S]*# ours\n {4}sigstore: https:\/\/sig.example\n/,
    );
    assert.deepEqual(
      edited.notes.map(({ code }) => code),
      ['LOOKASIDE_CHANGED'],
    );
    assert.match(edited.notes[0]?.message ?? '', /^clients asked http:\/\/old for /);
    const again = mergeInto([file('b.yaml', edited.changed.get('b.yaml') ?? '')], 'r.example');
    assert.deepEqual([...again.changed], []);
  });

  test('takes a section with nothing in it, or one that is an alias, and leaves what the alias names', () => {
    for (const text of ['docker:\n  r.example:\n', 'docker:\n  r.example: {}\n']) {
      const { changed } = mergeInto([file('b.yaml', text)], 'r.example');
      assert.deepEqual(parse(changed.get('b.yaml') ?? ''), {
        docker: { 'r.example': { lookaside: URL, sigstore: URL } },
      });
    }
    const other = { lookaside: 'http://old', 'lookaside-staging': 'file:///s' };
    const aliased =
      'docker:\n  o.example: &o\n    lookaside: http://old\n    lookaside-staging: file:///s\n  r.example: *o\n';
    const { changed } = mergeInto([file('b.yaml', aliased)], 'r.example');
    assert.deepEqual(parse(changed.get('b.yaml') ?? ''), {
      docker: { 'o.example': other, 'r.example': { ...other, lookaside: URL, sigstore: URL } },
    });
    assert.throws(
      () => mergeInto([file('b.yaml', aliased)], 'o.example'),
      (error) => isLookasideError(error, 'CONFIG_INVALID') && /YAML anchor/.test(error.message),
    );
  });

  test('keeps where signers write, which a section without staging would hide', () => {
    const files = [file('default.yaml', 'default-docker:\n  sigstore-staging: file:///mine\n')];
    assert.equal(stagingInForce(files, 'r.example/team'), 'file:///mine');
    const planned = planPodmanFiles({
      wanted: { scopes: [scope('r.example', A)], lookaside: URL, staging: null, keysIn: 'files' },
      installed: { policy: null, registriesD: files },
      paths: { folder: '/etc/containers', builtInStaging: 'file:///built-in' },
      mayWiden: false,
      isStagingChosen: false,
      editYaml,
      sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
    });
    const text = Buffer.from(planned.files[1]?.content ?? []).toString();
    assert.match(text, /lookaside-staging: file:\/\/\/mine/);
    assert.deepEqual(
      planned.files.map(({ path }) => path),
      [
        `/etc/containers/keys/${A}.gpg`,
        '/etc/containers/registries.d/lookaside.yaml',
        '/etc/containers/policy.json',
      ],
    );
  });
});

test('a registry without a key gets no section, which would make clients refuse every image', () => {
  for (const keysIn of ['files', 'keyring', 'inline'] as const)
    assert.throws(
      () =>
        planPodmanFiles({
          wanted: { scopes: [scope('r.example')], lookaside: 'https://s.example', staging: null, keysIn },
          installed: { policy: null, registriesD: [] },
          paths: { folder: '/etc/containers', builtInStaging: 'file:///built-in' },
          ...{ mayWiden: false, isStagingChosen: false, editYaml, sha256: () => '0'.repeat(64) },
        }),
      (error) => isLookasideError(error, 'CONFIG_INVALID') && /no key for r\.example/.test(error.message),
    );
});

test('a registry is a host, or a part of one', () => {
  for (const good of [
    'r.example',
    'r.example:5000/a/b',
    'localhost',
    'localhost:5000',
    '*.example',
    '[::1]:5000',
    'host:1',
  ])
    assert.ok(isRegistryScope(good), good);
  for (const bad of [
    '',
    'team/app',
    'https://r.example',
    'r.example/',
    'r.example/A',
    'r.example/a:v1',
    '*',
    'r.example/a\n',
    'r .example',
  ])
    assert.ok(!isRegistryScope(bad), bad);
});

test('what changes is told as patch reads it', () => {
  assert.equal(unifiedDiff('f', 'a\n', 'a\n'), '');
  assert.equal(
    unifiedDiff('f', null, 'a\nb'),
    '--- /dev/null\n+++ f\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n',
  );
  const before = '1\n2\n3\n4\n5\n6\n7\n8\n9\n';
  assert.equal(
    unifiedDiff('f', before, before.replace('5\n', 'x\n')),
    '--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n',
  );
});

test('mirrors of a registry are trusted by the name that was signed', () => {
  const sources = [
    { source: 'r.example', mirrors: ['m.example:5000/r/'] },
    { source: 'r.example/team/sub', mirrors: ['n.example/sub', 'r.example/team/sub'] },
    { source: 'other.example', mirrors: ['m.example:5000/other'] },
    { source: '*.r.example', mirrors: ['m.example:5000/wild'] },
  ];
  const remap = (prefix: string, signedPrefix: string) => ({ type: 'remapIdentity', prefix, signedPrefix });
  const { scopes, notes } = withMirrors([scope('r.example/team', A)], sources);
  assert.deepEqual(
    scopes.map(({ registry, identity }) => [registry, identity]),
    [
      ['r.example/team', null],
      ['m.example:5000/r/team', remap('m.example:5000/r/team', 'r.example/team')],
      ['n.example/sub', remap('n.example/sub', 'r.example/team/sub')],
    ],
  );
  assert.deepEqual(
    notes.map(({ code }) => code),
    ['MIRROR_PATHS'],
  );
  const { text } = mergePolicy({
    existing: null,
    scopes,
    keyPathsOf: () => ['/k'],
    mayWiden: false,
  });
  parsePolicy(Buffer.from(text));
  assert.deepEqual(JSON.parse(text).transports.docker['n.example/sub'][0].signedIdentity, {
    ...remap('n.example/sub', 'r.example/team/sub'),
  });
});
