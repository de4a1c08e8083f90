// Puts files of clients in place below one folder, all or none, with a copy of what was there, and takes them away again.
// It follows no symbolic link below that folder, and writes nothing outside of what it is told.
import { randomUUID } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import path from 'node:path';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { MAX_INSTALLED_BYTES } from '../domain/limits.ts';
import { quoted } from '../domain/text.ts';
import { readAtMost } from './bounded-read.ts';
import { onDisk, syncPath } from './tree-copy.ts';

/** One file: paths are relative to the base, with slashes. */
export interface FileToInstall {
  readonly path: string;
  /** As it was read; null: it was not there. Installing ends when it has changed since. */
  readonly before: Uint8Array | null;
  readonly after: Uint8Array;
}

export interface InstallPlace {
  /** Existing; links on the way to it are followed, links below it never. */
  readonly base: string;
  /** Below it, where what was there is kept: `etc/containers/lookaside-backup`. */
  readonly backups: string;
}

export interface Undone {
  readonly path: string;
  readonly action: 'restored' | 'removed';
}

/** The folder without links on the way to it. @throws LookasideError CONFIG_INVALID */
export async function realFolder(folder: string): Promise<string> {
  try {
    return await fs.realpath(folder);
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    const message =
      code === 'ENOENT'
        ? `there is no folder ${folder}; make it, or name one that is there`
        : `cannot use the folder ${folder}: ${code}; name one that is there and that you may read`;
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
}

/** False also for what this user cannot see. */
export async function isThere(place: string): Promise<boolean> {
  return fs.lstat(place).then(
    () => true,
    () => false,
  );
}

/** The bytes; null when nothing is there. @throws LookasideError CONFIG_INVALID for links, folders and what is too large */
export async function readInstalled(base: string, file: string): Promise<Uint8Array | null> {
  await refuseLinks(base, file);
  return onDisk(path.join(base, file), async () => {
    const handle = await fs
      .open(path.join(base, file), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      .catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return null;
        throw error;
      });
    if (handle === null) return null;
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw unusable(base, file, 'is not a regular file');
      const bytes = await readAtMost(
        handle.fd,
        Math.min(stats.size, MAX_INSTALLED_BYTES),
        MAX_INSTALLED_BYTES,
      );
      if (bytes === null) throw unusable(base, file, `has more than ${MAX_INSTALLED_BYTES} bytes`);
      return bytes;
    } finally {
      await handle.close();
    }
  });
}

/** Names of files in the folder, sorted; none when it is not there. @throws as readInstalled() */
export async function namesInstalled(base: string, folder: string): Promise<readonly string[]> {
  await refuseLinks(base, folder);
  return onDisk(path.join(base, folder), async () =>
    (
      await fs.readdir(path.join(base, folder)).catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return [];
        throw error;
      })
    ).sort(),
  );
}

/**
 * Puts all files in place in their order, durably; the folder of the backup. A failure leaves every file as it was.
 * @throws LookasideError DISK_FULL, READ_ONLY, STORE_UNAVAILABLE; CONFIG_INVALID for links; NAME_TAKEN when a file has changed
 */
export async function installFiles(
  place: InstallPlace,
  files: readonly FileToInstall[],
  now: Date,
): Promise<string> {
  for (const { path: file } of files) await refuseLinks(place.base, file);
  await refuseLinks(place.base, place.backups);
  return onDisk(path.join(place.base, place.backups), async () => {
    const made: string[] = []; // folders, the deepest last
    const temporaries: string[] = [];
    const backup = `${place.backups}/${now.toISOString().replaceAll(':', '-')}`;
    try {
      for (const file of files) temporaries.push(await writeBeside(place.base, file, made));
      await writeBackup({ place, backup, files, made });
      for (const { path: file, before } of files) await refuseChanged(place.base, file, before);
    } catch (error) {
      await clearUp(place.base, temporaries, made, backup);
      throw error;
    }
    const placed: FileToInstall[] = [];
    try {
      for (const [index, file] of files.entries()) {
        await fs.rename(temporaries[index] ?? '', path.join(place.base, file.path));
        placed.push(file);
      }
      for (const folder of new Set(files.map((file) => path.dirname(file.path))))
        await syncPath(path.join(place.base, folder));
    } catch (error) {
      for (const file of placed.reverse()) await putBack(place.base, file);
      await clearUp(place.base, temporaries, made, backup);
      throw error;
    }
    return path.join(place.base, backup);
  });
}

