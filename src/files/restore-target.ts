// Fills an empty data directory from a backup. state.db gets its name last. The file that becomes state.db is there from the
// beginning under another name, and no server starts while it is there.
import { createHash } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import { join } from 'node:path';
import { BACKUP_TREE, type RestoreTarget } from '../domain/backup.ts';
import { LookasideError } from '../domain/errors.ts';
import { damagedBackup, listed } from './backup-folder.ts';
import { onDisk, openTreeCopy, syncPath } from './tree-copy.ts';

export interface RestorePlaces {
  readonly dataDir: string;
  readonly stateFile: string;
  /** The file that becomes state.db, in the same folder. */
  readonly unfinishedStateFile: string;
}

/** Names that may be there: the caller's lock, what a refused start has left, and what every new file system has. */
const NOTHING = /^(?:lock(?:\.holder|-journal)?|reserve|lost\+found)$/;

/**
 * Begins a restore; the caller holds the lock.
 * @throws LookasideError CONFIG_INVALID unless the data directory is empty; DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export async function openRestoreTarget(places: RestorePlaces, backupDir: string): Promise<RestoreTarget> {
  const { dataDir, stateFile, unfinishedStateFile } = places;
  const tree = join(dataDir, BACKUP_TREE);
  const unfinishedTree = `${tree}.restoring`;
  await onDisk(dataDir, begin);
  const copy = openTreeCopy(unfinishedTree);

  async function begin(): Promise<void> {
    const names = (await fs.readdir(dataDir)).filter((name) => !NOTHING.test(name));
    const own = [unfinishedStateFile, unfinishedTree].map((path) => path.slice(dataDir.length + 1));
    const isInterrupted = names.includes(own[0] ?? '');
    const others = names.filter((name) => !own.includes(name) && !(isInterrupted && name === BACKUP_TREE));
    if (others.length > 0) {
      throw new LookasideError(
        'CONFIG_INVALID',
        `${dataDir} holds ${listed(others)}, and a backup is restored into an empty folder alone; move them away first, or name another with --data`,
      );
    }
    // left by a restore that was cut short: until one is finished, nothing else writes here
    if (isInterrupted) await clear();
    await fs.writeFile(unfinishedStateFile, '', { mode: 0o600 });
    await fs.mkdir(unfinishedTree, { mode: 0o755 });
    await syncPath(dataDir);
  }

  async function clear(): Promise<void> {
    await fs.rm(tree, { recursive: true, force: true });
    await fs.rm(unfinishedTree, { recursive: true, force: true });
  }

  async function copyState(source: string, sha256: string): Promise<void> {
    const isThere = await fs.access(source).then(
      () => true,
      () => false,
    );
    if (!isThere) throw damagedBackup(backupDir, `${source} is missing or cannot be read`);
    const digest = createHash('sha256');
    const handle = await fs.open(unfinishedStateFile, 'w');
    try {
      for await (const chunk of createReadStream(source)) {
        digest.update(chunk);
        await handle.appendFile(chunk);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (digest.digest('hex') !== sha256) throw damagedBackup(backupDir, `${source} has other bytes`);
  }

  return {
    write: (path, file) => copy.write(path, file),
    async finish(source, sha256) {
      await onDisk(dataDir, async () => {
        await copyState(source, sha256);
        await copy.sync();
        await fs.rename(unfinishedTree, tree);
        await syncPath(dataDir);
        await fs.rename(unfinishedStateFile, stateFile);
        await syncPath(dataDir);
      });
    },
    async abandon() {
      await onDisk(dataDir, async () => {
        await clear();
        await fs.rm(unfinishedStateFile, { force: true });
      });
    },
  };
}
