// Signatures in somebody's folder, as podman, skopeo and people leave them, on their way to a server.
import type { Digest, ImageId } from './image.ts';

/** Where a staged file belongs, as far as its own path tells. */
export type StagedPlace =
  /** `team/app@sha256=<hex>/signature-2` below a staging folder, or `sha256=<hex>/signature-2`. */
  | { readonly kind: 'image'; readonly image: ImageId; readonly number: number }
  /**
   * `signature-2` or `<hex>.signature-2` of a `dir:` image, or of an image's folder that was itself given: the manifest
   * is known, the repository is the payload's.
   */
  | { readonly kind: 'manifest'; readonly digest: Digest; readonly number: number }
  /** A file of its own, as skopeo standalone-sign writes it: all is the payload's. */
  | { readonly kind: 'payload' };

export interface StagedFile {
  /** As people name it: what was given, and the path below. Hostile text: escape where shown. */
  readonly source: string;
  readonly place: StagedPlace;
}

/** What bears a signature's name and cannot be sent, or a folder that could not be looked into. */
export interface StagedProblem {
  readonly source: string;
  readonly kind:
    | 'link'
    | 'no-file'
    | 'too-large'
    | 'unreadable'
    /** A folder of signatures whose name is nearly an image's: no client would ask for it, and no server take it. */
    | 'no-image-name'
    /** A folder with more signatures of one image than that can have: those with the highest numbers are left out. */
    | 'too-many'
    /** Of read() alone: it was there when it was found. */
    | 'gone';
  /** What was found, and what to do. */
  readonly message: string;
}

export interface Staged {
  /** Folder by folder in natural order, in each by number. */
  readonly files: readonly StagedFile[];
  readonly problems: readonly StagedProblem[];
  /** Images of which a number is missing, with the numbers behind the gap: no client would find those here. */
  readonly gaps: readonly { readonly source: string; readonly hidden: readonly number[] }[];
  /** Files whose names are no signature's: how many, and the first 20. */
  readonly strangers: { readonly count: number; readonly first: readonly string[] };
}

export interface StagedBytes {
  readonly bytes: Uint8Array;
  /** By this machine's clock, as far as the file system goes by that. */
  readonly modifiedAt: Date;
}

export interface WatchListener {
  /** Something may have changed in the folder; the empty name is the root with all below it, told when single changes may have been missed. */
  readonly onChange: (folder: string) => void;
  /** Changes may go unnoticed, so that all is told every few seconds from now on. Why, and what to do, for people. */
  readonly onPolling: (why: string) => void;
}

/** Folders and files on this machine. Follows the names that it is given, and no link below them. */
export interface Staging {
  /**
   * All that lies below these folders, and these files themselves. A given folder is taken for the top of a staging
   * tree: what is below it is the repository path. `onProgress` is told how many files were found.
   * @throws LookasideError CONFIG_INVALID when one of them does not exist or cannot be read
   */
  find(paths: readonly string[], onProgress: (files: number) => void): Promise<Staged>;
  /**
   * As find(), of single folders below one root, as watch() names them: what stands in these themselves, and for the
   * empty name all. One that has gone holds nothing. @throws as find() when the root has gone
   */
  findBelow(root: string, folders: readonly string[]): Promise<Staged>;
  /** The file as it is now, or why it cannot be sent. Never reads outside of what was given to find(). */
  read(file: StagedFile): Promise<StagedBytes | StagedProblem>;
  /** Tells of changes below the root from now on. @throws as find() */
  watch(root: string, listener: WatchListener): Promise<AsyncDisposable>;
}
