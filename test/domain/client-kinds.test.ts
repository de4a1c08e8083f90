// Clients whose files are handed to a cluster or another program: what they are told, and what they cannot be told.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import type { HandedKind, KindOptions } from '../../src/domain/client-config/kind.ts';
import { planKind } from '../../src/domain/client-config/kinds.ts';
import { PLATFORM_POLICY } from '../../src/domain/client-config/openshift.ts';
import { isLookasideError } from '../../src/domain/errors.ts';

const A = 'AA'.repeat(20);
const URL = 'https://sig.example';
const SERVER = { url: URL, isClosed: false };
const ACCEPT = { type: 'insecureAcceptAnything' };
const SIGNED = { type: 'signedBy', keyType: 'GPGKeys', keyPath: `/etc/containers/keys/${A}.gpg` };
const KEY = { fingerprint: A, userIds: [], certificate: Buffer.from([0x99, 0, 1, 0xff]) };

function plan(kind: HandedKind, registries: readonly string[], given: Partial<KindOptions> = {}) {
  const { files, commands, notes } = planKind(kind, {
    wanted: {
      scopes: registries.map((registry) => ({ registry, keys: [KEY], identity: null })),
      ...{ lookaside: URL, staging: null, keysIn: 'files' },
    },
    ...{ policy: null, mayWiden: false, namespaces: [], server: SERVER, image: null },
    sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
    armor: (bytes) => `ARMOUR ${Buffer.from(bytes).toString('hex')}`,
    ...given,
  });
  const texts = new Map(files.map(({ path, content }) => [path, Buffer.from(content).toString()]));
  return { files, texts, commands, notes: notes.map(({ code }) => code) };
}

const refused = (pattern: RegExp) => (error: unknown) =>
  isLookasideError(error, 'CONFIG_INVALID') && pattern.test(error.message);

interface NodeFile {
  readonly path: string;
  readonly mode: number;
  readonly overwrite: boolean;
  readonly contents: { readonly source?: string; readonly inline?: string; readonly compression?: string };
}

const bytesOf = ({ contents: { source, inline } }: NodeFile): Buffer =>
  inline === undefined
    ? Buffer.from(/^data:[a-z/;=0-9-]*;base64,(.*)$/.exec(source ?? '')?.[1] ?? '', 'base64')
    : Buffer.from(inline);

/** The files of nodes, once by MachineConfig and once by Butane, and both the same for both roles. */
function nodeFilesOf(texts: ReadonlyMap<string, string>, rank: string): ReadonlyMap<string, string> {
  const all = ['worker', 'master'].flatMap((role) => {
    const name = `${rank}-${role}-lookaside`;
    const labels = { 'machineconfiguration.openshift.io/role': role };
    const machine = parse(texts.get(`${name}.yaml`) ?? '');
    const butane = parse(texts.get(`${name}.bu`) ?? '');
    assert.deepEqual(
      [machine.kind, machine.metadata, machine.spec.config.ignition.version],
      ['MachineConfig', { labels, name }, '3.2.0'],
    );
    assert.deepEqual(
      [butane.variant, butane.version, butane.metadata],
      ['openshift', '4.8.0', { name, labels }],
    );
    return [machine.spec.config.storage.files, butane.storage.files];
  });
  const read = (files: readonly NodeFile[]) =>
    files.map((file) => [file.path, file.overwrite, bytesOf(file).toString('latin1')]);
  for (const files of all) assert.deepEqual(read(files), read(all[0]));
  assert.deepEqual(
    all[0].map(({ mode, contents }: NodeFile) => [mode, contents.compression]),
    all[0].map(() => [0o644, '']),
  );
  return new Map(all[0].map((file: NodeFile) => [file.path, bytesOf(file).toString('latin1')]));
}

