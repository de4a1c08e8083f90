// The files that tell podman, skopeo, buildah and CRI-O whom to trust and where signatures lie, from what is there and what is wanted.
import { LookasideError } from '../errors.ts';
import { mergePolicy, type Note } from './policy-merge.ts';
import { type EditYaml, mergeRegistries, type RegistriesFile, stagingInForce } from './registries-merge.ts';
import { keyFileName, type TrustedKey, type TrustedScope, type WantedConfig } from './wanted.ts';

export interface InstalledFiles {
  /** Null: none is there. */
  readonly policy: Uint8Array | null;
  readonly registriesD: readonly RegistriesFile[];
}

/** Where the files go, as clients see it: absolute, without a slash at the end. */
export interface ClientPaths {
  /** `/etc/containers`, or `~/.config/containers` written out. */
  readonly folder: string;
  /** Where signers' tools write unless told otherwise: `file:///var/lib/containers/sigstore`. */
  readonly builtInStaging: string;
}

export interface PlannedFile {
  /** Absolute, as clients see it. */
  readonly path: string;
  readonly content: Uint8Array;
  /** The primary fingerprints in a file of keys; null for text. */
  readonly keys: readonly string[] | null;
}

export interface PlannedFiles {
  /** In the order in which they may be put in place: what the policy names is there before the policy. */
  readonly files: readonly PlannedFile[];
  readonly notes: readonly Note[];
}

export interface PlanOptions {
  readonly wanted: WantedConfig;
  readonly installed: InstalledFiles;
  readonly paths: ClientPaths;
  readonly mayWiden: boolean;
  /** Whether `wanted.staging` was chosen; else what is in force stays. */
  readonly isStagingChosen: boolean;
  readonly editYaml: EditYaml;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
}

/** Only what changes, or is new. @throws PolicyFault, RegistriesDFault, LookasideError CONFIG_INVALID as the merges do */
export function planPodmanFiles(options: PlanOptions): PlannedFiles {
  const { wanted, installed, paths, mayWiden, editYaml } = options;
  const { scopes, lookaside } = wanted;
  if (scopes.length === 0)
    throw new LookasideError('CONFIG_INVALID', 'there is no registry; name one with --registry');
  const keyless = scopes.find(({ keys }) => keys.length === 0);
  // clients refuse the whole of a policy that has such a section, or every image that it decides for
  if (keyless !== undefined)
    throw new LookasideError(
      'CONFIG_INVALID',
      `there is no key for ${keyless.registry} in what was answered or given, expected one at least; name keys with --key or --keyring, or have an administrator grant one: lookaside grant add`,
    );
  const keyFiles = keyFilesOf(options);
  const policy = mergePolicy({
    existing: installed.policy,
    scopes,
    mayWiden,
    keyPathsOf: (scope) => keyFiles.get(scope.registry)?.map(({ path }) => path) ?? null,
  });
  const { changed, notes } = mergeRegistries({
    files: installed.registriesD,
    sections: scopes.map(({ registry }) => ({ registry, staging: stagingFor(options, registry) })),
    lookaside,
    editYaml,
  });
  const bytes = new TextEncoder();
  const text = (path: string, content: string): PlannedFile => ({
    path: `${paths.folder}/${path}`,
    content: bytes.encode(content),
    keys: null,
  });
  const uniqueKeys = new Map([...keyFiles.values()].flat().map((file) => [file.path, file]));
  return {
    files: [
      ...uniqueKeys.values(),
      ...[...changed].map(([name, content]) => text(`registries.d/${name}`, content)),
      text('policy.json', policy.text),
    ],
    notes: [...policy.notes, ...notes],
  };
}

/** By registry; none when the keys stand in the policy. */
function keyFilesOf({ wanted, paths, sha256 }: PlanOptions): ReadonlyMap<string, readonly PlannedFile[]> {
  const folder = `${paths.folder}/keys`;
  const file = (name: string, keys: readonly TrustedKey[]): PlannedFile => ({
    path: `${folder}/${name}`,
    content: Uint8Array.from(keys.flatMap(({ certificate }) => [...certificate])),
    keys: keys.map(({ fingerprint }) => fingerprint),
  });
  const filesOf = ({ keys }: TrustedScope): readonly PlannedFile[] => {
    if (wanted.keysIn === 'files' || keys.length === 1)
      return keys.map((key) => file(keyFileName(key.fingerprint), [key]));
    const names = keys.map(({ fingerprint }) => fingerprint).sort();
    const digest = sha256(new TextEncoder().encode(names.join('\n')));
    return [file(`keyring-${digest.slice(0, 16)}.gpg`, keys)];
  };
  if (wanted.keysIn === 'inline') return new Map();
  return new Map(wanted.scopes.map((scope) => [scope.registry, filesOf(scope)]));
}

function stagingFor(
  { wanted, installed, paths, isStagingChosen }: PlanOptions,
  registry: string,
): string | null {
  if (isStagingChosen) return wanted.staging;
  // a section without staging hides that of default-docker from signers on this machine
  return stagingInForce(installed.registriesD, registry) ?? paths.builtInStaging;
}
