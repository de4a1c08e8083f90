// A folder that goes when the test does.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

export interface TempFolder extends AsyncDisposable {
  readonly path: string;
}

/**
 * A new empty folder with a short path, because gpg-agent's socket must fit into 107 bytes, and without capitals,
 * because podman makes an image name of an `oci:` path.
 */
export async function openTempFolder(): Promise<TempFolder> {
  const folder = path.join('/tmp', `lac-${randomBytes(4).toString('hex')}`);
  await mkdir(folder, { mode: 0o700 });
  const remove = () => {
    // podman as an ordinary user leaves folders that not even their owner may write
    spawnSync('chmod', ['-R', 'u+rwX', folder]);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  process.once('exit', remove); // for runs that are cut short; nearly every gpg-agent ends by itself when its socket goes
  return {
    path: folder,
    async [Symbol.asyncDispose]() {
      remove();
      process.off('exit', remove);
    },
  };
}
