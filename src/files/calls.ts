// The system calls by which trees are written and images are read, as promises. In most threads they wait in the pool of threads that the process
// shares. A thread that has nothing else to do makes them at once: handing a call over costs more than the call itself.
// `fsync` waits in the pool everywhere, so that several can be under way and the disk commits them together.
import {
  type BigIntStats,
  close,
  closeSync,
  fstat,
  fstatSync,
  fsync,
  link,
  linkSync,
  mkdir,
  mkdirSync,
  open,
  openSync,
  promises,
  read,
  readdirSync,
  readSync,
  rename,
  renameSync,
  unlink,
  unlinkSync,
  writeFile,
  writeFileSync,
} from 'node:fs';
import { promisify } from 'node:util';

/** Each throws the system's errors. They take plain descriptors: FileHandle costs as much again as the calls themselves. */
interface Calls {
  open(path: string, flags: string | number, mode?: number): Promise<number>;
  close(descriptor: number): Promise<void>;
  /** How many bytes came; 0 at the end of the file. */
  read(descriptor: number, into: Uint8Array, part: FilePart): Promise<number>;
  /** All of the content. */
  write(descriptor: number, content: string | Uint8Array): Promise<void>;
  fstat(descriptor: number): Promise<BigIntStats>;
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  mkdir(path: string, mode: number): Promise<void>;
  /** The names in the folder. */
  readdir(path: string): Promise<string[]>;
}

/** Which bytes of a file, and where they go in memory. */
export interface FilePart {
  readonly offset: number;
  readonly length: number;
  readonly position: number;
}

const [statFile, makeFolder, readPart] = [promisify(fstat), promisify(mkdir), promisify(read)];

const POOLED: Calls = {
  open: promisify(open),
  close: promisify(close),
  read: async (descriptor, into, { offset, length, position }) =>
    (await readPart(descriptor, into, offset, length, position)).bytesRead,
  write: promisify(writeFile),
  fstat: (descriptor) => statFile(descriptor, { bigint: true }),
  link: promisify(link),
  unlink: promisify(unlink),
  rename: promisify(rename),
  mkdir: (path, mode) => makeFolder(path, { mode }).then(() => undefined),
  readdir: (path) => promises.readdir(path),
};

const BLOCKING: Calls = {
  open: async (path, flags, mode) => openSync(path, flags, mode),
  close: async (descriptor) => closeSync(descriptor),
  read: async (descriptor, into, part) => readSync(descriptor, into, part),
  write: async (descriptor, content) => writeFileSync(descriptor, content),
  fstat: async (descriptor) => fstatSync(descriptor, { bigint: true }),
  link: async (from, to) => linkSync(from, to),
  unlink: async (path) => unlinkSync(path),
  rename: async (from, to) => renameSync(from, to),
  mkdir: async (path, mode) => void mkdirSync(path, { mode }),
  readdir: async (path) => readdirSync(path),
};

/** This thread makes its calls by these. */
export let calls: Calls = POOLED;

/** From now on the calls of this thread block it. */
export function blockInThisThread(): void {
  calls = BLOCKING;
}

/** @throws the system's errors */
export const syncFile: (descriptor: number) => Promise<void> = promisify(fsync);