describe('OpenShift', () => {
  test('nodes get key, registries.d and policy.json, the same by Butane and MachineConfig for both roles', () => {
    const { texts, notes } = plan('openshift', ['r.example/team']);
    const files = nodeFilesOf(texts, '02');
    assert.deepEqual(
      [...files.keys()],
      [
        `/etc/containers/keys/${A}.gpg`,
        '/etc/containers/registries.d/lookaside.yaml',
        '/etc/containers/policy.json',
      ],
    );
    assert.equal(files.get(`/etc/containers/keys/${A}.gpg`), '\x99\0\x01\xff');
    assert.deepEqual(parse(files.get('/etc/containers/registries.d/lookaside.yaml') ?? ''), {
      docker: { 'r.example/team': { lookaside: URL, sigstore: URL } },
    });
    // what the platform accepts goes on being accepted, and both the file and the notes say where it comes from
    const platform = JSON.parse(PLATFORM_POLICY);
    assert.deepEqual(JSON.parse(files.get('/etc/containers/policy.json') ?? ''), {
      ...platform,
      transports: { ...platform.transports, docker: { 'r.example/team': [SIGNED] } },
    });
    assert.deepEqual(notes, ['POLICY_OF_PLATFORM']);
    for (const name of ['02-worker-lookaside.bu', '02-worker-lookaside.yaml'])
      assert.match(
        texts.get(name) ?? '',
        /# policy\.json below was merged into the one that OpenShift itself/,
      );
  });

  test('a policy of a node is merged into, and then counts after what the cluster makes', () => {
    const policy = { default: [{ type: 'reject' }], transports: { docker: { 'r.example': [ACCEPT] } } };
    // a letter that YAML takes as a line end, and no line end at the end
    const odd = JSON.stringify({
      ...policy,
      transports: { ...policy.transports, dir: { '/\u0085': [ACCEPT] } },
    });
    for (const sent of [JSON.stringify(policy), odd]) {
      const { texts, notes } = plan('openshift', ['r.example/team'], { policy: Buffer.from(sent) });
      const merged = JSON.parse(
        Buffer.from(nodeFilesOf(texts, '99').get('/etc/containers/policy.json') ?? '', 'latin1').toString(),
      );
      const before = JSON.parse(sent);
      assert.deepEqual(merged, {
        ...before,
        transports: { ...before.transports, docker: { 'r.example': [ACCEPT], 'r.example/team': [SIGNED] } },
      });
      assert.deepEqual(notes, ['POLICY_PINNED']);
    }
    assert.throws(
      () => plan('openshift', ['other.example'], { policy: Buffer.from(JSON.stringify(policy)) }),
      refused(/--widen/),
    );
  });

  test('no section stands in two files of registries.d', () => {
    const { texts, notes } = plan('openshift', ['registry.redhat.io', 'registry.redhat.io/ubi9']);
    const files = nodeFilesOf(texts, '02');
    const section = { lookaside: URL, sigstore: URL };
    const read = (name: string) => parse(files.get(`/etc/containers/registries.d/${name}`) ?? '');
    assert.deepEqual(read('registry.redhat.io.yaml'), { docker: { 'registry.redhat.io': section } });
    assert.deepEqual(read('lookaside.yaml'), { docker: { 'registry.redhat.io/ubi9': section } });
    assert.ok(notes.includes('LOOKASIDE_CHANGED'));
    const policy = {
      default: [ACCEPT],
      transports: { docker: { 'r.example': [{ type: 'sigstoreSigned', keyPath: '/k' }] } },
    };
    assert.throws(
      () => plan('openshift', ['r.example'], { policy: Buffer.from(JSON.stringify(policy)) }),
      refused(/ClusterImagePolicy/),
    );
  });

  test('RHEL 7 nodes get the two files that they lack, and the cluster the place of release signatures', () => {
    const { texts } = plan('openshift', ['registry.redhat.io']);
    const folder = 'rhel7/etc/containers/registries.d';
    assert.deepEqual(parse(texts.get(`${folder}/registry.access.redhat.com.yaml`) ?? ''), {
      docker: {
        'registry.access.redhat.com': {
          sigstore: 'https://access.redhat.com/webassets/docker/content/sigstore',
        },
      },
    });
    assert.deepEqual(parse(texts.get(`${folder}/registry.redhat.io.yaml`) ?? ''), {
      docker: { 'registry.redhat.io': { sigstore: URL } },
    });
    const version = texts.get('cluster-version.yaml') ?? '';
    assert.deepEqual(parse(version), {
      ...{ apiVersion: 'config.openshift.io/v1', kind: 'ClusterVersion', metadata: { name: 'version' } },
      spec: { signatureStores: [{ url: URL }] },
    });
    assert.match(version, /\/api\/v1\/releases\/sha256:DIGEST\/configmap/);
  });

  test('the API lies at the root of the server, whatever the path of the mirror', () => {
    const scopes = [{ registry: 'registry.redhat.io', keys: [KEY], identity: null }];
    const wanted = { scopes, lookaside: `${URL}/releases`, staging: null, keysIn: 'files' } as const;
    const version = plan('openshift', [], { wanted }).texts.get('cluster-version.yaml') ?? '';
    assert.ok(version.includes(`'${URL}/api/v1/releases/sha256:DIGEST/configmap'`), version);
    assert.deepEqual(parse(version).spec, { signatureStores: [{ url: `${URL}/releases` }] });
  });
});

