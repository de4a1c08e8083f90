import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import {
  graphChannels,
  graphReleases,
  ofArchitecture,
  parseReleaseName,
} from '../../src/domain/release-graph.ts';

const [A, B] = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}`) as [string, string];
const node = (version: string, digest: string, metadata: object = {}) => ({
  version,
  payload: `quay.io/openshift-release-dev/ocp-release@${digest}`,
  metadata,
});
const CHANNELS = 'io.openshift.upgrades.graph.release.channels';
// as api.openshift.com answers
const GRAPH = JSON.stringify({
  nodes: [
    node('4.18.1', A, {
      [CHANNELS]: 'candidate-4.18,stable-4.18',
      'io.openshift.upgrades.graph.release.manifestref': A,
      url: 'https://access.redhat.com/errata/RHSA-2025:1',
    }),
    node('4.18.2', B, { 'release.openshift.io/architecture': 'multi' }),
    { version: 'no version', payload: `x@${A}` },
    { version: '4.18.3', payload: 'quay.io/no/digest:4.18.3' },
  ],
  edges: [[0, 1]],
});

test('a graph tells versions, channels and architectures, and its address what it was asked for', () => {
  assert.deepEqual(graphReleases(GRAPH, 'https://x.example/graph?channel=fast-4.18&arch=s390x'), [
    {
      digest: A,
      version: '4.18.1',
      arch: 's390x',
      channels: ['candidate-4.18', 'stable-4.18', 'fast-4.18'],
      hasAllChannels: true,
    },
    { digest: B, version: '4.18.2', arch: 'multi', channels: ['fast-4.18'] },
  ]);
  // a list without a name lists nothing, whatever was asked for
  for (const list of ['', ' ', ',', 'Ä']) {
    const text = JSON.stringify({ nodes: [node('4.18.1', A, { [CHANNELS]: list })] });
    assert.deepEqual(graphReleases(text, 'https://x.example/graph?channel=fast-4.18'), [
      { digest: A, version: '4.18.1', arch: 'amd64', channels: ['fast-4.18'] },
    ]);
  }
  const [first, second] = graphReleases(GRAPH, null);
  assert.deepEqual([first?.arch, second?.arch], [null, 'multi']);
  assert.equal(graphReleases(GRAPH, 'https://x.example/graph')[0]?.arch, 'amd64');
  for (const other of [`${A}\n`, '{"nodes": [', '{"nodes": {}}', '{"a":1}\n{"nodes":[]}'])
    assert.deepEqual(graphReleases(other, null), []);
});

test('a release is named by digest, version or channel', () => {
  assert.deepEqual(parseReleaseName(A), { kind: 'digest', hex: 'a'.repeat(64) });
  assert.deepEqual(parseReleaseName('4.18.3'), { kind: 'version', name: '4.18.3' });
  assert.deepEqual(parseReleaseName('4.19.0-rc.1'), { kind: 'version', name: '4.19.0-rc.1' });
  assert.deepEqual(parseReleaseName('stable-4.18'), { kind: 'channel', name: 'stable-4.18' });
  for (const text of ['', '..', '4', '4.18', 'a/b', 'Ä', 'sha256:1', `sha512:${'a'.repeat(128)}`])
    assert.throws(
      () => parseReleaseName(text),
      (error: unknown) => isLookasideError(error, 'REQUEST_INVALID'),
      text,
    );
});

test('without an architecture there must be one alone, and what does not say is taken where no other is', () => {
  const release = (digest: string, arch: string | null) => ({
    digest,
    version: '4.18.1',
    arch,
    channels: [],
  });
  const [amd, unsaid] = [release(A, 'amd64'), release(B, null)];
  assert.deepEqual(ofArchitecture([amd, unsaid], 'amd64'), [amd]);
  assert.deepEqual(ofArchitecture([amd, unsaid], 's390x'), [unsaid]);
  assert.deepEqual(ofArchitecture([amd], null), [amd]);
  assert.throws(() => ofArchitecture([amd, release(B, 'arm64')], null), /amd64, arm64.*\?arch=/);
});

test('where no release of a version names the architecture, those that name none are taken', () => {
  const release = (version: string, digest: string, arch: string | null) => {
    return { version, digest, arch, channels: ['stable-4.18'] };
  };
  const [amd, arm] = [release('4.18.1', A, 'amd64'), release('4.18.1', B, 'arm64')];
  const unsaid = release('4.18.2', `sha256:${'c'.repeat(64)}`, null);
  assert.deepEqual(ofArchitecture([amd, arm, unsaid], 'amd64'), [amd, unsaid]);
  assert.deepEqual(ofArchitecture([amd, arm, unsaid], 's390x'), [unsaid]);
  assert.deepEqual(ofArchitecture([amd, unsaid], null), [amd, unsaid]);
  const many = Array.from({ length: 2001 }, () => unsaid);
  assert.equal(ofArchitecture(many.slice(1), 'amd64').length, 2000);
  assert.throws(() => ofArchitecture(many, 'amd64'), /2001 releases, and 2000 are told at most/);
  assert.throws(() => ofArchitecture([amd, release('4.18.1', B, null)], null), /amd64, unknown.*\?arch=/);
});

test('the graph of a channel names all releases of it; an empty one, and one that was asked for no channel, say nothing', () => {
  const wholeOf = (url: string, text = GRAPH) => graphChannels(graphReleases(text, url), url);
  const stable = 'https://x.example/graph?channel=stable-4.18';
  assert.deepEqual(wholeOf(stable), [{ channel: 'stable-4.18', arch: 'amd64' }]);
  assert.deepEqual(wholeOf(`${stable}&arch=s390x`), [{ channel: 'stable-4.18', arch: 's390x' }]);
  assert.deepEqual(wholeOf(stable, '{"nodes":[]}'), []);
  assert.deepEqual(wholeOf('https://x.example/graph'), []);
  assert.deepEqual(wholeOf('https://x.example/graph?channel=No'), []);
});
