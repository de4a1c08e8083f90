// OpenShift: the files of nodes as Butane and as MachineConfigs, and where the cluster finds signatures of releases.
// Names decide which MachineConfig wins: the machine config operator merges them in the order of their names, and the last
// policy.json counts (openshift/machine-config-operator, MergeMachineConfigs).
import { LookasideError } from '../errors.ts';
import { parsePolicy } from '../policy/policy.ts';
import { butaneFiles, IGNITION_VERSION, machineFiles, RED_HAT_FILES } from './ignition.ts';
import type { KindFile, KindOptions, KindPlan } from './kind.ts';
import { textFile } from './kind-text.ts';
import { planPodmanFiles } from './podman-files.ts';
import type { Note } from './policy-merge.ts';
import { scalar, writeSections } from './registries-merge.ts';
import type { WantedConfig } from './wanted.ts';

const ROLES = ['worker', 'master'] as const;

/** Read by every Butane that knows OpenShift, and by OpenShift 4.8 and newer; it makes Ignition 3.2.0. */
const BUTANE_VERSION = '4.8.0';

/** What the operator itself writes to every node: templates/*\/01-*-container-runtime/_base/files/policy.yaml there. */
export const PLATFORM_POLICY = `{
    "default": [
        {
            "type": "insecureAcceptAnything"
        }
    ],
    "transports": {
        "docker-daemon": {
            "": [
                {
                    "type": "insecureAcceptAnything"
                }
            ]
        }
    }
}
`;

/** @throws PolicyFault, LookasideError CONFIG_INVALID as planPodmanFiles(), and for a section that nodes would have twice */
export function planOpenshift({ wanted, policy, mayWiden, sha256 }: KindOptions): KindPlan {
  if (policy !== null) refuseSigstoreSections(wanted, policy);
  const planned = planPodmanFiles({
    wanted,
    mayWiden,
    sha256,
    isStagingChosen: true, // nodes sign nothing: without a choice none is named
    paths: { folder: '/etc/containers', builtInStaging: '' },
    installed: {
      policy: policy ?? new TextEncoder().encode(PLATFORM_POLICY),
      registriesD: RED_HAT_FILES,
    },
    editYaml: (_text, changes) => writeSections(changes),
  });
  // one after what the operator writes by itself and ahead of everybody else's; the other after all that was merged
  const rank = policy === null ? '02' : '99';
  const about = ABOUT[policy === null ? 'without' : 'with'];
  const written = { butane: butaneFiles(planned.files), machine: machineFiles(planned.files) };
  const machines = ROLES.flatMap((role) => {
    const machine = { name: `${rank}-${role}-lookaside`, role, about, written };
    return [
      textFile(`${machine.name}.bu`, butane(machine)),
      textFile(`${machine.name}.yaml`, machineConfig(machine)),
    ];
  });
  return {
    files: [...machines, ...releaseFiles(wanted), ...rhel7Files(wanted)],
    commands: ROLES.map((role) => `oc apply -f ${rank}-${role}-lookaside.yaml`),
    notes: [policy === null ? PLATFORM_NOTE : PINNED_NOTE, ...planned.notes],
  };
}

const TAKE_POLICY = 'oc debug node/NODE -- chroot /host cat /etc/containers/policy.json > policy.json';

const ABOUT = {
  without: [
    'policy.json below was merged into the one that OpenShift itself writes to nodes, because no other was given: images of',
    'other registries are accepted, as they are there. The name begins with 02, so that every policy.json of another MachineConfig',
    'and of the cluster (image.config, ClusterImagePolicy) counts instead of it. Merge into that one then:',
    `  ${TAKE_POLICY}`,
    '  lookaside client-config --kind openshift --policy policy.json …',
  ],
  with: [
    'policy.json below was merged into the one that was given. The name begins with 99, so that it counts instead of what the',
    'cluster makes from image.config and ClusterImagePolicy: after a change there, delete this MachineConfig, wait for the nodes,',
    'and make it anew from a policy.json of a node.',
  ],
};

const PLATFORM_NOTE: Note = {
  code: 'POLICY_OF_PLATFORM',
  message: `no policy.json of a node was given (--policy), so that it was merged into the one that OpenShift writes to nodes by itself, which accepts images of all other registries. Where the cluster or another MachineConfig has a policy.json, that one goes on deciding, and these keys are asked for nowhere. To see it: ${TAKE_POLICY}`,
};

