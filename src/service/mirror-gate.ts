// How many walks a mirror may begin: some at once, for readers so many a second, and as many readers wait as there is room for. Who
// waits for a reader's walk comes ahead of a sync's, and a sync has fewer while reads of what is here wait.
import type { Clock } from '../domain/ports.ts';
import type { GivingWay } from './giving-way.ts';

export interface GateOptions {
  readonly atOnce: number;
  readonly perSecond: number;
  readonly maxWaiting: number;
  /** To whom the walks of a sync give way. */
  readonly givingWay: GivingWay;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly wait: (ms: number) => Promise<unknown>;
  /** No walk begins any more, so nothing is left to be spread over seconds: a stop waits for all who pass. */
  readonly isOver: () => boolean;
}

export interface Gate {
  /** Null, and nothing is done, when too many readers wait. Only what they ask for is limited, also by the second. */
  pass<T>(purpose: 'read' | 'sync', act: () => Promise<T>): Promise<T | null>;
}

export function createGate(options: GateOptions): Gate {
  const { atOnce, perSecond, maxWaiting, givingWay, clock, wait, isOver } = options;
  const waiting: Record<'read' | 'sync', (() => void)[]> = { read: [], sync: [] };
  const running = { read: 0, sync: 0 };
  let nextMs = Number.NEGATIVE_INFINITY;
  /** Null: there is no sync. */
  let endWatch: (() => void) | null = null;

  async function paced(): Promise<void> {
    const nowMs = clock.monotonicMs();
    const atMs = Math.max(nextMs, nowMs);
    nextMs = atMs + 1000 / perSecond;
    if (atMs > nowMs) await wait(atMs - nowMs);
  }

  /** A place counts as taken at once, so that nobody comes between. */
  function admit(): void {
    while (running.read + running.sync < atOnce) {
      const purpose = waiting.read.length > 0 ? 'read' : 'sync';
      if (purpose === 'sync' && running.sync >= givingWay.most(atOnce)) return;
      const begin = waiting[purpose].shift();
      if (begin === undefined) return;
      running[purpose] += 1;
      begin();
    }
  }

  function leave(purpose: 'read' | 'sync'): void {
    running[purpose] -= 1;
    admit();
    if (running.sync + waiting.sync.length > 0) return;
    endWatch?.();
    endWatch = null;
  }

  return {
    async pass(purpose, act) {
      const isFull = running.read + running.sync >= atOnce;
      if (purpose === 'read' && isFull && waiting.read.length >= maxWaiting) return null;
      if (purpose === 'sync') endWatch ??= givingWay.watch(admit);
      await new Promise<void>((resolve) => {
        waiting[purpose].push(resolve);
        admit();
      });
      try {
        if (purpose === 'read' && !isOver()) await paced();
        return await act();
      } finally {
        leave(purpose);
      }
    },
  };
}
