// A site's tree as the store sees it: what is in an image's folder, and why a file there is not served.
import type { Round } from './concurrency.ts';
import { LookasideError } from './errors.ts';
import type { Unreadable } from './readable.ts';
import type { Beyond } from './signature-names.ts';

/** Why a file whose number is in line is not served. */
export type FileFault = Unreadable | 'link-outside' | 'no-file' | 'being-written';

export interface SignatureFile {
  readonly number: number;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  /** 64 hex digits; null when the bytes were not read. */
  readonly sha256: string | null;
  /** Null when over MAX_INDEXED_BYTES, or not read. */
  readonly bytes: Uint8Array | null;
  readonly fault: FileFault | null;
}

/** One image's folder as it was at one moment. */
export interface ImageFolder {
  /** signature-1, -2, … to the first missing number or MAX_FILE_NUMBER; then the files that were asked for by number. */
  readonly files: readonly SignatureFile[];
  /** Numbers behind a gap, up to MAX_FILE_NUMBER: no client asks for them. */
  readonly hidden: readonly number[];
  /** Files with higher numbers, which are never read; null when there are none. */
  readonly beyond: Beyond | null;
  /** Names that are not signature names; the first 20. */
  readonly strangers: readonly string[];
  /** Equal stamps mean equal content; see Tree.isUnchanged. */
  readonly stamps: Stamps;
}

export interface Stamps {
  readonly folder: string;
  readonly files: readonly { readonly number: number; readonly stamp: string }[];
  /** False when something changed so recently that another change could leave the same stamp. */
  readonly settled: boolean;
}

export interface FolderIdentity {
  /** The same for one folder under all its names, which reveals circular links. */
  readonly id: string;
  /** Changes when a child is added, removed or renamed. */
  readonly stamp: string;
}

export interface TreeChild {
  readonly name: string;
  readonly kind: 'folder' | 'other';
}

export interface Tree {
  readonly root: string;
  /**
   * Null when there is no such folder inside the root. `numbers` are read even behind a gap.
   * @throws LookasideError STORE_UNAVAILABLE
   */
  readImage(folder: string, numbers?: readonly number[]): Promise<ImageFolder | null>;
  /** Whether the folder and its files are as they were when `stamps` was taken; false = read them again. @throws STORE_UNAVAILABLE */
  isUnchanged(folder: string, stamps: Stamps): Promise<boolean>;
  /** As isUnchanged(), at once and waiting for no disk; false also when only isUnchanged() may tell. */
  peekUnchanged(folder: string, stamps: Stamps): boolean;
  /** True: nothing has the folder's name now, or since all of `round` was asked. At once and waiting for no disk; false tells nothing. */
  peekAbsent(folder: string, round?: Round): boolean;
  /** All bytes of one signature file; null when it is gone. @throws STORE_UNAVAILABLE */
  readFile(folder: string, number: number): Promise<Uint8Array | null>;
  /** Null when there is no such folder. @throws STORE_UNAVAILABLE */
  statFolder(folder: string): Promise<FolderIdentity | null>;
  /** The children of a folder in no order, hidden names left out; null when there is no such folder. @throws STORE_UNAVAILABLE */
  children(folder: string): Promise<AsyncIterable<TreeChild> | null>;
  /** Whether a file can be created in the root. */
  isWritable(): Promise<boolean>;
  /** @throws STORE_UNAVAILABLE when the root cannot be listed */
  check(): Promise<void>;
}

export interface NewFolder {
  /** Below the root. */
  readonly folder: string;
  /** The files from signature-1 on. */
  readonly row: readonly Uint8Array[];
}

/**
 * It is not known whether the file has its number: the thread that was to place it died. The prepared pair stays, and tells whose
 * file it is.
 */
export class PlaceUnknown extends LookasideError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super('STORE_UNAVAILABLE', message, options);
  }
}

