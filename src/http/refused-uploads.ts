// Counts refused uploads by signer, or by token where no signer binds it: after a thousand in a minute, these uploads are told to
// slow down. Each costs a
// verification and counts in the audit log, so nobody may send them as fast as they can.
import { LRUCache } from 'lru-cache';
import { LookasideError } from '../domain/errors.ts';
import type { Token } from '../domain/ports.ts';
import type { Caller } from './client.ts';

export interface RefusedUploads {
  /** @throws LookasideError SLOW_DOWN when too many of the caller's were refused; never for the administrator */
  check(caller: Caller): void;
  /** Notes that `refused` more uploads were refused. */
  note(caller: Caller, refused: number): void;
}

/** With this, the first push of a folder with some thousand bad files gets all its refusals within minutes. */
const MAX_PER_MINUTE = 1000;
const MINUTE_MS = 60_000;
const MAX_HOLDERS = 10_000;

interface Counted {
  readonly sinceMs: number;
  readonly refused: number;
}

export function createRefusedUploads(monotonicMs: () => number): RefusedUploads {
  const counts = new LRUCache<string, Counted>({ max: MAX_HOLDERS });

  /** What went over the limit, as by many requests at once, is carried into the minutes that follow. */
  function countOf(holder: string): Counted {
    const nowMs = monotonicMs();
    const { sinceMs, refused } = counts.get(holder) ?? { sinceMs: nowMs, refused: 0 };
    const minutes = Math.floor((nowMs - sinceMs) / MINUTE_MS);
    const left = refused - minutes * MAX_PER_MINUTE;
    return left > 0
      ? { sinceMs: sinceMs + minutes * MINUTE_MS, refused: left }
      : { sinceMs: nowMs, refused: 0 };
  }

  return {
    check(caller) {
      if (caller.kind !== 'token') return;
      const name = holderOf(caller.token);
      const { sinceMs, refused } = countOf(name);
      if (refused < MAX_PER_MINUTE) return;
      const minutes = Math.floor(refused / MAX_PER_MINUTE);
      const retryAfterSeconds = Math.ceil((sinceMs + minutes * MINUTE_MS - monotonicMs()) / 1000);
      throw new LookasideError(
        'SLOW_DOWN',
        `more than ${MAX_PER_MINUTE} uploads of the ${name} were refused within a minute, and none is taken for the moment; see why they were refused, and go on in ${retryAfterSeconds} seconds`,
        { detail: { retryAfterSeconds } },
      );
    },
    note(caller, refused) {
      if (caller.kind !== 'token' || refused === 0) return;
      const name = holderOf(caller.token);
      const count = countOf(name);
      counts.set(name, { ...count, refused: count.refused + refused });
    },
  };
}

/** A signer with many tokens has no more refusals than one with one. */
function holderOf({ name, signer }: Token): string {
  return signer === null ? `token "${name}"` : `signer "${signer}"`;
}
