// A user of podman and skopeo: a home folder with policy.json, registries.d and image storage, and nothing shared
// with the machine's own.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Argv, describeOutcome, type Outcome, run } from './command.ts';
import type { SigningKey } from './keys.ts';

export interface ClientHomeOptions {
  /** The key that must have signed what comes from a registry; without one everything is accepted. */
  readonly trusts?: SigningKey;
  /** What registries.d says: an object, or YAML. */
  readonly registriesD: object | string;
  /** GNUPGHOME of those who sign. */
  readonly gnupgHome?: string;
  /** Where the clients run: see PrivateHost. */
  readonly on: (argv: Argv) => Argv;
}

export interface ClientHome {
  readonly folder: string;
  podman(...args: readonly string[]): Promise<Outcome>;
  skopeo(...args: readonly string[]): Promise<Outcome>;
}

/** A new home in `folder`, which must not exist. */
export async function makeClientHome(folder: string, options: ClientHomeOptions): Promise<ClientHome> {
  const { trusts, registriesD, gnupgHome, on } = options;
  const configuration = path.join(folder, '.config/containers');
  const temporary = path.join(folder, 'tmp');
  await mkdir(path.join(configuration, 'registries.d'), { recursive: true });
  await mkdir(temporary);
  const registriesConf = path.join(configuration, 'registries.conf');
  await writeFile(registriesConf, '');
  const yaml = typeof registriesD === 'string' ? registriesD : JSON.stringify(registriesD); // JSON is YAML
  await writeFile(path.join(configuration, 'registries.d/default.yaml'), yaml);
  await writeFile(path.join(configuration, 'policy.json'), JSON.stringify(policy(trusts)));

  const surroundings = {
    env: {
      PATH: process.env.PATH ?? '',
      LC_ALL: 'C',
      HOME: folder,
      TMPDIR: temporary,
      XDG_RUNTIME_DIR: temporary,
      CONTAINERS_REGISTRIES_CONF: registriesConf, // podman's way; skopeo takes the flag
      PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
      ...(gnupgHome !== undefined && { GNUPGHOME: gnupgHome }),
    },
  };
  return {
    folder,
    podman: (...args) => run(on(['podman', ...podmanStorage(folder), ...args]), surroundings),
    skopeo: (...args) =>
      run(on(['skopeo', '--tmpdir', temporary, '--registries-conf', registriesConf, ...args]), surroundings),
  };
}

/** Flags that keep podman's images and state below `folder`. vfs unless told, because overlay leaves a mount behind. */
export function podmanStorage(folder: string, driver: 'vfs' | 'overlay' = 'vfs'): readonly string[] {
  return [
    ...['--root', `${folder}/storage`, '--runroot', `${folder}/run`, '--tmpdir', `${folder}/libpod`],
    ...['--volumepath', `${folder}/volumes`, '--network-config-dir', `${folder}/networks`],
    ...['--storage-driver', driver, '--cgroup-manager', 'cgroupfs', '--events-backend', 'none'],
  ];
}

function policy(trusts: SigningKey | undefined): object {
  const anything = [{ type: 'insecureAcceptAnything' }];
  if (trusts === undefined) return { default: anything };
  const signed = [{ type: 'signedBy', keyType: 'GPGKeys', keyPath: trusts.publicKeyFile }];
  return { default: anything, transports: { docker: { '': signed } } };
}

export function assertAccepted(outcome: Outcome): void {
  assert.equal(outcome.status, 0, describeOutcome(outcome));
}

/** podman ends with 125 and skopeo with 1; what they say holds each of `reasons`, character for character. */
export function assertRefused(
  outcome: Outcome,
  status: 1 | 125,
  ...reasons: readonly [string, ...string[]]
): void {
  assert.equal(outcome.status, status, describeOutcome(outcome));
  const said = outcome.stderr.replaceAll('\\"', '"'); // skopeo logs the message as one quoted field
  for (const reason of reasons) {
    assert.ok(said.includes(reason), `wanted: ${reason}\ngot: ${describeOutcome(outcome)}`);
  }
}
