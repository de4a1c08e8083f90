// docs/kubernetes: what runs nodes over PostgreSQL in a cluster. No cluster and no kustomize is asked: the objects are held to the types of
// their kinds, and to each other.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { Ingress } from 'kubernetes-types/networking/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { loadConfig } from '../../src/config.ts';
import { assertKinds, type ClusterObject, objectsIn } from './cluster-kinds.ts';
import { PEM } from './postgres-node.ts';
import { openTempFolder } from './temp-folder.ts';

const DOCS = fileURLToPath(new URL('../../../docs', import.meta.url));
const TYPES = `
import type { Deployment } from 'kubernetes-types/apps/v1';
import type { Service } from 'kubernetes-types/core/v1';
import type { Ingress } from 'kubernetes-types/networking/v1';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1';
`;

interface Kustomization {
  readonly kind: string;
  readonly resources: readonly string[];
  readonly components?: readonly string[];
  readonly images?: readonly { readonly name: string }[];
  readonly replicas?: readonly { readonly name: string; readonly count: number }[];
  readonly patches?: readonly { readonly target: { readonly kind: string }; readonly patch: string }[];
  readonly configMapGenerator?: readonly { readonly name: string; readonly literals: readonly string[] }[];
}

const inFolder = (folder: string, file: string) => path.join(DOCS, 'kubernetes', folder, file);
const read = (folder: string, file: string) => objectsIn([readFileSync(inFolder(folder, file), 'utf8')]);

function kustomizationOf(folder: string): Kustomization {
  const [one] = read(folder, 'kustomization.yaml');
  return one as unknown as Kustomization; // as kustomize.config.k8s.io has it; what is looked at is looked for
}

/** All that an overlay names, with the files that it comes from. */
function objectsOf(folder: string): readonly ClusterObject[] {
  const { resources, components = [] } = kustomizationOf(folder);
  return [...resources, ...components].flatMap((name) =>
    existsSync(inFolder(path.join(folder, name), 'kustomization.yaml'))
      ? objectsOf(path.join(folder, name))
      : read(folder, name),
  );
}

const find = <Kind>(kind: string) => objectsOf('example').find((one) => one.kind === kind) as unknown as Kind; // the next test says that it is of that type

test('the objects of docs/kubernetes have only the fields that there are, each of its type', async () => {
  const objects = objectsOf('example');
  assert.deepEqual(objects.map(({ kind }) => kind).sort(), [
    ...['Deployment', 'Ingress', 'PodDisruptionBudget', 'Service'],
  ]);
  await assertKinds(TYPES, objects, 100);
});

test('the objects of docs/kubernetes fit each other', () => {
  const { metadata, spec } = find<Deployment>('Deployment');
  const labels = spec?.template.metadata?.labels;
  const container = spec?.template.spec?.containers[0] ?? assert.fail('a pod has a container');
  assert.deepEqual(spec?.selector.matchLabels, labels);
  const budget = find<PodDisruptionBudget>('PodDisruptionBudget').spec;
  assert.deepEqual(budget?.selector?.matchLabels, labels);
  assert.equal(
    budget?.maxUnavailable,
    1,
    'a node of the cluster can be emptied, however many nodes of ours there are',
  );
  const service = find<Service>('Service');
  assert.deepEqual(service.spec?.selector, labels);
  const [port] = service.spec?.ports ?? [];
  const ports = container.ports?.map(({ name }) => name);
  assert.ok(ports?.includes(String(port?.targetPort)));
  for (const probe of [container.startupProbe, container.readinessProbe, container.livenessProbe])
    assert.ok(ports?.includes(String(probe?.httpGet?.port)));
  const backend = find<Ingress>('Ingress').spec?.rules?.[0]?.http?.paths[0]?.backend.service;
  assert.deepEqual([backend?.name, backend?.port?.name], [service.metadata?.name, port?.name]);
  const { images, replicas, configMapGenerator } = kustomizationOf('example');
  assert.ok(images?.every(({ name }) => container.image?.startsWith(`${name}:`)));
  assert.ok(replicas?.every(({ name }) => name === metadata?.name));
  assert.deepEqual(
    container.envFrom?.map(({ configMapRef }) => configMapRef?.name),
    configMapGenerator?.map(({ name }) => name),
  );
  const secret = spec?.template.spec?.volumes?.[0]?.secret?.secretName;
  const scaling = readFileSync(path.join(DOCS, 'scaling.md'), 'utf8');
  assert.match(scaling, new RegExp(`kubectl create secret generic ${secret} `));
});

test('the patches of docs/kubernetes change what is there', () => {
  const patches = ['example', 'openshift'].flatMap((folder) => kustomizationOf(folder).patches ?? []);
  assert.deepEqual(patches.map(({ target }) => target.kind).sort(), ['Deployment', 'Ingress']);
  for (const { target, patch } of patches)
    for (const { path: place } of objectsIn([patch]).flat() as unknown as readonly {
      readonly path: string;
    }[])
      assert.notEqual(at(find<unknown>(target.kind), place), undefined, place);
});

/** What a pointer of JSON (RFC 6901) leads to. */
function at(value: unknown, pointer: string): unknown {
  return pointer
    .split('/')
    .slice(1)
    .reduce<unknown>((one, name) => (one as Record<string, unknown> | undefined)?.[name], value);
}

test('the settings of docs/kubernetes are those of a node', async () => {
  await using temp = await openTempFolder();
  const literals = ['base', 'example'].flatMap((folder) => kustomizationOf(folder).configMapGenerator ?? []);
  const environment = Object.fromEntries(
    literals
      .flatMap((one) => one.literals)
      .map((literal) => {
        const [name = '', value = ''] = literal.split(/=(.*)/s);
        return [name, value.replace('/etc/lookaside', temp.path)];
      }),
  );
  await writeFile(path.join(temp.path, 'database'), 'postgres://lookaside@db.example.com/lookaside');
  await writeFile(path.join(temp.path, 'log.key'), PEM);
  const { config } = loadConfig({ flags: {}, environment, workingFolder: '/', parseYaml: null });
  assert.equal(config.database?.logKey?.pem, PEM.trim());
  assert.equal(config.publicUrl, environment.LOOKASIDE_PUBLIC_URL);
});
