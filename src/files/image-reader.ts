// What lies in the folders of images: opened and read by calls of this thread (calls.ts), which wait in the pool of threads or block it.
import { createHash } from 'node:crypto';
import { type BigIntStats, constants, promises as fs } from 'node:fs';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { MAX_INDEXED_BYTES, MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { whyUnreadable } from '../domain/readable.ts';
import { NumberGatherer, type SignatureNumbers } from '../domain/signature-names.ts';
import type { FileFault, ImageFolder, SignatureFile, Stamps } from '../domain/tree.ts';
import { calls } from './calls.ts';
import { type Entry, entryIn, HELD, isInPlace, type Opened, openAt, type Placed } from './opened.ts';
import { ABSENT, orNull, orThrow, type Root, unavailable } from './root.ts';
import { isSettled, modifiedAtOf, stampOf } from './stamps.ts';

export interface ImageReaderOptions {
  /** Wall clock, to be compared with the files' times. */
  readonly nowMs: () => number;
  /** A file changed less than this ago is served only if it is whole. */
  readonly beingWrittenMs: number;
  /** Whether the bytes are a whole signature, as far as their framing tells. */
  readonly isWhole: (bytes: Uint8Array) => boolean;
}

export interface ReadImage {
  readonly image: ImageFolder;
  /** By the wall clock, before anything of it was read but the folder's stamp. */
  readonly lookedAtMs: number;
}

export interface ImageReader {
  /** Null when there is no such folder inside the root. `numbers` are read even behind a gap. @throws LookasideError STORE_UNAVAILABLE */
  readImage(folder: string, numbers: readonly number[]): Promise<ReadImage | null>;
  /** All bytes of one signature file of an open folder; null when it is gone. @throws STORE_UNAVAILABLE */
  readBytes(folder: Placed, number: number): Promise<Uint8Array | null>;
}

// A folder whose files disappear one by one is read again after each. After so many attempts the store changes too fast.
const READ_ATTEMPTS = 5;

export function createImageReader(
  options: ImageReaderOptions,
  { inFolder, inTarget }: Pick<Root, 'inFolder' | 'inTarget'>,
): ImageReader {
  const { nowMs } = options;
  const { readSignature, readTarget } = createFileReader(options, inTarget);

  async function readImage(folder: string, numbers: readonly number[]): Promise<ReadImage | null> {
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt += 1) {
      const read = await inFolder(folder, (opened) => readFolder(opened, numbers));
      if (read !== 'vanished') return read;
    }
    throw new LookasideError('STORE_UNAVAILABLE', `${folder} changes faster than it can be read`);
  }

  /** `vanished`: a name that was there a moment ago is gone, perhaps with the whole root; only a new look tells. */
  async function readFolder(folder: Placed, numbers: readonly number[]): Promise<ReadImage | 'vanished'> {
    const before = await orThrow(() => calls.fstat(folder.descriptor), folder.name);
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
    const behind = hidden.filter((number) => !numbers.includes(number));
    return { image: { files, hidden: behind, beyond, strangers, stamps: all }, lookedAtMs };
  }

  async function readBytes(folder: Placed, number: number): Promise<Uint8Array | null> {
    const entry = entryIn(folder, `signature-${number}`);
    const content = await readWhole(entry, nowMs);
    return (content === 'link' ? await readTarget(entry) : content)?.bytes ?? null;
  }

  return { readImage, readBytes };
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
function createFileReader(options: ImageReaderOptions, inTarget: Root['inTarget']): FileReader {
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
      const stats = await orThrow(() => calls.fstat(target.descriptor), target.name);
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
    for (const name of await calls.readdir(path)) gatherer.add(name);
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
    const stats = await calls.fstat(descriptor);
    const lookedAtMs = nowMs();
    if (!stats.isFile() || stats.size > MAX_SIGNATURE_BYTES)
      return { stats, lookedAtMs, bytes: null, isTorn: false };
    const bytes = await readAll(descriptor, Number(stats.size));
    // whoever writes in place while we read leaves old bytes beside new ones, perhaps as many as before
    const isTorn = stampOf(await calls.fstat(descriptor)) !== stampOf(stats);
    return { stats, lookedAtMs, bytes, isTorn };
  } catch (error) {
    throw unavailable(name, error);
  } finally {
    await calls.close(descriptor);
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
    const bytesRead = await calls.read(file, buffer, { offset: length, length: wanted, position: length });
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
