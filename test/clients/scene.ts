// What most of these tests share: a registry, signers' keys, a tree of signatures that publishers write into, and
// homes of users. One scene per test file.
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { assertAccepted, type ClientHome, makeClientHome } from './client-home.ts';
import type { Argv, Outcome } from './command.ts';
import { type GnupgHome, openGnupgHome, type SigningKey } from './keys.ts';
import { openPrivateHost } from './private-host.ts';
import { openRegistry, type RegistryOptions } from './registry.ts';
import { isByNodes } from './served-by.ts';
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
  /** Copies `source` to the image, which is `repository:tag` in the registry, and demands success. */
  push(user: ClientHome, source: string, image: string, ...flags: readonly string[]): Promise<void>;
  /** `podman pull` of the image. */
  pull(user: ClientHome, image: string, ...flags: readonly string[]): Promise<Outcome>;
  /** `skopeo copy` of the image into a new folder. */
  copy(
    user: ClientHome,
    image: string,
    ...flags: readonly string[]
  ): Promise<Outcome & { readonly folder: string }>;
  /** Signatures in the tree by path below it, in the order of paths: of one repository. */
  signatureFiles(repository: string): Promise<ReadonlyMap<string, Buffer>>;
}

/** A new scene. Clients verify the registry's TLS if it has a certificate, and speak plain HTTP to it if not. */
export async function openScene(registryOptions: RegistryOptions = {}): Promise<Scene> {
  const insecurely = (flag: string) => (registryOptions.certificate === undefined ? [`${flag}=false`] : []);
  let copies = 0;
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
      async push(user, source, image, ...flags) {
        const insecure = ['--src-tls-verify=false', '--dest-tls-verify=false'];
        const destination = `docker://${registry}/${image}`;
        assertAccepted(await user.skopeo('copy', ...insecure, ...flags, source, destination));
        if (isByNodes) await (await import('./by-nodes.ts')).importTrees();
      },
      pull: (user, image, ...flags) =>
        user.podman('pull', ...insecurely('--tls-verify'), ...flags, `${registry}/${image}`),
      async copy(user, image, ...flags) {
        copies += 1;
        const copied = path.join(user.folder, `copy-${copies}`);
        const insecure = insecurely('--src-tls-verify');
        const source = `docker://${registry}/${image}`;
        return {
          ...(await user.skopeo('copy', ...insecure, ...flags, source, `dir:${copied}`)),
          folder: copied,
        };
      },
      signatureFiles: (repository) => readSignatureFiles(tree, repository),
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
    if (!name.startsWith(`${repository}@`)) continue;
    if (!/@sha256=[0-9a-f]{64}\/signature-[0-9]+$/.test(name)) continue;
    files.set(name, await readFile(path.join(tree, name)));
  }
  return files;
}
