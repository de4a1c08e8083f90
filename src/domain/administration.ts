// What an administrator can ask. service/administration.ts answers in the process that owns the data directory.
// upstream/administration.ts asks a server elsewhere. test/contract/administration.ts holds both to the same answers.

import type { AccessPlan, AccessRules, PlanOptions } from './access-rules.ts';
import type { AddedGrant, Grant, GrantDecision, Signer, WantedGrant } from './grant.ts';
import type { ExportedKey, KeyResult, PartSignatures, RefreshedKeys, RemovedKey, ShownKey } from './key.ts';
import type { KeyFile, KeyReaderName } from './key-readers.ts';
import type {
  MirrorDetails,
  MirrorSettings,
  MirrorStatus,
  SyncAnswer,
  SyncProgress,
  SyncRequest,
} from './mirror.ts';
import type { AddedSubject, OidcSubject, WantedSubject } from './oidc.ts';
import type { ReadyAnswer, ReadyQuestion } from './ready-question.ts';
import type { BatchPart, ImportOptions, ImportResult } from './receipt.ts';
import type {
  ExportFormat,
  Forgotten,
  Grouping,
  Person,
  RecordPage,
  RecordQuestion,
  RecordSums,
} from './records.ts';
import type { RevocationFollowing, RevocationPart, RevokedKey, WantedRevocation } from './revocation.ts';
import type { RotationPart } from './rotation.ts';
import type { ShownSession } from './session.ts';
import type { SignerDetails, WantedSigner } from './signer.ts';
import type { CreatedToken, ShownToken, WantedToken } from './token.ts';
import type { WantedWithdrawal, Withdrawn } from './tombstone.ts';
import type { FsckOptions, FsckResult, ReindexOptions, TreeCounts } from './upkeep.ts';

/**
 * Every method throws LookasideError with the code of the refusal. Where a server answers, it also throws
 * SERVER_UNREACHABLE, UNAUTHORIZED without a valid token, and DENIED for a token whose role does not allow it.
 */
export interface Administration {
  about(): Promise<AboutTree>;
  readonly keys: KeyAdministration;
  readonly tokens: TokenAdministration;
  readonly records: RecordAdministration;
  readonly signers: SignerAdministration;
  readonly grants: GrantAdministration;
  readonly subjects: SubjectAdministration;
  readonly rules: AccessRulesAdministration;
  readonly mirrors: MirrorAdministration;
  /**
   * Takes a signature away from clients, and refuses its bytes from then on.
   * @throws APPEND_ONLY, REQUEST_INVALID, PATH_INVALID, NOT_FOUND, BUSY, STORE_UNAVAILABLE
   */
  withdraw(wanted: WantedWithdrawal): Promise<Withdrawn>;
  /** @throws BUSY when the server stops meanwhile */
  fsck(options: FsckOptions): Promise<FsckResult>;
  /** @throws DAMAGE_FOUND unless damage is accepted; BUSY when the server stops meanwhile */
  reindex(options: ReindexOptions): Promise<TreeCounts>;
  /**
   * The results are in the order of the parts; a refused part never stops the others. A part's file name is a full
   * lookaside path or `sha256:<hex>` of its manifest. With any other name, the verified claim says where the part
   * belongs. Sending the same parts again changes nothing. @throws REQUEST_INVALID for a shared tree;
   * STORE_UNAVAILABLE, DISK_FULL, READ_ONLY when nothing more can be stored
   */
  importBatch(parts: readonly BatchPart[], options: ImportOptions): Promise<readonly ImportResult[]>;
}

export interface AboutTree {
  /** Absolute, on the machine that serves it. */
  readonly root: string;
  readonly tree: 'owned' | 'shared';
}

