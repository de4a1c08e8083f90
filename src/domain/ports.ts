// What the services need from outside. Adapters implement these; compose connects them.

import type { AuditAction, NewAuditEvent } from './audit.ts';
import type { Round } from './concurrency.ts';
import type { ErrorCode } from './errors.ts';
import type { AddedGrant, Grant, NewGrant, Signer } from './grant.ts';
import type { ImageId } from './image.ts';
import type { CertifiedKey, KeyDetails, KeyPartUse, KeyWarning, RegisteredKey } from './key.ts';
import type { StoredMirror, SyncReport, SyncRun } from './mirror.ts';
import type { AddedSubject, BoundSubject, NewOidcSubject, OidcSubject, TokenClaims } from './oidc.ts';
import type { PackedImages } from './packed-images.ts';
import type { FedEvent, Person } from './records.ts';
import type { GraphsTold, KnownRelease } from './release-graph.ts';
import type { Tombstone, WithdrawnFilter, WithdrawnPlace } from './tombstone.ts';
import type { QuickStamp } from './tree-walk.ts';
import type { Judgement, SignatureForm, Traits, Verdict } from './verdict.ts';

export interface Clock {
  now(): Date;
  /** Milliseconds since an arbitrary start; never jumps. For ages and timeouts. */
  monotonicMs(): number;
}

/** JSON lines; `fields` never hold secrets. Hostile text in fields is escaped by the adapter. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** One served signature. `bytes` is null over 8 KiB: readBlob reads them. */
export interface SetEntry {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly storedAt: Date;
  readonly bytes: Uint8Array | null;
  /** As RecordedSignature. */
  readonly isFiller?: boolean;
  /** In a view: the same signature stands under another number too, and is counted there. */
  readonly isRepeated?: boolean;
  /** In a view: the image that the signature is stored for, and its number there. */
  readonly stored?: { readonly image: ImageId; readonly number: number };
}

/** The signatures of one image that clients see: entry k is served as signature-(k+1). A set never changes once made. */
export interface SignatureSet {
  /** Grows whenever the image's set changes. */
  readonly generation: number;
  readonly entries: readonly SetEntry[];
  /**
   * True: nothing but this process changes the set, and it tells when it does (Reader.forget, Reader.forgetAll). Else the disk may
   * change it unheard.
   */
  readonly isSettled?: boolean;
  /** When the store is to be asked even for a settled set, by the monotonic clock. Absent: never. */
  readonly askAgainMs?: number;
}

/** Every method is atomic. Readers see a set before or after a change, never in between. */
export interface SignatureStore {
  /**
   * The image's current set; empty = nothing is stored. `known` is a set read earlier: the same object comes back when the
   * image has not changed since. @throws LookasideError STORE_UNAVAILABLE when the disk failed: this never counts as absence.
   */
  readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet>;
  /**
   * Whether readSet() would give `known` again, told at once. False also when only readSet() may tell: a store that can never tell
   * omits it.
   */
  peekHolds?(image: ImageId, known: SignatureSet): boolean;
  /**
   * By monotonicMs(), when readSet() would last have given `known` again, told at once, for who has not called forget() since; null when
   * only readSet() may tell. A store that can never tell omits it.
   */
  peekHeldAtMs?(image: ImageId, known: SignatureSet): number | null;
  /** Whether readSet() would give an empty set, told at once. False also when only readSet() may tell; may be omitted likewise. */
  peekEmpty?(image: ImageId, round?: Round): boolean;
  /** What readSet() would give, told at once, where that is settled. Null when only readSet() may tell; may be omitted likewise. */
  peekSettled?(image: ImageId): SignatureSet | null;
  /**
   * Whether anything is stored of each of these images of one site, in their order, for less than reading them. False also when only
   * readSet() may tell: a store that can never tell omits it. @throws STORE_UNAVAILABLE
   */
  areStored?(images: readonly ImageId[]): Promise<readonly boolean[]>;
  /** Bytes whose SHA-256 is `sha256`; null when the image no longer holds such a signature. @throws STORE_UNAVAILABLE */
  readBlob(image: ImageId, sha256: string): Promise<Uint8Array | null>;
  /**
   * One page of a folder's children in natural order, only those with a signature somewhere below. @throws STORE_UNAVAILABLE
   */
  listFolder(site: string, folder: string, after: string | null, limit: number): Promise<FolderPage>;
}

export interface FolderPage {
  /** Names of the children: folders of images (`app@sha256=…`) and folders above images. */
  readonly names: readonly string[];
  /** The last name of this page when more follow; else null. */
  readonly next: string | null;
}

/**
 * What the index keeps about one signature file. `number` is the file's number; it differs from the served one when a file
 * before it is unreadable.
 */
