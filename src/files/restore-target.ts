// Fills an empty data directory from a backup, or from a database. state.db gets its name last. The file that becomes state.db is there from the
// beginning under another name, and no server starts while it is there.
import { createHash } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import {
  backupFolderOf,
  type RestoreTarget,
  type SignaturePlace,
  type StoredFile,
} from '../domain/backup.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { Site } from '../domain/site.ts';
import { damagedBackup, listed } from './backup-folder.ts';
import { writeSmallFile } from './key-file.ts';
import { onDisk, openTreeCopy, syncPath } from './tree-copy.ts';

export interface RestorePlaces {
  readonly dataDir: string;
  readonly stateFile: string;
  /** Owned trees, below the data directory; none lies in another. */
  readonly trees: readonly Pick<Site, 'name' | 'root'>[];
  /** The key that signs the log, in the data directory. */
  readonly logKeyFile: string;
  /** The file that becomes state.db, in the same folder. */
  readonly unfinishedStateFile: string;
  /** Names of what else the caller makes in the data directory meanwhile. */
  readonly others?: readonly string[];
}

export interface FilledTarget extends RestoreTarget {
  /** What was written there; null when nothing was. */
  read(place: SignaturePlace): Promise<StoredFile | null>;
  /** As finish(), where the caller has made all but the tree in its place, and has closed the file that becomes state.db. */
  finishInPlace(logKey: string | null): Promise<void>;
}

/** Names that may be there: the caller's lock, what a refused start has left, and what every new file system has. */
const NOTHING = /^(?:lock(?:\.holder|-journal)?|reserve|lost\+found)$/;

/**
 * Begins a restore; the caller holds the lock.
 * @throws LookasideError CONFIG_INVALID unless the data directory is empty; DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export async function openRestoreTarget(places: RestorePlaces, backupDir: string): Promise<FilledTarget> {
  const { dataDir, stateFile, logKeyFile, unfinishedStateFile } = places;
  const trees = new Map(
    places.trees.map(({ name, root }) => {
      // beside each other in the data directory, however deep the roots lie
      const unfinished = join(dataDir, `${backupFolderOf(name).replaceAll('/', '-')}.restoring`);
      return [name, { root, unfinished, copy: openTreeCopy(unfinished) }];
    }),
  );
  /** Names in the data directory under which finished trees lie. */
  const tops = [
    ...places.trees.map(({ root }) => topOf(dataDir, root)),
    topOf(dataDir, logKeyFile),
    ...(places.others ?? []),
  ];
  await onDisk(dataDir, begin);

  async function begin(): Promise<void> {
    const names = (await fs.readdir(dataDir)).filter((name) => !NOTHING.test(name));
    const unfinished = [...trees.values()].map((tree) => tree.unfinished);
    const own = [unfinishedStateFile, ...unfinished].map((path) => path.slice(dataDir.length + 1));
    const isInterrupted = names.includes(own[0] ?? '');
    const others = names.filter((name) => !own.includes(name) && !(isInterrupted && tops.includes(name)));
    if (others.length > 0) throw notEmpty(dataDir, others);
    // left by a restore that was cut short: until one is finished, nothing else writes here
    if (isInterrupted) await clear();
    await fs.writeFile(unfinishedStateFile, '', { mode: 0o600 });
    for (const folder of unfinished) await fs.mkdir(folder, { mode: 0o755 });
    await syncPath(dataDir);
  }

  async function clear(): Promise<void> {
    for (const top of tops) await fs.rm(join(dataDir, top), { recursive: true, force: true });
    for (const { unfinished } of trees.values()) await fs.rm(unfinished, { recursive: true, force: true });
  }

  async function placeTrees(): Promise<void> {
    for (const { root, unfinished, copy } of trees.values()) {
      await copy.sync();
      await fs.mkdir(dirname(root), { recursive: true, mode: 0o755 });
      await fs.rename(unfinished, root);
      await syncPath(dirname(root));
    }
    await syncPath(dataDir);
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

  async function place(logKey: string | null): Promise<void> {
    await placeTrees();
    if (logKey !== null) await writeSmallFile(logKeyFile, logKey, 0o600);
    await fs.rename(unfinishedStateFile, stateFile);
    await syncPath(dataDir);
  }

  function copyOf(site: string) {
    const tree = trees.get(site);
    if (tree === undefined) throw new Error(`no tree of the site ${site} is being restored`);
    return tree.copy;
  }

  return {
    write: async ({ site, path }, file) => copyOf(site).write(path, file),
    read: async ({ site, path }) => copyOf(site).read(path),
    async finish({ file, sha256, logKey }) {
      await onDisk(dataDir, async () => {
        await copyState(file, sha256);
        await place(logKey);
      });
    },
    finishInPlace: (logKey) => onDisk(dataDir, () => place(logKey)),
    async abandon() {
      await onDisk(dataDir, async () => {
        await clear();
        await fs.rm(unfinishedStateFile, { force: true });
      });
    },
  };
}

/** What is seen without filling it. @throws LookasideError CONFIG_INVALID unless the data directory is empty or missing */
export async function refuseFilledFolder(dataDir: string): Promise<void> {
  const names = await onDisk(dataDir, () =>
    fs.readdir(dataDir).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }),
  );
  const others = names.filter((name) => !NOTHING.test(name) && !name.endsWith('.restoring'));
  if (others.length > 0) throw notEmpty(dataDir, others);
}

function notEmpty(dataDir: string, names: readonly string[]): LookasideError {
  return new LookasideError(
    'CONFIG_INVALID',
    `${dataDir} holds ${listed(names)}, and only an empty folder is filled; move them away first, or name another with --data`,
  );
}

/** What lies there is deleted when a restore fails, so it must be below the data directory. */
function topOf(dataDir: string, root: string): string {
  const [top = ''] = relative(dataDir, root).split(sep);
  if (top === '' || top === '..') throw new Error(`the tree ${root} is not below ${dataDir}`);
  return top;
}
