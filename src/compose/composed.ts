// What the process that owns a data directory is built from, and what it gives the HTTP side and the commands.
import type { Config } from '../config.ts';
import type { ImageId } from '../domain/image.ts';
import type { Patience } from '../domain/patience.ts';
import type { Log, SignatureIndex } from '../domain/ports.ts';
import type { RecordLookups } from '../domain/records.ts';
import type { Site, SitePlace } from '../domain/site.ts';
import type { AccessRecorder, AccessUpkeep } from '../service/access.ts';
import type { AccessRulesService } from '../service/access-rules.ts';
import type { Browser } from '../service/browse.ts';
import type { Feed } from '../service/feed.ts';
import type { Health } from '../service/health.ts';
import type { Importer } from '../service/import.ts';
import type { Judge } from '../service/judge.ts';
import type { KeyRefresher } from '../service/key-refresh.ts';
import type { KeyService } from '../service/keys.ts';
import type { LogIns } from '../service/log-ins.ts';
import type { LogKeeper } from '../service/log-keeper.ts';
import type { MirrorService } from '../service/mirrors.ts';
import type { OverviewService } from '../service/overview.ts';
import type { Reader } from '../service/read.ts';
import type { ReadyQuestions } from '../service/ready-questions.ts';
import type { Records } from '../service/records.ts';
import type { RefusalRecorder } from '../service/refusals.ts';
import type { RepositoryList } from '../service/repositories.ts';
import type { RevocationService } from '../service/revocation.ts';
import type { RotationService } from '../service/rotation.ts';
import type { SessionService } from '../service/sessions.ts';
import type { RecordCertificate, RecordSettings } from '../service/settings-record.ts';
import type { SignatureQueries } from '../service/signatures.ts';
import type { SignerService } from '../service/signers.ts';
import type { SubjectService } from '../service/subjects.ts';
import type { TokenService } from '../service/tokens.ts';
import type { Upkeep } from '../service/upkeep.ts';
import type { Uploader } from '../service/upload.ts';
import type { WithdrawService } from '../service/withdraw.ts';
import type { Witness } from '../service/witness.ts';
import type { Databases } from '../sqlite/databases.ts';
import type { LockTaker } from '../sqlite/lock.ts';
import type { PackedDays } from '../sqlite/packed-days.ts';
import type { OpenedIdentities } from './identities.ts';
import type { OpenSite } from './site.ts';

export interface Composed {
  /** As they are now: mirrors come and go. */
  readonly sites: readonly ServedSite[];
  readonly places: () => readonly SitePlace[];
  readonly mirrors: MirrorService;
  readonly reader: Reader;
  readonly browser: Browser;
  readonly signatures: SignatureQueries;
  readonly repositories: RepositoryList;
  readonly proveEvent: (seq: number) => Promise<string>;
  readonly overview: OverviewService;
  readonly recorder: AccessRecorder;
  readonly records: Records;
  readonly feed: Feed;
  readonly readyQuestions: ReadyQuestions;
  readonly rotation: RotationService;
  readonly lookups: RecordLookups;
  readonly revocations: RevocationService;
  readonly accessLog: AccessUpkeep['accessLog'];
  /** Rows of the record that a reader process has packed; null: this one has none. */
  readonly writePackedRows: ((days: PackedDays) => Promise<void>) | null;
  readonly tokens: TokenService;
  /** The log-ins of the web pages. */
  readonly sessions: SessionService;
  readonly logIns: LogIns;
  readonly signers: SignerService;
  readonly subjects: SubjectService;
  readonly rules: AccessRulesService;
  /** Closed with the rest. */
  readonly identities: OpenedIdentities;
  readonly keys: KeyService;
  readonly keyRefresher: Pick<KeyRefresher, 'sources' | 'refreshNow'>;
  /** How many signatures verified by the key. @throws INDEX_UNUSABLE */
  readonly countByKey: (fingerprint: string) => Promise<number>;
  readonly uploader: Uploader;
  readonly withdrawals: WithdrawService;
  readonly refusals: RefusalRecorder;
  readonly importer: Importer;
  readonly judge: Judge;
  readonly upkeep: Upkeep;
  readonly index: Pick<SignatureIndex, 'counts'>;
  /** The log of audit events. */
  readonly auditLog: LogKeeper;
  /** Cosigns other logs; null when none are named. */
  readonly witness: Witness | null;
  /** Left out: the store is on this machine. */
  readonly patience?: () => Patience;
  health(isDraining: () => boolean): () => Promise<Health>;
  readonly recordSettings: RecordSettings;
  readonly recordCertificate: RecordCertificate;
  /** Prepares the end: scans, fsck and reindex stop, and writes wait at most 5 s more for locks of other processes. */
  hurry(): void;
  /** Batches end with what is under way, and their clients are told what of them was not stored. */
  endBatches(): void;
  /** Stops scanning, writes what is queued, closes the databases, releases the lock. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A site as the HTTP side and the commands see it. */
export interface ServedSite extends Site, Pick<OpenSite, 'problems' | 'filling'> {
  readonly files: Pick<OpenSite['files'], 'isWritable'>;
}

/** The reader processes of a server, as the process that owns the data directory sees them. */
export interface ReadersBeside {
  /** The owner has forgotten the set of this image; null: any image may have changed. */
  forgotten(image: ImageId | null): void;
  /** Has them write their rows of the record. */
  flush(): Promise<void>;
  readonly buffer: AccessRecorder['buffer'];
  /** What is wrong with them, in a sentence, or null. */
  readonly fault: string | null;
}

/** For commands, which say nothing of the memory that they may use. */
export const SET_BYTES = 64 * 1024 * 1024;

export interface ComposeOptions {
  readonly config: Config;
  /** The current configuration: a reload may change it. */
  readonly current: () => Config;
  /** At least one; each with its own name, prefix and tree. Mirrors come from the database. */
  readonly sites: readonly Site[];
  readonly log: Log;
  /** Where problems of trees are told; left out: in `log`. */
  readonly problemLog?: Log;
  /** Named to other commands that find the data directory locked. */
  readonly taker: LockTaker;
  /** Goes on although the log of audit events is not the one that was signed before. */
  readonly acceptRollback?: boolean;
  /** Goes on with a database that was moved back to a data directory. */
  readonly acceptMovedBack?: boolean;
  /** People log in through this process: it reads LOOKASIDE_OIDC_LOGIN. */
  readonly offersLogIns?: boolean;
  /** Left out: this process alone answers reads. */
  readonly readers?: ReadersBeside;
  /** What sets in the memory of this process may hold. Left out: SET_BYTES. */
  readonly setBytes?: number;
}

export interface Connections extends ComposeOptions {
  readonly databases: Databases;
}