export interface RecordedSignature {
  readonly number: number;
  /** 64 hex digits. */
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly storedAt: Date;
  /** Null when over MAX_INDEXED_BYTES. */
  readonly bytes: Uint8Array | null;
  /** Recorded with the signature. When left out, the verdict of the same bytes stays, and new bytes are `unverified`. */
  readonly judgement?: Judgement;
  /** A copy of another signature of the image, at the number of one that was withdrawn: served, and counted nowhere. */
  readonly isFiller?: boolean;
}

export interface RecordedImage {
  readonly image: ImageId;
  /** In the order of their numbers. Empty = the index forgets the image. */
  readonly signatures: readonly RecordedSignature[];
  /**
   * The stamp of the folder as it is recorded here, when nothing is wrong with it: a scan passes over it as long as it has this stamp. Null: a scan
   * is to look at it, though its rows may be the same.
   */
  readonly stamp?: QuickStamp | null | undefined;
}

/**
 * The index over a tree: a cache, which can be thrown away. Changes resolve when committed. They are carried out in the order
 * in which they were asked for, so the last record of an image is the valid one.
 */
export interface SignatureIndex {
  /**
   * The recorded signatures in the order of their numbers, with bytes checked against their SHA-256; empty = none.
   * @throws LookasideError INDEX_UNUSABLE when the file is corrupt, gone or being rebuilt
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
  /** Which tree the site's rows come from, as given to bind(); empty when bind() was never called. @throws INDEX_UNUSABLE */
  treeOf(site: string): Promise<string>;
  /** True once a whole scan is recorded and the file is checked: what the index then lacks is absent from the tree. */
  isComplete(site: string): Promise<boolean>;
  /** Replaces what is recorded about these images, in one transaction. @throws BUSY when the queue is full */
  record(images: readonly RecordedImage[]): Promise<void>;
  /** Forgets every image below the folder (`team` or `team/app@sha256=…`). */
  forgetFolder(site: string, folder: string): Promise<void>;
  markComplete(site: string): Promise<void>;
  /** Forgets the site when its rows come from another tree, so that one tree never answers for another. */
  bind(site: string, tree: string): Promise<void>;
  /** Starts again from an empty file. */
  reset(): Promise<void>;
  /** Another number after each change of any rows: a look-up that began before it must not answer for one asked after it. */
  peekWrites(): number;
  /** True: nothing is recorded of the image. Answers at once. False says nothing; an index that can never know omits this method. */
  peekLacks?(image: ImageId): boolean;
  /** As recorded(), told at once, where isComplete() is known to be true. Null else, and where recorded() would throw; may be omitted likewise. */
  peekRecorded?(image: ImageId): readonly RecordedSignature[] | null;
  /** Whether anything is recorded of each, in their order; an index that is read too seldom omits it. @throws INDEX_UNUSABLE */
  areRecorded?(images: readonly ImageId[]): Promise<readonly boolean[]>;
}

/** An index beside a tree that is walked through. */
export interface NewImageIndex {
  /**
   * Records the images of a pack, all of one site, in one transaction. It leaves out those at the positions `without` and those that it
   * has rows of, and returns the positions of the latter. As with record(), changes are carried out in the order in which they were asked for.
   */
  recordNew(
    images: readonly ImageId[],
    packed: PackedImages,
    without: ReadonlySet<number>,
  ): Promise<readonly number[]>;
}

/** Requests of one client for one signature within one minute. */
export interface ReadCount {
  readonly image: ImageId;
  /** Null when the requested name has no signature number. */
  readonly number: number | null;
  /** SHA-256 of the bytes that were sent, or that the client already had; null for a 404. */
  readonly signatureSha256: string | null;
  readonly status: number;
  readonly address: string;
  /**
   * User-Agent, cut to 256 characters; empty when none was sent. Null when one network had too many rows, so that they are no
   * longer separated by agent.
   */
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
  /** Both to be gone through before the write of the batch ends. */
  readonly reads: Iterable<ReadCount>;
  readonly missing: Iterable<MissingCount>;
  /** Reads that found no room since the batch before. */
  readonly dropped?: DroppedCount;
}