export interface KeyAdministration {
  /** In the order of adding; with `expiringWithinMs` only those that expire within that time, see endingWithin(). */
  list(expiringWithinMs?: number | null): Promise<readonly ShownKey[]>;
  /**
   * The key of this fingerprint (40 hex digits in either case, with spaces as gpg prints it) or key ID (16).
   * @throws REQUEST_INVALID when it is neither, or the key ID of several keys; NOT_FOUND
   */
  show(name: string): Promise<ExportedKey>;
  /**
   * One result for each certificate of the file, in the file's order; a refused certificate does not stop the others.
   * Accepted certificates are durable and in force once this resolves. @throws REQUEST_INVALID when the file holds no
   * certificate; TOO_LARGE
   */
  add(untrusted: Uint8Array): Promise<readonly KeyResult[]>;
  /**
   * Merges what is new in the certificates of registered keys, or of those of these names alone; nothing else of the file is
   * taken. @throws as add() and show()
   */
  refresh(untrusted: Uint8Array, names: readonly string[]): Promise<RefreshedKeys>;
  /**
   * The keys of these names, or all keys when no name is given, without those that the reader cannot read.
   * @throws as show(), for the first name that names no key
   */
  export(names: readonly string[], reader: KeyReaderName): Promise<KeyFile>;
  /**
   * How far the images of one key are signed by the one that takes its place; see RotationPart.
   * @throws as show(); QUESTION_TOO_LONG, INDEX_UNUSABLE; BUSY when too many others ask
   */
  rotation(old: string, next: string): AsyncIterable<RotationPart>;
  /** No new upload by the key is taken; nothing else changes. A second time changes nothing. @throws as show() */
  retire(name: string): Promise<ShownKey>;
  /** Uploads by the key are taken again. A second time changes nothing. @throws as show() */
  unretire(name: string): Promise<ShownKey>;
  /** How many stored signatures each part of the key made. @throws as rotation() */
  signatures(name: string): Promise<readonly PartSignatures[]>;
  /** What a revocation of the key would break; see RevocationPart. @throws as rotation() */
  revocation(name: string): AsyncIterable<RevocationPart>;
  /**
   * Marks the key as revoked by an administrator, and withdraws what it has signed where that is wanted. What cannot be
   * withdrawn at once is withdrawn later by itself. A second time goes on where the first one was cut short.
   * @throws as show(); REQUEST_INVALID without a reason, or for a file that holds no revocation of this key; APPEND_ONLY
   */
  revoke(name: string, wanted: WantedRevocation & RevocationFollowing): Promise<RevokedKey>;
  /** Signatures by the key stay stored, and count as made by an unknown key from now on. @throws as show() */
  remove(name: string): Promise<RemovedKey>;
}

export interface TokenAdministration {
  /** In the order in which they were made, including revoked and expired ones. */
  list(): Promise<readonly ShownToken[]>;
  /** The result has the token's text, which can never be shown again. @throws NAME_TAKEN, REQUEST_INVALID; NOT_FOUND: no such signer */
  create(wanted: WantedToken): Promise<CreatedToken>;
  /** Revoking a second time changes nothing. @throws NOT_FOUND */
  revoke(name: string): Promise<ShownToken>;
  /** Who is logged in to the web pages, in the order of the log-ins; over the network without the role admin, one's own alone. */
  sessions(): Promise<readonly ShownSession[]>;
  /** The browser of this session has to log in again. @throws NOT_FOUND */
  endSession(id: number): Promise<ShownSession>;
}

/** Over the network also for the role auditor. Every method may throw QUESTION_TOO_LONG, and BUSY when too many others ask. */
export interface RecordAdministration {
  /** Newest first, 1 to MAX_PAGE_ROWS rows. @throws REQUEST_INVALID for a cursor of another question */
  page(
    question: RecordQuestion,
    wanted: { readonly cursor: string | null; readonly limit: number },
  ): Promise<RecordPage>;
  /** Sums over all rows: a total, and groups by up to three dimensions. At most `limit` groups, 1 to MAX_PAGE_ROWS. */
  sums(question: RecordQuestion, by: Grouping, limit: number): Promise<RecordSums>;
  /** The text of all rows, newest first, in pieces. */
  export(question: RecordQuestion, format: ExportFormat): AsyncIterable<string | Uint8Array>;
  /** @throws REQUEST_INVALID for a subject that is not valid; NOT_FOUND for a tag that no signature has */
  ready(question: ReadyQuestion): Promise<ReadyAnswer>;
  /** Takes a person out of both records before a time that is over: REQUEST_INVALID for another. Needs the role admin. */
  forget(person: Person, before: Date): Promise<Forgotten>;
}

