// One folder of somebody's staging tree: which signatures stand in it, and where they belong.
import { createHash } from 'node:crypto';
import { closeSync, type Dirent } from 'node:fs';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type Digest } from '../domain/image.ts';
import { MAX_MANIFEST_BYTES } from '../domain/limits.ts';
import { isSchema1 } from '../domain/manifest.ts';
import { signatureNumbers } from '../domain/signature-names.ts';
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

/** A folder below what was given; `relative` is empty for that itself. */
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

const MAX_FIRST = 20;

/** Counts names, however many, and keeps the first in order. */
export class FirstNames {
  readonly first: string[] = [];
  count = 0;

  add(name: string): void {
    this.count += 1;
    this.#keep(name);
  }

  addAll(others: FirstNames): void {
    this.count += others.count;
    for (const name of others.first) this.#keep(name);
  }

  #keep(name: string): void {
    const last = this.first[MAX_FIRST - 1];
    if (last !== undefined && name >= last) return;
    this.first.push(name);
    this.first.sort();
    this.first.length = Math.min(this.first.length, MAX_FIRST);
  }
}

/** What stands in the folder itself; null when it has gone. */
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

interface Listed {
  readonly meaning: FolderMeaning;
  readonly signatures: Signature[];
  readonly problems: StagedProblem[];
  /** Names as a `dir:` image has them beside its signatures; strangers everywhere else. */
  readonly parts: FirstNames;
  readonly strangers: FirstNames;
  readonly folders: string[];
  hasManifest: boolean;
  hasVersion: boolean;
}

async function listFolder(folder: FolderPlace, opened: Opened): Promise<Listed> {
  const listed: Listed = {
    meaning: meaningOf(folder),
    signatures: [],
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

/** A given folder that is an image's own has no path that tells the repository: its name tells the manifest alone. */
function meaningOf({ relative }: FolderPlace): FolderMeaning {
  return relative === '' ? { kind: 'other' } : folderMeaning(DEFAULT_SITE, relative);
}

function noteEntry(folder: FolderPlace, listed: Listed, entry: Dirent): void {
  const { name } = entry;
  const parsed = parseStagedName(name);
  // in an image's folder a name with a digest is none that a client asks for
  const isSignature = parsed !== null && (parsed.digest === null || listed.meaning.kind !== 'image');
  const isNamespace = entry.isDirectory() && !(isSignature && listed.meaning.kind === 'image');
  if (isNamespace) {
    if (!name.startsWith('.')) listed.folders.push(name);
    return;
  }
  const source = below(folder.source, name);
  if (isSignature) {
    if (entry.isFile()) listed.signatures.push({ ...parsed, name });
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
  // looked for in folders that seem misnamed too: skopeo sync makes `app@sha256:<hex>` of an image named by digest
  const dirImage = meaning.kind === 'image' ? null : await readDirImage(folder, listed);
  if (dirImage === null) strangers.addAll(listed.parts);
  if (dirImage === null && meaning.kind === 'no-image-name' && signatures.length > 0) {
    const message = `${meaning.message}. Its signatures (${signatures.length}) are left out`;
    problems.push({ source: folder.source, kind: meaning.kind, message });
    return { files: [], problems, gaps: [], strangers, folders };
  }
  const digest = dirImage?.digest ?? digestOfGiven(folder);
  signatures.sort((a, b) => compareText(a.digest?.hex ?? '', b.digest?.hex ?? '') || a.number - b.number);
  const files = signatures.map((signature) => ({
    source: below(folder.source, signature.name),
    place: placeOf(meaning, signature, digest),
  }));
  return { files, problems, gaps: gapsOf(folder, files, signatures), strangers, folders };
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function placeOf(meaning: FolderMeaning, signature: StagedName, digest: Digest | null): StagedPlace {
  const { number } = signature;
  if (meaning.kind === 'image') return { kind: 'image', image: meaning.image, number };
  const known = signature.digest ?? digest;
  return known === null ? { kind: 'payload' } : { kind: 'manifest', digest: known, number };
}

function digestOfGiven({ relative, realPath }: FolderPlace): Digest | null {
  return relative === ''
    ? digestOfFolderName(DEFAULT_SITE, realPath.slice(realPath.lastIndexOf('/') + 1))
    : null;
}

/** The signatures of one manifest each, where a number is missing among them. */
function gapsOf(
  folder: FolderPlace,
  files: readonly StagedFile[],
  signatures: readonly Signature[],
): FolderFindings['gaps'] {
  const groups = new Map<string, string[]>();
  for (const [position, { name, digest, number }] of signatures.entries()) {
    if (files[position]?.place.kind === 'payload') continue;
    const source = digest === null ? folder.source : below(folder.source, name.slice(0, name.indexOf('.')));
    const names = groups.get(source) ?? [];
    names.push(`signature-${number}`);
    groups.set(source, names);
  }
  return [...groups]
    .map(([source, names]) => ({ source, hidden: signatureNumbers(names).hidden }))
    .filter(({ hidden }) => hidden.length > 0);
}

const MAX_VERSION_BYTES = 1024;

/** Null: the folder is no `dir:` image. `digest` null: its manifest is not to be had, or does not tell it. */
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

/** What is no manifest that we can read has the digest of its bytes, as for containers/image; null for Docker's schema 1. */
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

/** Null when it is larger, or cannot be read for whatever reason: what needs it is then told without it. */
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
