// Reads policy.json, registries.d and the keys of this machine as podman, skopeo and CRI-O do, and writes nothing.
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ClientGeneration, ClientMachine, FoundFile } from '../domain/client-machine.ts';
import { systemCode } from '../domain/errors.ts';
import { MAX_POLICY_BYTES } from '../domain/limits.ts';
import { type ReadYamlFile, RegistriesDFault } from '../domain/policy/registries-d.ts';
import { readAtMost } from './bounded-read.ts';

export interface ClientMachineOptions {
  readonly home: string;
  readonly isRoot: boolean;
  readonly environment: {
    readonly CONTAINERS_POLICY_JSON?: string | undefined;
    readonly CONTAINERS_REGISTRIES_CONF?: string | undefined;
  };
  readonly generation: ClientGeneration;
  /** Files and folders in place of those that clients would choose; null: theirs. */
  readonly policy: string | null;
  readonly registriesD: string | null;
  readonly registriesConf: string | null;
  readonly platform: ClientMachine['platform'];
  readonly parseYaml: (text: string) => unknown;
  /** `/`; tests name another folder that stands for the machine. */
  readonly root?: string;
}

export function openClientMachine(options: ClientMachineOptions): ClientMachine {
  const { home, isRoot, platform, root = '/' } = options;
  return {
    isRoot,
    platform,
    policy: () => firstOf(policyPlaces(options)),
    registriesD: () => readRegistriesD(options),
    registriesConf: () => readRegistriesConf(options),
    file: readOne,
    builtInBase: `file://${isRoot ? path.join(root, 'var/lib/containers/sigstore') : path.join(home, '.local/share/containers/sigstore')}`,
  };
}

function policyPlaces({ policy, home, environment, generation, root = '/' }: ClientMachineOptions) {
  if (policy !== null) return [policy];
  const named = environment.CONTAINERS_POLICY_JSON;
  if (generation === 'podman-6' && named !== undefined && named !== '') return [named];
  return [
    path.join(home, '.config/containers/policy.json'),
    path.join(root, 'etc/containers/policy.json'),
    ...(generation === 'podman-6' ? [path.join(root, 'usr/share/containers/policy.json')] : []),
  ];
}

async function firstOf(places: readonly string[]): Promise<FoundFile> {
  for (const place of places) {
    const found = await readOne(place);
    if (found.kind !== 'missing') return found;
  }
  const why = `none of ${places.join(', ')} is there`;
  return { kind: 'missing', path: places[0] ?? '', why };
}

async function readOne(file: string): Promise<FoundFile> {
  try {
    const handle = await open(file, 'r');
    try {
      const { size } = await handle.stat();
      const bytes = await readAtMost(handle.fd, size, MAX_POLICY_BYTES);
      if (bytes === null) return unreadable(file, `it has more than ${MAX_POLICY_BYTES} bytes`);
      return { kind: 'read', path: file, bytes };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    if (code === 'ENOENT') return { kind: 'missing', path: file, why: 'it is not there' };
    return unreadable(file, WHY.get(code) ?? code);
  }
}

const WHY: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'this user may not read it'],
  ['EISDIR', 'it is a folder'],
  ['ELOOP', 'its symbolic links run in a circle'],
  ['ENOTDIR', 'a folder on its way is a file'],
]);

function unreadable(file: string, why: string): FoundFile {
  return { kind: 'unreadable', path: file, why };
}

async function readRegistriesD(options: ClientMachineOptions) {
  const folders = await registriesDFolders(options);
  const places = new Map<string, string>(); // podman 6: an equal file name in a later folder masks the earlier one
  for (const folder of folders) {
    for (const name of await namesIn(folder)) {
      if (name.endsWith('.yaml')) places.set(name, path.join(folder, name));
    }
  }
  const files: ReadYamlFile[] = [];
  for (const place of [...places.values()].sort()) files.push(await readYaml(place, options.parseYaml));
  return { folders, files };
}

async function registriesDFolders({ registriesD, home, generation, root = '/' }: ClientMachineOptions) {
  if (registriesD !== null) return [registriesD];
  const own = path.join(home, '.config/containers/registries.d');
  const system = path.join(root, 'etc/containers/registries.d');
  if (generation === 'podman-6') return [path.join(root, 'usr/share/containers/registries.d'), system, own];
  return [(await isThere(own)) ? own : system];
}

async function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    (error) => systemCode(error) !== 'ENOENT',
  );
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return [];
    throw new RegistriesDFault(folder, WHY.get(code ?? '') ?? `cannot be read: ${code}`);
  }
}

async function readYaml(place: string, parse: (text: string) => unknown): Promise<ReadYamlFile> {
  const found = await readOne(place);
  if (found.kind === 'missing') return { path: place, value: null };
  if (found.kind !== 'read') throw new RegistriesDFault(place, found.why);
  try {
    return { path: place, value: parse(new TextDecoder().decode(found.bytes)) };
  } catch (error) {
    const [first = ''] = String(error instanceof Error ? error.message : error).split('\n');
    throw new RegistriesDFault(place, `is no YAML that clients read: ${first}`);
  }
}

async function readRegistriesConf({ registriesConf, home, environment, root = '/' }: ClientMachineOptions) {
  const named = registriesConf ?? environment.CONTAINERS_REGISTRIES_CONF ?? null;
  const places = named === null ? [path.join(home, '.config/containers/registries.conf')] : [named];
  if (named === null) {
    const system = path.join(root, 'etc/containers/registries.conf');
    places.push(system);
    for (const name of await namesIn(`${system}.d`)) {
      if (name.endsWith('.conf')) places.push(path.join(`${system}.d`, name));
    }
  }
  const found = await Promise.all(places.map(readOne));
  return found.filter(({ kind }) => kind !== 'missing');
}

/** Certificates of registries in PEM, as clients trust them for a registry and for its lookaside; null when there are none. */
export async function readRegistryCas(
  host: string,
  { home, root = '/' }: { readonly home: string; readonly root?: string },
): Promise<string | null> {
  const folders = [
    path.join(home, '.config/containers/certs.d'),
    path.join(root, 'etc/containers/certs.d'),
    path.join(root, 'etc/docker/certs.d'),
  ];
  for (const folder of folders.map((one) => path.join(one, host))) {
    const names = await namesIn(folder).catch(() => []); // clients pass over folders that they may not read
    const found = await Promise.all(
      names.filter((name) => name.endsWith('.crt')).map((name) => readOne(path.join(folder, name))),
    );
    const pems = found.flatMap((file) =>
      file.kind === 'read' ? [new TextDecoder().decode(file.bytes)] : [],
    );
    if (names.length > 0) return pems.length === 0 ? null : pems.join('\n');
  }
  return null;
}