export interface SignerAdministration {
  /** In the order in which they were added. */
  list(): Promise<readonly Signer[]>;
  /** @throws NOT_FOUND */
  show(name: string): Promise<SignerDetails>;
  /** @throws NAME_TAKEN, REQUEST_INVALID */
  add(wanted: WantedSigner): Promise<Signer>;
  /** None of its tokens gives access until it is enabled. A second time changes nothing. @throws NOT_FOUND */
  disable(name: string): Promise<Signer>;
  /** @throws NOT_FOUND */
  enable(name: string): Promise<Signer>;
  /** Its grants and OIDC subjects go with it and its tokens are revoked; the result is as it was. @throws NOT_FOUND */
  remove(name: string): Promise<SignerDetails>;
}

export interface GrantAdministration {
  /** The grants of that signer, or with null all, in the order in which they were added. @throws NOT_FOUND */
  list(signer: string | null): Promise<readonly Grant[]>;
  /** Adding the same one again changes nothing. @throws REQUEST_INVALID; NOT_FOUND when there is no such signer or key */
  add(wanted: WantedGrant): Promise<AddedGrant>;
  /** The result is as it was. @throws NOT_FOUND */
  remove(id: number): Promise<Grant>;
  /** What would be decided about an upload. @throws REQUEST_INVALID; NOT_FOUND when there is no such signer or key */
  test(question: TestedGrant): Promise<GrantDecision>;
}

/** The OIDC subjects of signers. */
export interface SubjectAdministration {
  /** The subjects of that signer, or with null all, in the order in which they were added. @throws NOT_FOUND */
  list(signer: string | null): Promise<readonly OidcSubject[]>;
  /** Adding the same one again changes nothing. @throws REQUEST_INVALID; NOT_FOUND when there is no such signer */
  add(wanted: WantedSubject): Promise<AddedSubject>;
  /** The result is as it was. @throws NOT_FOUND */
  remove(id: number): Promise<OidcSubject>;
}

/** Who may sign what, as one document. */
export interface AccessRulesAdministration {
  export(): Promise<AccessRules>;
  /** What apply() would change. @throws REQUEST_INVALID; refusals of a certificate */
  plan(rules: AccessRules, options: PlanOptions): Promise<AccessPlan>;
  /** Brings the plan of that id into force as a whole. @throws as plan(); CHANGED_MEANWHILE, without any change, when it would be another */
  apply(rules: AccessRules, options: PlanOptions & { readonly id: string }): Promise<AccessPlan>;
}

/** `key`: a fingerprint or key ID of a registered key. `tag` null: the signed reference has none. */
export interface TestedGrant {
  readonly signer: string;
  readonly repository: string;
  readonly key: string;
  readonly tag: string | null;
}

export interface MirrorAdministration {
  /** By name. */
  list(): Promise<readonly MirrorStatus[]>;
  /** @throws NOT_FOUND, as all that name one */
  show(name: string): Promise<MirrorDetails>;
  /** It is served once this resolves. @throws NAME_TAKEN, REQUEST_INVALID, CONFIG_INVALID when a file that it names cannot be read */
  add(name: string, settings: MirrorSettings): Promise<MirrorStatus>;
  /** What is left out stays as it is. @throws as add() */
  edit(name: string, changes: Partial<MirrorSettings>): Promise<MirrorStatus>;
  /** Its signatures are served no longer, and stay on the disk. */
  remove(name: string): Promise<void>;
  /** Images that clients asked for in vain at or after that time: it had none, or its upstream failed. */
  missed(name: string, since: Date): Promise<readonly string[]>;
  /** @throws REQUEST_INVALID for what names no image of the mirror; what fails of an image is in its result */
  sync(name: string, request: SyncRequest & SyncFollowing): Promise<SyncAnswer>;
}

export interface SyncFollowing {
  readonly onProgress?: (progress: SyncProgress) => void;
}
