import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { mirroredSources, proposeMirrors } from '../../src/domain/mirror-sets.ts';

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
  const proposal = proposeMirrors(mirroredSources(IDMS, parse));
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
  assert.deepEqual(mirroredSources(CONF, parse), [
    { source: 'registry.redhat.io', mirrors: ['m.example:5000/redhat'] },
  ]);
});

test('a file without mirrors is refused', () => {
  assert.throws(() => mirroredSources('kind: Pod\nspec: {}\n', parse), /wanted ImageDigestMirrorSet/);
});
