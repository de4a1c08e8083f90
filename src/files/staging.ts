// Finds, reads and watches for signatures in somebody's folders, and never reads anything outside those folders.
import { closeSync, fstatSync } from 'node:fs';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import { FirstNames } from '../domain/first-names.ts';
import { MAX_FOLDER_LEVELS, MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import type { Staged, StagedBytes, StagedFile, StagedProblem, Staging } from '../domain/staged.ts';
import { pathKey } from '../domain/staged-place.ts';
import { readAtMost } from './bounded-read.ts';
import { below, type GivenRoot, isRefusal, openRegularFile, resolveGiven, unreadable } from './inside.ts';
import { type FolderFindings, type FolderPlace, lookIntoFolder, nothingBut } from './staging-folder.ts';
import { DEFAULT_WATCHING, type Watching, watchFolders } from './staging-watch.ts';
import { modifiedAtOf } from './stamps.ts';

/** `watching`: how changes are noticed, and in which intervals. */
export function createStaging(watching: Watching = DEFAULT_WATCHING): Staging {
  // what was given, with its real path at the last look: only what lies there may be read
  const roots = new Map<string, GivenRoot>();

  async function resolve(given: string): Promise<GivenRoot> {
    const root = await resolveGiven(given);
    roots.set(given, root);
    return root;
  }

  /** @throws LookasideError CONFIG_INVALID */
  async function resolveFolder(given: string): Promise<string> {
    const { realPath, isFolder } = await resolve(given);
    if (isFolder) return realPath;
    throw new LookasideError('CONFIG_INVALID', `${given} is a file; expected a folder of signatures`);
  }

  /** The real path that a source stands for; the longest given name decides. */
  function realPathOf(source: string): string {
    let longest: { readonly given: string; readonly realPath: string } | null = null;
    for (const [given, root] of roots) {
      const relative = relativeTo(given, source);
      if (relative === null || given.length < (longest?.given.length ?? 0)) continue;
      longest = { given, realPath: below(root.realPath, relative) };
    }
    if (longest === null) throw new Error(`${source} was never found here`);
    return longest.realPath;
  }

  return {
    async find(paths, onProgress) {
      const given = await Promise.all(paths.map(async (path) => ({ path, root: await resolve(path) })));
      const gathering = new Gathering(onProgress);
      for (const { path, root } of given) {
        if (root.isFolder) await walk({ source: path, realPath: root.realPath, relative: '' }, gathering);
        else gathering.addFile(path, root.realPath);
      }
      return gathering.end();
    },

    async findBelow(root, folders) {
      const realPath = await resolveFolder(root);
      const gathering = new Gathering(() => undefined);
      if (folders.includes('')) await walk({ source: root, realPath, relative: '' }, gathering);
      else {
        const places = folders.map((relative) =>
          placeBelow({ source: root, realPath, relative: '' }, relative),
        );
        await lookIntoAll(places, gathering);
      }
      return gathering.end();
    },

    async read(file) {
      return readStaged(file.source, realPathOf(file.source));
    },

    async watch(root, listener) {
      return watchFolders({ root, realRoot: await resolveFolder(root), ...listener, ...watching });
    },
  };
}

/** The inverse of below(); null when the source is not below what was given. */
function relativeTo(given: string, source: string): string | null {
  if (source === given) return '';
  const start = given.endsWith('/') ? given : `${given}/`;
  return source.startsWith(start) ? source.slice(start.length) : null;
}

function placeBelow(folder: FolderPlace, name: string): FolderPlace {
  return {
    source: below(folder.source, name),
    realPath: below(folder.realPath, name),
    relative: folder.relative === '' ? name : `${folder.relative}/${name}`,
  };
}

const FOLDERS_AT_ONCE = 16;

/** Level by level, so that only the names of one level are in memory. */
async function walk(start: FolderPlace, gathering: Gathering): Promise<void> {
  let level: readonly FolderPlace[] = [start];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_FOLDER_LEVELS) {
      for (const folder of level) gathering.addFolder(folder, nothingBut(folder.source, TOO_DEEP));
      break;
    }
    level = await lookIntoAll(level, gathering);
  }
  gathering.endOfPath();
}

