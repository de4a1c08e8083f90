// What the services need of the world. Adapters implement these; compose connects them.
import type { NewAuditEvent } from './audit.ts';
import type { ErrorCode } from './errors.ts';
import type { ImageId } from './image.ts';
import type { KeyDetails, KeyWarning, RegisteredKey } from './key.ts';
import type { Judgement, SignatureForm, Traits, Verdict } from './verdict.ts';

export interface Clock {
  now(): Date;
  /** Milliseconds since some start; never jumps. For ages and timeouts. */
  monotonicMs(): number;
}

/** JSON lines; `fields` never hold secrets. Hostile text in fields is escaped by the adapter. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** One served signature. `bytes` null: over 8 KiB, to be had from readBlob. */
export interface SetEntry {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly storedAt: Date;
  readonly bytes: Uint8Array | null;
}

/** What clients see of one image: entry k is served as signature-(k+1). Never changed once made. */
export interface SignatureSet {
  /** Grows whenever the image's set changes. */
  readonly generation: number;
  readonly entries: readonly SetEntry[];
}

/** Every method is one atomic act. Readers see a set before or after it, never between. */
export interface SignatureStore {
  /**
   * The image's set now; empty = nothing there. `known` is a set read earlier: it is handed back as it is when
   * the image has not changed since. @throws LookasideError STORE_UNAVAILABLE when the disk failed: never read as absence.
   */
  readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet>;
  /** Bytes whose SHA-256 is `sha256`; null when the image holds no such signature any more. @throws STORE_UNAVAILABLE */
  readBlob(image: ImageId, sha256: string): Promise<Uint8Array | null>;
  /** One page of a folder's children in natural order, only such that hold a signature somewhere below. @throws STORE_UNAVAILABLE */
  listFolder(site: string, folder: string, after: string | null, limit: number): Promise<FolderPage>;
}

export interface FolderPage {
  /** Names of the children, folders of images (`app@sha256=…`) and folders above them alike. */
  readonly names: readonly string[];
  /** The last name of this page when more follow. */
  readonly next: string | null;
}

/** What the index keeps of one signature file. `number` is the file's, which is not the served one when a file before it is unreadable. */
export interface RecordedSignature {
  readonly number: number;
  /** 64 hex digits. */
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly storedAt: Date;
  /** Null when over MAX_INDEXED_BYTES. */
  readonly bytes: Uint8Array | null;
  /** To be recorded with it; without one the verdict of the same bytes stays, new ones are `unverified`. */
  readonly judgement?: Judgement;
}

export interface RecordedImage {
  readonly image: ImageId;
  /** By number. Empty = the image is forgotten. */
  readonly signatures: readonly RecordedSignature[];
}

/**
 * The index over a tree: a cache, which can be thrown away. Changes resolve when committed, and are carried out in the
 * order in which they are asked for: whoever records last is right.
 */
export interface SignatureIndex {
  /**
   * The recorded signatures by number, their bytes checked against their SHA-256; empty = none.
   * @throws LookasideError INDEX_UNUSABLE when the file is corrupt, gone or being made anew
   */
  recorded(image: ImageId): Promise<readonly RecordedSignature[]>;
  /** @throws INDEX_UNUSABLE */
  listFolder(site: string, folder: string, after: string | null, limit: number): Promise<FolderPage>;
  /** Whether the folder has that child. @throws INDEX_UNUSABLE */
  hasChild(site: string, folder: string, name: string): Promise<boolean>;
  /** The images of a site in a stable order, for walks. @throws INDEX_UNUSABLE */
  images(site: string, after: ImageId | null, limit: number): Promise<readonly ImageId[]>;
  /** @throws INDEX_UNUSABLE */
  counts(site: string): Promise<{ readonly images: number; readonly signatures: number }>;
  /** Which tree the site's rows come from, as given to bind(); empty when it never was. @throws INDEX_UNUSABLE */
  treeOf(site: string): Promise<string>;
  /** True once a whole scan has been recorded and the file was checked: absence in the index is then absence. */
  isComplete(site: string): Promise<boolean>;
  /** Replaces what is recorded of these images, in one transaction. @throws BUSY when the queue is full */
  record(images: readonly RecordedImage[]): Promise<void>;
  /** Forgets every image below the folder (`team` or `team/app@sha256=…`). */
  forgetFolder(site: string, folder: string): Promise<void>;
  markComplete(site: string): Promise<void>;
  /** Forgets the site when its rows come from another tree, so that one tree never answers for another. */
  bind(site: string, tree: string): Promise<void>;
  /** Starts again from an empty file. */
  reset(): Promise<void>;
}

