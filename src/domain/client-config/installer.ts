// The script of the installer for what is wanted: on a machine without lookaside, on nodes of a cluster, or by Ansible.
import type { PlannedFile } from './podman-files.ts';
import { setupScript, TOKEN_PLACE } from './setup-script.ts';
import type { TrustedKey, WantedConfig } from './wanted.ts';

export interface InstallerWanted {
  readonly wanted: WantedConfig;
  /** By which machines reach the server, without a slash at the end. */
  readonly url: string;
  /** The path and query by which the script was asked for. */
  readonly script: string;
  readonly queries: readonly string[];
  readonly isClosed: boolean;
  readonly notes: readonly string[];
  /** The files of a machine that has none. */
  readonly files: (wanted: WantedConfig) => readonly PlannedFile[];
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
}

/** @throws LookasideError as setupScript(), and what `files` throws */
export function installerFor(options: InstallerWanted): string {
  const { wanted, url, script, queries, isClosed, notes, sha256 } = options;
  const bytes = (text: string) => new TextEncoder().encode(text);
  const files = options.files(isClosed ? withTokenPlace(wanted, url) : wanted);
  const text = (path: RegExp) =>
    new TextDecoder().decode(files.find((file) => path.test(file.path))?.content ?? new Uint8Array());
  const registries = wanted.scopes.map(({ registry }) => registry);
  const name = registries.join('+');
  return setupScript({
    ...{ url, script, name, registries, queries, isClosed, notes },
    nameSha256: sha256(bytes(name)),
    keys: keysOf(wanted).map(({ fingerprint, userIds: [userId = ''], certificate }) => {
      return { fingerprint, userId, sha256: sha256(certificate) };
    }),
    ...{ registriesD: text(/\.yaml$/), policy: text(/policy\.json$/) },
  });
}

/** Each key once. */
export function keysOf({ scopes }: WantedConfig): readonly TrustedKey[] {
  return [...new Map(scopes.flatMap(({ keys }) => keys).map((key) => [key.fingerprint, key])).values()];
}

// a URL of somebody's choice has the token in it already, or needs none
function withTokenPlace(wanted: WantedConfig, url: string): WantedConfig {
  if (wanted.lookaside !== url) return wanted;
  return { ...wanted, lookaside: url.replace('://', `://lookaside:${TOKEN_PLACE}@`) };
}
