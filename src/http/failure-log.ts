// Logs failures of requests: each kind once a second, with how many there were. A disk that fails, fails for every
// request, and a line for each would bury the others.
import { isLookasideError } from '../domain/errors.ts';
import type { Log } from '../domain/ports.ts';

const TOLD_EVERY_MS = 1000;

export interface FailureLog {
  /** A request was answered with an error. A refusal without a cause is the caller's affair and is not logged. */
  failed(error: unknown, route: string): void;
  /** A request failed whose answer had begun, or that had not reached a route. */
  broke(error: unknown, route: string, message: string): void;
}

export function createFailureLog(log: Log, monotonicMs: () => number): FailureLog {
  const kinds = new Map<string, { toldAtMs: number; untold: number }>();

  function broke(error: unknown, route: string, message: string): void {
    const kind = `${message} ${route} ${isLookasideError(error) ? error.code : 'INTERNAL'}`;
    const known = kinds.get(kind) ?? { toldAtMs: Number.NEGATIVE_INFINITY, untold: 0 };
    kinds.set(kind, known);
    known.untold += 1;
    if (monotonicMs() - known.toldAtMs < TOLD_EVERY_MS) return;
    log.error({ err: error, route, requests: known.untold }, message);
    known.toldAtMs = monotonicMs();
    known.untold = 0;
  }

  return {
    failed(error, route) {
      if (isLookasideError(error) && error.cause === undefined) return;
      broke(error, route, 'requests failed');
    },
    broke,
  };
}
