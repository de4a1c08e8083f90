// Signatures in a local folder, as podman, skopeo and people leave them there, on their way to a server.
import type { Digest, ImageId } from './image.ts';

/** Where a staged file belongs, as far as its own path says. */
export type StagedPlace =
  /** `team/app@sha256=<hex>/signature-2` below a staging folder, or `sha256=<hex>/signature-2`. */
  | { readonly kind: 'image'; readonly image: ImageId; readonly number: number }
  /**
   * `signature-2` or `<hex>.signature-2` of a `dir:` image, or of an image's folder that was itself given. The path gives the
   * manifest, and the payload gives the repository.
   */
  | { readonly kind: 'manifest'; readonly digest: Digest; readonly number: number }
  /** A single file, as skopeo standalone-sign writes it: the payload gives everything. */
  | { readonly kind: 'payload' };

export interface StagedFile {
  /** As people name it: the given path, and the path below it. Hostile text: escape where shown. */
  readonly source: string;
  readonly place: StagedPlace;
}

/** A file that has a signature's name but cannot be sent, or a folder that cannot be read. */
export interface StagedProblem {
  readonly source: string;
  readonly kind:
    | 'link'
    | 'no-file'
    | 'too-large'
    | 'unreadable'
    /** A folder of signatures whose name is nearly an image's: no client asks for it, and no server accepts it. */
    | 'no-image-name'
    /** A folder with more signatures of one image than an image can have: those with the highest numbers are left out. */
    | 'too-many'
    /** Only from read(): the file is gone since find() found it. */
    | 'gone';
  /** What was found, and what to do. */
  readonly message: string;
}

export interface Staged {
  /** Folder by folder in natural order, and by number in each folder. */
  readonly files: readonly StagedFile[];
  readonly problems: readonly StagedProblem[];
  /** Images with a missing number, and the numbers behind the gap: no client would find those signatures here. */
  readonly gaps: readonly { readonly source: string; readonly hidden: readonly number[] }[];
  /** Files whose names are not signature names: how many, and the first 20. */
  readonly strangers: { readonly count: number; readonly first: readonly string[] };
}

export interface StagedBytes {
  readonly bytes: Uint8Array;
  /** By this machine's clock, if the file system uses that clock. */
  readonly modifiedAt: Date;
}

export interface WatchListener {
  /**
   * Something may have changed in the folder. The empty name means the root with all below it, and comes when single changes
   * may have been missed.
   */
  readonly onChange: (folder: string) => void;
  /**
   * Changes may go unnoticed, so onChange reports the whole tree every few seconds from now on. `why` says the reason, and
   * what to do, for people.
   */
  readonly onPolling: (why: string) => void;
}

/** Folders and files on this machine. Follows a given name when it is a link, and no link below it. */
export interface Staging {
  /**
   * Everything below these folders, and these files themselves. A given folder counts as the top of a staging tree: the path
   * below it is the repository path. `onProgress` gets the number of files that were found.
   * @throws LookasideError CONFIG_INVALID when one of them does not exist or cannot be read
   */
  find(paths: readonly string[], onProgress: (files: number) => void): Promise<Staged>;
  /**
   * As find(), for single folders below one root, as watch() names them: only files directly in these folders; for the empty
   * name, everything. A folder that is gone holds nothing. @throws as find() when the root is gone
   */
  findBelow(root: string, folders: readonly string[]): Promise<Staged>;
  /** The file as it is now, or why it cannot be sent. Never reads outside the paths that find() was given. */
  read(file: StagedFile): Promise<StagedBytes | StagedProblem>;
  /** Reports changes below the root from now on. @throws as find() */
  watch(root: string, listener: WatchListener): Promise<AsyncDisposable>;
}
