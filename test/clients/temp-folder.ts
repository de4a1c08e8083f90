// A folder that goes when the test does.
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
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
  // for runs that are cut short; a gpg-agent in it ends by itself when its socket goes
  const removeWithUs = () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.once('exit', removeWithUs);
  return {
    path: folder,
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
      process.off('exit', removeWithUs);
    },
  };
}
