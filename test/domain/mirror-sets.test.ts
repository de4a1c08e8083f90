import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { parse as parseYaml } from 'yaml';
import { mirroredSources, proposeMirrors } from '../../src/domain/mirror-sets.ts';

const PARSERS = { parseYaml, parseToml };

const IDMS = `apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata: {name: idms}
spec:
  imageDigestMirrors:
    - source: registry.redhat.io
      mirrors: ["m.example:5000/redhat"]
    - source: registry.redhat.io/ubi9
      mirrors: ["m.example:5000/base/ubi9"]
---
kind: ImageContentSourcePolicy
spec:
  repositoryDigestMirrors:
    - source: quay.io/openshift-release-dev/ocp-release
      mirrors: ["m.example:5000/openshift/release-images"]
    - source: docker.io/library
      mirrors: ["m.example:5000/library"]
`;

const CONF = `unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "registry.redhat.io"
location = "registry.redhat.io"
[[registry.mirror]]
location = "m.example:5000/redhat"
pull-from-mirror = "digest-only"
`;

test('mirror sets of OpenShift propose sites, views and the lines for clients', () => {
  const proposal = proposeMirrors(mirroredSources(IDMS, PARSERS));
  assert.deepEqual(proposal, {
    sites: [
      {
        preset: 'red-hat',
        views: [
          { prefix: '/red-hat', strip: 'redhat', add: '' },
          { prefix: '/red-hat', strip: 'base/ubi9', add: 'ubi9' },
        ],
      },
      { preset: 'openshift', views: [{ prefix: '/openshift', strip: '', add: '' }] },
    ],
    lookasides: [
      { registry: 'm.example:5000/redhat', path: '/red-hat' },
      { registry: 'm.example:5000/base/ubi9', path: '/red-hat' },
      { registry: 'm.example:5000/openshift/release-images', path: '/openshift' },
    ],
    unknown: ['docker.io/library'],
  });
});

test('a registries.conf proposes the same', () => {
  assert.deepEqual(mirroredSources(CONF, PARSERS), [
    { source: 'registry.redhat.io', mirrors: ['m.example:5000/redhat'] },
  ]);
});

test('a registries.conf is read as TOML, however it is written', () => {
  const sources = (text: string) => mirroredSources(text, PARSERS);
  // on one line, quoted names, text that only looks like a table, a comment behind a value
  const odd = `# [[registry]]
registry = [
  { "prefix" = "r.example/a", location = "else.example", mirror = [{ location = "m.example/a" }, { location = 'n.example' }] },
  { location = "s.example", mirror = [{ location = "m.example/s", insecure = true }] }, # location = "no.example"
]
`;
  assert.deepEqual(sources(odd), [
    { source: 'r.example/a', mirrors: ['m.example/a', 'n.example'] },
    { source: 's.example', mirrors: ['m.example/s'] },
  ]);
  const long = `[[registry]]
location = """r.example"""
[[registry.mirror]]
  location\t=\t"m\\u002eexample"
`;
  assert.deepEqual(sources(long), [{ source: 'r.example', mirrors: ['m.example'] }]);
  // a list as oc get -o json writes it, and both kinds with what is wrong in them
  const json = { items: [{ spec: { imageTagMirrors: [{ source: 'r.example', mirrors: ['m.example'] }] } }] };
  assert.deepEqual(sources(JSON.stringify(json, null, 1)), [{ source: 'r.example', mirrors: ['m.example'] }]);
  assert.throws(
    () => sources('[[registry]]\nlocation = r.example\n'),
    /is not TOML that clients read: .*mend it/,
  );
  assert.throws(() => sources('spec: [a\n'), /is not YAML that clients read: .*line 2.*mend it/);
});

test('a file without mirrors is refused', () => {
  assert.throws(() => mirroredSources('kind: Pod\nspec: {}\n', PARSERS), /wanted ImageDigestMirrorSet/);
});
