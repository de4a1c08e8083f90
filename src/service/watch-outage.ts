// What a watch does while its server cannot be reached: it reports that once, and tries again after growing pauses.
import { backoffMs } from '../domain/backoff.ts';
import { type ErrorCode, isLookasideError } from '../domain/errors.ts';
import { PASSING_CODES, type Wait } from './push-batches.ts';

export type OutageEvent =
  /** The server cannot be reached. This comes once, and again only after `back` or for another reason. */
  { readonly event: 'away'; readonly message: string } | { readonly event: 'back' };

export interface OutageOptions {
  readonly wait: Wait;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Ends a pause. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: OutageEvent) => void;
}

export interface Outage {
  /** The last try failed. */
  readonly isOn: boolean;
  /**
   * Runs `act`, which needs the server. When that fails, it resolves when the next try may begin.
   * @throws LookasideError when the server has never answered and waiting would not help
   */
  reaching(act: () => Promise<void>): Promise<void>;
}

const SHORTEST_OUTAGE_MS = 1000;
/** The pause after a refused token, which the server may accept later. */
const DENIED_AGAIN_MS = 60_000;

/**
 * Failures that the watch waits out before the server has answered for the first time. Any other failure ends the watch then.
 */
const WORTH_WAITING: ReadonlySet<ErrorCode> = new Set([
  ...PASSING_CODES,
  'SERVER_UNREACHABLE',
  'SLOW_DOWN',
  'TOO_SLOW',
]);

export function createOutage({ wait, random, signal, onEvent }: OutageOptions): Outage {
  let hasBeenIn = false;
  let tries = 0;
  let code: ErrorCode | null = null;

  async function pauseAfter(error: unknown): Promise<void> {
    if (!isLookasideError(error)) throw error;
    if (!hasBeenIn && !WORTH_WAITING.has(error.code)) throw error;
    if (code !== error.code) onEvent({ event: 'away', message: error.message });
    code = error.code;
    tries += 1;
    const isDenied = error.code === 'UNAUTHORIZED' || error.code === 'DENIED';
    const pauseMs = isDenied
      ? DENIED_AGAIN_MS
      : Math.max(SHORTEST_OUTAGE_MS, backoffMs(tries, random(), null));
    await wait(pauseMs, signal);
  }

  return {
    get isOn() {
      return tries > 0;
    },
    async reaching(act) {
      try {
        await act();
      } catch (error) {
        return pauseAfter(error);
      }
      hasBeenIn = true;
      if (tries > 0) onEvent({ event: 'back' });
      tries = 0;
      code = null;
    },
  };
}
