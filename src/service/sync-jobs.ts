// Syncs of mirrors that somebody has started and nobody waits for: how far each has come, and how the last one ended.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { SyncProgress, SyncReport } from '../domain/mirror.ts';
import type { Clock, Log } from '../domain/ports.ts';
import type { Actor } from './audit.ts';
import type { MirrorService } from './mirrors.ts';

export interface SyncJob {
  readonly startedAt: Date;
  readonly by: string;
  readonly progress: SyncProgress;
  /** Null while it runs. */
  readonly ended:
    | { readonly report: SyncReport; readonly unrecorded: string | null }
    | { readonly message: string }
    | null;
}

export interface SyncJobs {
  /** Resolves once it has begun. @throws LookasideError BUSY while one of the mirror runs; as MirrorService.sync() for wrong images */
  start(mirror: string, images: readonly string[], actor: Actor): Promise<void>;
  /** The last one of the mirror since the start of the server; null: there was none. */
  peek(mirror: string): SyncJob | null;
}

export interface SyncJobsOptions {
  readonly mirrors: Pick<MirrorService, 'sync'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Pick<Log, 'warn'>;
}

export function createSyncJobs({ mirrors, clock, log }: SyncJobsOptions): SyncJobs {
  const jobs = new Map<string, SyncJob>();

  return {
    peek: (mirror) => jobs.get(mirror) ?? null,
    async start(mirror, images, actor) {
      if (jobs.get(mirror)?.ended === null)
        throw new LookasideError('BUSY', `a sync of ${mirror} runs already; wait for its end`);
      const begun = { startedAt: clock.now(), by: actor.name, ended: null };
      const put = (job: Partial<SyncJob>) => {
        const known = jobs.get(mirror) ?? { ...begun, progress: { done: 0, total: images.length } };
        jobs.set(mirror, { ...known, ...job });
      };
      jobs.delete(mirror);
      await new Promise<void>((resolve, reject) => {
        const onProgress = (progress: SyncProgress) => {
          put({ progress });
          resolve(); // everything that was named is an image of the mirror
        };
        put({});
        mirrors.sync(mirror, { images, maxAgeMs: null, onProgress }, actor).then(
          ({ startedAt, finishedAt, counts, unrecorded }) =>
            put({ ended: { report: { startedAt, finishedAt, counts }, unrecorded } }),
          (error: unknown) => {
            const isOurs = isLookasideError(error);
            if (!isOurs) log.warn({ err: error, mirror }, 'a sync that was started by a page failed');
            put({ ended: { message: isOurs ? error.message : 'it failed; the log of the server says why' } });
            reject(error);
          },
        );
      });
    },
  };
}
