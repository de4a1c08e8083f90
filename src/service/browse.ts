// Directory pages: folders and sets, for people and scripts that browse them.
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { DIRECTORY_PAGE_ENTRIES } from '../domain/limits.ts';
import type { SetEntry, SignatureStore } from '../domain/ports.ts';
import { RESERVED_SEGMENTS } from '../domain/reserved-segments.ts';
import type { SitePlace } from '../domain/site.ts';
import type { State } from '../domain/state.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import type { Reader } from './read.ts';
import type { SignatureQueries } from './signatures.ts';

export type DirectoryEntry = { readonly name: string; readonly type: 'directory' } | SignatureEntry;

/** It does not name the uploader, because pages may be open to anyone. */
export interface SignatureEntry
  extends Pick<
    StoredSignature,
    'reason' | 'form' | 'fingerprint' | 'dockerReference' | 'signedAt' | 'warnings'
  > {
  readonly name: string;
  readonly type: 'file';
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  readonly sha256: string;
  /** Null while the index is being rebuilt; the other fields of StoredSignature are then null or empty too. */
  readonly state: State | 'withdrawn' | null;
}

export interface DirectoryPage {
  /** With a slash at both ends; below the site. */
  readonly path: string;
  readonly entries: readonly DirectoryEntry[];
  /** Pass as `after` for the next page; null on the last one. */
  readonly next: string | null;
}

export interface Browser {
  /** Null when the folder holds no signature; the top is always there. @throws LookasideError STORE_UNAVAILABLE, INDEX_UNUSABLE */
  folderPage(site: SitePlace, folder: string, after: string | null): Promise<DirectoryPage | null>;
  /** Null when the image has no signature. @throws STORE_UNAVAILABLE */
  imagePage(image: ImageId): Promise<DirectoryPage | null>;
}

export interface BrowserOptions {
  readonly store: Pick<SignatureStore, 'listFolder'>;
  readonly reader: Pick<Reader, 'readSet'>;
  readonly signatures: Pick<SignatureQueries, 'ofImage'>;
}

export function createBrowser({ store, reader, signatures }: BrowserOptions): Browser {
  /** What the index knows, by SHA-256. Empty while the index is being rebuilt: a page of bare files is better than no page. */
  async function knownOf(image: ImageId): Promise<ReadonlyMap<string, StoredSignature>> {
    try {
      const known = await signatures.ofImage(image);
      return new Map(known.map((signature) => [signature.signatureSha256, signature]));
    } catch (error) {
      if (isLookasideError(error, 'INDEX_UNUSABLE')) return new Map();
      throw error;
    }
  }

  return {
    async folderPage(site, folder, after) {
      const { names, next } = await store.listFolder(site.name, folder, after, DIRECTORY_PAGE_ENTRIES);
      if (names.length === 0 && after === null && folder !== '') return null;
      // a folder under a name of the server's own has no page
      const isServersTop = site.prefix === '' && folder === '';
      const visible = isServersTop ? names.filter((name) => !RESERVED_SEGMENTS.has(name)) : names;
      const entries = visible.map((name): DirectoryEntry => ({ name: `${name}/`, type: 'directory' }));
      return { path: folder === '' ? '/' : `/${folder}/`, entries, next };
    },
    async imagePage(image) {
      const { entries } = await reader.readSet(image);
      if (entries.length === 0) return null;
      const known = await knownOf(image);
      return {
        path: `/${imageFolder(image)}/`,
        entries: entries.map((entry, position) =>
          toEntry(entry, `signature-${position + 1}`, known.get(entry.sha256) ?? null),
        ),
        next: null,
      };
    },
  };
}

function toEntry(
  { sizeBytes, storedAt, sha256, isFiller = false }: SetEntry,
  name: string,
  known: StoredSignature | null,
  state: SignatureEntry['state'] = known?.state ?? null,
): SignatureEntry {
  // it stays on the page: who copies the page's files would else copy a gap
  if (isFiller) return toEntry({ sizeBytes, storedAt, sha256, bytes: null }, name, null, 'withdrawn');
  return {
    name,
    type: 'file',
    sizeBytes,
    modifiedAt: storedAt,
    sha256,
    state,
    reason: known?.reason ?? null,
    form: known?.form ?? null,
    fingerprint: known?.fingerprint ?? null,
    dockerReference: known?.dockerReference ?? null,
    signedAt: known?.signedAt ?? null,
    warnings: known?.warnings ?? [],
  };
}
