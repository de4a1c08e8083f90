// Reads one file of a client's set-up, or says in words why that cannot be done.
import { constants } from 'node:fs';
import { access, open } from 'node:fs/promises';
import path from 'node:path';
import type { FoundFile } from '../domain/client-machine.ts';
import { systemCode } from '../domain/errors.ts';
import { MAX_POLICY_BYTES } from '../domain/limits.ts';
import { readAtMost } from './bounded-read.ts';

export async function readOne(file: string): Promise<FoundFile> {
  try {
    // O_NONBLOCK: a named pipe would be waited for
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await handle.stat();
      if (!stats.isFile())
        return unreadable(file, stats.isDirectory() ? 'it is a folder' : 'it is not a regular file');
      const bytes = await readAtMost(handle.fd, stats.size, MAX_POLICY_BYTES);
      if (bytes === null) return unreadable(file, `it has more than ${MAX_POLICY_BYTES} bytes`);
      return { kind: 'read', path: file, bytes };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    if (code === 'ENOENT') return { kind: 'missing', path: file, why: 'it is not there' };
    if (code === 'EACCES') return closedTo(file, await closedFolder(file));
    return unreadable(file, WHY.get(code) ?? code);
  }
}

export const WHY: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'this user may not read it'],
  ['EISDIR', 'it is a folder'],
  ['ELOOP', 'its symbolic links run in a circle'],
  ['ENOTDIR', 'a folder on its way is a file'],
]);

function unreadable(file: string, why: string): FoundFile {
  return { kind: 'unreadable', path: file, why, closed: null };
}

function closedTo(file: string, folder: string | null): FoundFile {
  const why = folder === null ? (WHY.get('EACCES') ?? '') : `this user may not enter ${folder}`;
  return { kind: 'unreadable', path: file, why, closed: folder ?? file };
}

/** The first folder on the way to the file that this user may not enter. */
async function closedFolder(file: string): Promise<string | null> {
  const folder = path.dirname(path.resolve(file));
  const parts = folder.split(path.sep);
  for (let length = 1; length <= parts.length; length += 1) {
    const one = parts.slice(0, length).join(path.sep) || path.sep;
    const isClosed = await access(one, constants.X_OK).then(
      () => false,
      (error: unknown) => systemCode(error) === 'EACCES',
    );
    if (isClosed) return one;
  }
  return null;
}
