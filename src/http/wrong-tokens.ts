// Counts wrong tokens by address: after ten in a minute, whoever sends more is told to slow down. A right token never
// comes here, so that nobody behind the same address can lock a signer out.
import { LRUCache } from 'lru-cache';
import { LookasideError } from '../domain/errors.ts';
import { networkOf } from '../domain/network.ts';

export interface WrongTokens {
  /** Notes one more from this address. @throws LookasideError SLOW_DOWN when there were too many */
  note(address: string): void;
}

const MAX_PER_MINUTE = 10;
const MINUTE_MS = 60_000;
const MAX_ADDRESSES = 10_000;

export function createWrongTokens(monotonicMs: () => number): WrongTokens {
  // when the last ones came, oldest first; never more than MAX_PER_MINUTE
  const seen = new LRUCache<string, readonly number[]>({ max: MAX_ADDRESSES });

  return {
    note(address) {
      const key = networkOf(address);
      const nowMs = monotonicMs();
      const recent = (seen.get(key) ?? []).filter((atMs) => nowMs - atMs < MINUTE_MS);
      const [oldestMs] = recent;
      if (oldestMs !== undefined && recent.length >= MAX_PER_MINUTE) {
        const retryAfterSeconds = Math.ceil((oldestMs + MINUTE_MS - nowMs) / 1000);
        throw new LookasideError(
          'SLOW_DOWN',
          `more than ${MAX_PER_MINUTE} unknown or revoked tokens came from ${key} within a minute; send the right one, or try again in ${retryAfterSeconds} seconds`,
          { detail: { retryAfterSeconds } },
        );
      }
      seen.set(key, [...recent, nowMs]);
    },
  };
}
