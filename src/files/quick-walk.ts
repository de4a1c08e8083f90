// A walk through a tree with blocking calls, for a thread of its own: it passes over the images whose stamps are as recorded, and reads
// those that nothing is recorded of. It decides nothing else: whatever is in doubt is handed over as a name, to be looked at.
import { hash } from 'node:crypto';
import {
  closeSync,
  constants,
  type Dir,
  type Dirent,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readdirSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { isNamespaceFolder, parseImageFolder, whyTooLong } from '../domain/image.ts';
import { BEING_WRITTEN_MS, MAX_INDEXED_BYTES, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { ImagePacker } from '../domain/packed-images.ts';
import { whyUnreadable } from '../domain/readable.ts';
import type {
  QuickStamp,
  RecordedNames,
  TooLong,
  WalkBatch,
  WalkedImage,
  WalkFailure,
  WalkShare,
} from '../domain/tree-walk.ts';
import { HELD_FOLDER, type Opened, openNow, whereOpen } from './opened.ts';
import { filesOf, quickStampOf } from './quick-stamp.ts';
import { ABSENT, isInside, unavailable } from './root.ts';
import { isSettled, modifiedAtOf } from './stamps.ts';

export interface QuickWalkOptions {
  readonly root: string;
  readonly site: string;
  readonly share: WalkShare;
  /** Folders of images that are not passed over, whatever their stamps. */
  readonly mustLook: ReadonlySet<string>;
  /** The names that the index has in a folder, each with its stamp: those that are wanted. */
  readonly recorded: (folder: string, isWanted: (name: string) => boolean) => RecordedNames;
  /** Wall clock, to be compared with the files' times. */
  readonly nowMs: () => number;
  /** Default BEING_WRITTEN_MS. */
  readonly beingWrittenMs?: number;
  /** How many images are packed together at most. Default IMAGES_A_PACK. */
  readonly imagesAPack?: number;
}

/** The thread that answers reads goes through a batch in one turn, which should take a millisecond or two. */
const IMAGES_A_BATCH = 32;
const UNCHANGED_A_BATCH = 5000;
/** They are one transaction of the index, which other writes wait for: 10 to 20 ms. More of them would save little. */
const IMAGES_A_PACK = 400;
const BYTES_A_PACK = 512 * 1024;
/** No other image is begun beyond it. */
const FULL_PACK_BYTES = BYTES_A_PACK / 2;

/** Images that are not recorded are read in the order of their names: rows in order cost the index a fraction. So many names, of all walks together, take 25 MiB. */
const SORTED_TOGETHER = 250_000;

/** As tree.ts: a larger folder has more names than an image needs. */
const LARGE_FOLDER_BYTES = 16 * 1024;
const NAMES_AT_ONCE = 1024;

const READ = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/** A folder that is still to be read. */
interface Place {
  readonly path: string;
  /** Null at the start, and for a folder that only the index has. */
  readonly above: Above | null;
  readonly isRecordedOnly: boolean;
}

/** The folders on the way here: a circle of links ends at one of them. */
interface Above {
  readonly id: string;
  readonly above: Above | null;
}

/** A folder above images that is being read. */
interface Held extends Opened {
  readonly folder: string;
  readonly where: string;
  readonly id: string;
  /** On the root's file system. */
  readonly isAtHome: boolean;
}

/**
 * Every image of the tree and the index that is of this share: passed over, or named. The packed images of a batch were read since the batch before it was
 * handed over, and their memory is written again after the next batch. @throws LookasideError STORE_UNAVAILABLE; what `recorded` throws
 */
export function* walkQuickly(options: QuickWalkOptions): Generator<WalkBatch> {
  const home = holdRoot(options.root);
  try {
    yield* new Walk(options, home).all();
  } finally {
    closeSync(home.descriptor);
  }
}

class Walk {
  readonly #options: QuickWalkOptions;
  readonly #home: Home;
  readonly #waiting: Place[] = [{ path: '', above: null, isRecordedOnly: false }];
  /** One batch is gone through while the next is filled. */
  readonly #memories = [packMemory(), packMemory()];
  #batch: Batch;

  constructor(options: QuickWalkOptions, home: Home) {
    this.#options = options;
    this.#home = home;
    this.#batch = this.#nextBatch();
  }

  #nextBatch(): Batch {
    const memory = this.#memories.shift() ?? packMemory();
    this.#memories.push(memory);
    return new Batch(memory, this.#options.imagesAPack ?? IMAGES_A_PACK);
  }

  *all(): Generator<WalkBatch> {
    const { share } = this.#options;
    for (let place = this.#waiting.pop(); place !== undefined; place = this.#waiting.pop()) {
      const names = this.#options.recorded(place.path, (name) => isForShare(name, share));
      const next: Place[] = [];
      if (!place.isRecordedOnly) yield* this.#onDisk(place, names, next);
      yield* this.#left(place.path, names, next);
      for (const child of next.reverse()) this.#waiting.push(child);
    }
    yield this.#handOver(null);
  }

  /** Takes the names that are there out of `names`. */
  *#onDisk(place: Place, names: RecordedNames, next: Place[]): Generator<WalkBatch> {
    let held: Held | null = null;
    try {
      held = this.#hold(place.path);
      if (held === null || isAmong(held.id, place.above)) return;
      yield* this.#children(held, { id: held.id, above: place.above }, names, next);
    } catch (error) {
      if (error instanceof LookasideError || systemCode(error) === null) throw error;
      this.#batch.failures.push({
        folder: place.path,
        message: unavailable(place.path === '' ? this.#options.root : place.path, error).message,
      });
    } finally {
      if (held !== null) closeSync(held.descriptor);
    }
  }

  *#children(held: Held, above: Above, names: RecordedNames, next: Place[]): Generator<WalkBatch> {
    const { site, share, mustLook } = this.#options;
    const tooLong = { path: '', count: 0 };
    let unrecorded: string[] = [];
    try {
      for (const entry of entriesIn(held)) {
        const { name } = entry;
        const isFolder = entry.isDirectory();
        if (name.startsWith('.') || !(isFolder || (entry.isSymbolicLink() && leadsToFolder(held, name))))
          continue;
        const child = below(held.folder, name);
        const stamp = names.get(name);
        const isQuick = isFolder && held.isAtHome;
        const isMine = isOfShare(name, share);
        if (
          stamp != null &&
          isMine &&
          isQuick &&
          !mustLook.has(child) &&
          this.#isAsRecorded(held, name, stamp)
        ) {
          names.delete(name);
          if (this.#batch.passOver(filesOf(stamp))) yield this.#handOver(held);
          continue;
        }
        const isImage = parseImageFolder(site, child) !== null;
        if (!isImage && !isNamespaceFolder(child)) {
          if (share.number > 0 || whyTooLong(child) === null) continue;
          if (tooLong.count === 0) tooLong.path = child;
          tooLong.count += 1;
          continue;
        }
        names.delete(name);
        if (isImage && !isMine) continue;
        if (!isImage) next.push({ path: child, above, isRecordedOnly: false });
        else if (stamp === undefined && isQuick && !mustLook.has(child)) unrecorded.push(name);
        else yield* this.#named(held, child, isQuick ? this.#stamped(held, name) : null);
        if (unrecorded.length < SORTED_TOGETHER / share.of) continue;
        yield* this.#read(held, unrecorded);
        unrecorded = [];
      }
      yield* this.#read(held, unrecorded);
    } finally {
      if (tooLong.count > 0) this.#batch.tooLong.push(tooLong);
    }
  }

  /** What the index has and the disk lacks. */
  *#left(folder: string, names: RecordedNames, next: Place[]): Generator<WalkBatch> {
    const { site, share } = this.#options;
    for (const name of names.keys()) {
      const child = below(folder, name);
      if (parseImageFolder(site, child) !== null) {
        if (isOfShare(name, share)) yield* this.#named(null, child, null);
      } else if (isNamespaceFolder(child)) next.push({ path: child, above: null, isRecordedOnly: true });
      else if (isOfShare(name, share)) this.#batch.outgrown.push(child);
    }
  }

  *#named(held: Held | null, folder: string, stamp: QuickStamp | null): Generator<WalkBatch> {
    if (this.#batch.add({ folder, stamp })) yield this.#handOver(held);
  }

  *#read(held: Held, names: string[]): Generator<WalkBatch> {
    for (const name of names.sort()) {
      if (this.#pack(held, name)) {
        if (this.#batch.isFull) yield this.#handOver(held);
      } else yield* this.#named(held, below(held.folder, name), null);
    }
    if (names.length > 0 && whereOpen(held) !== held.where)
      this.#batch.moved(this.#options.root, held.folder);
  }

  #isAsRecorded(held: Held, name: string, stamp: QuickStamp): boolean {
    // Not through what is held, which takes the kernel twice as long: whatever way leads to them, the same inodes that have not changed
    // since are the same content. What has another stamp is looked at, and a folder that has moved is found before the batch is handed over.
    const path = `${held.where}/${name}`;
    try {
      const folder = lstatSync(path);
      if (folder.dev !== this.#home.dev) return false;
      const files: Stats[] = [];
      for (let number = 1; number <= filesOf(stamp); number += 1) {
        const file = lstatSync(`${path}/signature-${number}`);
        if (file.dev !== folder.dev) return false; // mounted over it: its stamps may not tell of every change
        files.push(file);
      }
      return quickStampOf(folder, files) === stamp;
    } catch {
      return false; // the look that follows tells what is wrong
    }
  }

  /** Null when the folder is not one that a stamp tells all of, or it or a file changed a moment ago. */
  #stamped(held: Held, name: string): QuickStamp | null {
    return this.#simple(held, name, lstatSync);
  }

  /** False: it has to be looked at. */
  #pack(held: Held, name: string): boolean {
    const { packer } = this.#batch;
    packer.begin();
    const stamp = this.#simple(held, name, (path) => this.#packFile(path, packer));
    if (stamp === null) packer.drop();
    else packer.end(below(held.folder, name), stamp);
    return stamp !== null;
  }

  /** A folder with nothing but signature-1, 2 and so on, all regular files that rest, which did not change meanwhile; else null. */
  #simple(held: Held, name: string, look: (path: string) => Stats | null): QuickStamp | null {
    const path = `${held.path}/${name}`;
    const { nowMs } = this.#options;
    try {
      const before = lstatSync(path);
      // the system sets ctime alone: anybody may set mtime, into the future too
      let isAtRest = isSettled(before.ctimeMs, nowMs());
      if (!before.isDirectory() || before.dev !== this.#home.dev || before.size > LARGE_FOLDER_BYTES)
        return null;
      const names = readdirSync(path);
      if (names.length === 0 || names.length > MAX_SIGNATURES_PER_IMAGE) return null;
      const all: Stats[] = [];
      for (let number = 1; number <= names.length; number += 1) {
        const file = `signature-${number}`;
        if (!names.includes(file)) return null;
        const stats = look(`${path}/${file}`);
        if (stats === null || !stats.isFile() || stats.dev !== before.dev) return null;
        isAtRest &&= isSettled(stats.ctimeMs, nowMs());
        all.push(stats);
      }
      const stamp = quickStampOf(before, all);
      return isAtRest && quickStampOf(lstatSync(path), all) === stamp ? stamp : null;
    } catch {
      return null; // likewise
    }
  }

  /** Null: it is left to a look. @throws the system's errors */
  #packFile(path: string, packer: ImagePacker): Stats | null {
    const { nowMs, beingWrittenMs = BEING_WRITTEN_MS } = this.#options;
    const descriptor = openSync(path, READ);
    try {
      const stats = fstatSync(descriptor);
      const { size: sizeBytes, mtimeMs } = stats;
      if (!stats.isFile() || sizeBytes > MAX_INDEXED_BYTES) return null;
      if (Math.abs(nowMs() - mtimeMs) < beingWrittenMs) return null;
      const room = packer.room(sizeBytes, modifiedAtOf(mtimeMs).getTime());
      if (room === null) return null;
      const { bytes, sha256 } = room;
      if (readSync(descriptor, bytes, 0, sizeBytes, 0) !== sizeBytes) return null;
      // whoever writes in place meanwhile leaves old bytes beside new ones
      if (quickStampOf(fstatSync(descriptor), []) !== quickStampOf(stats, [])) return null;
      if (whyUnreadable(bytes) !== null) return null;
      sha256.set(hash('sha256', bytes, 'buffer'));
      return stats;
    } finally {
      closeSync(descriptor);
    }
  }

  /** Null when it is not there, or a link leads outside. @throws the system's other errors */
  #hold(folder: string): Held | null {
    let opened: Opened;
    try {
      opened = openNow(folder === '' ? this.#home.path : `${this.#home.path}/${folder}`, HELD_FOLDER);
    } catch (error) {
      if (folder !== '' && ABSENT.has(systemCode(error) ?? '')) return null;
      throw error;
    }
    try {
      const where = whereOpen(opened);
      if (folder === '' || isInside(whereOpen(this.#home), where)) {
        const { dev, ino } = fstatSync(opened.descriptor);
        return { ...opened, folder, where, id: `${dev}:${ino}`, isAtHome: dev === this.#home.dev };
      }
    } catch (error) {
      closeSync(opened.descriptor);
      throw error;
    }
    closeSync(opened.descriptor);
    return null;
  }

  /** Hands over nothing that was read in a folder that lies elsewhere by now, or under another root: it belongs to another tree. */
  #handOver(held: Held | null): WalkBatch {
    const batch = this.#batch;
    this.#batch = this.#nextBatch();
    const { root } = this.#options;
    const now = lookAtRoot(root);
    if (now.dev !== this.#home.dev || now.ino !== this.#home.ino) throw replaced(root);
    if (held !== null && whereOpen(held) !== held.where) batch.moved(root, held.folder);
    return batch.whole();
  }
}

class Batch {
  readonly packer: ImagePacker;
  readonly images: WalkedImage[] = [];
  readonly tooLong: TooLong[] = [];
  readonly outgrown: string[] = [];
  readonly failures: WalkFailure[] = [];
  readonly #imagesAPack: number;
  #images = 0;
  #signatures = 0;

  constructor(memory: Uint8Array, imagesAPack: number) {
    this.packer = new ImagePacker(memory);
    this.#imagesAPack = imagesAPack;
  }

  /** True: it is to be handed over. */
  passOver(signatures: number): boolean {
    this.#images += 1;
    this.#signatures += signatures;
    return this.#images >= UNCHANGED_A_BATCH;
  }

  /** True: it is to be handed over. */
  add(image: WalkedImage): boolean {
    this.images.push(image);
    return this.images.length >= IMAGES_A_BATCH;
  }

  get isFull(): boolean {
    return this.packer.count >= this.#imagesAPack || this.packer.bytes > FULL_PACK_BYTES;
  }

  /** The rest of the tree is walked through all the same. */
  moved(root: string, folder: string): void {
    const { message } = replaced(`${root}/${folder}`);
    if (!this.failures.some((known) => known.folder === folder)) this.failures.push({ folder, message });
    for (const [at, image] of this.images.entries()) this.images[at] = { folder: image.folder, stamp: null };
    for (const packed of this.packer.empty()) this.images.push({ folder: packed, stamp: null });
  }

  whole(): WalkBatch {
    const { images, tooLong, outgrown, failures, packer } = this;
    return {
      unchanged: { images: this.#images, signatures: this.#signatures },
      images,
      packed: packer.count === 0 ? null : packer.whole(),
      tooLong,
      outgrown,
      failures,
    };
  }
}

/** All threads share it: the writer of the databases reads what the walk has written, and nobody copies it. */
function packMemory(): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(BYTES_A_PACK));
}

interface Home extends Opened {
  readonly dev: number;
  readonly ino: number;
}

function holdRoot(root: string): Home {
  try {
    const opened = openNow(root, HELD_FOLDER);
    const { dev, ino } = fstatSync(opened.descriptor);
    return { ...opened, dev, ino };
  } catch (error) {
    throw unavailable(`the root ${root}`, error);
  }
}

function lookAtRoot(root: string): Stats {
  try {
    return statSync(root);
  } catch (error) {
    throw unavailable(`the root ${root}`, error);
  }
}

function replaced(path: string): LookasideError {
  return new LookasideError('STORE_UNAVAILABLE', `${path} was moved or replaced while the tree was scanned`);
}

function* entriesIn({ path }: Opened): Generator<Dirent> {
  const opened: Dir = opendirSync(path, { bufferSize: NAMES_AT_ONCE });
  try {
    for (let entry = opened.readSync(); entry !== null; entry = opened.readSync()) yield entry;
  } finally {
    opened.closeSync();
  }
}

/** Where it leads is looked at when it is opened. */
function leadsToFolder({ path }: Opened, name: string): boolean {
  try {
    return statSync(`${path}/${name}`).isDirectory();
  } catch (error) {
    if (ABSENT.has(systemCode(error) ?? '')) return false;
    throw error;
  }
}

/** Whether the walk needs to know that the index has it: a million names take 32 to 64 MB. A folder above images has no such sign. */
function isForShare(name: string, share: WalkShare): boolean {
  return !name.includes('=') || isOfShare(name, share);
}

/** By the last digit of the digest, so that the shares go through the names in step. */
function isOfShare(name: string, share: WalkShare): boolean {
  return name.charCodeAt(name.length - 1) % share.of === share.number;
}

function isAmong(id: string, above: Above | null): boolean {
  for (let folder = above; folder !== null; folder = folder.above) {
    if (folder.id === id) return true;
  }
  return false;
}

function below(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}