test('a machine of CoreOS gets the files by Butane and by Ignition, merged into the policy that it brings along', () => {
  const docker = { 'o.example': [{ type: 'reject' }] };
  const policy = Buffer.from(JSON.stringify({ default: [ACCEPT], transports: { docker } }));
  const { texts, notes } = plan('butane', ['r.example/team', 'registry.redhat.io'], { policy });
  assert.deepEqual([...texts.keys()], ['lookaside.bu', 'lookaside.ign']);
  const butane = parse(texts.get('lookaside.bu') ?? '');
  assert.deepEqual([butane.variant, butane.version], ['fcos', '1.2.0']);
  const config = JSON.parse(texts.get('lookaside.ign') ?? '');
  assert.deepEqual(config.ignition, { version: '3.2.0' });
  const read = (files: readonly NodeFile[]) =>
    files.map((file) => [file.path, file.overwrite, bytesOf(file).toString('latin1')] as const);
  assert.deepEqual(read(butane.storage.files), read(config.storage.files));
  assert.ok(config.storage.files.every(({ mode }: NodeFile) => mode === 0o644));
  const contents = new Map(read(config.storage.files).map(([path, , text]) => [path, text]));
  assert.deepEqual(
    [...contents.keys()],
    [
      `/etc/containers/keys/${A}.gpg`,
      '/etc/containers/registries.d/lookaside.yaml',
      // where the section stands already
      '/etc/containers/registries.d/registry.redhat.io.yaml',
      '/etc/containers/policy.json',
    ],
  );
  assert.deepEqual(JSON.parse(contents.get('/etc/containers/policy.json') ?? ''), {
    default: [ACCEPT],
    transports: { docker: { ...docker, 'r.example/team': [SIGNED], 'registry.redhat.io': [SIGNED] } },
  });
  assert.ok(notes.includes('FIRST_BOOT'));
  assert.throws(() => plan('butane', ['r.example']), refused(/--policy/));
});

test('a remote of Flatpak names the registry, the keys and the place of signatures', () => {
  const { texts, files, notes } = plan('flatpak', ['r.example:5000/team']);
  const [repo = ''] = texts.values();
  const lines = repo.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  assert.deepEqual(lines, [
    '[Flatpak Repo]',
    'Version=1',
    'Title=r.example:5000/team',
    'Url=oci+https://r.example:5000',
    `SignatureLookaside=${URL}`,
    'GPGKey=mQAB/w==',
  ]);
  assert.deepEqual(
    files.map(({ path, keys }) => [path, keys]),
    [
      ['r.example_5000_team.flatpakrepo', null],
      ['r.example_5000_team.gpg', [A]],
    ],
  );
  assert.deepEqual(notes, ['WHOLE_REGISTRY', 'DOTTED_TAGS']);
  assert.deepEqual(plan('flatpak', ['r.example']).notes, ['DOTTED_TAGS']);
  assert.throws(() => plan('flatpak', ['*.example']), refused(/one registry/));
});