export interface DroppedCount {
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

/** Who fetched what: one database for each day (UTC), written in batches, pruned by age and size. */
export interface AccessLog {
  /** Resolves when committed. @throws BUSY, STORE_UNAVAILABLE: the batch was not kept */
  write(batch: AccessBatch): Promise<void>;
  /**
   * Deletes days older than the retention, then the oldest days until the rest fits. Today is never deleted. Until the clock
   * has run steadily for a day, ages are counted from the newest day that ended a day ago or earlier.
   */
  prune(limits: AccessLimits): Promise<AccessPruned>;
  /**
   * Makes days that are over quick to ask, and keeps their hourly totals for ever. Days that are done already cost nothing.
   * @throws STORE_UNAVAILABLE
   */
  closeDays(now: Date): Promise<void>;
}

export interface AccessLimits {
  readonly now: Date;
  /** How long the clock has run without a jump. */
  readonly steadyMs: number;
  readonly retentionMs: number;
  readonly maxBytes: number;
}

export interface AccessPruned {
  /** False when today alone is too large, and nothing more should be written. */
  readonly fits: boolean;
  /** Days that are too old by a clock that differs much from them. They are kept until the clock has run steadily for a day. */
  readonly doubted: { readonly days: number; readonly newest: string | null } | null;
}

export const ROLES = ['admin', 'auditor', 'reader', 'uploader'] as const;

/** The role that somebody who needs one of these asks for: not `admin` where another one does. */
export function leastRole(roles: readonly Role[]): Role {
  return roles.find((role) => role !== 'admin') ?? 'admin';
}
export type Role = (typeof ROLES)[number];

/** A credential. Its text is never stored: `hash` is the lower-case hex SHA-256 of the text. */
export interface Token {
  readonly name: string;
  readonly role: Role;
  readonly createdAt: Date;
  /** The time from which on it gives no access; null = never. */
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  /** Name of the signer whose grants bind its uploads; null: none. It stays when the signer is removed. */
  readonly signer: string | null;
  /** Since when its signer is disabled. */
  readonly disabledAt: Date | null;
  /** To the minute; null: never. */
  readonly lastUsedAt: Date | null;
}

export interface TokenStore {
  /**
   * The token with that hash that is not revoked, or null; it may have expired. It comes from a snapshot in memory, because a
   * read of a closed site must not wait. The snapshot has this process's changes once create() or revoke() has resolved, and
   * another process's changes a second later.
   */
  peek(hash: string): Token | null;
  /** The same from the store itself, for a hash that peek() does not know. @throws STORE_UNAVAILABLE */
  find(hash: string): Promise<Token | null>;
  /** In the order in which they were made. @throws STORE_UNAVAILABLE */
  list(): Promise<readonly Token[]>;
  /** Durable with its event once resolved. @throws NAME_TAKEN; NOT_FOUND when there is no such signer */
  create(
    token: {
      readonly name: string;
      readonly role: Role;
      readonly hash: string;
      readonly createdAt: Date;
      readonly expiresAt: Date | null;
      readonly signer: string | null;
    },
    event: NewAuditEvent,
  ): Promise<Token>;
  /**
   * Durable with its event once resolved; null when no token has the name. Revoking a second time changes nothing and writes
   * no event.
   */
  revoke(name: string, revokedAt: Date, event: NewAuditEvent): Promise<Token | null>;
  /** No event: it is no change that somebody made. */
  noteUse(uses: readonly { readonly name: string; readonly at: Date }[]): Promise<void>;
}

/** Somebody is logged in to the web pages. Whether it gives access now depends on the token too. */
export interface PageSession {
  readonly id: number;
  /** As it is now. A log-in through an OpenID provider has a token that nobody holds, with the name of the identity. */
  readonly token: Token;
  /** Null or left out: logged in with a token. */
  readonly identity?: SessionIdentity | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** Who logged in through an OpenID provider. */
export interface SessionIdentity {
  readonly issuer: string;
  /** For people. */
  readonly shownName: string;
}

export interface NewIdentity extends SessionIdentity {
  readonly role: Role;
  readonly signer: string | null;
}

export interface NewSession {
  /** The lower-case hex SHA-256 of the session's text, which is never stored. */
  readonly hash: string;
  /** Name of the token, or of the identity. */
  readonly token: string;
  /** Null or left out: logged in with a token. Its signer, if any, must exist. */
  readonly identity?: NewIdentity | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

export interface SessionStore {
  /** Also one that has expired, or whose token has. @throws STORE_UNAVAILABLE */
  find(hash: string): Promise<PageSession | null>;
  /** In the order of the log-ins, as find(). @throws STORE_UNAVAILABLE */
  list(): Promise<readonly PageSession[]>;
  /** Durable with its event once resolved, to the session's id. Null, without an event, when the token was revoked meanwhile, or there is no such signer. */
  add(session: NewSession, event: NewAuditEvent): Promise<number | null>;
  /** Durable with its event once resolved. False, without an event, when there is no such session. */
  end(id: number, event: NewAuditEvent): Promise<boolean>;
}

export interface SignerStore {
  /** In the order in which they were added. @throws STORE_UNAVAILABLE */
  list(): Promise<readonly Signer[]>;
  /** @throws STORE_UNAVAILABLE */
  find(name: string): Promise<Signer | null>;
  /** Durable with its event once resolved. @throws NAME_TAKEN */
  add(
    signer: Omit<Signer, 'disabledAt'>,
    event: NewAuditEvent,
    subjects?: readonly { readonly subject: NewOidcSubject; readonly event: NewAuditEvent }[],
  ): Promise<Signer>;
  /**
   * Disables, or with null enables. Durable with its event once resolved; null when there is no such signer. When it is so
   * already, nothing changes, not even the time, and no event is written.
   */
  setDisabled(name: string, disabledAt: Date | null, event: NewAuditEvent): Promise<Signer | null>;
  /** Its grants go and its tokens are revoked with it. False, without an event, when there is no such signer. */
  remove(name: string, removedAt: Date, event: NewAuditEvent): Promise<boolean>;
}

export interface GrantStore {
  /** Those of that signer, or with null of all, in the order in which they were added. @throws STORE_UNAVAILABLE */
  list(signer: string | null): Promise<readonly Grant[]>;
  /** @throws STORE_UNAVAILABLE */
  find(id: number): Promise<Grant | null>;
  /**
   * Durable with its event once resolved. When the signer has the same grant, nothing changes and no event is written.
   * @throws NOT_FOUND when there is no such signer
   */
  add(grant: NewGrant, event: NewAuditEvent): Promise<AddedGrant>;
  /** False, without an event, when there is no such grant. */
  remove(id: number, event: NewAuditEvent): Promise<boolean>;
}

export interface SubjectStore {
  /** Those of that signer, or with null of all, in the order in which they were added. @throws STORE_UNAVAILABLE */
  list(signer: string | null): Promise<readonly OidcSubject[]>;
  /** Those of that issuer, also of disabled signers. @throws STORE_UNAVAILABLE */
  ofIssuer(issuer: string): Promise<readonly BoundSubject[]>;
  /** @throws STORE_UNAVAILABLE */
  find(id: number): Promise<OidcSubject | null>;
  /**
   * Durable with its event once resolved. When the signer has the same subject, nothing changes and no event is written.
   * @throws NOT_FOUND when there is no such signer
   */
  add(subject: NewOidcSubject, event: NewAuditEvent): Promise<AddedSubject>;
  /** False, without an event, when there is no such subject. */
  remove(id: number, event: NewAuditEvent): Promise<boolean>;
}

/** One change of who may sign what, with its event. */
export type AccessStep = { readonly event: NewAuditEvent } & (
  | { readonly kind: 'put-key'; readonly key: KeyDetails & { readonly certificate: Uint8Array } }
  | { readonly kind: 'remove-key'; readonly fingerprint: string }
  | { readonly kind: 'retire-key'; readonly fingerprint: string; readonly isRetired: boolean }
  | { readonly kind: 'add-signer'; readonly signer: Omit<Signer, 'disabledAt'> }
  | { readonly kind: 'describe-signer'; readonly signer: string; readonly description: string }
  | { readonly kind: 'disable-signer'; readonly signer: string; readonly disabledAt: Date | null }
  | { readonly kind: 'remove-signer'; readonly signer: string; readonly at: Date }
  | { readonly kind: 'add-grant'; readonly grant: NewGrant }
  | { readonly kind: 'add-subject'; readonly subject: NewOidcSubject }
  | { readonly kind: 'remove-grant' | 'remove-subject'; readonly id: number }
  | { readonly kind: 'revoke-token'; readonly token: string; readonly at: Date }
);

export interface AccessStore {
  /**
   * Makes all changes in one transaction, durable with their events once resolved, which are in the order of the steps; a step may need
   * one before it, and undoes none. @throws CHANGED_MEANWHILE, without any change, when one of them finds nothing to change or is made already
   */
  apply(steps: readonly AccessStep[]): Promise<void>;
}

/** Checks tokens of OpenID providers. */
export interface OidcVerifier {
  /**
   * The claims of a token that this issuer has signed, for one of these audiences, and that is in force. Asks the issuer for its
   * keys when they are not at hand. @throws UNAUTHORIZED, saying why, with detail.isExpired for a genuine one that has expired;
   * ISSUER_UNAVAILABLE
   */
  verify(untrusted: string, issuer: string, audiences: readonly string[]): Promise<TokenClaims>;
}

/** A recorded signature with the result of its verification. Null where Judgement has null. */
export interface IndexedSignature {
  /** Grows with every signature that the index records; one index never uses an id twice. */
  readonly id: number;
  readonly image: ImageId;
  /** The file's number; see RecordedSignature. */
  readonly number: number;
  /** The number under which clients get it. */
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
  /** Repository path, or folder of the release layout; it must be equal, not a prefix. */
  readonly path: string | null;
  /** `sha256:<hex>`, parsed by the caller. */
  readonly digest: Pick<ImageId, 'algorithm' | 'hex'> | null;
  /** Fingerprint of the primary key. */
  readonly fingerprint: string | null;
  /** The tag of the docker-reference that good signatures claim. */
  readonly tag: string | null;
  readonly verdict: Verdict | null;
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

/** A stretch of the paths of a site, in the order of their bytes; the path of the top is ''. */
export interface RepositoryWalk {
  /** At or after. */
  readonly from: string;
  readonly before: string;
  readonly limit: number;
}

export interface IndexedRepository {
  readonly path: string;
  /** At most as many as were to be counted. */
  readonly images: number;
  /** When the signature was stored that the index learned of last. */
  readonly newestAt: Date;
}

/** What the index knows of whole repositories. Look-ups reject with INDEX_UNUSABLE. */
export interface RepositoryIndex {
  /** The paths that have a signature, ascending. */
  repositoryPaths(site: string, walk: RepositoryWalk): Promise<readonly string[]>;
  /** Those of the paths that have a signature, in the same order; of each at most `most` images are counted. */
  repositories(site: string, paths: readonly string[], most: number): Promise<readonly IndexedRepository[]>;
}

/** The results of verification, kept with the signatures of the index. Look-ups reject with INDEX_UNUSABLE. */
export interface VerdictIndex {
  /** Names this index: an id means nothing in another index. All look-ups between two equal answers came from one index. */
  generation(): Promise<string>;
  /** In served order. */
  ofImage(image: ImageId): Promise<readonly IndexedSignature[]>;
  /** Sorted by id, in the page's order. */
  search(site: string, page: SignaturePage): Promise<readonly IndexedSignature[]>;
  /** The images with signatures that verified by the key with this primary fingerprint, in a stable order. */
  imagesByKey(
    site: string,
    fingerprint: string,
    after: ImageId | null,
    limit: number,
  ): Promise<readonly ImageId[]>;
  /** How many signatures of the site verified by the key with this primary fingerprint. */
  countByKey(site: string, fingerprint: string): Promise<number>;
  /** Those that need judging at `now`, sorted by id: `unverified` ones, and those that must be judged again. */
  unjudged(site: string, now: Date, after: number, limit: number): Promise<readonly IndexedSignature[]>;
  /** All such signatures of one image in served order, also those whose time comes later. */
  unjudgedOf(image: ImageId): Promise<readonly IndexedSignature[]>;
  /** As SignatureIndex has it. */
  peekLacks?(image: ImageId): boolean;
  /** Writes the results for these bytes of the image, at every number where they are recorded. @throws BUSY */
  judge(
    judged: readonly { readonly image: ImageId; readonly sha256: string; readonly judgement: Judgement }[],
  ): Promise<void>;
  /**
   * Marks all signatures to be judged again whose issuer or primary key is one of these fingerprints or key IDs. Each keeps
   * its verdict until there is a new one.
   */
  judgeAgain(site: string, issuers: readonly string[]): Promise<void>;
}

/**
 * `upload` goes ahead of `background`, where a command waits that has many of them. `idle`: nobody waits, and whatever else there is to do
 * goes ahead.
 */
export type Urgency = 'upload' | 'background' | 'idle';

/** OpenPGP work, done in separate threads with a deadline. */
export interface Verifier {
  /**
   * Checks structure, signature, then payload; the first fault decides. The keys are those of the keyring.
   * @throws LookasideError BUSY when too much is waiting, or it took too long
   */
  examine(untrusted: Uint8Array, now: Date, urgency: Urgency): Promise<Judgement>;
  /**
   * The certificates of one file (binary or armoured, several one after the other), each cleaned and merged with what the
   * keyring has of it. Each has its own result. @throws REQUEST_INVALID when the file holds no certificate, TOO_LARGE, BUSY
   */
  cleanCertificates(untrusted: Uint8Array, now: Date): Promise<readonly CleanedCertificate[]>;
  /** ASCII armour, written by us. */
  armor(certificate: Uint8Array): string;
  /** What cleaning left out of it, and which clients cannot use it. */
  warningsOf(certificate: Uint8Array): readonly KeyWarning[];
  /** What its parts are for, and why they were revoked; the primary key first. */
  usesOf(certificate: Uint8Array): readonly KeyPartUse[];
  /** The certificates that examine and cleanCertificates use from now on: binary, cleaned. */
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
      /** Null when the packet is unreadable before its fingerprint is known. */
      readonly fingerprint: string | null;
      readonly code: ErrorCode;
      readonly message: string;
    };

export interface KeyStore {
  /** In the order of adding. */
  list(): Promise<readonly RegisteredKey[]>;
  find(fingerprint: string): Promise<RegisteredKey | null>;
  /** Adds or replaces; durable with its event once resolved. */
  put(key: KeyDetails & { readonly certificate: Uint8Array }, event: NewAuditEvent): Promise<RegisteredKey>;
  /** Durable with its event once resolved; false, without an event, when there is no such key. */
  remove(fingerprint: string, event: NewAuditEvent): Promise<boolean>;
  /**
   * Retires the key at the event's time, or ends that; durable with its event once resolved. False, without an event, when
   * that changes nothing or there is no such key.
   */
  setRetired(fingerprint: string, isRetired: boolean, event: NewAuditEvent): Promise<boolean>;
  /**
   * Marks the key as revoked by an administrator at the event's time, and replaces its certificate where one is given; durable
   * with its event once resolved. False, without an event, when that changes nothing or there is no such key.
   */
  revoke(revoked: RevokedByHand, event: NewAuditEvent): Promise<boolean>;
}

export interface RevokedByHand {
  readonly fingerprint: string;
  /** With a revocation in its certificate; null: the certificate stays as it is. */
  readonly key: CertifiedKey | null;
  readonly by: string;
  readonly reason: string;
  /** Whether every signature by the key is to be withdrawn; once true it stays. */
  readonly withdraws: boolean;
}

/** What is kept about an upload, for ever. */
export interface NewUpload {
  readonly image: ImageId;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Name of the token, or `administrator`. */
  readonly uploader: string;
  readonly storedAt: Date;
  /** The bytes, kept where other programs may overwrite the file; else null. */
  readonly bytes: Uint8Array | null;
  /** As Upload. */
  readonly remap: string | null;
}

export interface Upload {
  readonly sha256: string;
  readonly uploader: string;
  readonly storedAt: Date;
  readonly auditSeq: number;
  /** The remap by which it was taken below another name than the signed one, `mirror/quay=quay.io`; null for most. */
  readonly remap: string | null;
}

export interface UploadStore {
  /** The uploads for the image, in the order of uploading. @throws STORE_UNAVAILABLE */
  ofImage(image: ImageId): Promise<readonly Upload[]>;
  /**
   * The site's images that have uploads, in the order of their folders' names, at most `limit` of them: the first ones, or
   * those behind `after`. @throws STORE_UNAVAILABLE
   */
  images(site: string, after: ImageId | null, limit: number): Promise<readonly ImageId[]>;
  /** The kept bytes, or null. @throws STORE_UNAVAILABLE */
  bytesOf(image: ImageId, sha256: string): Promise<Uint8Array | null>;
  /**
   * Upload and event in one transaction, durable once resolved. When the image already has an upload of the same bytes, the
   * result is the number of that one.
   */
  add(upload: NewUpload, event: NewAuditEvent): Promise<{ readonly auditSeq: number }>;
}

export type NewTombstone = Omit<Tombstone, 'auditSeq' | 'isInForce'> & {
  /** Kept for the day on which it comes back; else null. */
  readonly bytes: Uint8Array | null;
};

export interface TombstoneStore {
  /** Also those that are no longer in force, in the order of withdrawing. @throws STORE_UNAVAILABLE */
  ofImage(image: ImageId): Promise<readonly Tombstone[]>;
  /** Whether there are any of the site, in force or not. @throws STORE_UNAVAILABLE */
  hasAny(site: string): Promise<boolean>;
  /** Those of the site that are in force, by image; behind `after`. @throws STORE_UNAVAILABLE */
  page(
    site: string,
    filter: WithdrawnFilter,
    after: WithdrawnPlace | null,
    limit: number,
  ): Promise<readonly Tombstone[]>;
  /** Those whose files or index rows may lag behind. @throws STORE_UNAVAILABLE */
  unsettled(site: string): Promise<readonly Tombstone[]>;
  /**
   * Those in force that should have come back by `now`, of all sites, the earliest first; behind `after`. @throws STORE_UNAVAILABLE
   */
  ended(now: Date, limit: number, after?: Tombstone): Promise<readonly Tombstone[]>;
  /** The kept bytes, or null. @throws STORE_UNAVAILABLE */
  bytesOf(image: ImageId, sha256: string): Promise<Uint8Array | null>;
  /**
   * Writes the rows of one image, under an event that is written already: all or none. Durable once resolved, not yet settled. Fillers as in
   * put().
   */
  putAll(tombstones: readonly NewTombstone[], auditSeq: number): Promise<void>;
  /** Durable with its event once resolved, not yet settled. Fillers of an earlier withdrawal of the same bytes stay. */
  put(tombstone: NewTombstone, event: NewAuditEvent): Promise<{ readonly auditSeq: number }>;
  /** Files and index are as these tombstones say. `isEmpty`: no file is left, and so no filler of any. */
  settle(image: ImageId, sha256s: readonly string[], isEmpty: boolean): Promise<void>;
  /** It is no longer in force. False, without an event, when it was not, or its end had not come at the event's time. */
  lift(image: ImageId, sha256: string, event: NewAuditEvent): Promise<boolean>;
}

export interface Withdrawal {
  readonly image: ImageId;
  /** Under which clients get it. */
  readonly number: number;
  /** Name of the token, or `administrator`. */
  readonly by: string;
  readonly reason: string;
  /** When it comes back by itself; null: never. */
  readonly until: Date | null;
  /** The audit event, for the bytes that turn out to stand there. */
  readonly event: (sha256: string) => NewAuditEvent;
}

/** A withdrawal that one audit event orders of many images. */
export interface OrderedWithdrawal {
  readonly image: ImageId;
  readonly sha256s: ReadonlySet<string>;
  readonly by: string;
  readonly reason: string;
  readonly at: Date;
  /** The number of the event, which is durable. */
  readonly auditSeq: number;
}

export interface AuditLog {
  /** Resolves to the event's number once the event is durable. */
  append(event: NewAuditEvent): Promise<number>;
}

/** Takes people out of both records; leaves of audit events stay as they are. */
export interface RecordEraser {
  /** Rows of reads before that time; how many there were. @throws STORE_UNAVAILABLE, BUSY */
  forgetReads(person: Person, before: Date): Promise<number>;
  /** Who it was in events before that time, and the event that says so, in one transaction. @throws as AuditLog */
  forgetEvents(person: Person, before: Date, event: NewAuditEvent): Promise<number>;
}

export interface AuditReader {
  /** The events that follow that number, in order, at most `limit`. None comes later below one of them. @throws STORE_UNAVAILABLE */
  after(seq: number, limit: number): Promise<readonly FedEvent[]>;
  /** The reason of the server's own newest event of that action; null when there is none. @throws STORE_UNAVAILABLE */
  lastReason(action: AuditAction): Promise<string | null>;
}

/** An upload that is verified and belongs to its image. */
export interface VerifiedUpload {
  readonly image: ImageId;
  readonly bytes: Uint8Array;
  readonly judgement: Judgement;
  /** Number of the keyring with which it was judged, where several processes share the store: by an older one it is judged again. */
  readonly keyring?: number | null;
  readonly uploader: string;
  /** As Upload. */
  readonly remap: string | null;
  readonly event: NewAuditEvent;
  /** The number under which clients must get it; null: the next. */
  readonly number: number | null;
  /** By the monotonic clock. It is not begun later, because whoever asked has been answered by then. Left out: it begins whenever its turn comes. */
  readonly beginByMs?: number;
  /**
   * Looks at the image's served signatures, in order, as far as they are judged. Null: no review is wanted.
   * @throws TOO_MANY_SIGNATURES when the upload's claim already has as many of the image's numbers as it may
   */
  readonly review: ((served: readonly IndexedSignature[]) => Promise<UploadReview>) | null;
}

/** What the signatures that an image already has mean for an upload. */
export interface UploadReview {
  /** One of them that makes it needless to store the upload; else null. */
  readonly standIn: IndexedSignature | null;
  /** `same`: the stand-in is the same signature in other bytes. */
  readonly outcome: 'same' | 'equivalent';
  /** Served numbers of signatures that no client needs. The error names them when no number is left. */
  readonly needless: readonly number[];
}

export interface Appended {
  /** `exists`: these bytes are already stored. `same`: this signature is already stored, in other bytes. */
  readonly outcome: 'created' | 'exists' | 'same' | 'equivalent';
  /** The number under which clients get it. */
  readonly number: number;
  /** SHA-256 of the stored bytes. */
  readonly sha256: string;
  /** Null when they were not uploaded to this server. */
  readonly auditSeq: number | null;
}

export interface SignatureAppender {
  /**
   * Once this resolves, bytes, provenance and audit event survive a power cut and every read sees them.
   * @throws WITHDRAWN, NUMBER_TAKEN, NUMBER_NOT_NEXT (detail.next), TOO_MANY_SIGNATURES, DISK_FULL, READ_ONLY, BUSY, STORE_UNAVAILABLE
   */
  append(upload: VerifiedUpload): Promise<Appended>;
  /**
   * Once this resolves, tombstone and audit event survive a power cut, no read sees the signature, and its bytes are refused
   * with WITHDRAWN. Failing, it may be in force all the same. @throws NOT_FOUND, BUSY, DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
   */
  withdraw(withdrawal: Withdrawal): Promise<Tombstone>;
  /**
   * The same for those of the signatures that stand there, without an event of its own; how many they were. A second time
   * finds none. @throws as withdraw(), but NOT_FOUND
   */
  withdrawOrdered(order: OrderedWithdrawal): Promise<number>;
  /**
   * Ends this withdrawal, and no later one of the same bytes; the bytes, where they were kept, take the next number, which is the
   * result. Null: none. @throws TOO_MANY_SIGNATURES, and it stays withdrawn, with its bytes
   */
  lift(tombstone: Tombstone): Promise<number | null>;
  /** Finishes what a crash left half done; call it before the first read. */
  recover(): Promise<void>;
}

/** What a set that came from elsewhere has made of an image. */
export interface Published {
  /** How many were served before, and how many were added behind them. */
  readonly before: number;
  readonly added: number;
  /** All that clients see now. */
  readonly entries: readonly SetEntry[];
}

export interface SetPublisher {
  /**
   * Adds those of the blobs that the image does not have, in their order, behind those that it has: all or none, as far as
   * clients take so many. Durable once resolved. A judgement is null when it is to be made again.
   * @throws DISK_FULL, READ_ONLY, BUSY, STORE_UNAVAILABLE
   */
  publish(
    image: ImageId,
    blobs: readonly { readonly bytes: Uint8Array; readonly judgement: Judgement | null }[],
  ): Promise<Published>;
}

export interface BatchPublisher extends SetPublisher {
  /** With `isLastTry` it may take three quarters of the space that is kept in reserve. */
  publish(...set: [...Parameters<SetPublisher['publish']>, isLastTry?: boolean]): Promise<Published>;
  /**
   * The same for one of many: those that come together are synced together. Resolves once there is room for it, which is at once
   * unless much is waiting.
   */
  gather(
    image: ImageId,
    blobs: Parameters<SetPublisher['publish']>[1],
  ): Promise<{ readonly done: Promise<Published> }>;
}

/** What the last whole walk of a mirror has found of an image. */
export interface MirrorSetRow {
  readonly site: string;
  /** The image's folder. */
  readonly image: string;
  readonly checkedAt: Date;
  /** The URL of the upstream that the stored set came from; null while nothing is stored. */
  readonly upstream: string | null;
  /** SHA-256 of what is served here and is gone there. */
  readonly gone: readonly string[];
  /** What the upstream has and is not served, as no client could use it. */
  readonly leftOut: readonly { readonly sha256: string; readonly code: string }[];
  /** When it was last asked for ahead of demand; null: a read alone has brought it. */
  readonly syncedAt: Date | null;
  /** What the files of the set take on a disk; null: nothing is stored, or it is not known. */
  readonly sizeBytes: number | null;
  /** When the first of the walks ended that have failed since the last whole one; null: none has. */
  readonly failingSince: Date | null;
}

export interface FailedWalk {
  readonly image: ImageId;
  readonly begunAt: Date;
}

/** What a whole walk has found: no walk has failed since. */
export type CheckedSet = Omit<MirrorSetRow, 'failingSince'>;

/** A set in the order of when sets were checked. */
/** A stored set that somebody has read. */
export interface AskedSet {
  readonly image: ImageId;
  readonly askedAt: Date;
}

export interface SetPlace {
  readonly askedAt: Date;
  /** Its folder. */
  readonly image: string;
}

export interface SetRange {
  /** Itself left out; null: from the first. */
  readonly after: SetPlace | null;
  /** Itself with them. */
  readonly last: SetPlace;
}

export interface MirrorStore {
  /** By name. @throws STORE_UNAVAILABLE */
  list(): Promise<readonly StoredMirror[]>;
  /** Durable with its event once resolved, as the next two. @throws NAME_TAKEN */
  add(mirror: StoredMirror, event: NewAuditEvent): Promise<void>;
  edit(mirror: StoredMirror, event: NewAuditEvent): Promise<void>;
  remove(name: string, event: NewAuditEvent): Promise<void>;
  /** @throws STORE_UNAVAILABLE */
  setOf(image: ImageId): Promise<MirrorSetRow | null>;
  /** The same of each of these of one site, in their order. @throws STORE_UNAVAILABLE */
  setsOf(images: readonly ImageId[]): Promise<readonly (MirrorSetRow | null)[]>;
  /** Replaces what was kept of the image: a walk has found this. */
  checked(rows: readonly CheckedSet[]): Promise<void>;
  /**
   * Notes that these have failed. Nothing is noted for images of which nothing is kept, nor for a walk that began before another walk
   * of the same image ended well.
   */
  failed(walks: readonly FailedWalk[], at: Date): Promise<void>;
  /** Notes when readers asked for these; a walk notes it too. */
  asked(sets: readonly AskedSet[]): Promise<void>;
  /**
   * Looks at the sets that only reads have brought, and of which the upstream has all. Gives the one up to which they have to go, from
   * the one that was asked for longest ago, so that the others take `maxBytes` at most. Null: none has to. @throws STORE_UNAVAILABLE
   */
  beyond(site: string, maxBytes: number): Promise<SetPlace | null>;
  /** Those sets, from the one that was asked for longest ago. @throws STORE_UNAVAILABLE */
  onDemand(site: string, range: SetRange, limit: number): Promise<readonly SetPlace[]>;
  /** Replaces what is known of each; a channel goes where they say so (GraphsTold). */
  putReleases(site: string, releases: GraphsTold): Promise<void>;
  /** The releases of all sites by version or channel, from the lowest digest on. @throws STORE_UNAVAILABLE */
  releases(name: string, limit: number): Promise<readonly KnownRelease[]>;
  /** Nothing is known of these any more. */
  forget(images: readonly ImageId[]): Promise<void>;
  /** How many signatures of the site are gone from the upstream, and how many were left out. @throws STORE_UNAVAILABLE */
  notedCounts(site: string): Promise<{ readonly gone: number; readonly leftOut: number }>;
  /** The images that have such ones, by folder. @throws STORE_UNAVAILABLE */
  noted(site: string, limit: number): Promise<readonly MirrorSetRow[]>;
  /** Null: no sync has ended yet. @throws STORE_UNAVAILABLE */
  lastRun(site: string): Promise<SyncRun | null>;
  ran(site: string, run: SyncReport): Promise<void>;
}
