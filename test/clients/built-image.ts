// The container image, built as users build it, and containers of it under podman, in a storage of the test's own.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeBase } from './base-image.ts';
import { podmanStorage } from './client-home.ts';
import { type Background, type Outcome, run, startBackground, succeed } from './command.ts';
import { openPrivateHost, type PrivateHost } from './private-host.ts';
import { openTempFolder } from './temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const BASE = 'localhost/base';
const IMAGE = 'localhost/lookaside';

/** Compiling the database takes a minute and a half of it on a machine that has nothing else to do. */
const BUILD_MS = 540_000;

// The machine may itself be a container: limits below its own, no cgroups, its network.
const ON_ANY_MACHINE = [
  ...['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'],
  ...['--cgroups', 'disabled', '--network', 'host'],
];

export const CONFINED = ['--read-only', '--read-only-tmpfs=false', '--cap-drop', 'all'] as const;

/** As OpenShift chooses users: any number, in group 0. */
export const ANY_USER = ['--user', '12345:0'] as const;

/** What the image asks of who runs it. */
export interface ImageSettings {
  readonly User: string;
  readonly StopSignal: string;
  readonly Labels: Readonly<Record<string, string>>;
}

export interface BuiltImage extends AsyncDisposable {
  readonly settings: ImageSettings;
  /** Runs a container to its end; `command` is what stands behind the image's name. */
  run(options: readonly string[], ...command: readonly string[]): Promise<Outcome>;
  /** Runs a container with the volume of this name as its data, once it says that it listens on a free port. */
  serve(volume: string, options: readonly string[]): Promise<Container>;
}

export interface Container extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
  /** Runs a program in it. */
  exec(...argv: readonly string[]): Promise<Outcome>;
  /** The image's own health check, run now. */
  checkHealth(): Promise<Outcome>;
  /** Sends SIGTERM to its first process; the exit status of that. */
  stop(): Promise<number | null>;
}

/** The image of this checkout. Needs buildah, mmdebstrap, podman and a private host. */
export async function buildImage(): Promise<BuiltImage> {
  const temp = await openTempFolder();
  try {
    const host = await openPrivateHost(temp.path);
    const close = async () => {
      await host[Symbol.asyncDispose](); // first: the storage's mounts go with it
      await temp[Symbol.asyncDispose]();
    };
    const tools = await openTools(temp.path, host);
    await build(temp.path, tools);
    return {
      settings: JSON.parse(await tools.podman('image', 'inspect', '--format', '{{json .Config}}', IMAGE)),
      run: (options, ...command) =>
        tools.tryPodman('run', '--rm', ...ON_ANY_MACHINE, ...options, IMAGE, ...command),
      serve: (volume, options) => serve(tools, volume, options),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await temp[Symbol.asyncDispose]();
    throw error;
  }
}

interface Tools {
  /** Its outcome, whatever its exit status. */
  tryPodman(...args: readonly string[]): Promise<Outcome>;
  /** Its standard output. @throws Error when it fails, as the next two */
  podman(...args: readonly string[]): Promise<string>;
  buildah(...args: readonly string[]): Promise<string>;
  shell(script: string): Promise<string>;
  startPodman(args: readonly string[], ready: RegExp): Promise<Background>;
}

async function openTools(folder: string, { on }: PrivateHost): Promise<Tools> {
  const home = path.join(folder, 'home');
  const temporary = path.join(folder, 'tmp');
  await mkdir(path.join(home, '.config/containers'), { recursive: true });
  await mkdir(temporary);
  const policy = { default: [{ type: 'insecureAcceptAnything' }] };
  await writeFile(path.join(home, '.config/containers/policy.json'), JSON.stringify(policy));
  const surroundings = {
    env: {
      PATH: process.env.PATH ?? '',
      HOME: home,
      TMPDIR: temporary,
      PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    },
    deadlineMs: BUILD_MS,
  };
  const podman = ['podman', ...podmanStorage(home, 'overlay')] as const;
  const buildah = ['buildah', ...buildahStorage(home)] as const;
  return {
    tryPodman: (...args) => run(on([...podman, ...args]), surroundings),
    podman: (...args) => succeed(on([...podman, ...args]), surroundings),
    buildah: (...args) => succeed(on([...buildah, ...args]), surroundings),
    shell: (script) => succeed(on(['sh', '-ec', script]), surroundings),
    startPodman: (args, ready) => startBackground(on([...podman, ...args]), surroundings, ready),
  };
}

/** The same storage as podmanStorage() of that folder. */
function buildahStorage(folder: string): readonly string[] {
  return ['--root', `${folder}/storage`, '--runroot', `${folder}/run`, '--storage-driver', 'overlay'];
}

async function build(folder: string, tools: Tools): Promise<void> {
  const base = path.join(folder, 'base');
  const packed = path.join(folder, 'base.tar');
  await makeBase(base);
  await tools.shell(`tar -C '${base}' -cf '${packed}' .`);
  // The base tells the compiler to hurry, of which the Dockerfile knows nothing: it saves 50 s of processor time.
  const hurry = ['CFLAGS=-O0', 'CXXFLAGS=-O0'].flatMap((setting) => ['--change', `ENV ${setting}`]);
  await tools.podman('import', '--quiet', ...hurry, packed, BASE);
  const options = ['--isolation', 'chroot', '--format', 'docker', '--build-arg', `BASE=${BASE}`];
  await tools.buildah('bud', ...options, '--tag', IMAGE, ROOT);
  // crun of Debian 12 runs nothing while both versions of cgroups are mounted
  await tools.shell('if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi');
}

async function serve(tools: Tools, volume: string, options: readonly string[]): Promise<Container> {
  const name = `serves-${volume}`;
  const podman = await tools.startPodman(
    [
      ...['run', '--rm', '--name', name, ...ON_ANY_MACHINE, ...options],
      ...['--volume', `${volume}:/var/lib/lookaside`, '--env', 'LOOKASIDE_LISTEN=127.0.0.1:0', IMAGE],
    ],
    /listening on (http:\/\/127\.0\.0\.1:[0-9]+)/,
  );
  return {
    url: podman.ready[1] ?? '',
    exec: (...argv) => tools.tryPodman('exec', name, ...argv),
    checkHealth: () => tools.tryPodman('healthcheck', 'run', name),
    stop: podman.stop,
    [Symbol.asyncDispose]: podman[Symbol.asyncDispose],
  };
}
