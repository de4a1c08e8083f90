// What most of these tests share: a registry, signers' keys, a tree of signatures that publishers write into, and
// homes of users. One scene per test file.
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { type ClientHome, makeClientHome } from './client-home.ts';
import type { Argv } from './command.ts';
import { type GnupgHome, openGnupgHome, type SigningKey } from './keys.ts';
import { openPrivateHost } from './private-host.ts';
import { openRegistry, type RegistryOptions } from './registry.ts';
import { openTempFolder } from './temp-folder.ts';

export interface Scene extends AsyncDisposable {
  readonly folder: string;
  /** The registry's host and port. */
  readonly registry: string;
  /** Where publishers write signatures, and the server's root. */
  readonly tree: string;
  readonly gnupg: GnupgHome;
  readonly alice: SigningKey;
  readonly bob: SigningKey;
  readonly on: (argv: Argv) => Argv;
  /** A user who reads signatures from `base` and writes his own into the tree. */
  publisher(name: string, base: string): Promise<ClientHome>;
  /** A user who demands a signature by `trusts`, to be read from `base`. */
  reader(name: string, base: string, trusts: SigningKey): Promise<ClientHome>;
  /** Files of the tree by path below it: all of one repository, or all. */
  signatureFiles(repository?: string): Promise<ReadonlyMap<string, Buffer>>;
}

export async function openScene(registryOptions: RegistryOptions = {}): Promise<Scene> {
  const open: AsyncDisposable[] = [];
  const keep = <T extends AsyncDisposable>(resource: T): T => {
    open.unshift(resource);
    return resource;
  };
  const close = async () => {
    for (const resource of open) await resource[Symbol.asyncDispose]();
  };
  try {
    const folder = keep(await openTempFolder()).path;
    const tree = path.join(folder, 'tree');
    await mkdir(tree);
    const { on } = keep(await openPrivateHost(folder));
    const registry = keep(await openRegistry(folder, registryOptions)).host;
    const gnupg = keep(await openGnupgHome(folder));
    const alice = await gnupg.makeKey('alice');
    const bob = await gnupg.makeKey('bob');
    const home = (name: string, registriesD: object, trusts?: SigningKey) =>
      makeClientHome(path.join(folder, name), {
        registriesD,
        gnupgHome: gnupg.folder,
        on,
        ...(trusts && { trusts }),
      });
    return {
      folder,
      registry,
      tree,
      gnupg,
      alice,
      bob,
      on,
      publisher: (name, base) =>
        home(name, { 'default-docker': { lookaside: base, 'lookaside-staging': `file://${tree}` } }),
      reader: (name, base, trusts) => home(name, { 'default-docker': { lookaside: base } }, trusts),
      signatureFiles: (repository = '') => readSignatureFiles(tree, repository),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function readSignatureFiles(tree: string, repository: string): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const names = await readdir(tree, { recursive: true });
  for (const name of names.sort()) {
    if (!name.startsWith(repository === '' ? '' : `${repository}@`)) continue;
    if (!/@sha256=[0-9a-f]{64}\/signature-[0-9]+$/.test(name)) continue;
    files.set(name, await readFile(path.join(tree, name)));
  }
  return files;
}
