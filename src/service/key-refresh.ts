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
  /** The sources of the schedule as it is now; none where no schedule is set. */
  sources(): readonly KeySource[];
  /**
   * Asks all of them for one key at once, and merges what they have within 20 seconds. What fails stands with its source. @throws
   * LookasideError REQUEST_INVALID, NOT_FOUND as KeyService.find()
   */
  refreshNow(name: string, actor: Actor): Promise<readonly AskedSource[]>;
}

/** What became of one source. */
export interface AskedSource {
  readonly from: string;
  /** One for each certificate that it had; none: it knows no such key. */
  readonly results: readonly KeyResult[];
  /** Why it could not be asked, or null. */
  readonly problem: string | null;
}

/** How often it looks whether a reload has brought a schedule. */
const IDLE_MS = 3_600_000;

/** Somebody waits before a page; one source alone may take 10 seconds for each of several addresses. */
const ASK_MS = 20_000;
const TOO_LATE = `it does not answer within ${ASK_MS / 1000} seconds; ask again later`;

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

  /** What `act` gives, or what is wrong with that source; the others are asked all the same. */
  async function noted<T>(
    act: () => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly problem: string }> {
    try {
      return { value: await act() };
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      return { problem: error.message };
    }
  }

  /** All at once. What comes behind the deadline is not merged. */
  async function askAll(key: RegisteredKey) {
    const asked = sources().map((source) => ({ source, answer: noted(() => options.fetch(source, key)) }));
    const late = options.wait(ASK_MS).then(() => ({ problem: TOO_LATE }));
    return Promise.all(
      asked.map(async ({ source, answer }) => ({
        from: keySourceText(source),
        answer: await Promise.race([answer, late]),
      })),
    );
  }

  const sources = () => schedule()?.sources ?? [];

  return {
    sources,
    async refreshNow(name, actor) {
      const key = await keys.find(name);
      const sources: AskedSource[] = [];
      // one after the other: each goes on from what the one before has merged
      for (const { from, answer } of await askAll(key)) {
        const merged =
          'problem' in answer
            ? answer
            : await noted(async () => {
                const bytes = answer.value;
                return bytes === null ? [] : (await keys.refresh(bytes, [key.fingerprint], actor)).results;
              });
        sources.push(
          'problem' in merged
            ? { from, results: [], problem: merged.problem }
            : { from, results: merged.value, problem: null },
        );
      }
      return sources;
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
