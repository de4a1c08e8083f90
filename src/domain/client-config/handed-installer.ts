// The installer where it is handed to nodes of a cluster or to Ansible: each machine has its own policy merged by the server.
import { LookasideError } from '../errors.ts';
import { installerFor } from './installer.ts';
import type { HandedKind, KindOptions } from './kind.ts';
import { refuseRemapped } from './kind-text.ts';
import { planPodmanFiles } from './podman-files.ts';
import { setupFolderOf } from './setup-script.ts';
import type { WantedConfig } from './wanted.ts';

export interface HandedInstaller {
  readonly script: string;
  /** Below the root of a machine, where the installer keeps what was there. */
  readonly kept: string;
}

/** @throws LookasideError CONFIG_INVALID without a server, and for what it cannot merge */
export function handedInstaller(kind: HandedKind, options: KindOptions): HandedInstaller {
  const { wanted, server, sha256 } = options;
  if (server === null)
    throw new LookasideError(
      'CONFIG_INVALID',
      `with --kind ${kind} each machine has its policy merged by the server, and keys from files are not there; name the server with --server, and its keys with --key`,
    );
  if (wanted.keysIn !== 'files')
    throw new LookasideError(
      'CONFIG_INVALID',
      `--kind ${kind} writes a file for each key; leave out --inline-keys and --one-keyring`,
    );
  for (const scope of wanted.scopes) refuseRemapped(kind, scope);
  const queries = queriesOf(wanted);
  const name = wanted.scopes.map(({ registry }) => registry).join('+');
  return {
    kept: setupFolderOf({ name, nameSha256: sha256(new TextEncoder().encode(name)) }),
    script: installerFor({
      ...{ wanted, queries, sha256, url: server.url, isClosed: server.isClosed, notes: [] },
      script: `/setup/podman.sh?${queries[0] ?? ''}`,
      files: (one) =>
        planPodmanFiles({
          ...{ wanted: one, sha256, mayWiden: false, isStagingChosen: true },
          installed: { policy: null, registriesD: [] },
          paths: { folder: '/etc/containers', builtInStaging: '' },
          editYaml: (text) => text, // there is no file to edit
        }).files,
    }),
  };
}

/** The keys are named, so that the server adds none that machines do not have; one query for all registries with the same ones. */
function queriesOf({ scopes }: WantedConfig): readonly string[] {
  const registries = new Map<string, string[]>();
  for (const { registry, keys } of scopes) {
    const names = keys
      .map(({ fingerprint }) => fingerprint)
      .sort()
      .join(',');
    registries.set(names, [...(registries.get(names) ?? []), registry]);
  }
  return [...registries].map(([key, names]) =>
    new URLSearchParams({ registry: names.join(','), key }).toString(),
  );
}
