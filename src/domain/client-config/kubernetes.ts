// Kubernetes: a DaemonSet that runs the installer on each node with CRI-O, once for each change of it. containerd verifies nothing.
import { LookasideError } from '../errors.ts';
import { handedInstaller } from './handed-installer.ts';
import type { KindOptions, KindPlan } from './kind.ts';
import { textFile } from './kind-text.ts';

const NAME = 'lookaside-client-config';
const DEFAULT_NAMESPACE = 'lookaside-client-config';
/** It has sh, curl, sha256sum, awk and sed. */
const DEFAULT_IMAGE = 'docker.io/curlimages/curl:8.10.1';
const LABELS = { 'app.kubernetes.io/name': NAME };

/** @throws LookasideError as handedInstaller(), and CONFIG_INVALID for more than one namespace */
export function planKubernetes(options: KindOptions): KindPlan {
  const { namespaces, sha256 } = options;
  const [namespace = DEFAULT_NAMESPACE, second] = namespaces;
  if (second !== undefined)
    throw new LookasideError(
      'CONFIG_INVALID',
      'the pods that set up nodes lie in one namespace, and several are named; give --namespace once',
    );
  const image = options.image ?? DEFAULT_IMAGE;
  const { script, kept } = handedInstaller('kubernetes', options);
  const digest = sha256(new TextEncoder().encode(script));
  const make = (command: readonly string[], change: string) =>
    daemonSet({ namespace, image, command, change: `${change}-${digest}` });
  const shared = [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      // hostPath is for privileged namespaces alone
      metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: NAME, namespace, labels: LABELS },
      data: { 'setup.sh': script },
    },
  ];
  const install = ['sh', '/setup/setup.sh', '--root', '/host', ...(options.mayWiden ? ['--widen'] : [])];
  // a pod that starts again finds nothing left to take back
  const undo = ['sh', '-c', `[ ! -d '/host/${kept}' ] || exec sh /setup/setup.sh --root /host --undo`];
  return {
    files: [
      textFile('install.yaml', documents([...shared, make(install, 'install')])),
      textFile('undo.yaml', documents([...shared, make(undo, 'undo')])),
    ],
    commands: [
      'kubectl apply -f install.yaml',
      `# to take it back: kubectl apply -f undo.yaml && kubectl -n ${namespace} rollout status daemonset/${NAME} && kubectl delete -f undo.yaml`,
    ],
    notes: [
      {
        code: 'IMAGE_OF_NODES',
        message: `nodes pull ${image} for it, which needs sh, curl, awk, sed and sha256sum; name another with --image. Nodes with containerd are not helped: it verifies no signatures`,
      },
    ],
  };
}

function documents(objects: readonly object[]): string {
  const texts = objects.map((object) => `---\n${JSON.stringify(object, null, 2)}\n`);
  return `# Written by lookaside client-config.\n${texts.join('')}`;
}

interface Pods {
  readonly namespace: string;
  readonly image: string;
  readonly command: readonly string[];
  /** Other pods are made when it is another. */
  readonly change: string;
}

function daemonSet({ namespace, image, command, change }: Pods) {
  const locked = {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  };
  const resources = { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '64Mi' } };
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: NAME, namespace, labels: LABELS },
    spec: {
      selector: { matchLabels: LABELS },
      template: {
        metadata: { labels: LABELS, annotations: { 'lookaside/change': change } },
        spec: {
          automountServiceAccountToken: false,
          nodeSelector: { 'kubernetes.io/os': 'linux' },
          tolerations: [{ operator: 'Exists' }],
          initContainers: [
            {
              ...{ name: 'set-up', image, command, resources },
              env: [
                {
                  name: 'LOOKASIDE_TOKEN',
                  valueFrom: { secretKeyRef: { name: 'lookaside-token', key: 'token', optional: true } },
                },
              ],
              // files of root, which SELinux keeps from containers otherwise
              securityContext: { ...locked, runAsUser: 0, runAsGroup: 0, seLinuxOptions: { type: 'spc_t' } },
              volumeMounts: [
                { name: 'setup', mountPath: '/setup', readOnly: true },
                { name: 'containers', mountPath: '/host/etc/containers' },
                { name: 'vendor', mountPath: '/host/usr/share/containers', readOnly: true },
                { name: 'tmp', mountPath: '/tmp' },
              ],
            },
          ],
          containers: [
            {
              ...{ name: 'wait', image, resources },
              command: ['sh', '-c', "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"],
              securityContext: { ...locked, runAsNonRoot: true, runAsUser: 65534 },
            },
          ],
          volumes: [
            { name: 'setup', configMap: { name: NAME } },
            { name: 'containers', hostPath: { path: '/etc/containers', type: 'DirectoryOrCreate' } },
            { name: 'vendor', hostPath: { path: '/usr/share/containers', type: '' } },
            { name: 'tmp', emptyDir: {} },
          ],
        },
      },
    },
  };
}
