// Warns in the log, at the start and once a day, of each key that is about to expire.
import { daysUntil, endingWithin, nextEnd, WARNED_DAYS } from '../domain/key-expiry.ts';
import type { Clock, Log } from '../domain/ports.ts';
import type { KeyService } from './keys.ts';

const DAY_MS = 86_400_000;

export interface KeyExpiryOptions {
  readonly keys: Pick<KeyService, 'list'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Pick<Log, 'warn'>;
  readonly wait: (ms: number) => Promise<unknown>;
}

export interface KeyExpiryWarnings {
  /** Writes the warnings of today, and those of each day from then on. */
  start(): void;
  stop(): void;
}

export function createKeyExpiryWarnings(options: KeyExpiryOptions): KeyExpiryWarnings {
  let isStopped = false;
  return {
    start: () => void warnDaily(),
    stop() {
      isStopped = true;
    },
  };

  async function warnDaily(): Promise<void> {
    while (!isStopped) {
      await warn(options).catch((error: unknown) => {
        // a server goes on without its warnings; tomorrow it tries again
        if (!isStopped) options.log.warn({ err: error }, 'which keys expire soon could not be read');
      });
      await options.wait(DAY_MS);
    }
  }
}

async function warn({ keys, clock, log }: KeyExpiryOptions): Promise<void> {
  const now = clock.now();
  for (const key of endingWithin(await keys.list(), { withinMs: WARNED_DAYS[0] * DAY_MS, now })) {
    const end = nextEnd(key, now);
    if (end === null) continue;
    const { fingerprint, userIds } = key;
    const about = {
      fingerprint,
      userId: userIds[0] ?? null,
      expiresAt: end.at,
      days: daysUntil(end.at, now),
    };
    log.warn(
      end.isSubkey ? { ...about, subkey: end.fingerprint } : about,
      'a key expires soon, and clients then refuse what it signed; extend it with gpg --quick-set-expire and add it again, or sign with another: lookaside key rotation OLD NEW',
    );
  }
}
