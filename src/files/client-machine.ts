// Reads policy.json, registries.d and the keys of this machine as podman, skopeo and CRI-O do, and writes nothing.
import { access, constants, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { type AuthFile, findLogin, LoginFault, type MachineLogin } from '../domain/client-auth.ts';
import type { ClientMachine, ClientUser, FoundFile } from '../domain/client-machine.ts';
import { systemCode } from '../domain/errors.ts';
import {
  mergeRegistriesConf,
  type ReadTomlFile,
  RegistriesConfFault,
} from '../domain/policy/registries-conf.ts';
import { type ReadYamlFile, RegistriesDFault } from '../domain/policy/registries-d.ts';
import { readCertificates, strayCertificates } from './client-certificates.ts';
import { readOne, WHY } from './client-file.ts';
import { type ClientPlaces, type ClientPlacesOptions, clientPlaces } from './client-places.ts';

export interface ClientMachineOptions extends ClientPlacesOptions {
  /** Files and folders in place of those that clients would choose; null: theirs. */
  readonly policy: string | null;
  /** As CRI-O pulls for a pod of this Kubernetes namespace; null: as podman and skopeo do. */
  readonly crioNamespace: string | null;
  readonly registriesD: string | null;
  readonly registriesConf: string | null;
  readonly platform: ClientMachine['platform'];
  /** What the system knows of the user. */
  readonly known: Pick<ClientUser, 'name' | 'ownHome'>;
  readonly parseYaml: (text: string) => unknown;
  /** Throws an error whose message says where and why. */
  readonly parseToml: (text: string) => unknown;
}

export function openClientMachine(options: ClientMachineOptions): ClientMachine {
  const { uid, platform, policy, home, known, environment } = options;
  const places = clientPlaces(options);
  return {
    user: { uid, home, ...known, caller: environment.SUDO_USER || null },
    platform,
    policy: async () => firstOf(policy === null ? await policyPlaces(options, places) : [policy]),
    registriesD: () => readRegistriesD(options, places),
    registriesConf: () => readRegistriesConf(options, places),
    recordedAliases: () => readRecordedAliases(options, places),
    login: async (image) => withProgram(findLogin(await authFiles(places), image), environment.PATH ?? ''),
    credentialProgram: (name) => programOf(name, environment.PATH ?? ''),
    certificates: (host) => readCertificates(places, host),
    strayCertificates: (host, others) => strayCertificates(places, host, others),
    passedOver: async () => {
      const there = await Promise.all(places.passedOver.map(isThere));
      return places.passedOver.filter((_, index) => there[index]);
    },
    file: readOne,
    builtInBase: `file://${places.builtInFolder}`,
  };
}

/** CRI-O: a policy of the pod's namespace, else the one that crio.conf names, else that of other clients. */
async function policyPlaces(options: ClientMachineOptions, places: ClientPlaces): Promise<readonly string[]> {
  const { crioNamespace, root = '/' } = options;
  if (crioNamespace === null) return places.policies;
  const conf = path.join(root, 'etc/crio/crio.conf');
  let named = '';
  let folder = path.join(root, 'etc/crio/policies');
  const dropped = await namesIn(`${conf}.d`).catch(() => []); // CRI-O itself does not start then
  for (const place of [conf, ...dropped.map((name) => path.join(`${conf}.d`, name))]) {
    const read = await readToml(place, options, true);
    const image = tableIn(tableIn(read?.value, 'crio'), 'image');
    named = textIn(image, 'signature_policy') ?? named;
    folder = textIn(image, 'signature_policy_dir') ?? folder;
  }
  const own = path.join(folder, `${crioNamespace}.json`);
  return [own, ...(named === '' ? places.policies : [named])];
}

function tableIn(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined;
}

function textIn(value: unknown, name: string): string | null {
  const table = tableIn(value, name);
  return typeof table === 'string' ? table : null;
}

async function firstOf(places: readonly string[]): Promise<FoundFile> {
  for (const place of places) {
    const file = await readOne(place);
    if (file.kind !== 'missing') return file;
  }
  const why = `none of ${places.join(', ')} is there`;
  return { kind: 'missing', path: places[0] ?? '', why };
}

async function authFiles(places: ClientPlaces): Promise<readonly AuthFile[]> {
  const files: AuthFile[] = [];
  for (const place of places.authFiles) {
    const file = await readOne(place);
    if (file.kind === 'read') files.push(file);
    else if (file.kind === 'unreadable') throw new LoginFault(place, file.why);
  }
  return files;
}

async function withProgram(login: ReturnType<typeof findLogin>, folders: string): Promise<MachineLogin> {
  return login.kind === 'helper' ? { ...login, program: await programOf(login.helper, folders) } : login;
}

async function programOf(helper: string, folders: string): Promise<string | null> {
  // a helper's name is no path: clients look for it on the PATH alone
  for (const folder of helper.includes('/') ? [] : folders.split(':').filter(path.isAbsolute)) {
    const program = path.join(folder, `docker-credential-${helper}`);
    const isFile = await stat(program).then(
      (entry) => entry.isFile(),
      () => false, // one that cannot be looked at cannot be run
    );
    const mayRun = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isFile && mayRun) return program;
  }
  return null;
}