test('a remote of Pulp is one repository', () => {
  const { texts } = plan('pulp', ['r.example/team/app', 'docker.io/library/busybox']);
  assert.deepEqual(
    [...texts.values()].map((text) => JSON.parse(text)),
    [
      { name: 'r.example-team-app', url: 'https://r.example', upstream_name: 'team/app', sigstore: URL },
      {
        name: 'docker.io-library-busybox',
        url: 'https://registry-1.docker.io',
        upstream_name: 'library/busybox',
        sigstore: URL,
      },
    ],
  );
  assert.throws(() => plan('pulp', ['r.example']), refused(/whole registry/));
  const alike = refused(/would both have the file name/);
  assert.throws(() => plan('pulp', ['r.example/team/app', 'r.example/team-app']), alike);
  assert.throws(() => plan('flatpak', ['r.example/team/app', 'r.example/team_app']), alike);
});

test('an ImagePolicy of Portieris asks for the keys in a Secret, in each namespace', () => {
  const { texts, commands } = plan('portieris', ['r.example/team', '*.example'], { namespaces: ['a', 'b'] });
  const objects = parseAllDocuments(texts.get('portieris.yaml') ?? '').map((one) => one.toJS());
  assert.deepEqual(
    objects.map(({ kind, metadata: { namespace } }) => [kind, namespace]),
    ['a', 'b'].flatMap((one) => ['Secret', 'Secret', 'ImagePolicy'].map((kind) => [kind, one])),
  );
  const [team, wild, policy] = objects;
  assert.deepEqual(team.stringData, { key: 'ARMOUR 990001ff' });
  const asked = (name: string, secret: string) => ({
    name,
    policy: { simple: { storeURL: URL, requirements: [{ type: 'signedBy', keySecret: secret }] } },
  });
  assert.deepEqual(policy.spec.repositories, [
    asked('r.example/team', team.metadata.name),
    asked('r.example/team@*', team.metadata.name),
    asked('r.example/team/*', team.metadata.name),
    asked('*.example/*', wild.metadata.name),
  ]);
  assert.deepEqual(commands, ['kubectl apply -f portieris.yaml']);
});

test('a policy of a namespace of CRI-O is made from that of the node, and of nothing else', () => {
  const policy = Buffer.from(
    JSON.stringify({ default: [ACCEPT], transports: { docker: { 'o.example': [{ type: 'reject' }] } } }),
  );
  const { texts } = plan('crio', ['r.example'], { policy, namespaces: ['team-a', 'team-b'] });
  assert.deepEqual(
    [...texts.keys()],
    [
      `etc/containers/keys/${A}.gpg`,
      'etc/containers/registries.d/lookaside.yaml',
      'etc/crio/policies/team-a.json',
      'etc/crio/policies/team-b.json',
    ],
  );
  assert.deepEqual(JSON.parse(texts.get('etc/crio/policies/team-b.json') ?? '').transports.docker, {
    'o.example': [{ type: 'reject' }],
    'r.example': [SIGNED],
  });
  // a merge of a large policy is made once, and not for each namespace
  const { files } = plan('crio', ['r.example'], { policy, namespaces: ['a', 'b', 'c'] });
  assert.equal(new Set(files.slice(-3).map(({ content }) => content)).size, 1);
  assert.throws(() => plan('crio', ['r.example'], { namespaces: ['a'] }), refused(/--policy/));
  assert.throws(() => plan('crio', ['r.example'], { policy }), refused(/--namespace/));
});

const other = { fingerprint: 'BB'.repeat(20), userIds: ["O'Brien"], certificate: Buffer.from('B') };

/** Two registries with keys of their own. */
const TWO = {
  scopes: [
    { registry: 'r.example/team', keys: [KEY], identity: null },
    { registry: 's.example', keys: [other, KEY], identity: null },
  ],
  lookaside: URL,
  staging: null,
  keysIn: 'files',
} as const;

