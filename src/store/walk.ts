// Walking a tree and its index together, folder by folder, without holding up whoever reads meanwhile.
import { type ImageId, isNamespaceFolder, parseImageFolder } from '../domain/image.ts';
import type { SignatureIndex } from '../domain/ports.ts';
import type { Tree } from '../domain/tree.ts';

export interface Walker {
  /** Every image that stands in the folder, on disk or in the index. `onFailure` tells whether to go on. */
  images(site: string, folder: string, onFailure: OnFailure): AsyncGenerator<ImageId>;
  /** Names of the folder's children in the index. */
  recordedChildren(site: string, folder: string): AsyncGenerator<string>;
}

/** Throws, or returns to go on without the folder that failed. */
export type OnFailure = (error: unknown, folder: string) => null;

export const rethrow: OnFailure = (error) => {
  throw error;
};

const INDEX_PAGE = 500;

/** `breathe` lets others run: look-ups in the index are synchronous, and a folder may have 100,000 children. */
export function createWalker(tree: Tree, index: SignatureIndex, breathe: () => Promise<void>): Walker {
  async function* recordedChildren(site: string, folder: string): AsyncGenerator<string> {
    for (let after: string | null = null; ; ) {
      const page = index.listFolder(site, folder, after, INDEX_PAGE);
      yield* page.names;
      after = page.next;
      if (after === null) return;
      await breathe();
    }
  }

  /** `above`: the folders on the way here, so that links in a circle end. */
  async function* walk(
    site: string,
    folder: string,
    above: ReadonlySet<string>,
    onFailure: OnFailure,
  ): AsyncGenerator<ImageId> {
    const there = new Set<string>();
    try {
      const identity = await tree.statFolder(folder);
      const isNew = identity !== null && !above.has(identity.id);
      const onTheWay = new Set(identity === null ? above : [...above, identity.id]);
      for await (const child of (isNew ? await tree.children(folder) : null) ?? []) {
        if (child.kind !== 'folder') continue;
        there.add(child.name);
        const path = below(folder, child.name);
        const image = parseImageFolder(site, path);
        if (image !== null) yield image;
        else if (isNamespaceFolder(path)) yield* walk(site, path, onTheWay, onFailure);
      }
    } catch (error) {
      onFailure(error, folder);
    }
    for await (const name of recordedChildren(site, folder)) {
      if (there.has(name)) continue;
      const path = below(folder, name);
      const image = parseImageFolder(site, path);
      if (image !== null) yield image;
      else yield* walk(site, path, new Set(), onFailure);
    }
  }

  return { images: (site, folder, onFailure) => walk(site, folder, new Set(), onFailure), recordedChildren };
}

export function below(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}