/** Writes the files below the folder, which is made if it is not there, in place of what has their names. @throws as installFiles() */
export async function writeFiles(base: string, files: readonly FileToInstall[]): Promise<void> {
  await onDisk(base, () => fs.mkdir(base, { recursive: true }));
  for (const file of files) {
    await refuseLinks(base, file.path);
    await onDisk(path.join(base, file.path), async () => {
      await fs.rename(await writeBeside(base, file, []), path.join(base, file.path));
    });
  }
}

interface JournalEntry {
  readonly path: string;
  /** Name in the backup's folder; null: it was not there. */
  readonly before: string | null;
  /** Name in the backup's folder of what was put there. */
  readonly after: string;
}

interface Journal {
  readonly files: readonly JournalEntry[];
  /** The folders that were made for them, each after the one that it lies in. */
  readonly folders: readonly string[];
}

const JOURNAL = 'journal.json';

async function writeBackup({
  place: { base },
  backup,
  files,
  made,
}: {
  readonly place: InstallPlace;
  readonly backup: string;
  readonly files: readonly FileToInstall[];
  readonly made: string[];
}): Promise<void> {
  await makeFolders(base, backup, made, 0o700);
  const entries: JournalEntry[] = [];
  for (const [index, { path: file, before, after }] of files.entries()) {
    const name = (what: string) => `${index}.${what}`;
    if (before !== null) await writeNew(path.join(base, backup, name('before')), before, 0o600);
    await writeNew(path.join(base, backup, name('after')), after, 0o600);
    entries.push({ path: file, before: before === null ? null : name('before'), after: name('after') });
  }
  const journal = JSON.stringify({ files: entries, folders: made }, null, 2);
  await writeNew(path.join(base, backup, JOURNAL), Buffer.from(`${journal}\n`), 0o600);
  await syncPath(path.join(base, backup));
  await syncPath(path.join(base, path.dirname(backup)));
}

/**
 * Takes back the last installation that was not taken back: what was there is there again.
 * @throws LookasideError NOT_FOUND when there is none; NAME_TAKEN when somebody has changed a file since, and then nothing is done
 */
export async function undoInstall({ base, backups }: InstallPlace): Promise<readonly Undone[]> {
  const names = await namesInstalled(base, backups);
  const last = names.at(-1);
  if (last === undefined) {
    throw new LookasideError(
      'NOT_FOUND',
      `there is nothing to take back: ${path.join(base, backups)} holds no backup of an installation`,
    );
  }
  const backup = `${backups}/${last}`;
  const { files: entries, folders } = await readJournal(base, backup);
  const steps: { readonly entry: JournalEntry; readonly before: Uint8Array | null }[] = [];
  for (const entry of [...entries].reverse()) {
    const before = entry.before === null ? null : await readInstalled(base, `${backup}/${entry.before}`);
    const after = await readInstalled(base, `${backup}/${entry.after}`);
    const installed = await readInstalled(base, entry.path);
    // an installation that was killed in the middle has left some files as they were
    if (isSame(installed, before)) continue;
    if (!isSame(installed, after)) throw changed(base, entry.path, 'taken back');
    steps.push({ entry, before });
  }
  const undone: Undone[] = [];
  await onDisk(path.join(base, backup), async () => {
    // the policy first: at no moment does it name a key that is gone
    for (const { entry, before } of steps) {
      await putBack(base, { path: entry.path, before });
      undone.push({ path: path.join(base, entry.path), action: before === null ? 'removed' : 'restored' });
    }
    for (const folder of new Set(entries.map((entry) => path.dirname(entry.path))))
      await syncPath(path.join(base, folder)).catch(unlessMissing);
    await fs.rm(path.join(base, backup), { recursive: true });
    for (const folder of [...folders].reverse()) await fs.rmdir(path.join(base, folder)).catch(unlessInUse);
  });
  return undone;
}

async function readJournal(base: string, backup: string): Promise<Journal> {
  const bytes = await readInstalled(base, `${backup}/${JOURNAL}`);
  if (bytes === null) return { files: [], folders: [] }; // it was killed before it changed anything
  try {
    const { files, folders } = JSON.parse(new TextDecoder().decode(bytes)) as Journal; // checked below
    const isSound = files.every(
      ({ path: file, before, after }) =>
        isInside(file) && (before === null || NAME.test(before)) && NAME.test(after),
    );
    if (isSound && folders.every(isInside)) return { files, folders };
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw unusable(base, `${backup}/${JOURNAL}`, 'is not the journal of an installation');
}

const NAME = /^[0-9]+\.(?:before|after)$/;

function isInside(file: string): boolean {
  return (
    file !== '' && !path.isAbsolute(file) && !file.split('/').some((part) => part === '' || part === '..')
  );
}

/** A whole and durable file beside the one that it will become, with that one's mode and owner; its path. */
async function writeBeside(
  base: string,
  { path: file, after }: FileToInstall,
  made: string[],
): Promise<string> {
  await makeFolders(base, path.dirname(file), made, 0o755);
  const place = path.join(base, file);
  const temporary = path.join(path.dirname(place), `.${path.basename(place)}.${randomUUID()}`);
  const old = await fs.lstat(place).catch(unlessMissing);
  try {
    await writeNew(temporary, after, 0o644, old ?? null);
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => undefined); // the error before it says more
    throw error;
  }
  return temporary;
}

