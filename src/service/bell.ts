// A bell that wakes a waiting loop.

export interface Bell {
  ring(): void;
  reset(): void;
  /** Aborted by the next ring, or at once when the bell has rung since reset(). */
  signal(): AbortSignal;
}

/** The bell also rings when `stop` is aborted. */
export function createBell(stop: AbortSignal): Bell {
  let controller = new AbortController();
  const ring = () => controller.abort();
  stop.addEventListener('abort', ring, { once: true });
  return {
    ring,
    reset() {
      if (controller.signal.aborted && !stop.aborted) controller = new AbortController();
    },
    signal: () => controller.signal,
  };
}
