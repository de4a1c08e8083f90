// Directory pages: folders and sets as people and scripts look through them.
import { type ImageId, imageFolder } from '../domain/image.ts';
import { DIRECTORY_PAGE_ENTRIES } from '../domain/limits.ts';
import { RESERVED_SEGMENTS } from '../domain/lookaside-path.ts';
import type { SignatureStore } from '../domain/ports.ts';
import type { Reader } from './read.ts';

export type DirectoryEntry =
  | { readonly name: string; readonly type: 'directory' }
  | {
      readonly name: string;
      readonly type: 'file';
      readonly sizeBytes: number;
      readonly modifiedAt: Date;
      readonly sha256: string;
    };

export interface DirectoryPage {
  /** With a slash at both ends; without the server's prefix. */
  readonly path: string;
  readonly entries: readonly DirectoryEntry[];
  /** Pass as `after` for the next page; null on the last one. */
  readonly next: string | null;
}

export interface Browser {
  /** Null when the folder holds no signature; the top is always there. @throws LookasideError STORE_UNAVAILABLE, INDEX_UNUSABLE */
  folderPage(site: string, folder: string, after: string | null): Promise<DirectoryPage | null>;
  /** Null when the image has no signature. @throws STORE_UNAVAILABLE */
  imagePage(image: ImageId): Promise<DirectoryPage | null>;
}

export function createBrowser(store: SignatureStore, reader: Reader): Browser {
  return {
    async folderPage(site, folder, after) {
      const { names, next } = await store.listFolder(site, folder, after, DIRECTORY_PAGE_ENTRIES);
      if (names.length === 0 && after === null && folder !== '') return null;
      // a folder under a reserved name has no page of its own
      const visible = folder === '' ? names.filter((name) => !RESERVED_SEGMENTS.has(name)) : names;
      const entries = visible.map((name): DirectoryEntry => ({ name: `${name}/`, type: 'directory' }));
      return { path: folder === '' ? '/' : `/${folder}/`, entries, next };
    },
    async imagePage(image) {
      const { entries } = await reader.readSet(image);
      if (entries.length === 0) return null;
      return {
        path: `/${imageFolder(image)}/`,
        entries: entries.map(({ sizeBytes, storedAt, sha256 }, position) => ({
          name: `signature-${position + 1}`,
          type: 'file',
          sizeBytes,
          modifiedAt: storedAt,
          sha256,
        })),
        next: null,
      };
    },
  };
}
