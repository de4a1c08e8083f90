// No request waits for the database for longer than five seconds: who asks is answered with 503, whatever comes of the question.
import { createPlaces } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import type { Patience } from '../domain/patience.ts';

/** What any one waits for, whether for a connection, for others, or for the answer. */
export const LONGEST_MS = 4800;

/** So late a timer is only where this process was paused, or had no turn of the processor. */
const HELD_MS = 200;
/** How long it then goes on with what has come meanwhile: timers come ahead of sockets. */
const READING_MS = 1000;

/** Calls `act` after so long, once what lies in the sockets is read; a second later where the process was paused. Returns what puts it off. */
function afterMs(ms: number, act: () => void): () => void {
  const dueMs = performance.now() + ms;
  let reading: NodeJS.Immediate | null = null;
  const end = () => {
    reading = setImmediate(act);
  };
  let timer = setTimeout(() => {
    if (performance.now() - dueMs < HELD_MS) end();
    else timer = setTimeout(end, READING_MS);
  }, ms);
  return () => {
    clearTimeout(timer);
    if (reading !== null) clearImmediate(reading);
  };
}

/** Whether what was given up after `longestMs` took longer, because the process was paused. */
export function wasPaused(longestMs: number, tookMs: number): boolean {
  return tookMs > longestMs + HELD_MS;
}

/** What is left of `leftMs` after something that came in time. Where it came later all the same, after a pause: enough for what comes next. */
export function leftAfter(leftMs: number, tookMs: number): number {
  return tookMs > leftMs ? READING_MS : leftMs - tookMs;
}

/** As the promise settles; `late()` is thrown when it has not by then. */
export async function inTime<T>(promise: Promise<T>, late: () => Error, longestMs = LONGEST_MS): Promise<T> {
  let cancel: () => void = () => undefined;
  const tooLate = new Promise<never>((_, reject) => {
    cancel = afterMs(longestMs, () => reject(late()));
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    cancel();
  }
}

export interface FewInTimeOptions<About> {
  readonly atOnce: number;
  readonly longestMs: number;
  readonly late: (about: About) => Error;
  readonly monotonicMs: () => number;
}

/** As inTime(), few at once: who has no place by then is late too, and is never begun. `act` is told when its time ends. */
export function createFewInTime<About>({ atOnce, longestMs, late, monotonicMs }: FewInTimeOptions<About>) {
  const places = createPlaces({ items: atOnce, bytes: Number.POSITIVE_INFINITY });
  return <T>(about: About, act: (lastMs: number) => Promise<T>): Promise<T> => {
    const lastMs = monotonicMs() + longestMs;
    const acting = places.take(0, async () => {
      if (monotonicMs() > lastMs) throw late(about);
      return act(lastMs);
    });
    return inTime(acting, () => late(about), longestMs);
  };
}

export interface PatienceOptions {
  readonly monotonicMs: () => number;
  /** When the database last answered anything; null: nobody has looked. */
  readonly answeredAtMs: () => number | null;
  readonly longestMs?: number;
}

/** As the promise settles, for as long as the database answers others; `late()` is thrown when it has not for so long. */
export type WhileAnswering = <T>(promise: Promise<T>, late: () => Error) => Promise<T>;

export function createWhileAnswering(options: PatienceOptions): WhileAnswering {
  const { monotonicMs, answeredAtMs, longestMs = LONGEST_MS } = options;
  return async (promise, late) => {
    const startMs = monotonicMs();
    let cancel: () => void = () => undefined;
    const silence = new Promise<never>((_, reject) => {
      const look = () => {
        const lastMs = answeredAtMs();
        if (lastMs === null) return;
        const leftMs = longestMs - (monotonicMs() - Math.max(startMs, lastMs));
        if (leftMs > 0) cancel = afterMs(leftMs, look);
        else reject(late());
      };
      cancel = afterMs(longestMs, look);
    });
    try {
      return await Promise.race([promise, silence]);
    } finally {
      cancel();
    }
  };
}

/** One for each request. */
export function createPatience(options: PatienceOptions): () => Patience {
  const { monotonicMs, longestMs = LONGEST_MS } = options;
  const whileAnswering = createWhileAnswering(options);
  return () => {
    let leftMs = longestMs;
    return {
      async wait(part) {
        const startMs = monotonicMs();
        const givenMs = leftMs;
        try {
          const answer = await inTime(part, isSilent, givenMs);
          leftMs = leftAfter(givenMs, monotonicMs() - startMs);
          return answer;
        } catch (error) {
          leftMs = Math.max(0, givenMs - (monotonicMs() - startMs));
          throw error;
        }
      },
      waitLong: (part) => whileAnswering(part, isSilent),
    };
  };
}

export function isSilent(): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    'PostgreSQL has not answered in time; try again in a few seconds. A change may have been made all the same: look first',
  );
}
