// The folder of a backup. A new backup is made beside an older one and replaces it by the rename of backup.json.
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import { join } from 'node:path';
import {
  type Backup,
  type BackupManifest,
  type BackupTarget,
  backupFolderOf,
  listLine,
  MANIFEST_NAME,
  manifestText,
  parseListLine,
  parseManifest,
  sitesOfBackup,
} from '../domain/backup.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import { readSmallFile } from './key-file.ts';
import { onDisk, openTreeCopy, sha256Of, syncPath, type TreeCopy, writeText } from './tree-copy.ts';

const PART =
  /^(?:state-[0-9A-Za-z-]+\.db(?:-journal)?|signatures-[0-9A-Za-z-]+\.sha256|log-[0-9A-Za-z-]+\.key)$/;
/** Names of ours, of a lock, and of what every new file system has. */
const KNOWN = /^(?:backup\.json(?:\.new)?|sigstore|sites|lock(?:\.holder|-journal)?|lost\+found)$/;

/**
 * Makes the folder, or checks what it holds before anything is written there.
 * @throws LookasideError CONFIG_INVALID when other things lie there; DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export async function makeBackupFolder(dir: string): Promise<void> {
  await onDisk(dir, () => fs.mkdir(dir, { recursive: true, mode: 0o700 }));
  const names = await onDisk(dir, () => fs.readdir(dir));
  const strangers = names.filter((name) => !PART.test(name) && !KNOWN.test(name));
  if (strangers.length > 0) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `${dir} holds ${listed(strangers)}, which no backup holds; name an empty folder, or that of a backup`,
    );
  }
}

/**
 * Opens a folder that makeBackupFolder() has accepted, for another backup. The caller holds the folder's lock.
 * @throws LookasideError DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export async function openBackupTarget(
  dir: string,
  sites: readonly string[],
  now: Date,
): Promise<BackupTarget> {
  const names = await onDisk(dir, () => fs.readdir(dir));
  // state.db holds hashes of tokens, and who did what from where
  await onDisk(dir, () => fs.chmod(dir, 0o700));
  const stamp = `${now.toISOString().replace(/[-:]|\.[0-9]+/g, '')}-${randomBytes(4).toString('hex')}`;
  const [stateName, listName, keyName] = [
    `state-${stamp}.db`,
    `signatures-${stamp}.sha256`,
    `log-${stamp}.key`,
  ];
  const before = await readManifest(dir);
  // a run that was cut short may have left names that would not survive a power cut
  const isInDoubt =
    before === null ||
    before === 'unreadable' ||
    names.some((name) => PART.test(name) && !partsOf(before).includes(name));
  const copies = copiesOf(dir, sites);
  await onDisk(dir, async () => {
    for (const site of sites)
      await fs.mkdir(join(dir, backupFolderOf(site)), { recursive: true, mode: 0o700 });
    await fs.writeFile(join(dir, stateName), '', { mode: 0o600 });
  });
  const list = await openList(join(dir, listName));

  return {
    stateFile: join(dir, stateName),
    async keep(signature, load) {
      const copy = copies.of(signature.site);
      const there = await copy.read(signature.path);
      const isThere = there !== null && sha256Of(there.bytes) === signature.sha256;
      if (isThere && isInDoubt) copy.doubt(signature.path);
      if (!isThere) {
        const file = await load();
        if (file === null || sha256Of(file.bytes) !== signature.sha256) return 'lost';
        await copy.write(signature.path, file);
      }
      list.add(listLine(signature));
      return isThere ? 'kept' : 'copied';
    },
    async finish({ version, startedAt, finishedAt, sites: kept, state, logKey, images }) {
      const { sha256, count } = await list.end();
      await copies.sync();
      const others = kept.filter(({ name }) => name !== DEFAULT_SITE);
      const manifest: BackupManifest = {
        format: 1,
        version,
        startedAt: startedAt.toISOString(),
        finishedAt: finishedAt.toISOString(),
        tree: kept.find(({ name }) => name === DEFAULT_SITE)?.tree ?? 'owned',
        ...(others.length === 0 ? {} : { sites: others }),
        state: { file: stateName, ...state },
        ...(logKey === null ? {} : { logKey: { file: keyName, sha256: sha256Of(Buffer.from(logKey)) } }),
        signatures: { file: listName, sha256, images, count },
      };
      await onDisk(dir, async () => {
        if (logKey !== null) await writeText(join(dir, keyName), logKey, 0o600);
        await syncPath(dir);
        await writeText(join(dir, MANIFEST_NAME), manifestText(manifest), 0o600);
        await syncPath(dir);
        for (const name of await fs.readdir(dir)) {
          if (PART.test(name) && !partsOf(manifest).includes(name)) await fs.rm(join(dir, name));
        }
      });
      return manifest;
    },
  };
}

/** The names of its files beside the signatures. */
function partsOf({ state, signatures, logKey }: BackupManifest): readonly string[] {
  return [state.file, signatures.file, ...(logKey === undefined ? [] : [logKey.file])];
}

