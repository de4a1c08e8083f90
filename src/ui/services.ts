// What the pages ask. Each is a function of service/, which the API and the commands call too.
import type { Administration } from '../domain/administration.ts';
import type { Clock } from '../domain/ports.ts';
import type { SitePlace } from '../domain/site.ts';
import type { Actor } from '../service/audit.ts';
import type { Feed } from '../service/feed.ts';
import type { Health } from '../service/health.ts';
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
import type { RepositoryList } from '../service/repositories.ts';
import type { SessionService } from '../service/sessions.ts';
import type { ShownSetting } from '../service/settings-record.ts';
import type { SignatureQueries } from '../service/signatures.ts';
import type { SignerService } from '../service/signers.ts';
import type { SyncJobs } from '../service/sync-jobs.ts';
import type { TokenService } from '../service/tokens.ts';
import type { WithdrawService } from '../service/withdraw.ts';

export interface PageServices {
  readonly places: () => readonly SitePlace[];
  readonly reader: Pick<Reader, 'readSet'>;
  readonly signatures: SignatureQueries;
  readonly repositories: RepositoryList;
  readonly withdrawals: Pick<WithdrawService, 'ofImage'>;
  readonly judge: Pick<Judge, 'prefer'>;
  readonly keys: KeyService;
  readonly keyRefresher: Pick<KeyRefresher, 'sources' | 'refreshNow'>;
  /** How many signatures verified by the key; null while the index is being rebuilt. */
  readonly countByKey: (fingerprint: string) => Promise<number | null>;
  readonly tokens: TokenService;
  readonly sessions: SessionService;
  readonly logIns: LogIns;
  readonly signers: SignerService;
  readonly mirrors: MirrorService;
  readonly syncJobs: SyncJobs;
  readonly records: Records;
  readonly readyQuestions: ReadyQuestions;
  readonly overview: OverviewService;
  readonly feed: Feed;
  readonly auditLog: Pick<LogKeeper, 'identity' | 'checkpoint' | 'tile'>;
  /** As service/log-proofs.ts. @throws LookasideError NOT_FOUND, LOG_MISMATCH */
  readonly proveEvent: (seq: number) => Promise<string>;
  readonly isDraining: () => boolean;
  readonly health: () => Promise<Health>;
  /** Everything that an administrator may ask, in the name of this actor; it checks no role. */
  readonly administration: (actor: Actor) => Administration;
  /** Those of the start, without secrets. */
  readonly shownSettings: () => readonly ShownSetting[];
  readonly clock: Clock;
  readonly about: { readonly version: string; readonly startedAt: Date };
  readonly settings: () => {
    readonly publicUrl: string | null;
    readonly prefix: string;
    readonly read: 'anonymous' | 'token';
  };
}
