// Counts wrong tokens by address, and those that have ended by their signer: whoever sends more than so many in a minute is told
// to slow down. A right token never comes here, so that nobody behind the same address or of the same signer is locked out.
import { LRUCache } from 'lru-cache';
import { LookasideError } from '../domain/errors.ts';
import { networkOf } from '../domain/network.ts';

export interface WrongTokens {
  /** Notes one more from this address. @throws LookasideError SLOW_DOWN when there were too many */
  note(address: string): void;
  /** Notes one more that was right once, or whose signer is disabled. @throws LookasideError SLOW_DOWN when there were too many */
  noteEnded(signer: string): void;
}

const MAX_PER_MINUTE = 10;
/** All jobs of a pipeline may send an ended token at once; each is to be told why it is refused. */
const MAX_ENDED_PER_MINUTE = 60;
const MINUTE_MS = 60_000;
const MAX_HOLDERS = 10_000;

export function createWrongTokens(monotonicMs: () => number): WrongTokens {
  const byAddress = createLimit(monotonicMs, MAX_PER_MINUTE);
  const bySigner = createLimit(monotonicMs, MAX_ENDED_PER_MINUTE);

  function assertFew(network: string): void {
    const waitSeconds = byAddress.wait(network);
    if (waitSeconds === null) return;
    throw slowDown(
      waitSeconds,
      `more than ${MAX_PER_MINUTE} unknown or revoked tokens came from ${network} within a minute; send the right one, or try again in ${waitSeconds} seconds`,
    );
  }

  return {
    note(address) {
      const network = networkOf(address);
      assertFew(network);
      byAddress.note(network);
    },
    noteEnded(signer) {
      const waitSeconds = bySigner.wait(signer);
      if (waitSeconds === null) {
        bySigner.note(signer);
        return;
      }
      throw slowDown(
        waitSeconds,
        `more than ${MAX_ENDED_PER_MINUTE} requests within a minute came with tokens of the signer "${signer}" that give no access: they have expired, or the signer is disabled; send one that is in force. An administrator sees which it is by: lookaside token list; and enables the signer by: lookaside signer enable ${signer}`,
        { isTokenEnded: true },
      );
    },
  };
}

/** By holders, each of which has so many within a minute. */
export function createLimit(monotonicMs: () => number, maxPerMinute: number) {
  // when the last ones came, oldest first; never more than maxPerMinute
  const seen = new LRUCache<string, readonly number[]>({ max: MAX_HOLDERS });

  const recentOf = (holder: string) =>
    (seen.get(holder) ?? []).filter((atMs) => monotonicMs() - atMs < MINUTE_MS);

  return {
    /** The seconds after which one more may come; null: at once. */
    wait(holder: string): number | null {
      const recent = recentOf(holder);
      const [oldestMs] = recent;
      if (oldestMs === undefined || recent.length < maxPerMinute) return null;
      return Math.ceil((oldestMs + MINUTE_MS - monotonicMs()) / 1000);
    },
    /** The time at which it was noted. */
    note(holder: string): number {
      const atMs = monotonicMs();
      seen.set(holder, [...recentOf(holder), atMs]);
      return atMs;
    },
    /** As if the one that was noted at that time had not come. */
    takeBack(holder: string, atMs: number): void {
      const recent = recentOf(holder);
      const at = recent.indexOf(atMs);
      if (at !== -1) seen.set(holder, recent.toSpliced(at, 1));
    },
  };
}

export function slowDown(
  retryAfterSeconds: number,
  message: string,
  more: Readonly<Record<string, unknown>> = {},
): LookasideError {
  return new LookasideError('SLOW_DOWN', message, { detail: { retryAfterSeconds, ...more } });
}
