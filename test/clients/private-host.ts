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

/**
 * A host whose /etc/containers is `folder`/etc and whose /var/lib is `folder`/var-lib, both empty at first. With
 * `network` it also has a loopback device of its own, on which every port is free. Where the machine gives no
 * namespaces and no network was asked for, programs run on the machine itself.
 */
export async function openPrivateHost(
  folder: string,
  options: { readonly network: boolean } = { network: false },
): Promise<PrivateHost> {
  if (!options.network && !hasPrivateHost()) return { on: (argv) => argv, async [Symbol.asyncDispose]() {} };

  const etc = path.join(folder, 'etc');
  const varLib = path.join(folder, 'var-lib');
  await mkdir(etc);
  await mkdir(path.join(varLib, 'containers'), { recursive: true });
  const namespaces = options.network ? ['--mount', '--net'] : ['--mount'];
  const setUp = [
    `mount --bind '${etc}' /etc/containers`,
    `mount --bind '${varLib}' /var/lib`, // not /var/lib/containers, which is made by the first client to run
    ...(options.network ? ['ip link set lo up'] : []),
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