describe('the installer on each machine', () => {
  test('is a DaemonSet in Kubernetes, with the script in a ConfigMap, and another that takes it back', () => {
    const { texts, notes } = plan('kubernetes', [], { wanted: TWO, mayWiden: true });
    assert.deepEqual([...texts.keys()], ['install.yaml', 'undo.yaml']);
    const [installing, undoing] = [...texts.values()].map((text) => {
      const objects = parseAllDocuments(text).map((one) => one.toJS());
      assert.deepEqual(
        objects.map(({ kind }) => kind),
        ['Namespace', 'ConfigMap', 'DaemonSet'],
      );
      return { script: objects[1].data['setup.sh'] as string, pods: objects[2].spec.template };
    });
    assert.deepEqual(installing?.pods.spec.initContainers[0].command, [
      ...['sh', '/setup/setup.sh', '--root', '/host', '--widen'],
    ]);
    assert.match(undoing?.pods.spec.initContainers[0].command[2], /--undo$/);
    // pods are made anew when the script or what it is to do is another
    assert.notDeepEqual(installing?.pods.metadata.annotations, undoing?.pods.metadata.annotations);
    assert.equal(installing?.script, undoing?.script);
    // each registry is merged with its own keys
    assert.deepEqual(
      /^QUERIES='([^']*)'$/m
        .exec(installing?.script ?? '')?.[1]
        ?.split('\n')
        .map((query) => [...new URLSearchParams(query)]),
      [
        [
          ['registry', 'r.example/team'],
          ['key', A],
        ],
        [
          ['registry', 's.example'],
          ['key', `${A},${other.fingerprint}`],
        ],
      ],
    );
    assert.deepEqual(notes, ['IMAGE_OF_NODES']);
  });

  test('is not made without a server that merges, nor for what it cannot merge', () => {
    for (const kind of ['kubernetes', 'ansible'] as const) {
      assert.throws(() => plan(kind, ['r.example'], { server: null }), refused(/--server/));
      const inline = { ...TWO, keysIn: 'inline' } as const;
      assert.throws(() => plan(kind, [], { wanted: inline }), refused(/--inline-keys/));
    }
    assert.throws(() => plan('kubernetes', ['r.example'], { namespaces: ['a', 'b'] }), refused(/once/));
    assert.throws(() => plan('kubernetes', ['r.example'], { image: 'a b' }), refused(/name of an image/));
  });

  test('of a closed server puts the token of the machine into registries.d', () => {
    const { texts } = plan('ansible', ['r.example'], { server: { url: URL, isClosed: true } });
    const script = texts.get('roles/lookaside_client/files/setup.sh') ?? '';
    assert.match(script, /^CLOSED='1'$/m);
    assert.match(script, /lookaside: https:\/\/lookaside:LOOKASIDE_TOKEN_GOES_HERE@sig\.example\n/);
  });
});

test('what a kind cannot say is refused, and not left out', () => {
  const policy = Buffer.from('{}');
  assert.throws(() => plan('flatpak', ['r.example'], { policy }), refused(/reads no policy\.json/));
  assert.throws(() => plan('openshift', ['r.example'], { namespaces: ['a'] }), refused(/no namespace/));
  assert.throws(() => plan('portieris', ['r.example'], { namespaces: ['../a'] }), refused(/team-a/));
  const scopes = [
    {
      registry: 'm.example',
      keys: [KEY],
      identity: { type: 'remapIdentity', prefix: 'm', signedPrefix: 'r' } as const,
    },
  ];
  const wanted = { scopes, lookaside: URL, staging: null, keysIn: 'files' } as const;
  assert.throws(() => plan('flatpak', [], { wanted }), refused(/mirror/));
  const file = {
    ...wanted,
    scopes: [{ registry: 'r.example', keys: [KEY], identity: null }],
    lookaside: 'file:///s',
  };
  assert.throws(() => plan('portieris', [], { wanted: file }), refused(/https:\/\/ or http:\/\//));
});
