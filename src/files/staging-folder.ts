// One folder of somebody's staging tree: which signatures it holds, and where they belong.
import { createHash } from 'node:crypto';
import { closeSync, type Dirent } from 'node:fs';
import { isLookasideError } from '../domain/errors.ts';
import { FirstNames } from '../domain/first-names.ts';
import { DEFAULT_SITE, type Digest } from '../domain/image.ts';
import { MAX_MANIFEST_BYTES, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { isSchema1 } from '../domain/manifest.ts';
import { behindGap } from '../domain/signature-names.ts';
import type { StagedFile, StagedPlace, StagedProblem } from '../domain/staged.ts';
import {
  DIR_MANIFEST,
  DIR_VERSION,
  DIR_VERSION_TEXT,
  digestOfFolderName,
  type FolderMeaning,
  folderMeaning,
  isDirImagePart,
  looksLikeImageFolder,
  parseStagedName,
  releaseImage,
  type StagedName,
} from '../domain/staged-place.ts';
import { readAtMost } from './bounded-read.ts';
import {
  below,
  entriesOf,
  isRefusal,
  LINK,
  NO_FILE,
  openFolder,
  openRegularFile,
  type Refusal,
  unreadable,
} from './inside.ts';
import type { Opened } from './opened.ts';

/** A folder below a given one; `relative` is empty for the given folder itself. */
export interface FolderPlace {
  /** As people name it. */
  readonly source: string;
  readonly realPath: string;
  readonly relative: string;
}

export interface FolderFindings {
  /** By digest in the name, then by number. */
  readonly files: readonly StagedFile[];
  readonly problems: readonly StagedProblem[];
  readonly gaps: readonly { readonly source: string; readonly hidden: readonly number[] }[];
  readonly strangers: FirstNames;
  /** Names of folders in it. */
  readonly folders: readonly string[];
}

/** What the folder itself holds; null when it is gone. */
export async function lookIntoFolder(folder: FolderPlace): Promise<FolderFindings | null> {
  const opened = await openFolder(folder.realPath);
  if (isRefusal(opened)) return opened.kind === 'gone' ? null : nothingBut(folder.source, opened);
  let listed: Listed;
  try {
    listed = await listFolder(folder, opened);
  } catch (error) {
    return nothingBut(folder.source, unreadable(error));
  } finally {
    closeSync(opened.descriptor);
  }
  return judgeFolder(folder, listed);
}

export function nothingBut(source: string, refusal: Refusal): FolderFindings {
  const problems = [{ source, ...refusal }];
  return { files: [], problems, gaps: [], strangers: new FirstNames(), folders: [] };
}

interface Signature extends StagedName {
  readonly name: string;
}

/** Collects signatures as they are found: keeps the first `most` of them by number, and counts all. */
class Signatures {
  readonly #most: number;
  #signatures: Signature[] = [];
  count = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(signature: Signature): void {
    this.count += 1;
    this.#signatures.push(signature);
    if (this.#signatures.length >= 2 * this.#most) this.#signatures = this.inOrder();
  }

  /** By digest in the name, then by number. */
  inOrder(): Signature[] {
    this.#signatures.sort(
      (a, b) => compareText(a.digest?.hex ?? '', b.digest?.hex ?? '') || a.number - b.number,
    );
    return this.#signatures.slice(0, this.#most);
  }
}

interface Listed {
  readonly meaning: FolderMeaning;
  readonly signatures: Signatures;
  readonly problems: StagedProblem[];
  /** Files that a `dir:` image has beside its signatures; everywhere else they are strangers. */
  readonly parts: FirstNames;
  readonly strangers: FirstNames;
  readonly folders: string[];
  hasManifest: boolean;
  hasVersion: boolean;
}

async function listFolder(folder: FolderPlace, opened: Opened): Promise<Listed> {
  const meaning = meaningOf(folder);
  const listed: Listed = {
    meaning,
    // in other folders each file may belong to another image
    signatures: new Signatures(
      meaning.kind === 'image' ? MAX_SIGNATURES_PER_IMAGE : Number.POSITIVE_INFINITY,
    ),
    problems: [],
    parts: new FirstNames(),
    strangers: new FirstNames(),
    folders: [],
    hasManifest: false,
    hasVersion: false,
  };
  for await (const entry of await entriesOf(opened)) noteEntry(folder, listed, entry);
  return listed;
}

/** When the given folder is an image's own, no path above it tells the repository: its name tells only the manifest. */
function meaningOf({ relative }: FolderPlace): FolderMeaning {
  return relative === '' ? { kind: 'other' } : folderMeaning(DEFAULT_SITE, relative);
}

function noteEntry(folder: FolderPlace, listed: Listed, entry: Dirent): void {
  const { name } = entry;
  const parsed = parseStagedName(name);
  // in an image's folder, no client asks for a name with a digest
  const isSignature = parsed !== null && (parsed.digest === null || listed.meaning.kind !== 'image');
  const isNamespace = entry.isDirectory() && !(isSignature && listed.meaning.kind === 'image');
  if (isNamespace) {
    if (!name.startsWith('.')) listed.folders.push(name);
    return;
  }
  const source = below(folder.source, name);
  if (isSignature) {
    if (entry.isFile()) listed.signatures.add({ ...parsed, name });
    else listed.problems.push({ source, ...(entry.isSymbolicLink() ? LINK : NO_FILE) });
    return;
  }
  if (entry.isSymbolicLink() && looksLikeImageFolder(name)) {
    listed.problems.push({ source, ...LINK_TO_FOLDER });
    return;
  }
  if (isDirImagePart(name) && entry.isFile()) {
    listed.hasManifest ||= name === DIR_MANIFEST;
    listed.hasVersion ||= name === DIR_VERSION;
    listed.parts.add(source);
    return;
  }
  listed.strangers.add(source);
}

const LINK_TO_FOLDER: Refusal = {
  kind: 'link',
  message: 'is a symbolic link, and those are not followed; name the folder that it leads to by itself',
};

async function judgeFolder(folder: FolderPlace, listed: Listed): Promise<FolderFindings> {
  const { meaning, signatures, problems, strangers, folders } = listed;
  // also in folders that seem misnamed: skopeo sync makes the folder `app@sha256:<hex>` for an image named by digest
  const dirImage = meaning.kind === 'image' ? null : await readDirImage(folder, listed);
  if (dirImage === null) strangers.addAll(listed.parts);
  if (dirImage === null && meaning.kind === 'no-image-name' && signatures.count > 0) {
    const message = `${meaning.message}. Its signatures (${signatures.count}) are left out`;
    problems.push({ source: folder.source, kind: meaning.kind, message });
    return { files: [], problems, gaps: [], strangers, folders };
  }
  const digest = dirImage?.digest ?? digestOfGiven(folder);
  const placed = signatures.inOrder().map((signature) => {
    const place = placeOf(meaning, signature, digest);
    return { signature, place, group: groupOf(folder, signature, place) };
  });
  const { kept, counts } = withinImages(placed);
  if (meaning.kind === 'image') counts.set(folder.source, signatures.count);
  for (const [source, count] of counts) {
    if (count > MAX_SIGNATURES_PER_IMAGE)
      problems.push({ source, kind: 'too-many', message: tooMany(count) });
  }
  const files = kept.map(({ signature, place }) => ({ source: below(folder.source, signature.name), place }));
  return { files, problems, gaps: gapsOf(kept), strangers, folders };
}

interface Placed {
  readonly signature: Signature;
  readonly place: StagedPlace;
  /** The same for all signatures of one image; null when each may belong to another image. */
  readonly group: string | null;
}

function groupOf(
  folder: FolderPlace,
  { name, digest, isRelease }: Signature,
  { kind }: StagedPlace,
): string | null {
  if (kind === 'payload' || isRelease) return null;
  return digest === null ? folder.source : below(folder.source, name.slice(0, name.indexOf('.')));
}

/** Keeps as many of each group as an image can have, and counts all. */
function withinImages(placed: readonly Placed[]): {
  readonly kept: readonly Placed[];
  readonly counts: Map<string, number>;
} {
  const counts = new Map<string, number>();
  const kept = placed.filter(({ group }) => {
    if (group === null) return true;
    const count = (counts.get(group) ?? 0) + 1;
    counts.set(group, count);
    return count <= MAX_SIGNATURES_PER_IMAGE;
  });
  return { kept, counts };
}

function tooMany(count: number): string {
  const most = MAX_SIGNATURES_PER_IMAGE;
  return `holds ${count} signatures, and an image can have ${most}: the first ${most} by number are taken, the other ${count - most} left out. Delete those that are not needed`;
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function placeOf(meaning: FolderMeaning, signature: StagedName, digest: Digest | null): StagedPlace {
  const { number } = signature;
  if (meaning.kind === 'image') return { kind: 'image', image: meaning.image, number };
  if (signature.isRelease && signature.digest !== null)
    return { kind: 'image', image: releaseImage(DEFAULT_SITE, signature.digest), number };
  const known = signature.digest ?? digest;
  return known === null ? { kind: 'payload' } : { kind: 'manifest', digest: known, number };
}

function digestOfGiven({ relative, realPath }: FolderPlace): Digest | null {
  return relative === ''
    ? digestOfFolderName(DEFAULT_SITE, realPath.slice(realPath.lastIndexOf('/') + 1))
    : null;
}

/** The groups (signatures of one manifest each) in which a number is missing. */
function gapsOf(placed: readonly Placed[]): FolderFindings['gaps'] {
  const groups = new Map<string, number[]>();
  for (const { signature, group } of placed) {
    if (group === null) continue;
    const numbers = groups.get(group) ?? [];
    numbers.push(signature.number);
    groups.set(group, numbers);
  }
  return [...groups]
    .map(([source, numbers]) => ({ source, hidden: behindGap(numbers) }))
    .filter(({ hidden }) => hidden.length > 0);
}

const MAX_VERSION_BYTES = 1024;

/** Null when the folder is no `dir:` image. `digest` is null when its manifest cannot be read or does not tell it. */
async function readDirImage(
  folder: FolderPlace,
  { hasManifest, hasVersion }: Listed,
): Promise<{ readonly digest: Digest | null } | null> {
  if (!hasManifest || !hasVersion) return null;
  const version = await readSmall(below(folder.realPath, DIR_VERSION), MAX_VERSION_BYTES);
  if (version === null || !Buffer.from(version).toString('latin1').startsWith(DIR_VERSION_TEXT)) return null;
  const manifest = await readSmall(below(folder.realPath, DIR_MANIFEST), MAX_MANIFEST_BYTES);
  return { digest: manifest === null ? null : digestOf(manifest) };
}

/** As in containers/image, what we cannot read as a manifest has the digest of its bytes. Null for Docker's schema 1. */
function digestOf(manifest: Uint8Array): Digest | null {
  if (isOfSchema1(manifest)) return null;
  return { algorithm: 'sha256', hex: createHash('sha256').update(manifest).digest('hex') };
}

function isOfSchema1(manifest: Uint8Array): boolean {
  try {
    return isSchema1(manifest);
  } catch (error) {
    if (isLookasideError(error, 'CONFIG_INVALID')) return false;
    throw error;
  }
}

/** Null when the file is larger, or cannot be read for whatever reason: the caller then goes on without it. */
async function readSmall(realPath: string, mostBytes: number): Promise<Uint8Array | null> {
  const opened = await openRegularFile(realPath);
  if (isRefusal(opened)) return null;
  try {
    if (opened.stats.size > mostBytes) return null;
    return await readAtMost(opened.descriptor, opened.stats.size, mostBytes);
  } catch {
    return null;
  } finally {
    closeSync(opened.descriptor);
  }
}
