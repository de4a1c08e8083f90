// No request waits for the database for longer than five seconds: who asks is answered with 503, whatever comes of the question.
import { createPlaces } from '../domain/concurrency.ts';

/** What any one waits for, whether for a connection, for others, or for the answer. */
export const LONGEST_MS = 4800;

/** As the promise settles; `late()` is thrown when it has not by then. */
export async function inTime<T>(promise: Promise<T>, late: () => Error, longestMs = LONGEST_MS): Promise<T> {
  let timer: NodeJS.Timeout | null = null;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), longestMs);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    if (timer !== null) clearTimeout(timer);
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
