// Walks a tree and its index together, folder by folder, without delaying readers.
import { type ImageId, isNamespaceFolder, parseImageFolder, whyTooLong } from '../domain/image.ts';
import type { FolderPage, SignatureIndex } from '../domain/ports.ts';
import type { Tree } from '../domain/tree.ts';
import type { TooLong } from '../domain/tree-walk.ts';

export interface Walk {
  readonly site: string;
  /** Where the walk begins; empty for the whole tree. */
  readonly folder: string;
  /** Decides whether to go on. */
  readonly onFailure: OnFailure;
  /** Called once for each folder that holds folders whose paths are too long to be read. */
  readonly onTooLong?: (folder: TooLong) => void;
  /** Called for a folder that the index still has although its path is too long. */
  readonly onOutgrown?: (folder: string) => Promise<void>;
  /** When aborted, it ends the walk with its reason before another folder is read. */
  readonly signal?: AbortSignal | undefined;
}

/** Throws, or returns to go on without the folder that failed. */
export type OnFailure = (error: unknown, folder: string) => null;

export interface Walker {
  /** Every image in the folder or below it, on disk or in the index. */
  images(walk: Walk): AsyncGenerator<ImageId>;
  /** Names of the folder's children in the index. */
  recordedChildren(site: string, folder: string): AsyncGenerator<string>;
}

export const rethrow: OnFailure = (error) => {
  throw error;
};

const INDEX_PAGE = 500;

/** A folder that is still to be read. */
interface Place {
  readonly path: string;
  /** Null at the start, and for a folder that only the index has. */
  readonly above: Above | null;
}

/** The folders on the way here: a circle of links ends at one of them. */
interface Above {
  readonly id: string;
  readonly above: Above | null;
}

/** `breathe` lets others run: an index in this process answers at once, and a folder may have 100,000 children. */
export function createWalker(tree: Tree, index: SignatureIndex, breathe: () => Promise<void>): Walker {
  async function* recordedChildren(site: string, folder: string): AsyncGenerator<string> {
    for (let after: string | null = null; ; ) {
      const page: FolderPage = await index.listFolder(site, folder, after, INDEX_PAGE);
      yield* page.names;
      after = page.next;
      if (after === null) return;
      await breathe();
    }
  }

  // a list and no recursion: with nested generators, every image would pass through one generator for each of its folders
  async function* images(walk: Walk): AsyncGenerator<ImageId> {
    const waiting: Place[] = [{ path: walk.folder, above: null }];
    for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
      walk.signal?.throwIfAborted();
      const next: Place[] = [];
      const there = new Set<string>();
      yield* onDisk(walk, place, there, next);
      yield* recorded(walk, place, there, next);
      for (const child of next.reverse()) waiting.push(child);
    }
  }

  /** Notes the names of the folders that are there, and which of them are to be looked into. */
  async function* onDisk(
    walk: Walk,
    { path, above }: Place,
    there: Set<string>,
    next: Place[],
  ): AsyncGenerator<ImageId> {
    const tooLong = { path: '', count: 0 };
    try {
      const identity = await tree.statFolder(path);
      if (identity === null || isAmong(identity.id, above)) return;
      const here = { id: identity.id, above };
      for await (const { name, kind } of (await tree.children(path)) ?? []) {
        walk.signal?.throwIfAborted();
        if (kind !== 'folder') continue;
        const child = below(path, name);
        const image = parseImageFolder(walk.site, child);
        const isAboveImages = image === null && isNamespaceFolder(child);
        if (image === null && !isAboveImages && whyTooLong(child) !== null) {
          if (tooLong.count === 0) tooLong.path = child;
          tooLong.count += 1;
          continue;
        }
        there.add(name);
        if (image !== null) yield image;
        else if (isAboveImages) next.push({ path: child, above: here });
      }
    } catch (error) {
      walk.signal?.throwIfAborted();
      walk.onFailure(error, path);
    } finally {
      if (tooLong.count > 0) walk.onTooLong?.(tooLong);
    }
  }

  /** What the index has and the disk lacks. */
  async function* recorded(
    { site, onOutgrown, signal }: Walk,
    { path }: Place,
    there: ReadonlySet<string>,
    next: Place[],
  ): AsyncGenerator<ImageId> {
    for await (const name of recordedChildren(site, path)) {
      signal?.throwIfAborted();
      if (there.has(name)) continue;
      const child = below(path, name);
      const image = parseImageFolder(site, child);
      if (image !== null) yield image;
      else if (isNamespaceFolder(child)) next.push({ path: child, above: null });
      else await onOutgrown?.(child);
    }
  }

  return { images, recordedChildren };
}

function isAmong(id: string, above: Above | null): boolean {
  for (let folder = above; folder !== null; folder = folder.above) {
    if (folder.id === id) return true;
  }
  return false;
}

export function below(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}
