// What client-config and releases hand to a cluster, held to the types of its kinds by the TypeScript compiler: each object as it is made, and
// with each of its fields under another name or of another type, which must not compile.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { HandedKind, KindOptions } from '../../src/domain/client-config/kind.ts';
import { planKind } from '../../src/domain/client-config/kinds.ts';
import { configMapsOf, configMapYaml } from '../../src/domain/configmap.ts';
import { assertKinds, objectsIn } from './cluster-kinds.ts';

const ACCEPT = { type: 'insecureAcceptAnything' };
const URL_ = 'https://sig.example';

/**
 * Kubernetes' own kinds are those of its OpenAPI (package kubernetes-types). The others have no package of types: MachineConfig and
 * ClusterVersion as openshift/api has them (machineconfiguration/v1, config/v1), with the Ignition of coreos/ignition (spec 3.2), and ImagePolicy
 * as IBM/portieris has it (helm/portieris/crds).
 */
const TYPES = `
import type { DaemonSet } from 'kubernetes-types/apps/v1';
import type { ConfigMap, Namespace, Secret } from 'kubernetes-types/core/v1';
import type { ObjectMeta } from 'kubernetes-types/meta/v1';
interface Resource { source?: string; compression?: 'gzip' | ''; verification?: { hash?: string }; httpHeaders?: { name: string; value?: string }[] }
interface Owner { id?: number; name?: string }
interface NodeFile { path: string; overwrite?: boolean; contents?: Resource; append?: Resource[]; mode?: number; user?: Owner; group?: Owner }
interface Ignition { ignition: { version: '3.2.0' }; storage?: { files?: NodeFile[] } }
interface MachineConfig {
  apiVersion: 'machineconfiguration.openshift.io/v1'; kind: 'MachineConfig'; metadata: ObjectMeta;
  spec: { config?: Ignition; osImageURL?: string; kernelArguments?: string[]; extensions?: string[]; fips?: boolean; kernelType?: string };
}
interface ClusterVersion {
  apiVersion: 'config.openshift.io/v1'; kind: 'ClusterVersion'; metadata: ObjectMeta;
  spec: {
    clusterID?: string; desiredUpdate?: object; upstream?: string; channel?: string; capabilities?: object; overrides?: object[];
    signatureStores?: { url: string; ca?: { name: string } }[];
  };
}
interface Requirement { type: 'signedBy' | 'insecureAcceptAnything' | 'reject'; keySecret?: string; signedIdentity?: { type: string; prefix?: string; signedPrefix?: string; dockerReference?: string; dockerRepository?: string } }
interface ImagePolicy {
  apiVersion: 'portieris.cloud.ibm.com/v1'; kind: 'ImagePolicy'; metadata: ObjectMeta;
  spec: { repositories: { name: string; policy?: { mutateImage?: boolean; simple?: { storeURL?: string; storeSecret?: string; requirements: Requirement[] } } }[] };
}
`;

function made(kind: HandedKind, given: Partial<KindOptions> = {}): readonly string[] {
  const key = { fingerprint: 'AA'.repeat(20), userIds: [], certificate: Buffer.from([0x99, 0, 1, 0xff]) };
  const identity = { type: 'remapIdentity', prefix: 'm.example', signedPrefix: 'r.example' } as const;
  const { files } = planKind(kind, {
    wanted: {
      scopes: [
        { registry: 'r.example/team', keys: [key], identity: null },
        // what is installed on machines is told of no mirror
        ...(kind === 'kubernetes' ? [] : [{ registry: 'm.example', keys: [key], identity }]),
      ],
      ...{ lookaside: URL_, staging: null, keysIn: 'files' },
    },
    ...{ policy: null, mayWiden: false, namespaces: [], image: null },
    server: { url: URL_, isClosed: false },
    sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
    armor: (bytes) => `ARMOUR ${Buffer.from(bytes).toString('hex')}`,
    ...given,
  });
  return files.flatMap(({ path: name, content }) =>
    /^[^/]*\.yaml$/.test(name) ? [Buffer.from(content).toString()] : [],
  );
}

test('every kind of Kubernetes and OpenShift that is handed out has only the fields that there are, each of its type', async () => {
  const policy = Buffer.from(JSON.stringify({ default: [ACCEPT] }));
  const objects = objectsIn([
    ...made('kubernetes'),
    ...made('kubernetes', { mayWiden: true, namespaces: ['set-up'], image: 'r.example/tools:1' }),
    ...made('kubernetes', { server: { url: URL_, isClosed: true } }),
    ...made('openshift'),
    ...made('openshift', { policy }),
    ...made('portieris'),
    ...made('portieris', { namespaces: ['a', 'b'] }),
    configMapYaml(configMapsOf('0f'.repeat(32), ['AAAA', 'BBBB'])),
  ]);
  const kinds = [...new Set(objects.map(({ kind }) => kind))].sort();
  assert.deepEqual(kinds, [
    ...['ClusterVersion', 'ConfigMap', 'DaemonSet', 'ImagePolicy', 'MachineConfig', 'Namespace', 'Secret'],
  ]);
  await assertKinds(TYPES, objects, 200);
});
