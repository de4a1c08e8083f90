// Fedora CoreOS and its kin: a machine's files as Butane, and as the Ignition that Butane makes of it.
import { LookasideError } from '../errors.ts';
import { butaneFiles, ignition, RED_HAT_FILES } from './ignition.ts';
import type { KindOptions, KindPlan } from './kind.ts';
import { textFile } from './kind-text.ts';
import { planPodmanFiles } from './podman-files.ts';
import { writeSections } from './registries-merge.ts';

/** It makes Ignition 3.2.0. */
const FCOS_VERSION = '1.2.0';

/** MACHINE.bu is the user's own, with the lines for it that lookaside.bu tells: lookaside.ign makes no user. */
export const BUTANE_COMMANDS: readonly string[] = [
  'butane --strict --files-dir . MACHINE.bu -o machine.ign',
  'coreos-installer install DISK --ignition-file machine.ign',
];

/** @throws PolicyFault, LookasideError CONFIG_INVALID as planPodmanFiles(), and without the policy of a machine */
export function planButane({ wanted, policy, mayWiden, sha256 }: KindOptions): KindPlan {
  if (policy === null)
    throw new LookasideError(
      'CONFIG_INVALID',
      'the policy.json in the Butane counts in place of the one that the machine brings along, and it is not known what that refuses; give it (--policy, or by POST): ssh core@MACHINE cat /etc/containers/policy.json > policy.json',
    );
  const { files, notes } = planPodmanFiles({
    ...{ wanted, mayWiden, sha256 },
    isStagingChosen: true, // machines sign nothing: without a choice none is named
    paths: { folder: '/etc/containers', builtInStaging: '' },
    installed: { policy, registriesD: RED_HAT_FILES },
    editYaml: (_text, changes) => writeSections(changes),
  });
  const butane = [
    '# Written by lookaside client-config. lookaside.ign is what Butane makes of it:',
    '#   butane --strict lookaside.bu -o lookaside.ign',
    '# To put it into a Butane file of yours, which is then read with butane --files-dir . :',
    '#   ignition:',
    '#     config:',
    '#       merge:',
    '#         - local: lookaside.ign',
    'variant: fcos',
    `version: ${FCOS_VERSION}`,
    'storage:',
    '  files:',
    ...butaneFiles(files),
    '',
  ];
  return {
    files: [textFile('lookaside.bu', butane.join('\n')), textFile('lookaside.ign', ignition(files))],
    commands: BUTANE_COMMANDS,
    notes: [FIRST_BOOT, ...notes],
  };
}

const FIRST_BOOT: KindPlan['notes'][number] = {
  code: 'FIRST_BOOT',
  message:
    'Ignition sets up a machine at its first boot, and never again; on a machine that runs, use lookaside client-config --install or the installer of the server. lookaside.ign alone makes a machine that nobody can log in to: merge it into the Butane file of yours (MACHINE.bu) that makes a user, with the lines that stand in lookaside.bu',
};
