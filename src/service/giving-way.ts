// How much of the work that nobody waits for may be under way at once: all of it as long as reads are answered without delay, and less
// while they wait. docs/decisions/giving-way.md
import type { Clock } from '../domain/ports.ts';

export interface GivingWayOptions {
  /** Reads that this process has looked up since its start. */
  readonly reads: () => number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Keeps no process alive. */
  readonly wait: (ms: number) => Promise<unknown>;
}

export interface GivingWay {
  /** How many may be under way now where `atOnce` may when no read waits. Never less than one. */
  most(atOnce: number): number;
  /** Watches for how long reads wait, until the returned function is called once. `onMore`: most() may have grown. */
  watch(onMore: () => void): () => void;
}

/**
 * A timer that is late by some time tells for how long a read waits that comes in that time: while other work of this thread holds it, and
 * while all processors are taken.
 */
const SAMPLE_MS = 5;
const LONG_MS = 4;
const LOOK_MS = 250;
/** Shares of all time. One read of a hundred waits long: this is the 99th percentile. */
const TOO_MUCH = 0.01;
const FAR_TOO_MUCH = 0.2;
const LITTLE = 0.0025;
/** With fewer reads there is nobody to give way to. */
const READS_A_SECOND = 50;
/** From the least to all in two seconds. */
const STEP = 1 / 8;
/** Two of the 24 walks of a sync. */
const LEAST = 1 / 12;

export function createGivingWay({ reads, clock, wait }: GivingWayOptions): GivingWay {
  const watchers = new Set<() => void>();
  let isWatching = false;
  /** The share of all work. Reads that come while the process starts are the slowest: whether there are any is known after the first look. */
  let share = LEAST;
  /** When watching last ended, and how many reads there had been. Null: it has not begun yet. */
  let ended: { readonly atMs: number; readonly reads: number } | null = null;

  /** A look takes a quarter of a second, in which work that begins with all of it would hold up the reads that come. */
  function shareToBeginWith(): number {
    if (ended === null) return LEAST;
    const seconds = (clock.monotonicMs() - ended.atMs) / 1000;
    return reads() - ended.reads < READS_A_SECOND * seconds ? 1 : LEAST;
  }

  function shareAfter(longShare: number, readsASecond: number): number {
    if (readsASecond < READS_A_SECOND) return 1;
    if (longShare > FAR_TOO_MUCH) return LEAST;
    if (longShare > TOO_MUCH) return Math.max(LEAST, share / 2);
    return longShare < LITTLE ? Math.min(1, share + STEP) : share;
  }

  async function watchAll(): Promise<void> {
    isWatching = true;
    share = shareToBeginWith();
    while (watchers.size > 0) {
      const [fromMs, before] = [clock.monotonicMs(), reads()];
      let longMs = 0;
      let nowMs = fromMs;
      while (nowMs - fromMs < LOOK_MS) {
        const askedMs = nowMs;
        await wait(SAMPLE_MS);
        nowMs = clock.monotonicMs();
        longMs += Math.max(0, nowMs - askedMs - SAMPLE_MS - LONG_MS);
      }
      const tookMs = nowMs - fromMs;
      share = shareAfter(longMs / tookMs, (1000 * (reads() - before)) / tookMs);
      for (const tell of watchers) tell();
    }
    ended = { atMs: clock.monotonicMs(), reads: reads() };
    share = 1;
    isWatching = false;
  }

  return {
    most: (atOnce) => Math.max(1, Math.round(atOnce * share)),
    watch(onMore) {
      watchers.add(onMore);
      if (!isWatching) void watchAll();
      return () => void watchers.delete(onMore);
    },
  };
}

/** A scan's time has so many parts. All of them are work when no read waits, and at least one always is. */
const PARTS = 4;
/** A stop waits for it. */
const MOST_REST_MS = 500;

/** The same, with a rest behind each that is the longer, the longer that took and the longer reads wait. */
export async function* restingBetween<T>(
  items: AsyncIterable<T>,
  givingWay: GivingWay,
  { clock, wait }: Pick<GivingWayOptions, 'clock' | 'wait'>,
): AsyncGenerator<T> {
  const endWatch = givingWay.watch(() => undefined);
  try {
    for await (const item of items) {
      const fromMs = clock.monotonicMs();
      yield item;
      const tookMs = clock.monotonicMs() - fromMs;
      const restMs = tookMs * (PARTS / givingWay.most(PARTS) - 1);
      if (restMs > 0) await wait(Math.min(MOST_REST_MS, restMs));
    }
  } finally {
    endWatch();
  }
}

/** For a process that gives way to nobody. */
export const GIVES_NO_WAY: GivingWay = { most: (atOnce) => atOnce, watch: () => () => undefined };
