// Questions over the two records: audit events (what somebody changed) and access events (who fetched what).
import type { AuditAction } from './audit.ts';
import type { Digest } from './image.ts';
import type { PartSignatures } from './key.ts';
import type { BrokenImage, ImagePlace, RevocationCounts, UsableKeys } from './revocation.ts';
import type { RotationCounts, RotationPlace, RotationWork } from './rotation.ts';

export const RECORDS = ['audit', 'access'] as const;
export type RecordName = (typeof RECORDS)[number];

/** What rows must have to be found; null: anything. */
export interface RecordFilter {
  /** At or after. */
  readonly since: Date | null;
  /** Before. */
  readonly until: Date | null;
  readonly site: string | null;
  /** A repository, or a folder of repositories: `team` finds `team/app`, and not `teams`. */
  readonly repository: string | null;
  readonly image: AskedImage | null;
  /** 64 hex digits, lower case. */
  readonly signature: string | null;
  /**
   * The fingerprint of the primary key, upper case. In the access record: reads of signatures by that key. In a question that
   * was asked, also the key ID of a registered key; look-ups get fingerprints alone.
   */
  readonly fingerprint: string | null;
  /** The name of the token, or `administrator` or `server`. */
  readonly actor: string | null;
  /** An address, or a network like `192.0.2.0/24`, as parseNetwork() takes it. */
  readonly address: string | null;
  /** Audit events only. */
  readonly action: AuditAction | null;
  /** Audit events only. */
  readonly result: string | null;
  /** Access events only: a part of the User-Agent, in any case. */
  readonly agent: string | null;
  /** Access events only. */
  readonly status: number | null;
}

export const ANY_RECORD: RecordFilter = {
  since: null,
  until: null,
  site: null,
  repository: null,
  image: null,
  signature: null,
  fingerprint: null,
  actor: null,
  address: null,
  action: null,
  result: null,
  agent: null,
  status: null,
};

/** The digest of a manifest below one path, or below any path. */
export interface AskedImage {
  readonly digest: Digest;
  /** Null: whatever the path. */
  readonly place: { readonly layout: 'repository' | 'release'; readonly path: string } | null;
}

export interface RecordQuestion {
  readonly record: RecordName;
  readonly filter: RecordFilter;
}

export interface AuditRow {
  readonly seq: number;
  readonly at: Date;
  readonly action: string;
  readonly site: string;
  /** `team/app@sha256:…`, or null. */
  readonly image: string | null;
  readonly signatureSha256: string | null;
  readonly fingerprint: string | null;
  readonly result: string;
  /** How many refusals the event stands for; 1 for all other events. */
  readonly count: number;
  /** The first of them; null for one. */
  readonly since: Date | null;
  /** This and the next three are null once they are forgotten. */
  readonly actor: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly reason: string | null;
}

export interface FedEvent extends AuditRow {
  /** As it is bound into the log: RFC 8785 JSON, which names nobody. */
  readonly leaf: string;
}

/** Reads by one client of one signature, with one status, within one minute. */
export interface AccessRow {
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly site: string;
  readonly image: string;
  /** Null: a name that is no number, or many that are told apart no more. */
  readonly number: number | null;
  /** Which bytes were sent; null without any (404), and in days that an older version recorded. */
  readonly signatureSha256: string | null;
  readonly status: number;
  /** Also a network, which stands for its further addresses, and `other`. */
  readonly address: string;
  /** Null: not told apart any more. */
  readonly agent: string | null;
  readonly token: string | null;
  readonly count: number;
  readonly bytes: number;
}

export type RecordRow = AuditRow | AccessRow;

/** What an answer lacks. */
export interface Completeness {
  /** Reads that the record could not take in that time, and so are in no answer. */
  readonly dropped: number;
  /** In words for people, what else is missing: a day that cannot be read, reads that are not written yet. */
  readonly gaps: readonly string[];
}

export interface RecordPage extends Completeness {
  readonly record: RecordName;
  /** Newest first. */
  readonly rows: readonly RecordRow[];
  /** The cursor of the next page; null at the end. */
  readonly next: string | null;
}

export const DIMENSIONS = {
  audit: ['repository', 'image', 'signature', 'key', 'actor', 'address', 'day', 'action', 'result'],
  access: ['repository', 'image', 'signature', 'key', 'actor', 'address', 'day', 'agent', 'status'],
} as const satisfies Readonly<Record<RecordName, readonly string[]>>;
export type Dimension = (typeof DIMENSIONS)[RecordName][number];

/** What sums are made by, in this order. */
export type Grouping = readonly Dimension[];