/** Adds files to a tree so that a power cut leaves each file whole or absent. */
export interface TreeWriter {
  /**
   * Why nothing is written any more, or null. After a failed fsync a write may be lost, and only a restart allows writing
   * again. Until then every write is refused with STORE_UNAVAILABLE.
   */
  readonly fault: string | null;
  /** Free bytes that this process may use on the root's file system. @throws STORE_UNAVAILABLE */
  freeBytes(): Promise<number>;
  /**
   * Stores bytes and intent where no reader looks, and returns the name of the pair. Both then survive a power cut.
   * @throws DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
   */
  prepare(intent: string, bytes: Uint8Array): Promise<string>;
  /**
   * Makes the folder and links the prepared bytes into it as `signature-N`. N is the first free number from `from` to
   * MAX_FILE_NUMBER. All of it survives a power cut once resolved. Never replaces a file. When it fails, it leaves no such
   * name behind.
   * @throws TOO_MANY_SIGNATURES when no number is free, DISK_FULL, READ_ONLY, PATH_INVALID (a name too long for the file
   * system), STORE_UNAVAILABLE (also: the file system has no hard links, or the folder lies outside the root); PlaceUnknown
   */
  place(prepared: string, folder: string, from: number): Promise<number>;
  /**
   * Makes a folder that is not there with the bytes as its signature-1; readers and a crash find both or none. The intent survives a power
   * cut before the folder can be seen. All of it survives one once this resolves, to the name that discard() takes. Those that are asked for
   * together share one file of intents, which goes with the last of them. Null, and nothing is stored, though readers may have seen it for
   * a moment: a folder of its name has files, or it has to be placed by itself.
   * @throws what prepare() and place() throw
   */
  addNew(folder: string, intent: string, bytes: Uint8Array): Promise<string | null>;
  /**
   * Makes the folder and puts these bytes into it as `signature-from` and the numbers behind it. The first is put there last, so
   * that readers and a crash find all of them in line or none. Files behind `from` are replaced or moved away: nothing is served behind a gap.
   * False, and nothing is stored: `from` is taken. All of it survives a power cut once resolved.
   * @throws DISK_FULL, READ_ONLY, PATH_INVALID, STORE_UNAVAILABLE
   */
  placeRow(folder: string, from: number, row: readonly Uint8Array[]): Promise<boolean>;
  /**
   * The same for many folders that are not there yet, with one sync for what they share: for each that was placed, when its files
   * were modified, as readImage() tells it. Null, and nothing of it is stored: a folder of its name has files, or it has to be placed
   * alone. Those that were placed survive a power cut once resolved; when it fails, each is there as a whole or not at all.
   * @throws DISK_FULL, READ_ONLY, PATH_INVALID, STORE_UNAVAILABLE
   */
  placeNew(sets: readonly NewFolder[]): Promise<readonly (readonly Date[] | null)[]>;
  /**
   * Takes the folder with all that is in it out of the tree, and deletes it: readers and a crash find all of it or nothing. A missing
   * one is no failure. It is gone for good once this resolves. @throws READ_ONLY, STORE_UNAVAILABLE
   */
  takeAway(folder: string): Promise<void>;
  /** Makes sure that an existing file, whoever wrote it, survives a power cut. @throws STORE_UNAVAILABLE */
  makeDurable(folder: string, number: number): Promise<void>;
  /**
   * Puts these bytes at that number, whatever was there. Readers see the old bytes or the new ones. The new ones survive a
   * power cut once this resolves. @throws DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
   */
  restore(folder: string, number: number, bytes: Uint8Array): Promise<void>;
  /**
   * Puts a hard link to signature-`from` at that number, whatever was there. Readers see the old bytes or the new ones. It
   * survives a power cut once this resolves. @throws DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
   */
  fill(folder: string, number: number, from: number): Promise<void>;
  /** Deletes the file; a missing one is no failure. It is gone for good once this resolves. @throws READ_ONLY, STORE_UNAVAILABLE */
  remove(folder: string, number: number): Promise<void>;
  /** Deletes a prepared pair, or one that addNew() has begun. Never throws: the next start finds what is left. */
  discard(prepared: string): Promise<void>;
  /**
   * The pairs and groups that a crash left behind, one by one; `intent` is null when it is missing or cut short. Ask before anything is
   * written: what has no place yet is thrown away. @throws STORE_UNAVAILABLE
   */
  leftOver(): Promise<readonly { readonly prepared: string; readonly intent: string | null }[]>;
}