/** Where the signatures of each site are. */
function copiesOf(dir: string, sites: readonly string[]) {
  const copies = new Map(sites.map((site) => [site, openTreeCopy(join(dir, backupFolderOf(site)))]));
  return {
    of(site: string): TreeCopy {
      const copy = copies.get(site);
      if (copy === undefined) throw new Error(`the backup knows no site ${site}`);
      return copy;
    },
    async sync(): Promise<void> {
      for (const copy of copies.values()) await copy.sync();
    },
  };
}

interface List {
  add(line: string): void;
  end(): Promise<{ readonly sha256: string; readonly count: number }>;
}

const LIST_BUFFER = 1000;

/** Many callers add lines at once, and lines are written in the order in which they come. No file stays open if they fail. */
async function openList(path: string): Promise<List> {
  await onDisk(path, () => fs.writeFile(path, '', { flag: 'wx', mode: 0o600 }));
  const digest = createHash('sha256');
  let lines: string[] = [];
  let count = 0;
  let written: Promise<void> = Promise.resolve();
  let failure: unknown = null;

  function flush(): void {
    const text = lines.join('');
    lines = [];
    written = written
      .then(() => append(path, digest, text))
      .catch((error: unknown) => {
        failure ??= error;
      });
  }

  return {
    add(line) {
      count += 1;
      lines.push(line);
      if (lines.length >= LIST_BUFFER) flush();
    },
    end: () =>
      onDisk(path, async () => {
        flush();
        await written;
        if (failure !== null) throw failure;
        await syncPath(path);
        return { sha256: digest.digest('hex'), count };
      }),
  };
}

async function append(path: string, digest: Hash, text: string): Promise<void> {
  digest.update(text);
  await fs.appendFile(path, text);
}

/** @throws LookasideError BACKUP_UNUSABLE unless a finished one is there; STORE_UNAVAILABLE */
export async function openBackup(dir: string): Promise<Backup> {
  const manifest = await readManifest(dir);
  if (manifest === null) throw await noBackup(dir);
  if (manifest === 'unreadable')
    throw damagedBackup(dir, `${MANIFEST_NAME} is not what this version of lookaside writes`);
  const sites = sitesOfBackup(manifest);
  const copies = copiesOf(
    dir,
    sites.map(({ name }) => name),
  );
  const listFile = join(dir, manifest.signatures.file);
  return {
    manifest,
    stateFile: join(dir, manifest.state.file),
    async logKey() {
      if (manifest.logKey === undefined) return null;
      const { file, sha256 } = manifest.logKey;
      const text = await readSmallFile(join(dir, file));
      if (text !== null && sha256Of(Buffer.from(text)) === sha256) return text;
      throw damagedBackup(dir, `${file} is missing or has other bytes`);
    },
    async *signatures() {
      if ((await hashOf(listFile)) !== manifest.signatures.sha256) {
        throw damagedBackup(dir, `${manifest.signatures.file} is not the list that was written`);
      }
      const handle = await fs.open(listFile, 'r');
      try {
        for await (const line of handle.readLines()) {
          const signature = parseListLine(sites, line);
          if (signature === null) {
            throw damagedBackup(dir, `${manifest.signatures.file} has a line that names no signature`);
          }
          yield signature;
        }
      } finally {
        await handle.close();
      }
    },
    read: ({ site, path }) => copies.of(site).read(path),
  };
}

async function readManifest(dir: string): Promise<BackupManifest | 'unreadable' | null> {
  const path = join(dir, MANIFEST_NAME);
  const text = await onDisk(path, () =>
    fs.readFile(path, 'utf8').catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return null;
      throw error;
    }),
  );
  if (text === null) return null;
  const manifest = parseManifest(text);
  return manifest ?? 'unreadable';
}

async function noBackup(dir: string): Promise<LookasideError> {
  const names = await fs.readdir(dir).catch(() => null);
  if (names === null) return unusable(`${dir} cannot be read as a folder; name the folder of a backup`);
  const isBegun = names.some((name) => PART.test(name));
  if (!isBegun) return unusable(`${dir} holds no backup: it has no ${MANIFEST_NAME}; name the folder of one`);
  const advice = `finish it with: lookaside backup ${dir}, or name another`;
  return unusable(`the backup in ${dir} was not finished: it has no ${MANIFEST_NAME}; ${advice}`);
}

/** The SHA-256, in hex, of a file of any size; empty when there is no such file. */
async function hashOf(path: string): Promise<string> {
  const digest = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) digest.update(chunk);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  }
  return digest.digest('hex');
}

export function damagedBackup(dir: string, damage: string): LookasideError {
  return unusable(`the backup in ${dir} is damaged: ${damage}; nothing was restored. Restore another backup`);
}

function unusable(message: string): LookasideError {
  return new LookasideError('BACKUP_UNUSABLE', message);
}

export function listed(names: readonly string[]): string {
  const [some, more] = [names.slice(0, 5).join(', '), names.length - 5];
  return more > 0 ? `${some} and ${more} more` : some;
}