const PINNED_NOTE: Note = {
  code: 'POLICY_PINNED',
  message:
    'the policy.json counts instead of what the cluster makes from image.config and ClusterImagePolicy. After a change there, delete the MachineConfigs 99-worker-lookaside and 99-master-lookaside, wait for the nodes, take policy.json from one, and run the command again',
};

// the operator writes such sections to registries.d too, and clients refuse every pull while one stands in two files
function refuseSigstoreSections({ scopes }: WantedConfig, policy: Uint8Array): void {
  const docker = parsePolicy(policy).transports.get('docker');
  const scope = scopes.find(({ registry }) =>
    docker?.get(registry)?.some(({ type }) => type === 'sigstoreSigned'),
  );
  if (scope === undefined) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    `${scope.registry} has a ClusterImagePolicy (sigstoreSigned in policy.json), for which the cluster writes a section of its own to registries.d, and nodes refuse every pull while a section stands in two files; name a part of it, like ${scope.registry}/team, or delete the ClusterImagePolicy first`,
  );
}

interface Machine {
  readonly name: string;
  readonly role: (typeof ROLES)[number];
  readonly about: readonly string[];
  /** The files of both roles, as lines below `files:`. */
  readonly written: { readonly butane: readonly string[]; readonly machine: readonly string[] };
}

function butane({ name, role, about, written }: Machine): string {
  return [
    '# Written by lookaside client-config. To make a MachineConfig of it:',
    `#   butane ${name}.bu -o ${name}.yaml`,
    ...about.map((line) => `# ${line}`),
    'variant: openshift',
    `version: ${BUTANE_VERSION}`,
    'metadata:',
    `  name: ${name}`,
    '  labels:',
    `    machineconfiguration.openshift.io/role: ${role}`,
    'storage:',
    '  files:',
    ...written.butane,
    '',
  ].join('\n');
}

function machineConfig({ name, role, about, written }: Machine): string {
  return [
    '# Written by lookaside client-config.',
    ...about.map((line) => `# ${line}`),
    'apiVersion: machineconfiguration.openshift.io/v1',
    'kind: MachineConfig',
    'metadata:',
    '  labels:',
    `    machineconfiguration.openshift.io/role: ${role}`,
    `  name: ${name}`,
    'spec:',
    '  config:',
    '    ignition:',
    `      version: ${IGNITION_VERSION}`,
    '    storage:',
    '      files:',
    ...written.machine,
    '',
  ].join('\n');
}

function releaseFiles({ lookaside }: WantedConfig): readonly KindFile[] {
  if (!/^https?:/.test(lookaside)) return [];
  return [
    textFile(
      'cluster-version.yaml',
      [
        '# Where the cluster looks for signatures of OpenShift releases, in place of the default stores. Written by lookaside client-config.',
        '#   oc patch clusterversion version --type merge --patch-file cluster-version.yaml',
        '# It needs the feature gate SignatureStores, which the default feature set lacks. Without it, clusters read a ConfigMap for each',
        '# release, which the server makes:',
        `#   curl -fsS -o signature.yaml '${new URL(lookaside).origin}/api/v1/releases/sha256:DIGEST/configmap'`,
        '#   oc apply -f signature.yaml',
        'apiVersion: config.openshift.io/v1',
        'kind: ClusterVersion',
        'metadata:',
        '  name: version',
        'spec:',
        '  signatureStores:',
        `    - url: ${scalar(lookaside)}`,
        '',
      ].join('\n'),
    ),
  ];
}

/** To be copied to nodes by hand: what the documentation names, or ours where it was asked for. */
function rhel7Files({ scopes, lookaside }: WantedConfig): readonly KindFile[] {
  return RED_HAT_FILES.map(({ registry, sigstore }) => {
    const isOurs = scopes.some((scope) => scope.registry === registry);
    const text = [
      '# For nodes with RHEL 7, which lack this file: /etc/containers/registries.d there. Written by lookaside client-config.',
      'docker:',
      `  ${registry}:`,
      `    sigstore: ${scalar(isOurs ? lookaside : sigstore)}`,
      '',
    ].join('\n');
    return textFile(`rhel7/etc/containers/registries.d/${registry}.yaml`, text);
  });
}