/** Requests of one client for one signature within one minute. */
export interface ReadCount {
  readonly image: ImageId;
  /** Null when the name asked for is no signature number. */
  readonly number: number | null;
  readonly status: number;
  readonly address: string;
  /** User-Agent, cut to 256 characters; empty when none was sent. Null: of too many rows of one network, told apart by it no more. */
  readonly agent: string | null;
  /** Name of the token that was used, or null. */
  readonly token: string | null;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly count: number;
  readonly bytes: number;
}

/** Requests for an image that holds no signature. */
export interface MissingCount {
  readonly image: ImageId;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly lastAddress: string;
  readonly count: number;
}

export interface AccessBatch {
  readonly reads: readonly ReadCount[];
  readonly missing: readonly MissingCount[];
}

/** Who fetched what: one database a day (UTC), written in batches, pruned by age and size. */
export interface AccessLog {
  /** Resolves when committed. @throws BUSY, STORE_UNAVAILABLE: the batch was not kept */
  write(batch: AccessBatch): Promise<void>;
  /**
   * Deletes days older than the retention, then the oldest days until all together fit. Today's is never deleted.
   * Until the clock has gone steadily for a day, ages are counted from the newest day that ended a day ago or earlier.
   */
  prune(limits: AccessLimits): Promise<AccessPruned>;
}

export interface AccessLimits {
  readonly now: Date;
  /** For how long the clock has gone without a jump. */
  readonly steadyMs: number;
  readonly retentionMs: number;
  readonly maxBytes: number;
}

export interface AccessPruned {
  /** False when today's alone is too large, and nothing more should be written. */
  readonly fits: boolean;
  /** Days that are too old by a clock that is far from them, and kept until it has gone steadily for a day. */
  readonly doubted: { readonly days: number; readonly newest: string | null } | null;
}

export const ROLES = ['admin', 'auditor', 'reader', 'uploader'] as const;
export type Role = (typeof ROLES)[number];

/** A credential. Its text is never kept: `hash` is the lower-case hex SHA-256 of it. */
export interface Token {
  readonly name: string;
  readonly role: Role;
  readonly createdAt: Date;
  /** From when on it opens nothing; null = never. */
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
}

export interface TokenStore {
  /**
   * The token with that hash that is not revoked, or null; it may have expired. It comes from a snapshot in memory, because a read of a closed site
   * waits for nothing. What this process made or revoked is in it once create() or revoke() has resolved; what another
   * process did, a second later.
   */
  peek(hash: string): Token | null;
  /** The same, from the store itself: for a hash that peek() does not know. @throws STORE_UNAVAILABLE */
  find(hash: string): Promise<Token | null>;
  /** In the order of their making. @throws STORE_UNAVAILABLE */
  list(): Promise<readonly Token[]>;
  /** Durable with its event once resolved. @throws NAME_TAKEN */
  create(
    token: {
      readonly name: string;
      readonly role: Role;
      readonly hash: string;
      readonly createdAt: Date;
      readonly expiresAt: Date | null;
    },
    event: NewAuditEvent,
  ): Promise<Token>;
  /** Durable with its event once resolved; null when no such name. A second time changes nothing, without an event. */
  revoke(name: string, revokedAt: Date, event: NewAuditEvent): Promise<Token | null>;
}

