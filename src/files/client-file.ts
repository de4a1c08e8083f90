// Reads one file of a client's set-up, or says in words why that cannot be done.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
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
        return unreadable(file, stats.isDirectory() ? 'it is a folder' : 'it is no ordinary file');
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
  return { kind: 'unreadable', path: file, why };
}
