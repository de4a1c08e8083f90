// The tree of a site on disk. Opens only names that it built itself; never follows a link out of the root; tells
// absence (null) from failure (STORE_UNAVAILABLE), because a false "not there" would hide a signature.
import { type BigIntStats, closeSync, constants, type Dir, promises as fs, fstat, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { FolderIdentity, ImageFolder, Tree, TreeChild } from '../domain/tree.ts';
import { createAbsence, type HeldFolder, type Listed } from './absence.ts';
import { createComparison } from './comparison.ts';
import { makeFolderDurably } from './durable.ts';
import { createImageReader, type ImageReaderOptions } from './image-reader.ts';
import { createLocalLooks } from './local-looks.ts';
import { HELD_FOLDER, type Opened, openAt, type Placed } from './opened.ts';
import { demandPlaces, openRoot, orNull, orThrow, unavailable } from './root.ts';
import { haveOneStamp, isStamped, stampOf } from './stamps.ts';
import type { ThreadedLooks } from './threaded-looks.ts';

export interface TreeOptions extends ImageReaderOptions {
  readonly root: string;
  /** A thread that may look at images in the place of the pool; left out: the pool looks at all. */
  readonly looks?: Pick<ThreadedLooks, 'read'>;
}

/** `idle` resolves when nothing is read in the background. */
export type OpenTree = Tree & { idle(): Promise<void> };

/** Makes the root if it is not there. @throws LookasideError STORE_UNAVAILABLE; CONFIG_INVALID without /proc */
export async function makeRoot(root: string): Promise<void> {
  try {
    await makeFolderDurably(root, '');
  } catch (error) {
    const code = systemCode(error) ?? 'unknown error';
    const message = `cannot make the folder ${root}: ${code}; make it, or name another with --root`;
    throw new LookasideError('STORE_UNAVAILABLE', message, { cause: error });
  }
  await demandPlaces(root);
}

/** Whether nothing has the root's name. A root that cannot be looked at counts as present. */
export async function isMissing(root: string): Promise<boolean> {
  return fs.stat(root).then(
    () => false,
    (error) => systemCode(error) === 'ENOENT',
  );
}

export function openTree(options: TreeOptions): OpenTree {
  const { root, nowMs, looks } = options;
  const { inFolder, inTarget, peekInside } = openRoot(root, nowMs);
  const { mayPeek } = createLocalLooks(root, nowMs);
  const { taken, isUnchanged, peekUnchanged } = createComparison({
    root,
    places: { inTarget, peekInside },
    mayPeek,
    nowMs,
  });
  const reader = createImageReader(options, { inFolder, inTarget });
  const absence = createAbsence({
    inFolder: (folder, act) => inFolder(folder, (opened) => act(heldFolder(opened))),
    peekIsStill,
    nowMs,
  });

  async function readImage(folder: string, numbers: readonly number[] = []): Promise<ImageFolder | null> {
    if (await absence.isProved(folder)) return null;
    const byThread = await looks?.read(folder, numbers);
    const read = byThread === undefined ? await reader.readImage(folder, numbers) : byThread;
    if (read === null) {
      absence.missed(folder);
      return null;
    }
    taken(read.image.stamps, read.lookedAtMs);
    return read.image;
  }

  /** By its name, which is that of one and the same folder as long as the stamp is equal. */
  function peekIsStill(folder: string, { stamp, stamped }: Listed, foundAtMs: number): boolean {
    if (!mayPeek(stamp, foundAtMs)) return false;
    try {
      return haveOneStamp(statSync(`${root}/${folder}`, { bigint: true }), stamped);
    } catch {
      return false; // the look that follows tells what is wrong
    }
  }

  async function readFile(folder: string, number: number): Promise<Uint8Array | null> {
    return inFolder(folder, (opened) => reader.readBytes(opened, number));
  }

  async function statFolder(folder: string): Promise<FolderIdentity | null> {
    return inFolder(folder, identify);
  }

  async function children(folder: string): Promise<AsyncIterable<TreeChild> | null> {
    const listing = await inFolder(folder, openListing);
    return listing === null ? null : visible(listing, folder);
  }

  async function* visible({ names, held }: Listing, folder: string): AsyncGenerator<TreeChild> {
    try {
      for await (const entry of names) {
        if (entry.name.startsWith('.')) continue;
        const isFolder =
          entry.isDirectory() || (entry.isSymbolicLink() && (await isFolderInside(folder, entry.name)));
        yield { name: entry.name, kind: isFolder ? 'folder' : 'other' };
      }
    } catch (error) {
      throw unavailable(folder, error);
    } finally {
      closeSync(held.descriptor);
    }
  }

  async function isFolderInside(folder: string, name: string): Promise<boolean> {
    return (await statFolder(join(folder, name))) !== null;
  }

  return {
    root,
    readImage,
    isUnchanged,
    peekUnchanged,
    peekAbsent: absence.peekProved,
    readFile,
    statFolder,
    children,
    idle: absence.idle,
    async isWritable() {
      try {
        await fs.access(root, constants.W_OK);
        return true;
      } catch {
        return false; // whatever the reason, we cannot write here
      }
    },
    async check() {
      await orThrow(async () => (await fs.opendir(root)).close(), `the root ${root}`);
    },
  };
}

interface Listing {
  readonly names: Dir;
  /** The folder. Its descriptor is in the path by which Node.js looks at each name whose kind the file system does not tell. */
  readonly held: Opened;
}

async function openListing({ path, name }: Placed): Promise<Listing | null> {
  const held = await orNull(() => openAt(path, HELD_FOLDER), name);
  if (held === null) return null;
  let names: Dir | null = null;
  try {
    names = await orNull(() => fs.opendir(held.path, { bufferSize: 256 }), name);
  } finally {
    if (names === null) closeSync(held.descriptor);
  }
  return names === null ? null : { names, held };
}

const statFile = promisify(fstat);

async function identify(opened: Placed): Promise<FolderIdentity> {
  return identityOf(await statHeld(opened));
}

function statHeld({ descriptor, name }: Placed): Promise<BigIntStats> {
  return orThrow(() => statFile(descriptor, { bigint: true }), name);
}

function identityOf(stats: BigIntStats): FolderIdentity {
  return { id: `${stats.dev}:${stats.ino}`, stamp: stampOf(stats) };
}

function heldFolder(opened: Placed): HeldFolder {
  return {
    async stat() {
      const stats = await statHeld(opened);
      return { ...identityOf(stats), stamped: stats, changedAtMs: Number(stats.ctimeMs) };
    },
    async names() {
      return (await isStamped(opened.path)) ? fs.opendir(opened.path, { bufferSize: 256 }) : null;
    },
  };
}
