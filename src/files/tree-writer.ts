// Adding signatures to a tree: prepared out of sight, then linked into place, with every fsync that a power cut asks
// for. Replaces a file only where recorded bytes are put back.
import { randomUUID } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { createSharedRuns } from '../domain/concurrency.ts';
import { type ErrorCode, isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import type { TreeWriter } from '../domain/tree.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import { openRoot, unavailable } from './root.ts';

export interface TreeWriterOptions {
  readonly root: string;
  readonly nowMs: () => number;
}

const PREPARED_FOLDER = join(PRIVATE_FOLDER, 'tmp');
const DISPLACED_FOLDER = join(PRIVATE_FOLDER, 'displaced');

// what we make there: both files of a pair, and the temporary files of other writes
const OUR_NAME = /^(?<prepared>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.intent|\.signature)?$/;

const MAX_INTENT_BYTES = 64 * 1024;

const NO_SPACE: ReadonlySet<string | null> = new Set(['ENOSPC', 'EDQUOT']);
const NO_RIGHT: ReadonlySet<string | null> = new Set(['EROFS', 'EACCES', 'EPERM']);
const NO_HARD_LINKS: ReadonlySet<string | null> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Of statfs(2), those that have no hard links or may lack them. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x4d44, 'vfat'],
  [0x2011bab0, 'exfat'],
  [0x65735546, 'fuse'],
  [0x01021997, '9p'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb2'],
]);

/** Names that others took between a look at the folder and the link; more is no race. */
const MAX_TAKEN_NAMES = 1000;

const FOLDERS_KEPT = 10_000;

