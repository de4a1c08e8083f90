// How long to wait before trying again: longer each time, and random, so that clients do not all try at the same
// moment.
const FIRST_MS = 250;
const LONGEST_MS = 10_000;

/**
 * Milliseconds to wait after failure number `attempt`, which begins at 1: a random share of a time that doubles up to 10 s, but
 * never less than the other side asked for. `random` is from 0 to 1.
 * Source: "full jitter" of the AWS Architecture Blog, Exponential Backoff And Jitter.
 */
export function backoffMs(attempt: number, random: number, retryAfterMs: number | null): number {
  const longestMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt - 1, 30));
  return Math.max(Math.round(random * longestMs), retryAfterMs ?? 0);
}
