// An image to build on, in the shape of docker.io/library/node, which no test may depend on: Debian as debootstrap makes
// it, and this machine's Node.js with npm and headers under /usr/local.
import { copyFile, cp, mkdir, realpath, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { succeed } from './command.ts';

const MIRROR = 'http://deb.debian.org/debian';
const CA_FILE = '/etc/ssl/certs/machine.crt';

/** A root file system in the new folder `base`. mmdebstrap, because it takes half of debootstrap's time for the same. */
export async function makeBase(base: string): Promise<void> {
  const env = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/root' };
  const quick = '--dpkgopt=force-unsafe-io'; // what a power cut takes of it nobody misses
  await succeed(['mmdebstrap', '--quiet', '--variant=apt', quick, 'bookworm', base, MIRROR], {
    env,
    deadlineMs: 300_000,
  });
  const local = path.join(base, 'usr/local');
  await copyNode(local);
  await copyNpm(local);
  await writeNpmSettings(base, await succeed(['npm', 'config', 'get', 'registry', 'cafile'], { env }));
}

async function copyNode(local: string): Promise<void> {
  await copyFile(process.execPath, path.join(local, 'bin/node'));
  const headers = path.resolve(process.execPath, '../../include/node');
  await cp(headers, path.join(local, 'include/node'), {
    recursive: true,
    filter: (name) => path.basename(name) !== 'openssl', // nine tenths of them, and nothing here includes them
  });
}

async function copyNpm(local: string): Promise<void> {
  const program = await succeed(['sh', '-c', 'command -v npm'], { env: { PATH: process.env.PATH ?? '' } });
  const folder = path.resolve(await realpath(program.trim()), '../..');
  await cp(folder, path.join(local, 'lib/node_modules/npm'), { recursive: true });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', path.join(local, 'bin/npm'));
}

/** The machine's way to the registry, which is the base's business and not the Dockerfile's. `settings`: lines of `name = value`. */
async function writeNpmSettings(base: string, settings: string): Promise<void> {
  const [, registry] = /^registry ?= ?(.*)$/m.exec(settings) ?? [];
  const [, cafile] = /^cafile ?= ?(.*)$/m.exec(settings) ?? [];
  const lines = [`registry=${registry}`];
  if (cafile !== undefined && path.isAbsolute(cafile)) {
    await mkdir(path.dirname(path.join(base, CA_FILE)), { recursive: true });
    await copyFile(cafile, path.join(base, CA_FILE));
    lines.push(`cafile=${CA_FILE}`);
  }
  await mkdir(path.join(base, 'usr/local/etc'), { recursive: true });
  await writeFile(path.join(base, 'usr/local/etc/npmrc'), `${lines.join('\n')}\n`);
}
