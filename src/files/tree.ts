// The tree of a site on disk. Opens only names that it built itself; never follows a link out of the root; tells
// absence (null) from failure (STORE_UNAVAILABLE), because a false "not there" would hide a signature.
import { createHash } from 'node:crypto';
import { type BigIntStats, close, constants, type Dir, promises as fs, fstat, read, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { MAX_INDEXED_BYTES, MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { whyUnreadable } from '../domain/readable.ts';
import { NumberGatherer, type SignatureNumbers } from '../domain/signature-names.ts';
import type {
  FileFault,
  FolderIdentity,
  ImageFolder,
  SignatureFile,
  Stamps,
  Tree,
  TreeChild,
} from '../domain/tree.ts';
import { createAbsence, type HeldFolder, type Listed } from './absence.ts';
import { createComparison } from './comparison.ts';
import { makeFolderDurably } from './durable.ts';
import { createLocalLooks } from './local-looks.ts';
import { type Entry, entryIn, HELD, isInPlace, type Opened, openAt, type Placed } from './opened.ts';
import { ABSENT, demandPlaces, openRoot, orNull, orThrow, type Root, unavailable } from './root.ts';
import { haveOneStamp, isSettled, isStamped, modifiedAtOf, stampOf } from './stamps.ts';

export interface TreeOptions {
  readonly root: string;
  /** Wall clock, to be compared with the files' times. */
  readonly nowMs: () => number;
  /** A file changed less than this ago is served only if it is whole. */
  readonly beingWrittenMs: number;
  /** Whether the bytes are a whole signature, as far as their framing tells. */
  readonly isWhole: (bytes: Uint8Array) => boolean;
}

/** `idle` resolves when nothing is read in the background. */
export type OpenTree = Tree & { idle(): Promise<void> };

// A folder whose files disappear one by one is read again after each. After so many attempts the store changes too fast.
const READ_ATTEMPTS = 5;

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
  const { root, nowMs } = options;
  const { inFolder, inTarget, peekInside } = openRoot(root, nowMs);
  const { mayPeek } = createLocalLooks(root, nowMs);
  const { taken, isUnchanged, peekUnchanged } = createComparison({
    root,
    places: { inTarget, peekInside },
    mayPeek,
    nowMs,
  });
  const { readSignature, readTarget } = createFileReader(options, inTarget);
  const absence = createAbsence({
    inFolder: (folder, act) => inFolder(folder, (opened) => act(heldFolder(opened))),
    peekIsStill,
    nowMs,
  });

  async function readImage(folder: string, numbers: readonly number[] = []): Promise<ImageFolder | null> {
    if (await absence.isProved(folder)) return null;
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt += 1) {
      const files = await inFolder(folder, (opened) => readFolder(opened, numbers));
      if (files === null) absence.missed(folder);
      if (files !== 'vanished') return files;
    }
    throw new LookasideError('STORE_UNAVAILABLE', `${folder} changes faster than it can be read`);
  }

  /** `vanished`: a name that was there a moment ago is gone, perhaps with the whole root; only a new look tells. */
  async function readFolder(folder: Placed, numbers: readonly number[]): Promise<ImageFolder | 'vanished'> {
    const before = await orThrow(() => statFile(folder.descriptor, { bigint: true }), folder.name);
    // before anything else of it is read: what changes from here on is read, or gives another stamp
    const lookedAtMs = nowMs();
    // a deleted folder lists as empty
    if (before.nlink === 0n) return 'vanished';
    const listed = await orNull(() => listNumbers(folder.path, Number(before.size), numbers), folder.name);
    if (listed === null) return 'vanished';

    const { dense, hidden, beyond, strangers } = listed;
    const files: SignatureFile[] = [];
    const stamps: { number: number; stamp: string }[] = [];
    let settled = isSettled(Number(before.ctimeMs), lookedAtMs);
    for (const number of [...dense, ...hidden.filter((behind) => numbers.includes(behind))]) {
      const file = await readSignature(entryIn(folder, `signature-${number}`), number);
      if (file === null) return 'vanished';
      files.push(file.file);
      stamps.push({ number, stamp: file.stamp });
      // by a clock of its own: it may have changed while those before it were read
      settled &&= isSettled(file.changedAtMs, file.lookedAtMs);
    }
    // a folder that was moved aside may be emptied while another takes its name
    if (!isInPlace(folder)) return 'vanished';
    const all: Stamps = { folder: stampOf(before), files: stamps, settled };
    taken(all, lookedAtMs);
    return {
      files,
      hidden: hidden.filter((behind) => !numbers.includes(behind)),
      beyond,
      strangers,
      stamps: all,
    };
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
    const content = await inFolder(folder, async (opened) => {
      const entry = entryIn(opened, `signature-${number}`);
      const bytes = await readWhole(entry, nowMs);
      return bytes === 'link' ? readTarget(entry) : bytes;
    });
    return content?.bytes ?? null;
  }

  async function statFolder(folder: string): Promise<FolderIdentity | null> {
    return inFolder(folder, identify);
  }

  async function children(folder: string): Promise<AsyncIterable<TreeChild> | null> {
    const opened = await inFolder(folder, ({ path, name }) =>
      orNull(() => fs.opendir(path, { bufferSize: 256 }), name),
    );
    return opened === null ? null : visible(opened, folder);
  }

  async function* visible(opened: Dir, folder: string): AsyncGenerator<TreeChild> {
    try {
      for await (const entry of opened) {
        if (entry.name.startsWith('.')) continue;
        const isFolder =
          entry.isDirectory() || (entry.isSymbolicLink() && (await isFolderInside(folder, entry.name)));
        yield { name: entry.name, kind: isFolder ? 'folder' : 'other' };
      }
    } catch (error) {
      throw unavailable(folder, error);
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

interface ReadFile {
  readonly file: SignatureFile;
  readonly stamp: string;
  readonly changedAtMs: number;
  /** By the wall clock: behind the look that gave the stamp, and before the bytes were read. */
  readonly lookedAtMs: number;
}

interface FileReader {
  /** Null when nothing is there any more. */
  readSignature(entry: Entry, number: number): Promise<ReadFile | null>;
  /** Null: the link leads out of the root, or nowhere. */
  readTarget(entry: Entry): Promise<Content | null>;
}

/** Reads one file of an image's folder, through a link that stays in the tree. */
function createFileReader(options: TreeOptions, inTarget: Root['inTarget']): FileReader {
  const { nowMs } = options;

  async function readSignature(entry: Entry, number: number): Promise<ReadFile | null> {
    const content = await readWhole(entry, nowMs);
    if (content === null) return null;
    if (content === 'link') return readLink(entry, number);
    const { stats, lookedAtMs } = content;
    const file = stats.isFile() ? toSignatureFile(number, content) : faulty(number, stats, 'no-file');
    return { file, stamp: stampOf(stats), changedAtMs: Number(stats.ctimeMs), lookedAtMs };
  }

  async function readLink(entry: Entry, number: number): Promise<ReadFile | null> {
    const link = await orNull(() => fs.lstat(entry.path, { bigint: true }), entry.name);
    if (link === null) return null;
    const linkedAtMs = nowMs();
    const content = await readTarget(entry);
    if (content === null || !content.stats.isFile()) {
      const file = faulty(number, link, content === null ? 'link-outside' : 'no-file');
      // the link alone does not tell when a file comes behind it, so this stamp is never found again
      const stamp = `${stampOf(link)} -`;
      return { file, stamp, changedAtMs: Number(link.ctimeMs), lookedAtMs: linkedAtMs };
    }
    const { stats, lookedAtMs } = content;
    const file = toSignatureFile(number, content);
    const stamp = `${stampOf(link)} ${stampOf(stats)}`;
    return { file, stamp, changedAtMs: Number(stats.ctimeMs), lookedAtMs };
  }

  function toSignatureFile(number: number, content: Content): SignatureFile {
    const { stats, bytes, lookedAtMs } = content;
    const sizeBytes = Number(stats.size);
    const modifiedAt = modifiedAtOf(stats.mtimeMs);
    if (bytes === null)
      return { number, sizeBytes, modifiedAt, sha256: null, bytes: null, fault: 'too-large' };
    const isFresh = Math.abs(lookedAtMs - Number(stats.mtimeMs)) < options.beingWrittenMs;
    const isTorn = content.isTorn || bytes.length !== sizeBytes || (isFresh && !options.isWhole(bytes));
    return {
      number,
      sizeBytes: bytes.length,
      modifiedAt,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      bytes: bytes.length <= MAX_INDEXED_BYTES ? bytes : null,
      fault: isTorn ? 'being-written' : whyUnreadable(bytes),
    };
  }

  function readTarget(entry: Entry): Promise<Content | null> {
    return inTarget(entry, HELD, async (target) => {
      const stats = await orThrow(() => statFile(target.descriptor, { bigint: true }), target.name);
      if (!stats.isFile()) return { stats, lookedAtMs: nowMs(), bytes: null, isTorn: false };
      const file = await orThrow(() => openAt(target.path, READ), target.name);
      return readOpened(file, target.name, nowMs);
    });
  }

  return { readSignature, readTarget };
}

/** A larger folder has more names than an image needs, and they are read part by part. */
const LARGE_FOLDER_BYTES = 16 * 1024;
const NAMES_AT_ONCE = 512;

/** The numbers in the folder's names. Memory does not grow with the names. @throws the system's errors */
async function listNumbers(
  path: string,
  sizeBytes: number,
  wanted: readonly number[],
): Promise<SignatureNumbers> {
  const gatherer = new NumberGatherer(wanted);
  if (sizeBytes <= LARGE_FOLDER_BYTES) {
    // reading all at once is three times faster, which matters with thousands of images
    for (const name of await fs.readdir(path)) gatherer.add(name);
  } else {
    for await (const { name } of await fs.opendir(path, { bufferSize: NAMES_AT_ONCE })) gatherer.add(name);
  }
  return gatherer.numbers();
}

interface Content {
  readonly stats: BigIntStats;
  /** As ReadFile's. */
  readonly lookedAtMs: number;
  /** Null: no regular file, or larger than any client reads. */
  readonly bytes: Uint8Array | null;
  /** Changed while it was read. */
  readonly isTorn: boolean;
}

// plain descriptors: FileHandle costs as much again as the calls themselves
const statFile = promisify(fstat);
const readPart = promisify(read);
const closeFile = promisify(close);

// O_NONBLOCK: a pipe must not block us
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

/** Null: there is no such file. `link`: it is a symbolic link, which is not followed. */
async function readWhole(entry: Entry, nowMs: () => number): Promise<Content | 'link' | null> {
  let file: Opened;
  try {
    file = await openAt(entry.path, READ | constants.O_NOFOLLOW);
  } catch (error) {
    if (systemCode(error) === 'ELOOP') return 'link';
    // a socket, or a device without a driver: there, but no file
    if (systemCode(error) === 'ENXIO') return lookOnly(entry, nowMs);
    if (ABSENT.has(systemCode(error) ?? '')) return null;
    throw unavailable(entry.name, error);
  }
  return readOpened(file, entry.name, nowMs);
}

/** Reads the file and closes it. */
async function readOpened({ descriptor }: Opened, name: string, nowMs: () => number): Promise<Content> {
  try {
    const stats = await statFile(descriptor, { bigint: true });
    const lookedAtMs = nowMs();
    if (!stats.isFile() || stats.size > MAX_SIGNATURE_BYTES)
      return { stats, lookedAtMs, bytes: null, isTorn: false };
    const bytes = await readAll(descriptor, Number(stats.size));
    // whoever writes in place while we read leaves old bytes beside new ones, perhaps as many as before
    const isTorn = stampOf(await statFile(descriptor, { bigint: true })) !== stampOf(stats);
    return { stats, lookedAtMs, bytes, isTorn };
  } catch (error) {
    throw unavailable(name, error);
  } finally {
    await closeFile(descriptor);
  }
}

function lookOnly({ path, name }: Entry, nowMs: () => number): Promise<Content | null> {
  return orNull(async () => {
    const stats = await fs.lstat(path, { bigint: true });
    return { stats, lookedAtMs: nowMs(), bytes: null, isTorn: false };
  }, name);
}

/** At most one byte more than expected, to notice a file that grows. */
async function readAll(file: number, expectedBytes: number): Promise<Uint8Array> {
  const buffer = Buffer.alloc(expectedBytes + 1);
  let length = 0;
  for (;;) {
    const wanted = buffer.length - length;
    const { bytesRead } = await readPart(file, buffer, length, wanted, length);
    length += bytesRead;
    if (bytesRead === 0 || length >= expectedBytes) return buffer.subarray(0, length);
  }
}

function faulty(number: number, stats: BigIntStats, fault: FileFault): SignatureFile {
  return {
    number,
    sizeBytes: Number(stats.size),
    modifiedAt: modifiedAtOf(stats.mtimeMs),
    sha256: null,
    bytes: null,
    fault,
  };
}
