// Waking who waits.

export interface Bell {
  ring(): void;
  reset(): void;
  /** Aborted by the next ring, or already when it has rung since reset(). */
  signal(): AbortSignal;
}

/** Rings also when `stop` is aborted. */
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