/** A recorded signature with what verification found of it. Null where Judgement has null. */
export interface IndexedSignature {
  /** Grows with every signature that the index learns of; never used twice by one index. */
  readonly id: number;
  readonly image: ImageId;
  /** The file's; see RecordedSignature. */
  readonly number: number;
  /** The one under which clients get it. */
  readonly servedNumber: number;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly storedAt: Date;
  readonly verdict: Verdict;
  /** Code of the refusal, or null. */
  readonly reason: string | null;
  readonly form: SignatureForm | null;
  readonly issuer: string | null;
  readonly fingerprint: string | null;
  readonly signingFingerprint: string | null;
  readonly signedAt: Date | null;
  readonly expiresAt: Date | null;
  /** `sha256:<hex>`. */
  readonly manifestDigest: string | null;
  readonly dockerReference: string | null;
  readonly creator: string | null;
  readonly traits: Traits | null;
}

export interface SignatureFilter {
  /** Repository path, or folder of the release layout; equal, not a prefix. */
  readonly path: string | null;
  /** `sha256:<hex>`, parsed by the caller. */
  readonly digest: Pick<ImageId, 'algorithm' | 'hex'> | null;
  /** Of the primary key. */
  readonly fingerprint: string | null;
  /** Stored at or after. */
  readonly since: Date | null;
  /** Stored before. */
  readonly until: Date | null;
}

export interface SignaturePage {
  readonly filter: SignatureFilter;
  readonly order: 'newest' | 'oldest';
  /** Id of the last row seen, or null at the beginning. */
  readonly after: number | null;
  readonly limit: number;
}

/** What verification found, beside the signatures of the index. Look-ups reject with INDEX_UNUSABLE. */
export interface VerdictIndex {
  /** Names this index: ids of one mean nothing in another. What was found between two equal answers is all of one index. */
  generation(): Promise<string>;
  /** In served order. */
  ofImage(image: ImageId): Promise<readonly IndexedSignature[]>;
  /** By id, in the page's order. */
  search(site: string, page: SignaturePage): Promise<readonly IndexedSignature[]>;
  /** How many verified by the key of this primary fingerprint, wherever they stand. */
  countByKey(site: string, fingerprint: string): Promise<number>;
  /** Those that are worth a look at `now`, by id: `unverified` ones, and those that are to be judged again. */
  unjudged(site: string, now: Date, after: number, limit: number): Promise<readonly IndexedSignature[]>;
  /** All such of one image, also when they are worth a look only later; in served order. */
  unjudgedOf(image: ImageId): Promise<readonly IndexedSignature[]>;
  /** Writes what was found of these bytes of the image, wherever they are recorded. @throws BUSY */
  judge(
    judged: readonly { readonly image: ImageId; readonly sha256: string; readonly judgement: Judgement }[],
  ): Promise<void>;
  /**
   * Has all judged again whose issuer is one of these fingerprints or key IDs, or whose primary key is. Each keeps the
   * verdict that it has until there is another.
   */
  judgeAgain(site: string, issuers: readonly string[]): Promise<void>;
}

/** OpenPGP, in threads of its own with a deadline. */
export interface Verifier {
  /**
   * Structure, signature, then payload; the first thing that is wrong decides. Keys are those of the keyring.
   * `upload` goes ahead of `background`. @throws LookasideError BUSY: too much waits, or it took too long
   */
  examine(untrusted: Uint8Array, now: Date, urgency: 'upload' | 'background'): Promise<Judgement>;
  /**
   * The certificates of one file (binary or armoured, several one after the other), each cleaned, merged with what
   * the keyring has of it, and answered by itself. @throws REQUEST_INVALID when there is none at all, TOO_LARGE, BUSY
   */
  cleanCertificates(untrusted: Uint8Array, now: Date): Promise<readonly CleanedCertificate[]>;
  /** ASCII armour of our own making. */
  armor(certificate: Uint8Array): string;
  /** What cleaning left out of it, and which clients will not do with it. */
  warningsOf(certificate: Uint8Array): readonly KeyWarning[];
  /** What examine and cleanCertificates work with from now on: binary, cleaned. */
  setKeyring(certificates: readonly Uint8Array[]): void;
  close(): Promise<void>;
}

