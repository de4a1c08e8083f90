// Whether a node over PostgreSQL can do its work: what it last heard from the database says so, and costs no question.
import type { Clock, Log } from '../domain/ports.ts';
import type { Check, Health } from '../service/health.ts';

export interface NodeHealthOptions {
  /** How long what was read is served while the database cannot be reached. */
  readonly staleMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

const TAKES_NO_CHANGES =
  'PostgreSQL takes no changes: it is a standby, or read-only; reads go on and are not recorded, everything else is answered with 503';

const IS_TOO_OLD =
  'PostgreSQL takes no changes from this node, whose lookaside is older than its tables: reads go on, everything else is answered with 503; stop this node, and start the version that the other nodes have';

const OK: Check = { state: 'ok', message: null };

export interface NodeHealth {
  /** The database has answered what was asked at that time; null: it has not. */
  noteAnswer(askedAtMs: number | null, error: unknown): void;
  /** Whether it takes changes, and none from this node, as it said when it last answered. */
  noteWritable(isWritable: boolean, isTooOld: boolean): void;
  of(isDraining: () => boolean): () => Promise<Health>;
}

export function createNodeHealth({ staleMs, clock, log }: NodeHealthOptions): NodeHealth {
  let answeredAtMs = clock.monotonicMs();
  let lostSinceMs: number | null = null;
  let refusal: string | null = null;

  function checkDatabase(): Check & { readonly canRead: boolean } {
    if (lostSinceMs === null && refusal === null) return { ...OK, canRead: true };
    if (lostSinceMs === null) return { state: 'degraded', message: refusal, canRead: true };
    const leftMs = staleMs - (clock.monotonicMs() - answeredAtMs);
    if (leftMs > 0) {
      const message = `PostgreSQL cannot be reached; signatures in memory are served for ${Math.ceil(leftMs / 1000)} s more (LOOKASIDE_STALE), everything else is answered with 503`;
      return { state: 'degraded', message, canRead: true };
    }
    const message =
      'PostgreSQL cannot be reached for longer than LOOKASIDE_STALE; everything is answered with 503';
    return { state: 'failed', message, canRead: false };
  }

  return {
    noteAnswer(askedAtMs, error) {
      if (askedAtMs !== null) {
        answeredAtMs = askedAtMs;
        if (lostSinceMs !== null) log.info({}, 'PostgreSQL can be reached again');
        lostSinceMs = null;
      } else if (lostSinceMs === null) {
        lostSinceMs = clock.monotonicMs();
        log.error({ err: error }, 'PostgreSQL cannot be reached; this is tried again every second');
      }
    },
    noteWritable(isWritable, isTooOld) {
      const now = isTooOld ? IS_TOO_OLD : isWritable ? null : TAKES_NO_CHANGES;
      if (now !== null && now !== refusal) log.warn({}, now);
      if (now === null && refusal !== null) log.info({}, 'PostgreSQL takes changes again');
      refusal = now;
    },
    of: (isDraining) => async () => {
      const { canRead, ...database } = checkDatabase();
      const draining: Check = isDraining() ? { state: 'degraded', message: 'the server is stopping' } : OK;
      const isWell = database.state === 'ok' && draining.state === 'ok';
      return {
        status: !canRead ? 'failed' : isWell ? 'ok' : 'degraded',
        reads: canRead ? 'ok' : 'failed',
        writes: isWell ? 'ok' : 'failed',
        checks: { database, draining },
      };
    },
  };
}
