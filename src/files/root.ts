// Where a root really is and what lies inside it: nothing is read or written through a link that leads out. The check is
// made on what is open, never on a name: docs/decisions/opened-paths.md.
import { closeSync, constants } from 'node:fs';
import { join, sep } from 'node:path';
import { createSharedRuns } from '../domain/concurrency.ts';
import { type ErrorCode, LookasideError, systemCode } from '../domain/errors.ts';
import { PRIVATE_FOLDER } from './durable.ts';
import { type Entry, HELD_FOLDER, type Opened, openAt, openNow, type Placed, whereOpen } from './opened.ts';

export interface Root {
  /** The real path of the root. @throws LookasideError STORE_UNAVAILABLE when it is not there: then nothing counts as absent */
  checkRoot(): Promise<string>;
  /**
   * What `act` returns for the folder. The folder is held, and closed when `act` ends; all that `act` began must have ended by
   * then. Null when the folder is absent, or when a link leads outside or into the private folder.
   * @throws LookasideError STORE_UNAVAILABLE
   */
  inFolder<T>(folder: string, act: (folder: Placed) => Promise<T>): Promise<T | null>;
  /**
   * The same for what this name leads to at this moment, also through a link. It may be of any kind that `flags` allow.
   * @throws LookasideError STORE_UNAVAILABLE
   */
  inTarget<T>(entry: Entry, flags: number, act: (target: Placed) => Promise<T>): Promise<T | null>;
  /**
   * What `act` returns for the folder, at once: only for one that the kernel holds in memory. False also when anything is in
   * doubt, as when the root was not looked up within the last second: then inTarget() tells.
   */
  peekInside(folder: string, act: (folder: Opened) => boolean): boolean;
  /** Our own folder, which the caller closes; null when it is absent, or a link is in its path. @throws the system's errors */
  openOwn(folder: string): Promise<Placed | null>;
}

// The codes that mean "not there", including those for links in circles and for names too long for the file system.
export const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP']);

const ROOT_KEPT_MS = 1000;

const LOOKS = 2;

export function openRoot(root: string, nowMs: () => number): Root {
  let realRoot: { readonly path: string; readonly atMs: number } | null = null;
  const shared = createSharedRuns<string>();

  /** Looked up at most once a second: the root may be a link that is switched to a new release. */
  async function findRoot(): Promise<string> {
    return peekRoot() ?? checkRoot();
  }

  function peekRoot(): string | null {
    return realRoot !== null && Math.abs(nowMs() - realRoot.atMs) < ROOT_KEPT_MS ? realRoot.path : null;
  }

  /** Shared by callers who have found nothing: each needs a check that begins after its own look. */
  const checkRoot = () =>
    shared(root, async () => closing(await openRootFolder(root), async ({ where }) => keep(where)));

  function keep(path: string): string {
    realRoot = { path, atMs: nowMs() };
    return path;
  }

  async function inFolder<T>(folder: string, act: (folder: Placed) => Promise<T>): Promise<T | null> {
    const name = join(root, folder);
    if (folder === '') return closing(await openRootFolder(root), act);
    // twice: at the first look the root itself may have been away, or its link may just have been switched
    for (let look = 0; look < LOOKS; look += 1) {
      const placed = await openInside({ path: name, name }, HELD_FOLDER);
      if (placed !== null) return closing(placed, act);
      await checkRoot();
    }
    return null;
  }

  async function openInside({ path, name }: Entry, flags: number): Promise<Placed | null> {
    const opened = await orNull(() => openAt(path, flags), name);
    if (opened === null) return null;
    try {
      const where = await whereInside(opened);
      if (where !== null) return { ...opened, where, name };
    } catch (error) {
      closeSync(opened.descriptor);
      throw error;
    }
    closeSync(opened.descriptor);
    return null;
  }

  /** Its real path; null when that is not inside the root. */
  async function whereInside(opened: Opened): Promise<string | null> {
    const known = await findRoot();
    const where = whereOrNull(opened);
    if (where !== null && isInside(known, where)) return where;
    // "outside" may only mean that the root was moved, or its link switched, since it was looked up: ask for both at once
    return closing(await openRootFolder(root), async (base) => {
      const now = whereOrNull(opened);
      return now !== null && isInside(keep(base.where), now) ? now : null;
    });
  }

  function peekInside(folder: string, act: (folder: Opened) => boolean): boolean {
    const known = peekRoot();
    if (known === null) return false;
    let opened: Opened | null = null;
    try {
      opened = openNow(`${root}/${folder}`, HELD_FOLDER);
      return isInside(known, whereOpen(opened)) && act(opened);
    } catch {
      return false; // the look that follows tells what is wrong
    } finally {
      if (opened !== null) closeSync(opened.descriptor);
    }
  }

  return {
    checkRoot,
    inFolder,
    peekInside,
    async inTarget(entry, flags, act) {
      const target = await openInside(entry, flags);
      return target === null ? null : closing(target, act);
    },
    async openOwn(folder) {
      const name = join(root, folder);
      return (await openOwn(await findRoot(), folder, name)) ?? openOwn(await checkRoot(), folder, name);
    },
  };
}

/** The root itself, wherever a link in its place leads. @throws LookasideError STORE_UNAVAILABLE */
export async function openRootFolder(root: string): Promise<Placed> {
  const opened = await orThrow(() => openAt(root, HELD_FOLDER), `the root ${root}`);
  try {
    return { ...opened, where: whereOf(opened), name: root };
  } catch (error) {
    closeSync(opened.descriptor);
    throw error;
  }
}

/** See Root.openOwn. */
export async function openOwn(realRoot: string, folder: string, name: string): Promise<Placed | null> {
  const where = join(realRoot, folder);
  let opened: Opened;
  try {
    opened = await openAt(where, HELD_FOLDER | constants.O_NOFOLLOW);
  } catch (error) {
    if (ABSENT.has(systemCode(error) ?? '')) return null;
    throw error;
  }
  let isThere = false;
  try {
    isThere = whereOrNull(opened) === where;
  } finally {
    if (!isThere) closeSync(opened.descriptor);
  }
  return isThere ? { ...opened, where, name } : null;
}

/** What `act` returns; closes `placed`. */
export async function closing<T>(placed: Placed, act: (placed: Placed) => Promise<T>): Promise<T> {
  try {
    return await act(placed);
  } finally {
    closeSync(placed.descriptor);
  }
}

/** @throws LookasideError CONFIG_INVALID when the system does not tell where open files lie; STORE_UNAVAILABLE without the root */
export async function demandPlaces(root: string): Promise<void> {
  const opened = await orThrow(() => openAt(root, HELD_FOLDER), `the root ${root}`);
  try {
    whereOf(opened, 'CONFIG_INVALID');
  } finally {
    closeSync(opened.descriptor);
  }
}

function whereOf(opened: Opened, code: ErrorCode = 'STORE_UNAVAILABLE'): string {
  try {
    return whereOpen(opened);
  } catch (error) {
    const message = `cannot find out where open files lie (${systemCode(error)} at ${opened.path}), so a link could lead out of the tree unseen; run this on Linux with /proc mounted`;
    throw new LookasideError(code, message, { cause: error });
  }
}

/** Null when it is longer than any path that the system accepts. */
function whereOrNull(opened: Opened): string | null {
  try {
    return whereOpen(opened);
  } catch (error) {
    if (systemCode(error) === 'ENAMETOOLONG') return null;
    return whereOf(opened);
  }
}

export function isInside(realRoot: string, realPath: string): boolean {
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
