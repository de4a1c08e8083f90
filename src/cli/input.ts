// Files that commands are given by name.
import { createReadStream } from 'node:fs';
import { LookasideError, systemCode } from '../domain/errors.ts';

export interface InputOptions {
  readonly maxBytes: number;
  /** What the message suggests instead when the file cannot be read. */
  readonly remedy: string;
}

/**
 * The file's bytes; `-` is standard input. At most one more than `maxBytes`, so that a device or a wrong file does not
 * fill the memory. @throws LookasideError CONFIG_INVALID
 */
export async function readInput(file: string, { maxBytes, remedy }: InputOptions): Promise<Uint8Array> {
  const input = file === '-' ? process.stdin : createReadStream(file, { end: maxBytes });
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of input) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > maxBytes) break;
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    const message = `cannot read ${file}: ${UNREADABLE[code] ?? code}; ${remedy}`;
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
  return Buffer.concat(chunks).subarray(0, maxBytes + 1);
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'you may not read it',
};
