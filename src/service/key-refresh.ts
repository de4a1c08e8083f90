// Brings registered certificates up to date from key servers and Web Key Directories, at the start and then on a schedule.
import { isLookasideError } from '../domain/errors.ts';
import type { RegisteredKey } from '../domain/key.ts';
import { type KeyRefresh, type KeySource, keySourceText } from '../domain/key-source.ts';
import type { Log } from '../domain/ports.ts';
import { SERVER } from './audit.ts';
import type { KeyService } from './keys.ts';

export interface KeyRefreshOptions {
  readonly keys: Pick<KeyService, 'list' | 'refresh'>;
  /** Null: nobody is asked. */
  readonly schedule: () => KeyRefresh | null;
  /** Null: it has nothing. @throws LookasideError UPSTREAM_UNAVAILABLE */
  readonly fetch: (source: KeySource, key: RegisteredKey) => Promise<Uint8Array | null>;
  readonly log: Pick<Log, 'info' | 'warn'>;
  readonly wait: (ms: number) => Promise<unknown>;
}

export interface KeyRefresher {
  start(): void;
  stop(): void;
}

/** How often it looks whether a reload has brought a schedule. */
const IDLE_MS = 3_600_000;

export function createKeyRefresher(options: KeyRefreshOptions): KeyRefresher {
  const { keys, schedule, log } = options;
  let isStopped = false;

  async function run(): Promise<void> {
    while (!isStopped) {
      const due = schedule();
      if (due !== null) await refreshAll(due.sources);
      await options.wait(due?.everyMs ?? IDLE_MS);
    }
  }

  async function refreshAll(sources: readonly KeySource[]): Promise<void> {
    for (const source of sources) {
      for (const key of await keys.list()) {
        if (isStopped) return;
        await refreshOne(source, key);
      }
    }
  }

  async function refreshOne(source: KeySource, key: RegisteredKey): Promise<void> {
    const { fingerprint } = key;
    const from = keySourceText(source);
    try {
      const bytes = await options.fetch(source, key);
      if (bytes === null) return;
      for (const result of (await keys.refresh(bytes, [fingerprint], SERVER)).results) {
        if (result.result === 'updated') log.info({ fingerprint, from }, 'a key was refreshed');
        if (result.result === 'refused')
          log.warn({ fingerprint, from, code: result.code }, `a key was not refreshed: ${result.message}`);
      }
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      if (!isStopped)
        log.warn({ fingerprint, from, err: error }, 'a key could not be refreshed; it is tried again');
    }
  }

  return {
    start: () =>
      void run().catch((error: unknown) => {
        if (!isStopped) log.warn({ err: error }, 'keys are refreshed no more until the next start');
      }),
    stop() {
      isStopped = true;
    },
  };
}