export type CleanedCertificate =
  | {
      readonly kind: 'clean';
      readonly details: KeyDetails;
      readonly certificate: Uint8Array;
      readonly warnings: readonly KeyWarning[];
    }
  | {
      readonly kind: 'refused';
      /** Null when the packet could not be read so far. */
      readonly fingerprint: string | null;
      readonly code: ErrorCode;
      readonly message: string;
    };

export interface KeyStore {
  /** By time of adding. */
  list(): Promise<readonly RegisteredKey[]>;
  find(fingerprint: string): Promise<RegisteredKey | null>;
  /** Adds or replaces; durable with its event once resolved. */
  put(key: KeyDetails & { readonly certificate: Uint8Array }, event: NewAuditEvent): Promise<RegisteredKey>;
  /** Durable with its event once resolved; false, without an event, when there is no such key. */
  remove(fingerprint: string, event: NewAuditEvent): Promise<boolean>;
}

/** What an upload brought, for ever. */
export interface NewUpload {
  readonly image: ImageId;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Name of the token, or `administrator`. */
  readonly uploader: string;
  readonly storedAt: Date;
  /** Kept where other programs may overwrite the file; else null. */
  readonly bytes: Uint8Array | null;
}

export interface Upload {
  readonly sha256: string;
  readonly uploader: string;
  readonly storedAt: Date;
  readonly auditSeq: number;
}

export interface UploadStore {
  /** What was uploaded for the image, in the order of uploading. @throws STORE_UNAVAILABLE */
  ofImage(image: ImageId): Promise<readonly Upload[]>;
  /** The kept bytes, or null. @throws STORE_UNAVAILABLE */
  bytesOf(image: ImageId, sha256: string): Promise<Uint8Array | null>;
  /** Upload and event in one transaction, durable once resolved. The same bytes for the same image again: the first one's number. */
  add(upload: NewUpload, event: NewAuditEvent): Promise<{ readonly auditSeq: number }>;
}

export interface AuditLog {
  /** Durable once resolved; the event's number. */
  append(event: NewAuditEvent): Promise<number>;
}

/** An upload that was verified and fits its place. */
export interface VerifiedUpload {
  readonly image: ImageId;
  readonly bytes: Uint8Array;
  readonly judgement: Judgement;
  readonly uploader: string;
  readonly event: NewAuditEvent;
  /** The number that clients are to get it under; null: the next. */
  readonly number: number | null;
  /**
   * Looks at the image's served signatures, in order, as far as they are judged. Null: nothing is asked.
   * @throws TOO_MANY_SIGNATURES when what it says has enough of the image's numbers
   */
  readonly review: ((served: readonly IndexedSignature[]) => Promise<UploadReview>) | null;
}

/** What an image's signatures mean for an upload. */
export interface UploadReview {
  /** One of them that makes storing needless. */
  readonly standIn: IndexedSignature | null;
  /** `same`: the stand-in is the uploaded signature itself, in other bytes. */
  readonly outcome: 'same' | 'equivalent';
  /** Served numbers of those that no client needs, to be told when no number is left. */
  readonly needless: readonly number[];
}

export interface Appended {
  /** `exists`: these bytes are there. `same`: this signature is there, in other bytes. */
  readonly outcome: 'created' | 'exists' | 'same' | 'equivalent';
  /** The one under which clients get it. */
  readonly number: number;
  /** Of the bytes that are there. */
  readonly sha256: string;
  /** Null when they were not uploaded to us. */
  readonly auditSeq: number | null;
}

export interface SignatureAppender {
  /**
   * Once this resolves, bytes, provenance and audit event survive a power cut and every read sees them.
   * @throws NUMBER_TAKEN, NUMBER_NOT_NEXT (detail.next), TOO_MANY_SIGNATURES, DISK_FULL, READ_ONLY, BUSY, STORE_UNAVAILABLE
   */
  append(upload: VerifiedUpload): Promise<Appended>;
  /** Ends what a crash left half done; to be called before the first read. */
  recover(): Promise<void>;
}
