// Warns in the log, at the start and once a day, of each key that is about to expire, and of a key that the settings name and nobody has
// registered.
import type { RegisteredKey } from '../domain/key.ts';
import { daysUntil, endingWithin, nextEnd, WARNED_DAYS } from '../domain/key-expiry.ts';
import type { Clock, Log } from '../domain/ports.ts';
import type { KeyService } from './keys.ts';
import type { ReleaseViewSettings } from './release-view.ts';

const DAY_MS = 86_400_000;

export interface KeyExpiryOptions {
  readonly keys: Pick<KeyService, 'list'>;
  readonly releases: () => ReleaseViewSettings;
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

async function warn({ keys, releases, clock, log }: KeyExpiryOptions): Promise<void> {
  const now = clock.now();
  const registered = await keys.list();
  warnOfReleaseKey(registered, releases(), log);
  for (const key of endingWithin(registered, { withinMs: WARNED_DAYS[0] * DAY_MS, now })) {
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

/** Without that key, another signature is number 1 of each release, and the only one that oc-mirror reads. */
function warnOfReleaseKey(
  registered: readonly RegisteredKey[],
  { repositories, preferredKey }: ReleaseViewSettings,
  log: KeyExpiryOptions['log'],
): void {
  if (preferredKey === null) return;
  if (repositories.length === 0) {
    log.warn(
      { releaseKey: preferredKey },
      'LOOKASIDE_RELEASE_KEY does nothing without LOOKASIDE_RELEASE_REPOSITORIES; name the repositories whose signatures releases are to have, or leave the key out',
    );
    return;
  }
  const fingerprints = registered.flatMap(({ fingerprint, subkeys }) => [
    fingerprint,
    ...subkeys.map((subkey) => subkey.fingerprint),
  ]);
  if (fingerprints.some((fingerprint) => fingerprint.endsWith(preferredKey))) return;
  log.warn(
    { releaseKey: preferredKey },
    'LOOKASIDE_RELEASE_KEY is not a registered key, so that signature-1 of a release is whichever comes first; register it with lookaside key add FILE, or name one that lookaside key list shows',
  );
}