export interface SumGroup {
  /** The value of each dimension, in the order of the grouping; null: none, or forgotten. */
  readonly of: readonly (string | null)[];
  /** Events, or requests. */
  readonly count: number;
  /** Sent; 0 for audit events. */
  readonly bytes: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

export interface RecordSums extends Completeness {
  readonly record: RecordName;
  readonly by: Grouping;
  /** The largest counts first; by day: the newest days. */
  readonly groups: readonly SumGroup[];
  /** How many groups there are; more than `groups` has when they were cut. */
  readonly found: number;
  /** Over all rows. */
  readonly total: RecordTotal;
}

export interface RecordTotal {
  /** Events, or requests. */
  readonly count: number;
  readonly bytes: number;
  /** Rows that they are written in. */
  readonly rows: number;
  readonly firstAt: Date | null;
  readonly lastAt: Date | null;
}

export const EXPORT_FORMATS = ['jsonl', 'csv'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** The last line of an export as JSON Lines: one without it was cut off. */
export interface ExportEnd extends Completeness {
  readonly rows: number;
}

/** Members of a row, in the order of CSV's columns. */
export const ROW_TITLES = {
  audit: [
    'seq',
    'at',
    'action',
    'result',
    'site',
    'image',
    'signatureSha256',
    'fingerprint',
    'actor',
    'address',
    'requestId',
    'reason',
    'count',
    'since',
  ],
  access: [
    'firstAt',
    'lastAt',
    'site',
    'image',
    'number',
    'signatureSha256',
    'status',
    'address',
    'agent',
    'token',
    'count',
    'bytes',
  ],
} as const satisfies {
  readonly audit: readonly (keyof AuditRow)[];
  readonly access: readonly (keyof AccessRow)[];
};

/** Somebody whose traces are to go: the token of that name, or an address or network. */
export interface Person {
  readonly kind: 'actor' | 'address';
  readonly text: string;
}

export interface Forgotten {
  /** Audit events that no longer say who it was. */
  readonly events: number;
  /** Rows of reads that are gone. */
  readonly reads: number;
}

/** Where a page ends: numbers that only the record's own adapter understands. */
export type Position = readonly number[];

/** An image that was asked for and never had a signature. */
export interface UnsignedImage {
  readonly site: string;
  readonly image: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly lastAddress: string;
}

/** The images of one repository that were asked for and never had a signature; a folder of the release layout counts as one. */
export interface UnsignedRepository {
  readonly repository: string;
  /** Requests. */
  readonly count: number;
  readonly images: number;
  readonly lastAt: Date;
  readonly lastAddress: string;
}

export interface UnsignedImages extends Listed<UnsignedImage> {
  /** Most asked for first, over all sites; `repositoriesFound` says how many there are. */
  readonly repositories: readonly UnsignedRepository[];
  readonly repositoriesFound: number;
}

/** An image of the index that nobody fetched. */
export interface StaleImage {
  readonly site: string;
  readonly image: string;
  readonly signatures: number;
  /** When its newest signature was stored. */
  readonly storedAt: Date;
}

export interface Listed<T> extends Completeness {
  /** The first ones; `found` says how many there are. */
  readonly rows: readonly T[];
  readonly found: number;
}

/**
 * Several look-ups for one question, in a thread of its own. Each rejects with QUESTION_TOO_LONG after the time that a question may take, with the
 * signal's reason once it is aborted, with STATE_UNUSABLE, INDEX_UNUSABLE, STORE_UNAVAILABLE.
 */
export interface RecordSession extends AsyncDisposable {
  page(question: RecordQuestion, after: Position | null, limit: number): Promise<PageFound>;
  sums(question: RecordQuestion, by: Grouping, limit: number): Promise<Omit<RecordSums, 'by' | 'record'>>;
  /** Text in pieces, newest row first. It fails when nobody takes the next piece for a minute. */
  export(question: RecordQuestion, format: ExportFormat): AsyncIterable<string>;
  /**
   * Most asked for first, at most `limit` of each list. The filter's since, until, site, repository and image count. The requests of an
   * image count by its days: all of a day on which it was first asked for before `until`, and last at or after `since`.
   */
  unsigned(filter: RecordFilter, limit: number): Promise<UnsignedImages>;
  /** Most fetched first, by the hour from since to until, also of days that are kept no longer. Nothing else in the filter counts. */
  repositoryTotals(filter: RecordFilter, limit: number): Promise<Listed<RepositoryTotal>>;
  /** Stored and not fetched since then; those stored longest ago first. The filter's site and repository count, and nothing else. */
  stale(since: Date, filter: RecordFilter, limit: number): Promise<Listed<StaleImage>>;
  /** Compares the keys of two primary fingerprints. `gaps` says what the index may lack. */
  rotation(
    old: string,
    next: string,
    now: Date,
  ): Promise<{ readonly images: RotationCounts; readonly gaps: readonly string[] }>;
  /** How many signatures each part of a key made, by the primary fingerprint; parts without any are left out. */
  signaturesBy(key: string): Promise<readonly PartSignatures[]>;
  /** What a revocation of one key concerns; `issuers`: how signatures name it and its subkeys; `others`: what else verifies now. `gaps` as in rotation(). */
  revocation(
    key: string,
    issuers: readonly string[],
    others: UsableKeys,
    now: Date,
  ): Promise<RevocationCounts & { readonly gaps: readonly string[] }>;
  /** The images that lose their last verified signature, in pieces; `next` is null at the end. */
  revocationBroken(
    key: string,
    others: UsableKeys,
    now: Date,
    after: ImagePlace,
    limit: number,
  ): Promise<{ readonly images: readonly BrokenImage[]; readonly next: ImagePlace }>;
  /** What the old key has signed and the next one has not, in pieces; `next` is null at the end. */
  rotationWork(
    old: string,
    next: string,
    after: RotationPlace,
    limit: number,
  ): Promise<{ readonly work: readonly RotationWork[]; readonly next: RotationPlace }>;
}

/** Reads of one repository's signed images. */
export interface RepositoryTotal {
  readonly repository: string;
  /** Answered with a signature. */
  readonly fetched: number;
  /** Answered with 404. */
  readonly ended: number;
  readonly bytes: number;
}

export interface PageFound extends Completeness {
  readonly rows: readonly RecordRow[];
  readonly next: Position | null;
}

export interface RecordLookups {
  /** @throws LookasideError BUSY when too many others ask already */
  open(signal: AbortSignal): Promise<RecordSession>;
}

/** The repository, or the folder of the release layout, of an image's name. */
export function repositoryOf(image: string): string {
  const at = image.lastIndexOf('@');
  if (at !== -1) return image.slice(0, at);
  const slash = image.lastIndexOf('/');
  return slash === -1 ? '' : image.slice(0, slash);
}
