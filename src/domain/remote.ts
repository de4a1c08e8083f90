// A signature server as its clients see it, wherever it runs.
import type { ImageId } from './image.ts';
import type { MirroredImage } from './mirror.ts';
import type { BatchPart, BatchResult } from './receipt.ts';
import type { State } from './state.ts';
import type { StoredSignature } from './stored-signature.ts';
import type { ListedWithdrawal, Withdrawn } from './tombstone.ts';

export interface AskedBlob {
  readonly image: ImageId;
  /** 64 lower-case hex digits, of the blob. */
  readonly sha256: string;
}

export interface RemoteFilter {
  /** Repository path without the registry's host; null: all. */
  readonly repository: string | null;
  /** `sha256:<hex>`; null: all. */
  readonly digest: string | null;
  /** The tag in the claimed docker-reference; null: any. */
  readonly tag: string | null;
  /** The fingerprint of the primary key, or its key ID; null: any key. */
  readonly fingerprint: string | null;
  readonly state: State | null;
  /** Name of the token, or `administrator`; null: whoever. */
  readonly uploader: string | null;
  /** Stored at or after; null: whenever. */
  readonly since: Date | null;
}

export interface SendOptions {
  readonly force: boolean;
  /** Remaps by which signed names may be others than those of the places: `mirror/quay=quay.io`. */
  readonly signedFor?: readonly string[];
}
/** Everything. */
export const ANY_SIGNATURE: RemoteFilter = {
  repository: null,
  digest: null,
  tag: null,
  fingerprint: null,
  state: null,
  uploader: null,
  since: null,
};

/**
 * Every method throws LookasideError: SERVER_UNREACHABLE (also for the answers of a proxy in front of the server, except
 * TOO_LARGE), UNAUTHORIZED, DENIED, or the code with which the server refused. Failures that another try may mend
 * (connections that fail, 408, 429, 502 to 504) have been tried again by then.
 */
export interface SignatureServer {
  /** For people: the URL without a password. */
  readonly name: string;
  /** Positions in `asked`, ascending, of blobs that clients cannot get. `asked` has at most MAX_MISSING_ASKED. */
  missing(asked: readonly AskedBlob[]): Promise<readonly number[]>;
  /** The results are in the order of the parts. At most MAX_BATCH_PARTS parts, together at most MAX_BATCH_BYTES. */
  uploadBatch(parts: readonly BatchPart[], options: SendOptions): Promise<readonly BatchResult[]>;
  /** In served order; empty when nothing is stored. */
  ofImage(image: ImageId): Promise<readonly StoredSignature[]>;
  /** Newest first, page by page. */
  search(filter: RemoteFilter): AsyncIterable<StoredSignature>;
  /** The registered keys, armoured or not. */
  certificates(): Promise<readonly Uint8Array[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whom keys belong to, as their certificates say. */
export interface KeyNames {
  /** The first user ID of each registered key that has one, by fingerprint. Hostile text: escape where shown. */
  userIds(): Promise<ReadonlyMap<string, string>>;
}

/** What is known of an image beside its signatures. */
export interface ImageNotes {
  /** Also when nothing is stored; `mirror` is null outside of mirrors. The image's site must be one of the server. */
  details(image: ImageId): Promise<{
    readonly signatures: readonly StoredSignature[];
    /** What was withdrawn of it; empty also for servers that do not tell. */
    readonly withdrawn: readonly Withdrawn[];
    readonly mirror: MirroredImage | null;
  }>;
}

/** What was withdrawn of many images. */
export interface WithdrawnList {
  /** By site and image, page by page. `repository` and `digest` as in a RemoteFilter. */
  withdrawals(filter: {
    readonly repository: string | null;
    readonly digest: string | null;
    readonly by: string | null;
    readonly since: Date | null;
  }): AsyncIterable<ListedWithdrawal>;
}

/** What a client gets that pulls an image. The server may be another lookaside implementation, and mostly needs no token. */
export interface ServedSignatures {
  /** The bytes of signature-N; null when there is none. @throws as SignatureServer */
  signature(image: ImageId, number: number): Promise<Uint8Array | null>;
}

/** Called before each wait for another try. */
export type OnRetry = (about: {
  /** What went wrong, for people. */
  readonly message: string;
  readonly waitMs: number;
}) => void;
