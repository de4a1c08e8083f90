// The way from a root down to a folder, with each folder on it held open. So files are made, linked and synced in exactly the
// folders that lay inside the root when they were opened, whatever happens to their names meanwhile.
import { closeSync, constants } from 'node:fs';
import { LookasideError } from '../domain/errors.ts';
import { calls } from './calls.ts';
import {
  type Entry,
  entryIn,
  HELD_FOLDER,
  isInPlace,
  type Opened,
  openAt,
  type Placed,
  whereOpen,
} from './opened.ts';
import { attempt, codeOf, refusal } from './refusal.ts';
import { isInside, openRootFolder } from './root.ts';

export interface WayFolder extends Placed {
  /** Identifies this folder: another folder under the same name has another identity. */
  readonly identity: string;
}

/** From the root to the folder. */
export type Way = readonly WayFolder[];

export interface WayOptions {
  readonly root: string;
  /** Below the root. */
  readonly folder: string;
  /** The mode of missing folders that are made; null: none is made. */
  readonly mode: number | null;
  /** Ours alone: not even a link inside the root is followed. */
  readonly isOwn: boolean;
}

/** linux/limits.h, without the zero at the end */
const LONGEST_PATH = 4095;
const LONGEST_NAME = '/signature-99999';

/**
 * What `act` returns for the way and its last folder. The way is closed when `act` ends; all that `act` began must have
 * ended by then. Missing folders are made.
 * @throws LookasideError STORE_UNAVAILABLE, also when a link leads out of the root; DISK_FULL, READ_ONLY, PATH_INVALID
 */
export async function onWay<T>(
  options: WayOptions,
  act: (last: WayFolder, way: Way) => Promise<T>,
): Promise<T> {
  const base = await openRootFolder(options.root);
  const opened: Placed[] = [base];
  try {
    refuseTooLong(options, base);
    let last = await identified(base);
    const way = [last];
    for (const name of options.folder.split('/')) {
      const child = await openChild(options, base, last, name);
      opened.push(child);
      last = await identified(child);
      way.push(last);
    }
    // a link back to the root may be a step on the way, but nothing is written to the root itself
    if (last.identity === way[0]?.identity) throw leadsOut(options);
    return await act(last, way);
  } finally {
    for (const { descriptor } of opened) closeSync(descriptor);
  }
}

export async function identified(placed: Placed): Promise<WayFolder> {
  const { dev, ino } = await attempt(() => calls.fstat(placed.descriptor), placed.name);
  return { ...placed, identity: `${dev}:${ino}` };
}

/** @throws LookasideError STORE_UNAVAILABLE when it lies elsewhere by now: nothing is done there any more */
export function demandInPlace(folder: Placed): void {
  if (isInPlace(folder)) return;
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `${folder.name} was moved or deleted while it was written to; try again`,
  );
}

/** Readers open by whole paths, so they could not reach such a folder. */
export function isTooLong({ where }: Pick<Placed, 'where'>, folder: string): boolean {
  return Buffer.byteLength(`${where}/${folder}${LONGEST_NAME}`) > LONGEST_PATH;
}

function refuseTooLong({ folder }: WayOptions, base: Placed): void {
  if (!isTooLong(base, folder)) return;
  const message = `${folder} makes a path that is longer than the system takes (${LONGEST_PATH} bytes); shorten it`;
  throw new LookasideError('PATH_INVALID', message);
}

async function openChild(options: WayOptions, base: Placed, above: WayFolder, name: string): Promise<Placed> {
  const child = entryIn(above, name);
  const opened = await openOrMake(options, above, child);
  try {
    // ask for both at once: they may be moved together
    const [top, where] = [whereOpen(base), whereOpen(opened)];
    if (!options.isOwn && where !== top && !isInside(top, where)) throw leadsOut(options);
    return { ...opened, where, name: child.name };
  } catch (error) {
    closeSync(opened.descriptor);
    throw error instanceof LookasideError ? error : refusal(error, child.name);
  }
}

async function openOrMake(options: WayOptions, above: WayFolder, child: Entry): Promise<Opened> {
  const flags = HELD_FOLDER | (options.isOwn ? constants.O_NOFOLLOW : 0);
  try {
    return await openAt(child.path, flags);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || options.mode === null) throw notOpened(options, child, error);
  }
  await makeFolder(above, child, options.mode);
  return openAt(child.path, flags).catch((error: unknown) => {
    throw notOpened(options, child, error);
  });
}

async function makeFolder(above: WayFolder, child: Entry, mode: number): Promise<void> {
  demandInPlace(above);
  try {
    await calls.mkdir(child.path, mode);
  } catch (error) {
    // another one was faster
    if (codeOf(error) !== 'EEXIST') throw refusal(error, child.name);
  }
}

function notOpened(options: WayOptions, child: Entry, error: unknown): LookasideError {
  const code = codeOf(error) ?? '';
  if (options.isOwn && ['ENOTDIR', 'ELOOP'].includes(code)) {
    const message = `${child.name} is a link, not a folder of its own; remove the link`;
    return new LookasideError('STORE_UNAVAILABLE', message, { cause: error });
  }
  // a link in a circle, or to nothing, stood in the place of the folder that was to be made
  if (code === 'ELOOP' || (code === 'ENOENT' && options.mode !== null)) return leadsOut(options);
  return refusal(error, child.name);
}

function leadsOut({ folder, root }: WayOptions): LookasideError {
  return new LookasideError('STORE_UNAVAILABLE', `cannot write to ${folder}: a link leads out of ${root}`);
}