/**
 * What is wrong in an image's folder. `lost`: an owned tree and its record both lack what was uploaded. `missing` and `changed`: a
 * file of an owned tree differs from its record.
 */
export type ProblemKind =
  | FileFault
  | 'missing'
  | 'changed'
  | 'extra'
  | 'lost'
  | 'behind-gap'
  | 'over-limit'
  | 'no-signature-name'
  | 'too-long'
  | 'unreadable'
  | 'withdrawn';

export interface Problem {
  readonly kind: ProblemKind;
  /** Below the root: `team/app@sha256=…/signature-2`. */
  readonly path: string;
  /** How many files or folders have the problem when they are not named one by one; `path` is then the first. Absent = one. */
  readonly count?: number | undefined;
  /** Only with the kind `lost`; `path` is then the image's folder. */
  readonly upload?: LostUpload | undefined;
}

/** An upload of which only the account is left. */
export interface LostUpload {
  /** 64 hex digits. */
  readonly sha256: string;
  /** Name of the token, or `administrator`. */
  readonly uploader: string;
  readonly storedAt: Date;
}

/** The kinds in which recorded bytes are no longer on disk. This is always damage, never a withdrawal. */
export const DAMAGE_KINDS: ReadonlySet<ProblemKind> = new Set(['missing', 'changed']);

/** What is wrong and what to do, for people. */
export function problemText({ kind, count = 1, upload }: Omit<Problem, 'path'>): string {
  const text = upload === undefined ? PROBLEM_TEXTS[kind] : `${lostText(upload)} ${PROBLEM_TEXTS[kind]}`;
  return count === 1 ? text : `this and ${count - 1} more: ${text}`;
}

function lostText({ sha256, uploader, storedAt }: LostUpload): string {
  return `the signature with SHA-256 ${sha256}, uploaded by ${uploader} at ${storedAt.toISOString()}:`;
}

/** What each kind means and what to do, for people. */
export const PROBLEM_TEXTS: Record<ProblemKind, string> = {
  missing:
    'the file is gone; its recorded bytes are served (503 over 8 KiB). Put it back with lookaside fsck --repair, over 8 KiB from a backup',
  changed:
    'the bytes are not the recorded ones, which are served (503 over 8 KiB). Put them back with lookaside fsck --repair, over 8 KiB from a backup',
  extra:
    'the file is not recorded, so it is not served. If it belongs here, upload it, or take it in with: lookaside reindex',
  lost: 'neither the tree nor the index has it any more, so it is not served. Push it again, or restore the data directory from a backup',
  empty: 'the file is empty; no client can read it, so it is left out. Delete it',
  'too-large': 'the file is over 4 MiB; no client can read it, so it is left out. Delete it',
  'first-byte':
    'no binary OpenPGP message (armour, text and HTML fail the pull), so it is left out. Sign again with gpg --sign or skopeo standalone-sign',
  format: 'the tagged form is one that no client knows, so it is left out. Delete it',
  'link-outside': 'a link that leaves the tree or leads nowhere is not followed. Put the file itself here',
  'no-file': 'not a regular file, so it is left out. Move it away',
  'being-written': 'the file was being written when it was read. Run fsck again',
  'behind-gap':
    'a lower number is missing, and clients stop there. Rename the files so that no number is missing',
  'too-long':
    'the path is longer than a registry takes (255 bytes), or its last name with the digest longer than a file system does, so what is below is neither looked into nor served. Move it to a shorter path',
  withdrawn:
    'the bytes were withdrawn and came back, from a copy or a backup perhaps; they are not served. The next scan of the server takes the file away',
  unreadable:
    'it cannot be read, and reads that need it are answered with 503. Mend its permissions or its disk',
  'no-signature-name':
    'no client asks for this name, so it is not served: a left-over of an interrupted copy, or misplaced. Delete or rename it',
  'over-limit':
    'clients refuse an image with more than 127 signatures, so the first 127 files at most are served, and none above signature-128 is looked at. Delete those that are not needed, and rename the others so that no number is missing',
};
