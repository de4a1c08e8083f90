// A disk of its own for a data directory, whose power can be cut: a loop mount that xfs_io shuts down, so that the file
// system drops whatever no fsync has brought to the disk, its journal included.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { needs } from '../clients/available.ts';
import { type Argv, succeed } from '../clients/command.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

export type FileSystem = 'ext4' | 'xfs';

/** Where a data directory lies that comes to harm. */
export interface CrashDisk extends AsyncDisposable {
  readonly data: string;
  /** The power goes: nothing is written from here on, and what was not synced is lost. */
  cut(): Promise<void>;
  /** The power is back: the file system reads its journal. No process may have a file open there any more. */
  restore(): Promise<void>;
}

/** A folder that outlives every process, as when only the server is killed. */
export async function openSteadyDisk(): Promise<CrashDisk> {
  const temp = await openTempFolder();
  return {
    data: temp.path,
    cut: async () => {},
    restore: async () => {},
    [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose](),
  };
}

/** mkfs.xfs makes none below 300 MiB. The file is sparse. */
const DISK_BYTES = 384 * 1024 * 1024;

/** An empty disk. It is unmounted when it is disposed of, and when the test ends before. */
export async function openPowerDisk(fileSystem: FileSystem): Promise<CrashDisk> {
  const temp = await openTempFolder();
  let image = path.join(temp.path, 'disk');
  const mounted = path.join(temp.path, 'mounted');
  // umount frees the loop device as well: mount asked for that
  const unmountAnyhow = () => {
    spawnSync('umount', ['--lazy', mounted], { stdio: 'ignore' });
  };
  // without nouuid XFS refuses the copy that restore() makes while the dead file system is held somewhere
  const options = fileSystem === 'xfs' ? 'loop,nouuid' : 'loop';
  const mount = () => call('mount', '-o', options, image, mounted);
  try {
    writeFileSync(image, '');
    truncateSync(image, DISK_BYTES);
    mkdirSync(mounted);
    await call(`mkfs.${fileSystem}`, '-q', image);
    process.prependOnceListener('exit', unmountAnyhow); // before the listener that removes the folder
    await mount();
  } catch (error) {
    await temp[Symbol.asyncDispose]();
    throw error;
  }
  return {
    data: path.join(mounted, 'data'),
    async cut() {
      await call('xfs_io', '-x', '-c', 'shutdown', mounted);
    },
    async restore() {
      await call('umount', mounted);
      // under its old name the kernel would give back the dead file system as long as another mount namespace has it
      const copy = `${image}+`;
      await call('cp', '--sparse=always', image, copy);
      rmSync(image);
      image = copy;
      await mount();
    },
    async [Symbol.asyncDispose]() {
      unmountAnyhow();
      process.off('exit', unmountAnyhow);
      await temp[Symbol.asyncDispose]();
    },
  };
}

const call = (...argv: Argv) => succeed(argv, { env: { PATH: process.env.PATH ?? '' } });

const obstacles = new Map<FileSystem, string | null>();

/**
 * The option for node:test that skips, with the reason, where no such disk can be made. With CI=true no program may be
 * missing; but loop mounts are the machine's to give, and most containers have none: there it is said aloud.
 */
export function needsPowerDisk(fileSystem: FileSystem): { readonly skip: string | false } {
  const programs = needs(`mkfs.${fileSystem}`, 'xfs_io');
  if (programs.skip !== false) return programs;
  const known = obstacles.get(fileSystem);
  const obstacle = known === undefined ? whyNoLoopMount(fileSystem) : known;
  obstacles.set(fileSystem, obstacle);
  if (known === undefined && obstacle !== null && process.env.CI === 'true') {
    process.emitWarning(`power cuts on ${fileSystem} are NOT TESTED by this run: ${obstacle}`);
  }
  return { skip: obstacle ?? false };
}

/** Root in a container has the programs, and still may not mount. */
function whyNoLoopMount(fileSystem: FileSystem): string | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'loop mounts need root on Linux';
  const folder = mkdtempSync(path.join('/tmp', 'lac-probe-'));
  const script = `
    truncate --size=${DISK_BYTES} "$1/disk" && mkdir "$1/mounted" &&
    mkfs.${fileSystem} -q "$1/disk" && mount -o loop "$1/disk" "$1/mounted" && umount "$1/mounted"`;
  try {
    const { status, stderr } = spawnSync('sh', ['-c', script, 'sh', folder], { encoding: 'utf8' });
    return status === 0 ? null : `no loop mount can be made here: ${stderr.trim()}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