async function readRegistriesD(options: ClientMachineOptions, places: ClientPlaces) {
  const folders = await registriesDFolders(options, places);
  const masked = new Map<string, string>(); // podman 6: an equal file name in a later folder masks the earlier one
  for (const folder of folders) {
    for (const name of await namesIn(folder)) {
      if (name.endsWith('.yaml')) masked.set(name, path.join(folder, name));
    }
  }
  const files: ReadYamlFile[] = [];
  for (const place of [...masked.values()].sort()) files.push(await readYaml(place, options.parseYaml));
  return { folders, files };
}

async function registriesDFolders(
  { registriesD }: ClientMachineOptions,
  places: ClientPlaces,
): Promise<readonly string[]> {
  if (registriesD !== null) return [registriesD];
  const there: string[] = [];
  for (const folder of places.registriesD) if (await isThere(folder)) there.push(folder);
  if (places.isMerged) return there;
  return [there.at(-1) ?? places.registriesD[0] ?? ''];
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
  const file = await readOne(place);
  if (file.kind === 'missing') return { path: place, value: null };
  if (file.kind !== 'read') throw new RegistriesDFault(place, file.why);
  try {
    return { path: place, value: parse(new TextDecoder().decode(file.bytes)) };
  } catch (error) {
    const [first = ''] = String(error instanceof Error ? error.message : error).split('\n');
    throw new RegistriesDFault(place, `is not YAML that clients read: ${first}`);
  }
}

async function readRegistriesConf(options: ClientMachineOptions, places: ClientPlaces) {
  const named = options.registriesConf ?? places.namedConf;
  const files: ReadTomlFile[] = [];
  if (named !== null) {
    const read = await readToml(named, options, false);
    if (read === null) throw new RegistriesConfFault(named, 'is not there');
    files.push(read);
  } else {
    for (const place of places.registriesConf) {
      const read = await readToml(place, options, false);
      if (read === null) continue;
      files.push(read);
      break;
    }
  }
  const conf = files[0]?.path ?? null;
  for (const place of await dropIns(places, conf)) {
    const read = await readToml(place, options, true);
    if (read !== null) files.push(read);
  }
  const last = places.lastConf === null ? null : await readToml(places.lastConf, options, true);
  return last === null ? files : [...files, last];
}

async function dropIns(places: ClientPlaces, conf: string | null): Promise<readonly string[]> {
  const dropIns: { readonly name: string; readonly place: string }[] = [];
  for (const folder of places.dropIns(conf)) {
    const names = await namesIn(folder).catch((error: unknown) => {
      if (error instanceof RegistriesDFault) throw new RegistriesConfFault(folder, error.message);
      throw error;
    });
    for (const name of names)
      if (name.endsWith('.conf')) dropIns.push({ name, place: path.join(folder, name) });
  }
  if (!places.isMasked) return dropIns.map(({ place }) => place);
  const masked = new Map(dropIns.map(({ name, place }) => [name, place]));
  return [...masked].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, place]) => place);
}

/** Null: it is not there. @throws RegistriesConfFault */
async function readToml(
  file: string,
  { parseToml }: Pick<ClientMachineOptions, 'parseToml'>,
  isDropIn: boolean,
): Promise<ReadTomlFile | null> {
  const content = await readOne(file);
  if (content.kind === 'missing') return null;
  if (content.kind === 'unreadable') throw new RegistriesConfFault(file, content.why);
  try {
    return { path: file, value: parseToml(new TextDecoder().decode(content.bytes)), isDropIn };
  } catch (error) {
    throw new RegistriesConfFault(file, error instanceof Error ? error.message : String(error));
  }
}

async function readRecordedAliases(options: ClientMachineOptions, { recordedAliases }: ClientPlaces) {
  const read = await readToml(recordedAliases, options, true);
  return mergeRegistriesConf(read === null ? [] : [read], { takesVersion1: false }).aliases;
}
