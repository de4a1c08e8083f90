import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { isLookasideError } from '../../src/domain/errors.ts';
import { namedImages, needsYaml } from '../../src/domain/sync-source.ts';

const [A, B] = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}`) as [string, string];

function named(text: string): readonly string[] {
  return namedImages(text, parse).images.map(({ repository, digest }) => `${repository ?? ''}@${digest}`);
}

function tagged(text: string): readonly string[] {
  return namedImages(text, parse).references.flatMap(({ name, digest }) => (digest === null ? name : []));
}

test('lists of names and digests are read line by line, with remarks', () => {
  const text = `# signed\nquay.io/team/app@${A}\n\nregistry.example:5000/app:v1@${B} # both\n${A}\nteam/app@${A}\n`;
  assert.deepEqual(named(text), [`team/app@${A}`, `app@${B}`, `@${A}`]);
  assert.deepEqual(named(`ubi9/ubi@${A.replace(':', '=')}\n`), [`ubi9/ubi@${A}`]);
});

test('the sources of oc-mirror’s mapping.txt are read, and tags are told apart', () => {
  const text = [
    `docker://registry.redhat.io/ubi9/ubi@${A}=docker://m.example:5000/ubi9/ubi@${A}`,
    `quay.io/openshift-release-dev/ocp-release@${B}=m.example/openshift/release-images@${B}`,
    'registry.redhat.io/ubi9/ubi:latest=m.example/ubi9/ubi:latest',
  ].join('\n');
  assert.deepEqual(named(text), [`ubi9/ubi@${A}`, `openshift-release-dev/ocp-release@${B}`]);
  assert.deepEqual(tagged(text), ['registry.redhat.io/ubi9/ubi:latest']);
});

test('what JSON holds beside images, and no image can be called, is passed over', () => {
  const text = JSON.stringify([`a/../b@${A}`, `${'x'.repeat(300)}@${A}`, `quay.io/a/b@${B}`, A]);
  assert.deepEqual(named(text), [`a/b@${B}`, `@${A}`]);
});

test('pods, graphs and catalogues name images wherever they stand', () => {
  const pods = {
    items: [
      {
        spec: { containers: [{ image: `quay.io/a/b@${A}` }, { image: 'quay.io/a/c:v1' }] },
        status: { containerStatuses: [{ imageID: `docker-pullable://quay.io/a/c@${B}` }] },
      },
    ],
  };
  assert.deepEqual(named(JSON.stringify(pods, null, 2)), [`a/b@${A}`, `a/c@${B}`]);
  assert.deepEqual(tagged(JSON.stringify(pods)), ['quay.io/a/c:v1']);
  const graph = { nodes: [{ version: '4.18.1', payload: `quay.io/x/ocp-release@${A}` }], edges: [[0, 1]] };
  assert.deepEqual(named(JSON.stringify(graph)), [`x/ocp-release@${A}`]);
  const catalogue = [
    { schema: 'olm.bundle', image: `r.io/o/bundle@${A}`, relatedImages: [{ image: `r.io/o/app@${B}` }] },
    { schema: 'olm.channel' },
  ];
  const lines = catalogue.map((one) => JSON.stringify(one)).join('\n');
  assert.deepEqual(named(lines), [`o/bundle@${A}`, `o/app@${B}`]);
  const indented = catalogue.map((one) => JSON.stringify(one, null, 4)).join('\n');
  assert.deepEqual(named(indented), [`o/bundle@${A}`, `o/app@${B}`]);
});

test('of a pod, a tag is passed over where its status names what runs by digest', () => {
  const pod = {
    spec: {
      containers: [
        { name: 'a', image: 'quay.io/a/run:v1' },
        { name: 'b', image: 'quay.io/a/waits:v1' },
      ],
      volumes: [{ rbd: { image: 'disk' } }, { hostPath: { path: 'quay.io/a/path:v1' } }],
    },
    status: {
      containerStatuses: [
        { name: 'a', image: 'docker.io/a/run:v1', imageID: `quay.io/a/run@${A}` },
        { name: 'b', image: 'quay.io/a/waits:v1', imageID: '' },
      ],
    },
  };
  const text = JSON.stringify({ items: [pod] });
  assert.deepEqual(named(text), [`a/run@${A}`]);
  assert.deepEqual(tagged(text), ['quay.io/a/waits:v1']);
  assert.deepEqual(tagged(JSON.stringify({ kind: 'Deployment', image: 'nginx:1.25' })), ['nginx:1.25']);
});

