// What the system-wide paths look like to the programs of a test. Clients that run as root write a cache into
// /var/lib/containers and read /etc/containers; here they meet folders of the test in both places, in a mount
// namespace that nobody else sees.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { hasPrivateHost } from './available.ts';
import { type Argv, startBackground } from './command.ts';

export interface PrivateHost extends AsyncDisposable {
  /** The same program, run on this host. */
  on(argv: Argv): Argv;
}

export interface PrivateHostOptions {
  /** It has a loopback device of its own, on which every port is free. */
  readonly network?: boolean;
  /**
   * Its /tmp is `folder`/tmp, in which only `folder` and these folders of the machine's /tmp stand, and it has nothing
   * in /run and /dev/shm, where podman keeps locks that all of one machine share.
   */
  readonly tmpWith?: readonly string[];
}

/**
 * A host whose /etc/containers is `folder`/etc and whose /var/lib is `folder`/var-lib, both empty at first. Where the
 * machine gives no namespaces and nothing more was asked for, programs run on the machine itself.
 */
export async function openPrivateHost(
  folder: string,
  { network = false, tmpWith }: PrivateHostOptions = {},
): Promise<PrivateHost> {
  const isOptional = !network && tmpWith === undefined;
  if (isOptional && !hasPrivateHost()) return { on: (argv) => argv, async [Symbol.asyncDispose]() {} };

  const etc = path.join(folder, 'etc');
  const varLib = path.join(folder, 'var-lib');
  await mkdir(etc);
  await mkdir(path.join(varLib, 'containers'), { recursive: true });
  const namespaces = network ? ['--mount', '--net'] : ['--mount'];
  const setUp = [
    `mount --bind '${etc}' /etc/containers`,
    `mount --bind '${varLib}' /var/lib`, // not /var/lib/containers, which is made by the first client to run
    ...(network ? ['ip link set lo up'] : []),
    ...(tmpWith === undefined ? [] : privateTmp(folder, tmpWith)),
    'echo ready',
    'exec cat', // holds the namespaces until its input, our pipe, is closed
  ];
  const holder = await startBackground(
    ['unshare', ...namespaces, '--propagation', 'private', 'sh', '-ec', setUp.join('\n')],
    { env: { PATH: process.env.PATH ?? '' } },
    /^ready$/m,
  );
  return {
    on: (argv) => ['nsenter', '--target', String(holder.pid), ...namespaces, '--', ...argv],
    async [Symbol.asyncDispose]() {
      await holder.stop();
    },
  };
}

/** The lines of shell that give the host a /tmp of its own. */
function privateTmp(folder: string, others: readonly string[]): readonly string[] {
  const tmp = path.join(folder, 'tmp');
  const kept = [folder, ...others].filter((each) => each.startsWith('/tmp/'));
  return [
    `mkdir --mode 1777 '${tmp}'`,
    ...kept.flatMap((each) => {
      const place = path.join(tmp, path.relative('/tmp', each));
      return [`mkdir -p '${place}'`, `mount --bind '${each}' '${place}'`];
    }),
    `mount --rbind '${tmp}' /tmp`,
    'mount -t tmpfs tmpfs /run',
    'mount -t tmpfs tmpfs /dev/shm',
  ];
}
