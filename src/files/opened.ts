// Open files and folders, by descriptor: each stays the same whatever happens to its name, and the kernel tells where it
// lies. Needs Linux's /proc; docs/decisions/opened-paths.md says why everything is opened this way.
import { constants, openSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { calls } from './calls.ts';

/**
 * Open for reading, or held. The caller closes it with closeSync, which waits for no disk here, and only when all that was
 * begun on it has ended: the system gives the descriptor to what is opened next.
 */
export interface Opened {
  readonly descriptor: number;
  /** Leads to what is open, whatever happens to its name. */
  readonly path: string;
}

// of open(2); Node.js has no name for it
const O_PATH = 0o10000000;

/** Holds a file or folder without reading or touching it, even a pipe or a device. Needs no right to read it. */
export const HELD = O_PATH;
export const HELD_FOLDER = O_PATH | constants.O_DIRECTORY;

/** @throws the system's errors */
export async function openAt(path: string, flags: number): Promise<Opened> {
  const descriptor = await calls.open(path, flags);
  return { descriptor, path: `/proc/self/fd/${descriptor}` };
}

/** As openAt(), at once: only for what the kernel holds in memory. @throws the system's errors */
export function openNow(path: string, flags: number): Opened {
  const descriptor = openSync(path, flags);
  return { descriptor, path: `/proc/self/fd/${descriptor}` };
}

/**
 * Its real path, without access to the disk; with ` (deleted)` at the end when it is gone.
 * @throws the system's errors: ENOENT without /proc
 */
export function whereOpen({ path }: Opened): string {
  return readlinkSync(path);
}

/** Something open that was found to lie where it should. */
export interface Placed extends Opened {
  /** Its real path at that moment. */
  readonly where: string;
  /** As people know it. */
  readonly name: string;
}

/** A name in an open folder: neither that folder nor one above it is looked up again. */
export interface Entry {
  readonly path: string;
  /** As people know it. */
  readonly name: string;
}

export function entryIn(folder: Pick<Placed, 'path' | 'name'>, name: string): Entry {
  return { path: `${folder.path}/${name}`, name: join(folder.name, name) };
}

/** False when it or a folder above it was moved or deleted since it was opened, or when the system does not tell. */
export function isInPlace(placed: Placed): boolean {
  try {
    return whereOpen(placed) === placed.where;
  } catch {
    return false; // moved to where the path is longer than any that the system tells
  }
}