export function openTreeWriter({ root, nowMs }: TreeWriterOptions): TreeWriter {
  const { checkRoot, refuseWayOut } = openRoot(root, nowMs);
  // folders whose own entry in the folder above is known to survive, by path; the value tells one from its successor
  const lasting = new LRUCache<string, string>({ max: FOLDERS_KEPT });
  const shareSync = createSharedRuns();
  let fault: string | null = null;
  let isRootLasting = false;

  function refuseFault(): void {
    if (fault !== null) throw new LookasideError('STORE_UNAVAILABLE', fault);
  }

  /** Once it failed, what the kernel held may be lost although the next fsync succeeds: nothing goes on from here. */
  async function sync(handle: FileHandle, path: string): Promise<void> {
    refuseFault(); // of another upload, while this one waited for its turn
    try {
      await handle.sync();
    } catch (error) {
      throw lost(error, path);
    }
  }

  function lost(error: unknown, path: string): LookasideError {
    const code = codeOf(error) ?? 'unknown error';
    fault ??= `a write to ${path} did not reach the disk (${code}); check the disk and start the server again, until then nothing is stored`;
    return new LookasideError('STORE_UNAVAILABLE', fault, { cause: error });
  }

  /** One fsync serves all who wait for the same folder: those who store into it at the same time. */
  function syncFolder(path: string): Promise<void> {
    return shareSync(path, async () => {
      const handle = await attempt(() => fs.open(path, 'r'), path);
      try {
        await sync(handle, path);
      } finally {
        await handle.close();
      }
    });
  }

  async function writeNew(path: string, content: string | Uint8Array, mode: number): Promise<void> {
    const folder = dirname(path);
    const handle = await attempt(() => fs.open(path, 'wx', mode), folder);
    try {
      await attempt(() => handle.writeFile(content), folder);
      await handle.sync().catch((error: unknown) => {
        // a full disk that shows this late: the file is thrown away, so its lost pages deceive nobody
        throw NO_SPACE.has(codeOf(error)) ? refusal(error, folder) : lost(error, path);
      });
    } finally {
      await handle.close();
    }
  }

  /** Makes the missing folders; when it resolves, every one on the way from the root survives a power cut. */
  async function makeFolders(folder: string, mode: number): Promise<void> {
    await attempt(() => makeFolder(folder, mode), join(root, folder));
    for (let child = folder; child !== '.'; child = dirname(child)) await makeLasting(child);
    if (isRootLasting) return;
    await makeRootLasting();
    isRootLasting = true;
  }

  /** Not by `recursive`, with which Node.js 20 says ENOENT for a full or read-only disk, and makes a root that has gone. */
  async function makeFolder(folder: string, mode: number): Promise<void> {
    try {
      await fs.mkdir(join(root, folder), { mode });
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EEXIST') return;
      if (code !== 'ENOENT' || dirname(folder) === '.') throw error;
      await makeFolder(dirname(folder), mode);
      await makeFolder(folder, mode);
    }
  }

  /** Another upload, or a server that was killed, may have made the folder and not have come as far as the fsync. */
  async function makeLasting(folder: string): Promise<void> {
    const path = join(root, folder);
    const identity = identityOf(await attempt(() => fs.stat(path, { bigint: true }), path));
    if (lasting.get(folder) === identity) return;
    await syncFolder(join(root, dirname(folder)));
    lasting.set(folder, identity);
  }

  async function makeRootLasting(): Promise<void> {
    const above = dirname(await attempt(() => fs.realpath(root), root));
    try {
      await syncFolder(above);
    } catch (error) {
      // a folder that we may not open is none that we made
      if (!isLookasideError(error, 'READ_ONLY')) throw error;
    }
  }

  /** Where pairs are kept. A link in its place would lead what we write elsewhere. */
  async function makePreparedFolder(): Promise<void> {
    const stats = await fs.lstat(join(root, PREPARED_FOLDER), { bigint: true }).catch(() => null);
    if (stats?.isDirectory() && lasting.get(PREPARED_FOLDER) === identityOf(stats)) return;
    await makeFolders(PRIVATE_FOLDER, 0o755);
    await refuseLink(PRIVATE_FOLDER);
    await makeFolders(PREPARED_FOLDER, 0o700);
    await refuseLink(PREPARED_FOLDER);
  }

  async function refuseLink(folder: string): Promise<void> {
    const path = join(root, folder);
    const stats = await attempt(() => fs.lstat(path), path);
    if (stats.isDirectory()) return;
    throw new LookasideError(
      'STORE_UNAVAILABLE',
      `${path} is a link, not a folder of its own; remove the link`,
    );
  }

  async function linkFree(source: string, folder: string, from: number): Promise<number> {
    for (let number = from; number < from + MAX_TAKEN_NAMES; number += 1) {
      if (await link(source, join(root, folder, `signature-${number}`))) return number;
    }
    throw new LookasideError(
      'STORE_UNAVAILABLE',
      `${join(root, folder)} changes faster than it can be written to`,
    );
  }

  /** False: the name is taken. link, unlike rename, never replaces a file. */
  async function link(source: string, path: string): Promise<boolean> {
    try {
      await fs.link(source, path);
      return true;
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EEXIST') return false;
      if (NO_HARD_LINKS.has(code)) throw await noHardLinks(error, dirname(path));
      if (code === 'EXDEV') throw otherFileSystem(error, dirname(path));
      throw refusal(error, dirname(path));
    }
  }

  async function noHardLinks(cause: unknown, path: string): Promise<LookasideError> {
    const type = await fs.statfs(path).then(
      (stats) => FILE_SYSTEMS.get(stats.type) ?? `type 0x${stats.type.toString(16)}`,
      () => 'of unknown type',
    );
    const message = `the file system of ${path} (${type}) makes no hard links (${codeOf(cause)}), without which no upload is safe; keep the tree on another, such as ext4 or xfs`;
    return new LookasideError('STORE_UNAVAILABLE', message, { cause });
  }

  function otherFileSystem(cause: unknown, path: string): LookasideError {
    const message = `${path} is on another file system than ${join(root, PREPARED_FOLDER)}; keep the tree on one`;
    return new LookasideError('STORE_UNAVAILABLE', message, { cause });
  }

  /** Takes the name back, unless somebody has put another file there meanwhile. */
  async function unlinkOurs(source: string, path: string): Promise<void> {
    try {
      const [ours, there] = await Promise.all([fs.lstat(source), fs.lstat(path)]);
      if (ours.ino !== there.ino) return;
      await fs.unlink(path);
    } catch {
      // what made us take it back is about to be thrown, and says more
    }
  }

  /** Moves a folder out of the way: what it holds is not ours to delete. */
  async function displace(path: string): Promise<void> {
    await makeFolders(DISPLACED_FOLDER, 0o755);
    await attempt(() => fs.rename(path, join(root, DISPLACED_FOLDER, randomUUID())), path);
    await syncFolder(join(root, DISPLACED_FOLDER));
  }

  async function discard(prepared: string): Promise<void> {
    // the intent first: without it the bytes mean nothing
    for (const name of [`${prepared}.intent`, `${prepared}.signature`, prepared]) {
      await fs.unlink(join(root, PREPARED_FOLDER, name)).catch(() => undefined);
    }
  }

  async function readIntent(prepared: string): Promise<string | null> {
    const path = join(root, PREPARED_FOLDER, `${prepared}.intent`);
    const stats = await lstatOrNull(path);
    if (stats === null || !stats.isFile() || stats.size > MAX_INTENT_BYTES) return null;
    return attempt(() => fs.readFile(path, 'utf8'), path);
  }

  return {
    get fault() {
      return fault;
    },
    async freeBytes() {
      try {
        const { bavail, bsize } = await fs.statfs(root);
        return bavail * bsize;
      } catch (error) {
        throw unavailable(root, error);
      }
    },
    async prepare(intent, bytes) {
      refuseFault();
      // a root that has gone must not be made anew: it may be a disk that is not mounted
      await checkRoot();
      const prepared = randomUUID();
      await makePreparedFolder();
      const folder = join(root, PREPARED_FOLDER);
      try {
        await writeNew(join(folder, `${prepared}.signature`), bytes, 0o644);
        await writeNew(join(folder, `${prepared}.intent`), intent, 0o600);
        await syncFolder(folder);
      } catch (error) {
        await discard(prepared);
        throw error;
      }
      return prepared;
    },
    async place(prepared, folder, from) {
      refuseFault();
      const source = join(root, PREPARED_FOLDER, `${prepared}.signature`);
      await refuseWayOut(folder);
      await makeFolders(folder, 0o755);
      const number = await linkFree(source, folder, from);
      try {
        await syncFolder(join(root, folder));
        refuseFault(); // of another upload, meanwhile
      } catch (error) {
        await unlinkOurs(source, join(root, folder, `signature-${number}`));
        throw error;
      }
      return number;
    },
    async makeDurable(folder, number) {
      refuseFault();
      const path = join(root, folder, `signature-${number}`);
      await refuseWayOut(folder);
      const handle = await attempt(() => fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK), path);
      try {
        await sync(handle, path);
      } finally {
        await handle.close();
      }
      await syncFolder(join(root, folder));
      await makeFolders(folder, 0o755);
    },
    async restore(folder, number, bytes) {
      refuseFault();
      const path = join(root, folder, `signature-${number}`);
      await refuseWayOut(folder);
      await makePreparedFolder();
      await makeFolders(folder, 0o755);
      // rename replaces anything but a folder
      if ((await lstatOrNull(path))?.isDirectory()) await displace(path);
      const temporary = randomUUID();
      try {
        await writeNew(join(root, PREPARED_FOLDER, temporary), bytes, 0o644);
        await attempt(() => fs.rename(join(root, PREPARED_FOLDER, temporary), path), path);
      } catch (error) {
        await discard(temporary);
        throw error;
      }
      await syncFolder(join(root, folder));
    },
    discard,
    async leftOver() {
      const found = new Set<string>();
      for (const name of await namesIn(join(root, PREPARED_FOLDER))) {
        const prepared = OUR_NAME.exec(name)?.groups?.prepared;
        if (prepared === undefined || found.has(prepared)) continue;
        const stats = await lstatOrNull(join(root, PREPARED_FOLDER, name));
        if (stats?.isFile() && stats.uid === process.geteuid?.()) found.add(prepared);
      }
      return Promise.all(
        [...found].sort().map(async (prepared) => ({ prepared, intent: await readIntent(prepared) })),
      );
    },
  };
}

function identityOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${dev}:${ino}`;
}

/** Empty when the folder is not there or not for us. */
async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await fs.readdir(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(codeOf(error) ?? '')) return [];
    throw unavailable(path, error);
  }
}

async function lstatOrNull(path: string) {
  try {
    return await fs.lstat(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw unavailable(path, error);
  }
}

async function attempt<T>(act: () => Promise<T>, path: string): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw refusal(error, path);
  }
}

/** What the caller is told when the system refused something at `path`. */
function refusal(cause: unknown, path: string): LookasideError {
  const code = codeOf(cause) ?? 'unknown error';
  const made = (kind: ErrorCode, message: string) => new LookasideError(kind, message, { cause });
  if (NO_SPACE.has(code))
    return made('DISK_FULL', `no space is left for ${path} (${code}); free some, then try again`);
  if (NO_RIGHT.has(code)) {
    return made(
      'READ_ONLY',
      `the server may not write to ${path} (${code}); make it writable for the server's user`,
    );
  }
  if (code === 'ENAMETOOLONG') {
    return made(
      'PATH_INVALID',
      `${path} has a name that is longer than the file system takes (255 bytes); shorten it`,
    );
  }
  if (code === 'EEXIST' || code === 'ENOTDIR') {
    return made(
      'STORE_UNAVAILABLE',
      `${path} cannot be made: a file stands where a folder must be; move it away`,
    );
  }
  return unavailable(path, cause);
}

/** Node.js has no name for a quota that is used up: EDQUOT of Linux is `Unknown system error -122`. */
function codeOf(error: unknown): string | null {
  const isQuota = error instanceof Error && 'errno' in error && error.errno === -122;
  return isQuota ? 'EDQUOT' : systemCode(error);
}
