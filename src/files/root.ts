// Where a root really is and what lies inside it: nothing is read or written through a link that leads out.
import { promises as fs } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { createSharedRuns } from '../domain/concurrency.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { PRIVATE_FOLDER } from './durable.ts';

export interface Root {
  /** The real path of the root. @throws LookasideError STORE_UNAVAILABLE when it is not there: then nothing may be called absent */
  checkRoot(): Promise<string>;
  isInRoot(realPath: string): Promise<boolean>;
  /** The real path of a folder; null when absent, or led outside or into the private folder by a link. */
  realFolder(folder: string): Promise<string | null>;
  /** @throws LookasideError STORE_UNAVAILABLE when what is there of this folder's path leads out of the root */
  refuseWayOut(folder: string): Promise<void>;
}

// What "not there" looks like, links that run in circles and names too long for the file system included.
export const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP']);

const ROOT_KEPT_MS = 1000;

export function openRoot(root: string, nowMs: () => number): Root {
  let realRoot: { readonly path: string; readonly atMs: number } | null = null;
  const shared = createSharedRuns<string>();

  /** Looked up at most once a second: the root may be a link that is turned to a new release. */
  async function findRoot(): Promise<string> {
    if (realRoot !== null && Math.abs(nowMs() - realRoot.atMs) < ROOT_KEPT_MS) return realRoot.path;
    return checkRoot();
  }

  /** Shared: of many who found nothing, each wants a look that begins after its own. */
  const checkRoot = () =>
    shared(root, async () => {
      const path = await orThrow(() => fs.realpath(root), `the root ${root}`);
      realRoot = { path, atMs: nowMs() };
      return path;
    });

  async function findInside(name: string): Promise<string | null> {
    const path = join(root, name);
    let real = await orNull(() => fs.realpath(path), name);
    if (real === null) {
      await checkRoot();
      // once more: at the first look the root itself may have been away
      real = await orNull(() => fs.realpath(path), name);
    }
    return real !== null && (await isInRoot(real)) ? real : null;
  }

  async function isInRoot(real: string): Promise<boolean> {
    // outside may only mean that the root's own link has been turned since it was looked up
    return isInside(await findRoot(), real) || isInside(await checkRoot(), real);
  }

  return {
    checkRoot,
    isInRoot,
    realFolder: (folder) => (folder === '' ? checkRoot() : findInside(folder)),
    async refuseWayOut(folder) {
      for (let above = folder; above !== '.'; above = dirname(above)) {
        if ((await orNull(() => fs.lstat(join(root, above)), above)) === null) continue;
        if ((await findInside(above)) !== null) return;
        throw new LookasideError(
          'STORE_UNAVAILABLE',
          `cannot write to ${folder}: a link leads out of ${root}`,
        );
      }
    },
  };
}

function isInside(realRoot: string, realPath: string): boolean {
  const below = realRoot.endsWith(sep) ? realRoot : realRoot + sep;
  if (!realPath.startsWith(below)) return false;
  const first = realPath.slice(below.length).split(sep, 1)[0];
  return first !== PRIVATE_FOLDER;
}

export async function orNull<T>(act: () => Promise<T>, path: string): Promise<T | null> {
  try {
    return await act();
  } catch (error) {
    if (ABSENT.has(systemCode(error) ?? '')) return null;
    throw unavailable(path, error);
  }
}

export async function orThrow<T>(act: () => Promise<T>, what: string): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw unavailable(what, error);
  }
}

export function unavailable(what: string, cause: unknown): LookasideError {
  const code = systemCode(cause) ?? 'unknown error';
  return new LookasideError('STORE_UNAVAILABLE', `the tree failed at ${what}: ${code}`, { cause });
}
