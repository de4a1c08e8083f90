// What the routes need. The caller makes one object, and each route takes from it what it names.
import type { BlockList } from 'node:net';
import type { Patience } from '../domain/patience.ts';
import type { Clock, Log } from '../domain/ports.ts';
import type { RecordLookups } from '../domain/records.ts';
import type { SitePlace } from '../domain/site.ts';
import type { WebPages } from '../domain/web-page.ts';
import type { AccessRecorder } from '../service/access.ts';
import type { AccessRulesService } from '../service/access-rules.ts';
import type { Browser } from '../service/browse.ts';
import type { Feed } from '../service/feed.ts';
import type { Health } from '../service/health.ts';
import type { Identities } from '../service/identities.ts';
import type { Importer } from '../service/import.ts';
import type { Judge } from '../service/judge.ts';
import type { KeyService } from '../service/keys.ts';
import type { LogKeeper } from '../service/log-keeper.ts';
import type { MirrorService } from '../service/mirrors.ts';
import type { Reader } from '../service/read.ts';
import type { ReadyQuestions } from '../service/ready-questions.ts';
import type { Records } from '../service/records.ts';
import type { RevocationService } from '../service/revocation.ts';
import type { RotationService } from '../service/rotation.ts';
import type { SessionService } from '../service/sessions.ts';
import type { SignatureQueries } from '../service/signatures.ts';
import type { SignerService } from '../service/signers.ts';
import type { SubjectService } from '../service/subjects.ts';
import type { TokenService } from '../service/tokens.ts';
import type { Upkeep } from '../service/upkeep.ts';
import type { Uploader } from '../service/upload.ts';
import type { WithdrawService } from '../service/withdraw.ts';
import type { Witness } from '../service/witness.ts';
import type { Intake } from './intake.ts';
import type { Metrics } from './metrics.ts';

/** What answers reads of signatures from memory needs: all of it is in a reader process too. */
export interface ReadServices {
  readonly reader: Pick<Reader, 'peekSet' | 'readSet'>;
  readonly recorder: Pick<AccessRecorder, 'record'>;
  readonly metrics: Pick<Metrics, 'request' | 'read'>;
  readonly clock: Clock;
  readonly settings: () => Pick<HttpSettings, 'read' | 'accessLog'>;
  readonly writeAccessLine: (line: string) => void;
}

export interface Services {
  /** As they are now; one of them has no prefix. Another array whenever one has come or gone. */
  readonly places: () => readonly SitePlace[];
  readonly reader: Reader;
  readonly browser: Browser;
  readonly signatures: SignatureQueries;
  readonly judge: Pick<Judge, 'prefer'>;
  readonly recorder: AccessRecorder;
  readonly records: Records;
  readonly feed: Feed;
  readonly readyQuestions: ReadyQuestions;
  readonly rotation: RotationService;
  readonly lookups: RecordLookups;
  readonly revocations: RevocationService;
  readonly tokens: TokenService;
  readonly sessions: SessionService;
  readonly signers: SignerService;
  readonly subjects: SubjectService;
  readonly rules: AccessRulesService;
  readonly identities: Identities;
  readonly keys: KeyService;
  readonly mirrors: MirrorService;
  readonly upkeep: Upkeep;
  readonly uploader: Uploader;
  readonly withdrawals: WithdrawService;
  readonly importer: Importer;
  /** Null: this server witnesses no logs. */
  readonly witness: Witness | null;
  readonly auditLog: Pick<LogKeeper, 'identity' | 'checkpoint' | 'tile'>;
  readonly intake: Intake;
  /** Null: this process serves none. */
  readonly pages: WebPages | null;
  /** For each request anew; left out: the store is on this machine. */
  readonly patience?: () => Patience;
  readonly health: () => Promise<Health>;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly about: About;
  /** As they are now: SIGHUP changes them. */
  readonly settings: () => HttpSettings;
  readonly isDraining: () => boolean;
  /** Resolves once all that has changed so far is seen by every reader process; null: it is already. */
  readonly untilSeen: () => Promise<void> | null;
  /** One line of the access log. */
  readonly writeAccessLine: (line: string) => void;
}

export interface About {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: Date;
  readonly data: string;
  readonly root: string;
  readonly tree: 'owned' | 'shared';
}

export interface HttpSettings {
  readonly prefix: string;
  /** The URL by which browsers and clients reach this server; null when none is set. */
  readonly publicUrl: string | null;
  readonly read: 'anonymous' | 'token';
  readonly listing: boolean;
  /** Whether there are web pages below /ui/. */
  readonly ui: boolean;
  readonly accessLog: 'off' | 'combined' | 'json';
  readonly trustedProxies: BlockList;
  readonly maxSignatureBytes: number;
}
