// How many walks a mirror may begin: some at once, for readers so many a second, and as many readers wait as there is room for. Who
// waits for a reader's walk comes ahead of a sync's.
import type { Clock } from '../domain/ports.ts';

export interface GateOptions {
  readonly atOnce: number;
  readonly perSecond: number;
  readonly maxWaiting: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly wait: (ms: number) => Promise<unknown>;
  /** No walk begins any more, so nothing is left to be spread over seconds: a stop waits for all who pass. */
  readonly isOver: () => boolean;
}

export interface Gate {
  /** Null, and nothing is done, when too many readers wait. Only what they ask for is limited, also by the second. */
  pass<T>(purpose: 'read' | 'sync', act: () => Promise<T>): Promise<T | null>;
}

export function createGate({ atOnce, perSecond, maxWaiting, clock, wait, isOver }: GateOptions): Gate {
  const waiting: Record<'read' | 'sync', (() => void)[]> = { read: [], sync: [] };
  let running = 0;
  let nextMs = Number.NEGATIVE_INFINITY;

  async function paced(): Promise<void> {
    const nowMs = clock.monotonicMs();
    const atMs = Math.max(nextMs, nowMs);
    nextMs = atMs + 1000 / perSecond;
    if (atMs > nowMs) await wait(atMs - nowMs);
  }

  return {
    async pass(purpose, act) {
      if (running >= atOnce) {
        if (purpose === 'read' && waiting.read.length >= maxWaiting) return null;
        await new Promise<void>((resolve) => {
          waiting[purpose].push(resolve);
        });
      } else running += 1;
      try {
        if (purpose === 'read' && !isOver()) await paced();
        return await act();
      } finally {
        // who waits takes the place over, so that nobody comes between
        const next = waiting.read.shift() ?? waiting.sync.shift();
        if (next === undefined) running -= 1;
        else next();
      }
    },
  };
}
