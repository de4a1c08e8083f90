// A prepared file takes its number by a hard link, which never replaces what is there.
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { LookasideError } from '../domain/errors.ts';
import { MAX_FILE_NUMBER } from '../domain/limits.ts';
import { calls } from './calls.ts';
import { PREPARED_FOLDER } from './intents.ts';
import { type Entry, entryIn } from './opened.ts';
import { codeOf, refusal } from './refusal.ts';
import { demandInPlace, type WayFolder } from './way.ts';

const NO_HARD_LINKS: ReadonlySet<string | null> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Types of statfs(2): file systems that have no hard links or may lack them. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x4d44, 'vfat'],
  [0x2011bab0, 'exfat'],
  [0x65735546, 'fuse'],
  [0x01021997, '9p'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb2'],
]);

export function signatureIn(folder: WayFolder, number: number): Entry {
  return entryIn(folder, `signature-${number}`);
}

/** The number that the file has taken in a folder of the tree at `root`, `from` or above. */
export async function linkFree(
  root: string,
  source: Entry,
  folder: WayFolder,
  from: number,
): Promise<number> {
  // names may have been taken since the folder was read; higher numbers are never looked at
  for (let number = from; number <= MAX_FILE_NUMBER; number += 1) {
    demandInPlace(folder);
    if (await linkAs(root, source, folder, signatureIn(folder, number))) return number;
  }
  const message = `${folder.name} has a file at each number from ${from} to ${MAX_FILE_NUMBER}, and none above is looked at; delete what is not needed and rename the rest so that no number is missing, then upload again`;
  throw new LookasideError('TOO_MANY_SIGNATURES', message);
}

/** False: the name is taken. link, unlike rename, never replaces a file. */
export async function linkAs(
  root: string,
  source: Entry,
  folder: WayFolder,
  target: Entry,
): Promise<boolean> {
  try {
    await calls.link(source.path, target.path);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return false;
    if (NO_HARD_LINKS.has(code)) throw await noHardLinks(error, folder);
    if (code === 'EXDEV') throw otherFileSystem(root, error, folder);
    throw refusal(error, folder.name);
  }
}

/**
 * @throws LookasideError STORE_UNAVAILABLE where files cannot be linked: the first one of an image would be stored without, and none
 * behind it
 */
export async function demandLinks(root: string, source: Entry, folder: WayFolder): Promise<void> {
  const other = entryIn(folder, randomUUID());
  await linkAs(root, source, folder, other);
  // a start throws away what is left
  await calls.unlink(other.path).catch(() => undefined);
}

async function noHardLinks(cause: unknown, { path, name }: WayFolder): Promise<LookasideError> {
  const type = await fs.statfs(path).then(
    (stats) => FILE_SYSTEMS.get(stats.type) ?? `type 0x${stats.type.toString(16)}`,
    () => 'of unknown type',
  );
  const message = `the file system of ${name} (${type}) makes no hard links (${codeOf(cause)}), without which no upload is safe; keep the tree on another, such as ext4 or xfs`;
  return new LookasideError('STORE_UNAVAILABLE', message, { cause });
}

function otherFileSystem(root: string, cause: unknown, { name }: WayFolder): LookasideError {
  const message = `${name} is on another file system than ${join(root, PREPARED_FOLDER)}; keep the tree on one`;
  return new LookasideError('STORE_UNAVAILABLE', message, { cause });
}

/** Removes the name again, unless somebody has put another file there meanwhile; also in a folder that was moved away. */
export async function unlinkOurs(source: Entry, target: Entry): Promise<void> {
  try {
    const [ours, there] = [await fs.lstat(source.path), await fs.lstat(target.path)];
    if (ours.ino !== there.ino) return;
    await fs.unlink(target.path);
  } catch {
    // the error that made us remove it is about to be thrown, and says more
  }
}
