// Failures of requests in the log: each kind once a second, with how many there were. A disk that fails, fails for
// every request, and a line for each would bury the others.
import { isLookasideError } from '../domain/errors.ts';
import type { Log } from '../domain/ports.ts';

const TOLD_EVERY_MS = 1000;

export type TellFailure = (error: unknown, route: string) => void;

export function createFailureLog(log: Log, monotonicMs: () => number): TellFailure {
  const kinds = new Map<string, { toldAtMs: number; untold: number }>();

  return (error, route) => {
    // a refusal without a cause is the caller's affair
    if (isLookasideError(error) && error.cause === undefined) return;
    const kind = `${route} ${isLookasideError(error) ? error.code : 'INTERNAL'}`;
    const known = kinds.get(kind) ?? { toldAtMs: Number.NEGATIVE_INFINITY, untold: 0 };
    kinds.set(kind, known);
    known.untold += 1;
    if (monotonicMs() - known.toldAtMs < TOLD_EVERY_MS) return;
    log.error({ err: error, route, requests: known.untold }, 'requests failed');
    known.toldAtMs = monotonicMs();
    known.untold = 0;
  };
}
