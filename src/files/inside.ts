// Opens what lies below a folder and nowhere else. No link is followed, and the place of what is open is checked, so
// whoever swaps a folder for a link meanwhile gains nothing. Needs Linux's /proc.
import { closeSync, constants, type Dirent, promises as fs, fstatSync, type Stats } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { StagedProblem } from '../domain/staged.ts';
import { type Opened, openAt, whereOpen } from './opened.ts';

export type Refusal = Pick<StagedProblem, 'kind' | 'message'>;

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
// O_NONBLOCK: a pipe must not block us
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** The folder at this real path, or why not. */
export function openFolder(realPath: string): Promise<Opened | Refusal> {
  return openReal(realPath, FOLDER, {
    kind: 'link',
    message: 'is no longer a folder, or a link has taken its place; it was not read. Try again',
  });
}

/** Above this the names are read part by part; a name takes some 50 bytes. */
const LARGE_FOLDER_BYTES = 1024 * 1024;
const NAMES_AT_ONCE = 512;

/** The names in an open folder, in no order and however many. @throws the system's errors */
export async function entriesOf({
  descriptor,
  path,
}: Opened): Promise<Iterable<Dirent> | AsyncIterable<Dirent>> {
  // reading all at once is three times faster, which matters with thousands of images
  if (fstatSync(descriptor).size <= LARGE_FOLDER_BYTES) return fs.readdir(path, { withFileTypes: true });
  return fs.opendir(path, { bufferSize: NAMES_AT_ONCE });
}

/** The regular file at this real path with its facts, or why not. */
export async function openRegularFile(
  realPath: string,
): Promise<(Opened & { readonly stats: Stats }) | Refusal> {
  const opened = await openReal(realPath, FILE, LINK);
  if (isRefusal(opened)) return opened;
  try {
    const stats = fstatSync(opened.descriptor);
    if (stats.isFile()) return { ...opened, stats };
  } catch (error) {
    closeSync(opened.descriptor);
    return unreadable(error);
  }
  closeSync(opened.descriptor);
  return NO_FILE;
}

export const LINK: Refusal = {
  kind: 'link',
  message: 'is a symbolic link, and those are not followed; put the file itself here, or name it by itself',
};

export const NO_FILE: Refusal = {
  kind: 'no-file',
  message: 'is not a regular file, so it is not read; move it away',
};

const GONE: Refusal = { kind: 'gone', message: 'is no longer there' };

const SWAPPED: Refusal = {
  kind: 'link',
  message:
    'now leads elsewhere: a folder above it was moved or replaced by a link. It was not read; try again',
};

export function isRefusal(result: object): result is Refusal {
  return 'message' in result;
}

async function openReal(realPath: string, flags: number, ifLink: Refusal): Promise<Opened | Refusal> {
  let opened: Opened;
  try {
    opened = await openAt(realPath, flags);
  } catch (error) {
    return refusalOf(error, realPath, ifLink);
  }
  if (placeOf(opened) === realPath) return opened;
  closeSync(opened.descriptor);
  return SWAPPED;
}

/** Its real path. Closes it when the system does not tell. @throws LookasideError CONFIG_INVALID without /proc */
function placeOf(opened: Opened): string {
  try {
    return whereOpen(opened);
  } catch (error) {
    closeSync(opened.descriptor);
    const message = `cannot find out where open files lie (${opened.path}: ${inWords(error)}); run this on Linux with /proc mounted`;
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
}

function refusalOf(error: unknown, realPath: string, ifLink: Refusal): Refusal {
  switch (systemCode(error)) {
    case 'ELOOP':
    case 'ENOTDIR':
      return ifLink;
    // a socket, or a device without a driver
    case 'ENXIO':
    case 'ENODEV':
      return NO_FILE;
    case 'ENOENT':
      return realPath.includes('\ufffd') ? NOT_UTF8 : GONE;
    case 'EMFILE':
    case 'ENFILE':
      return OUT_OF_FILES;
    default:
      return unreadable(error);
  }
}

// Node.js puts U+FFFD in the place of bytes that are not UTF-8; the system does not find such a name
const NOT_UTF8: Refusal = {
  kind: 'unreadable',
  message: 'cannot be opened, as its name is not UTF-8; rename it',
};

/** This says nothing about the file itself. */
export const OUT_OF_FILES: Refusal = {
  kind: 'unreadable',
  message: 'cannot be read: too many files are open; raise that limit (ulimit -n, fs.file-max) and try again',
};

export function unreadable(error: unknown): Refusal {
  const advice = ADVICE[systemCode(error) ?? ''] ?? 'mend that and try again';
  return { kind: 'unreadable', message: `cannot be read: ${inWords(error)}; ${advice}` };
}

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'give yourself permission to read it',
  EPERM: 'give yourself permission to read it',
  EIO: 'check the disk, and take it from a backup',
  ESTALE: 'mount the network file system again',
  ENAMETOOLONG: 'move it up to a shorter path',
};

/** What the system says about an error: `permission denied (EACCES)`. */
export function inWords(error: unknown): string {
  const code = systemCode(error);
  if (code === null) return error instanceof Error ? error.message : String(error);
  const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : 0;
  const words = getSystemErrorMap().get(errno)?.[1];
  return words === undefined ? code : `${words} (${code})`;
}

export interface GivenRoot {
  readonly realPath: string;
  readonly isFolder: boolean;
}

/**
 * What was named on the command line. If it is a link, it is followed wherever it leads.
 * @throws LookasideError CONFIG_INVALID when it is not there, cannot be read, or is neither folder nor file
 */
export async function resolveGiven(given: string): Promise<GivenRoot> {
  let realPath: string;
  let isFolder: boolean;
  try {
    realPath = await fs.realpath(given);
    isFolder = (await fs.stat(realPath)).isDirectory();
  } catch (error) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `cannot read ${given}: ${inWords(error)}; name a folder or a file that is there and that you may read`,
      { cause: error },
    );
  }
  const opened = isFolder ? await openFolder(realPath) : await openRegularFile(realPath);
  if (isRefusal(opened)) throw new LookasideError('CONFIG_INVALID', `${given} ${opened.message}`);
  closeSync(opened.descriptor);
  return { realPath, isFolder };
}

/** The real path of a name below a real folder; the empty name is the folder. */
export function below(realPath: string, relative: string): string {
  if (relative === '') return realPath;
  return realPath.endsWith('/') ? realPath + relative : `${realPath}/${relative}`;
}
