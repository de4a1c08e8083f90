// Brings registered certificates up to date from key servers and Web Key Directories: at the start, then on a schedule, and one
// whenever somebody asks for it.
import { isLookasideError } from '../domain/errors.ts';
import type { KeyResult, RegisteredKey } from '../domain/key.ts';
import { type KeyRefresh, type KeySource, keySourceText } from '../domain/key-source.ts';
import type { Log } from '../domain/ports.ts';
import { type Actor, SERVER } from './audit.ts';
import type { KeyService } from './keys.ts';

export interface KeyRefreshOptions {
  readonly keys: Pick<KeyService, 'list' | 'find' | 'refresh'>;
  /** Null: nobody is asked. */
  readonly schedule: () => KeyRefresh | null;
  /** Whether this process keeps the schedule; whoever is asked for one key asks, whether it does or not. */
  readonly isLeader: () => boolean;
  /** Null: it has nothing. @throws LookasideError UPSTREAM_UNAVAILABLE */
  readonly fetch: (source: KeySource, key: RegisteredKey) => Promise<Uint8Array | null>;
  readonly log: Pick<Log, 'info' | 'warn'>;
  readonly wait: (ms: number) => Promise<unknown>;
}

export interface KeyRefresher {
  start(): void;
  stop(): void;
  /** Of the schedule as it is now; none where no schedule is set. */
  sources(): readonly KeySource[];
  /**
   * Asks all of them for one key, now, and merges what they have. @throws LookasideError REQUEST_INVALID, NOT_FOUND as
   * KeyService.find()
   */
  refreshNow(name: string, actor: Actor): Promise<readonly AskedSource[]>;
}

/** What became of one source. */
export interface AskedSource {
  readonly from: string;
  /** Of the certificates that it had; none: it knows no such key. */
  readonly results: readonly KeyResult[];
  /** Why it could not be asked, or null. */
  readonly problem: string | null;
}

/** How often it looks whether a reload has brought a schedule. */
const IDLE_MS = 3_600_000;

export function createKeyRefresher(options: KeyRefreshOptions): KeyRefresher {
  const { keys, schedule, log } = options;
  let isStopped = false;

  async function run(): Promise<void> {
    while (!isStopped) {
      const due = options.isLeader() ? schedule() : null;
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

  async function askNow(source: KeySource, key: RegisteredKey, actor: Actor): Promise<AskedSource> {
    const from = keySourceText(source);
    try {
      const bytes = await options.fetch(source, key);
      const results = bytes === null ? [] : (await keys.refresh(bytes, [key.fingerprint], actor)).results;
      return { from, results, problem: null };
    } catch (error) {
      if (!isLookasideError(error, 'UPSTREAM_UNAVAILABLE') && !isLookasideError(error, 'REQUEST_INVALID'))
        throw error;
      return { from, results: [], problem: error.message };
    }
  }

  const sources = () => schedule()?.sources ?? [];

  return {
    sources,
    async refreshNow(name, actor) {
      const key = await keys.find(name);
      const asked: AskedSource[] = [];
      for (const source of sources()) asked.push(await askNow(source, key, actor));
      return asked;
    },
    start: () =>
      void run().catch((error: unknown) => {
        if (!isStopped) log.warn({ err: error }, 'keys are refreshed no more until the next start');
      }),
    stop() {
      isStopped = true;
    },
  };
}