async function writeNew(
  place: string,
  bytes: Uint8Array,
  mode: number,
  like: { readonly mode: number; readonly uid: number; readonly gid: number } | null = null,
): Promise<void> {
  const handle = await fs.open(place, 'wx', mode);
  try {
    await handle.writeFile(bytes);
    await handle.chmod(like === null ? mode : like.mode & 0o777); // whatever the umask is: clients of every user read it
    if (like !== null && process.getuid?.() === 0) await handle.chown(like.uid, like.gid);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function makeFolders(base: string, folder: string, made: string[], mode: number): Promise<void> {
  const parts = folder.split('/').filter((part) => part !== '' && part !== '.');
  for (const [index] of parts.entries()) {
    const one = parts.slice(0, index + 1).join('/');
    try {
      await fs.mkdir(path.join(base, one), { mode: one === folder ? mode : 0o755 });
    } catch (error) {
      if (systemCode(error) === 'EEXIST') continue;
      throw error;
    }
    made.push(one);
    await fs.chmod(path.join(base, one), one === folder ? mode : 0o755); // whatever the umask is
    await syncPath(path.dirname(path.join(base, one)));
  }
}

/** What was there before is there again, or nothing. */
async function putBack(
  base: string,
  { path: file, before }: Pick<FileToInstall, 'path' | 'before'>,
): Promise<void> {
  if (before === null) {
    await fs.rm(path.join(base, file), { force: true });
    return;
  }
  const temporary = await writeBeside(base, { path: file, before: null, after: before }, []);
  await fs.rename(temporary, path.join(base, file));
}

async function clearUp(
  base: string,
  temporaries: readonly string[],
  made: readonly string[],
  backup: string,
) {
  // what cannot be removed stays; the error that led here is the one to tell
  for (const temporary of temporaries) await fs.rm(temporary, { force: true }).catch(() => undefined);
  await fs.rm(path.join(base, backup), { recursive: true, force: true }).catch(() => undefined);
  for (const folder of [...made].reverse()) await fs.rmdir(path.join(base, folder)).catch(() => undefined);
}

async function refuseChanged(base: string, file: string, before: Uint8Array | null): Promise<void> {
  if (!isSame(await readInstalled(base, file), before)) throw changed(base, file, 'installed');
}

function changed(base: string, file: string, what: string): LookasideError {
  return new LookasideError(
    'NAME_TAKEN',
    `${path.join(base, file)} has been changed by somebody else meanwhile, and nothing was ${what}; look at it, then run the command again`,
  );
}

/** @throws LookasideError CONFIG_INVALID naming the first part of the path below the base that is a link */
async function refuseLinks(base: string, file: string): Promise<void> {
  if (!isInside(file)) throw new Error(`${file} is outside of ${base}`);
  const parts = file.split('/');
  for (const [index] of parts.entries()) {
    const one = path.join(base, ...parts.slice(0, index + 1));
    const stats = await onDisk(one, () => fs.lstat(one).catch(unlessMissing));
    if (stats == null) return;
    if (stats.isSymbolicLink()) {
      const target = await fs.readlink(one).catch(() => 'nowhere');
      throw new LookasideError(
        'CONFIG_INVALID',
        `${one} is a symbolic link to ${quoted(target)}, and nothing is read or written through links; put the file itself there, or change what it leads to by hand from the output without --install`,
      );
    }
    if (index < parts.length - 1 && !stats.isDirectory())
      throw unusable(base, parts.slice(0, index + 1).join('/'), 'is not a folder');
  }
}

function unusable(base: string, file: string, why: string): LookasideError {
  return new LookasideError(
    'CONFIG_INVALID',
    `${path.join(base, file)} ${why}; move it away, then run the command again`,
  );
}

function isSame(one: Uint8Array | null, other: Uint8Array | null): boolean {
  if (one === null || other === null) return one === other;
  return Buffer.compare(one, other) === 0;
}

function unlessMissing(error: unknown): undefined {
  const code = systemCode(error);
  if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
  return undefined;
}

function unlessInUse(error: unknown): void {
  const code = systemCode(error);
  if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOENT') throw error;
}