test('a name says where it can be asked for: its registry, and where oc-mirror copies it to', () => {
  const text = [
    `docker://quay.io/openshift-release-dev/ocp-release:4.18.1=docker://m.example:5000/openshift/release-images:4.18.1`,
    `docker.io/busybox:1.36`,
    `team/app:v1@${A}`,
    B,
  ].join('\n');
  const common = { registry: null, tag: null, digest: null, copiedTo: null };
  assert.deepEqual(namedImages(text, parse).references, [
    {
      ...common,
      name: 'quay.io/openshift-release-dev/ocp-release:4.18.1',
      registry: 'quay.io',
      repository: 'openshift-release-dev/ocp-release',
      tag: '4.18.1',
      copiedTo: 'm.example:5000/openshift/release-images:4.18.1',
    },
    {
      ...common,
      name: 'docker.io/busybox:1.36',
      registry: 'docker.io',
      repository: 'library/busybox',
      tag: '1.36',
    },
    { ...common, name: `team/app:v1@${A}`, repository: 'team/app', digest: A },
    { ...common, name: B, repository: null, digest: B },
  ]);
});

test('skopeo’s sync.yaml is read', () => {
  const text = `registry.redhat.io:\n  images:\n    ubi9/ubi:\n      - "${A}"\n      - latest\n`;
  assert.deepEqual(named(text), [`ubi9/ubi@${A}`]);
  assert.deepEqual(tagged(text), ['registry.redhat.io/ubi9/ubi:latest']);
});

test('a tag of a sync.yaml is taken as it is written, and repositories that stand for all tags are told', () => {
  const text = [
    'registry.redhat.io:',
    '  images:',
    '    ubi9/ubi: [1.10, 9, null]',
    '    ubi9/all: []',
    '    ubi9/none:',
    '  images-by-tag-regex:',
    '    ubi9/rx: ^9',
    'quay.io:',
    '  images-by-semver: {a/b: ">= 1"}',
  ].join('\n');
  const { references, repositories } = namedImages(text, (yaml) => parse(yaml, { schema: 'failsafe' }));
  assert.deepEqual(
    references.map(({ tag }) => tag),
    ['1.10', '9', 'null'],
  );
  assert.deepEqual(repositories, [
    'registry.redhat.io/ubi9/all',
    'registry.redhat.io/ubi9/none',
    'registry.redhat.io/ubi9/rx',
    'quay.io/a/b',
  ]);
});

test('a large file of JSON that was cut is not parsed again for each of its lines', (t) => {
  const items = Array.from({ length: 500 }, () => ({ image: `team/app@${A}` }));
  const text = JSON.stringify({ items }, null, 2);
  const parsing = t.mock.method(JSON, 'parse');
  assert.throws(() => named(text.slice(0, -3)), /begins like JSON/);
  assert.ok(parsing.mock.callCount() < 3, String(parsing.mock.callCount()));
  const quotes = '{"text": "}\\"{\\\\"}';
  assert.deepEqual(named(`${quotes}\n${text}\n ${quotes}{"image":"team/other@${A}"}\n`), [
    `team/app@${A}`,
    `team/other@${A}`,
  ]);
});

test('a line that names nothing is told by its number, and so is broken JSON', () => {
  for (const [text, why] of [
    [`team/app@${A}\n??\n`, /line 2 names no image/],
    [`team/app@sha256:abc\n`, /line 1 names no image/],
    ['sha256:abc\n', /line 1 names no image/],
    ['{"items":[', /begins like JSON/],
    ['registry.example:\n  images:\n   - a: [\n', /cannot be read as YAML: .*line 4.*; mend it there$/],
  ] as const) {
    assert.throws(
      () => namedImages(text, parse),
      (error: unknown) => isLookasideError(error, 'REQUEST_INVALID') && why.test(error.message),
    );
  }
});

test('a parser of YAML is needed for the sync.yaml of skopeo alone', () => {
  const of = (text: string) => {
    let isAsked = false;
    namedImages(text, (yaml) => {
      isAsked = true;
      return parse(yaml);
    });
    assert.equal(needsYaml(text), isAsked, text);
    return isAsked;
  };
  assert.equal(of(`# list\nteam/app@${A}\nregistry.example:5000/team/app@${A}\n`), false);
  assert.equal(of(`\ufeff [{"image":"team/app@${A}"}]`), false);
  assert.equal(of(`\ufeff{\n"items":\n["team/app@${A}"]}`), false);
  assert.equal(of(`registry.example:\n  images:\n    team/app:\n      - ${A}\n`), true);
});