const TOO_DEEP = {
  kind: 'unreadable',
  message: `is more than ${MAX_FOLDER_LEVELS} folders deep, deeper than any image, and was not read; if it holds signatures, name it by itself`,
} as const;

/** Looks into these folders, and returns the folders in them. */
async function lookIntoAll(folders: readonly FolderPlace[], gathering: Gathering): Promise<FolderPlace[]> {
  const next: FolderPlace[] = [];
  await forEachConcurrently(folders, FOLDERS_AT_ONCE, async (folder) => {
    if (!gathering.begin(folder.realPath)) return;
    const contents = await lookIntoFolder(folder);
    if (contents === null) return;
    gathering.addFolder(folder, contents);
    for (const name of contents.folders) next.push(placeBelow(folder, name));
  });
  return next;
}

interface FoundFolder {
  readonly key: string;
  readonly findings: Pick<FolderFindings, 'files' | 'problems' | 'gaps'>;
}

/** Puts together what folders hold, in order, each folder and file once. */
class Gathering {
  readonly #onProgress: (files: number) => void;
  /** Real paths. */
  readonly #seen = new Set<string>();
  readonly #strangers = new FirstNames();
  /** The folders with findings in the path that is being walked, not sorted yet. */
  #ofPath: FoundFolder[] = [];
  readonly #ordered: FoundFolder[] = [];
  #files = 0;

  constructor(onProgress: (files: number) => void) {
    this.#onProgress = onProgress;
  }

  /** False: this folder or file was already seen. */
  begin(realPath: string): boolean {
    if (this.#seen.has(realPath)) return false;
    this.#seen.add(realPath);
    return true;
  }

  addFolder(folder: FolderPlace, { files, problems, gaps, strangers }: FolderFindings): void {
    this.#strangers.addAll(strangers);
    const once = files.filter(({ source }) =>
      this.begin(below(folder.realPath, source.slice(source.lastIndexOf('/') + 1))),
    );
    if (once.length === 0 && problems.length === 0) return;
    this.#ofPath.push({ key: pathKey(folder.relative), findings: { files: once, problems, gaps } });
    this.#files += once.length;
    this.#onProgress(this.#files);
  }

  addFile(source: string, realPath: string): void {
    if (!this.begin(realPath)) return;
    const files = [{ source, place: { kind: 'payload' } }] as const;
    this.#ordered.push({ key: '', findings: { files, problems: [], gaps: [] } });
    this.#files += 1;
    this.#onProgress(this.#files);
  }

  endOfPath(): void {
    this.#ofPath.sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const staged of this.#ofPath) this.#ordered.push(staged);
    this.#ofPath = [];
  }

  end(): Staged {
    this.endOfPath();
    const { count, first } = this.#strangers;
    return {
      files: this.#ordered.flatMap(({ findings }) => findings.files),
      problems: this.#ordered.flatMap(({ findings }) => findings.problems),
      gaps: this.#ordered.flatMap(({ findings }) => findings.gaps),
      strangers: { count, first },
    };
  }
}

async function readStaged(
  source: StagedFile['source'],
  realPath: string,
): Promise<StagedBytes | StagedProblem> {
  const opened = await openRegularFile(realPath);
  if (isRefusal(opened)) return { source, ...opened };
  try {
    const bytes =
      opened.stats.size > MAX_SIGNATURE_BYTES
        ? null
        : await readAtMost(opened.descriptor, opened.stats.size, MAX_SIGNATURE_BYTES);
    if (bytes === null) return { source, ...TOO_LARGE };
    // read after the content, so that a file that is written meanwhile shows its newest time
    return { bytes, modifiedAt: modifiedAtOf(fstatSync(opened.descriptor).mtimeMs) };
  } catch (error) {
    return { source, ...unreadable(error) };
  } finally {
    closeSync(opened.descriptor);
  }
}

const TOO_LARGE = {
  kind: 'too-large',
  message: `is over ${MAX_SIGNATURE_BYTES} bytes, more than any client reads, so it was not read; it is probably no signature`,
} as const;
