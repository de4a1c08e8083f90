// Running asynchronous work with a bound.

/**
 * Runs `act` over the items, at most `limit` at once. After the first failure none is begun any more; it is thrown
 * once those under way have ended.
 */
export async function forEachConcurrently<T>(
  items: AsyncIterable<T> | Iterable<T>,
  limit: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  // kept apart from `running`: a job may fail while nobody waits for it, as the next item is being fetched
  const failures: unknown[] = [];
  try {
    for await (const item of items) {
      if (failures.length > 0) break;
      const job = act(item)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => running.delete(job));
      running.add(job);
      if (running.size >= limit) await Promise.race(running);
    }
  } finally {
    await Promise.all(running);
  }
  if (failures.length > 0) throw failures[0];
}

/** The results of `act` in the order of the items, worked out ahead, at most `limit` at once. */
export async function* mapInOrder<T, R>(
  items: AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const ahead: Promise<R>[] = [];
  for await (const item of items) {
    const result = act(item);
    // a failure is met in its turn; until then it must not count as unhandled
    result.catch(() => undefined);
    ahead.push(result);
    const first = ahead.length < limit ? undefined : ahead.shift();
    if (first !== undefined) yield await first;
  }
  for (const result of ahead) yield await result;
}

/** Lets callers that ask for the same key at the same time share one run. */
export function createSingleFlight<T>(): (key: string, act: () => Promise<T>) => Promise<T> {
  const flights = new Map<string, Promise<T>>();
  return (key, act) => {
    const flying = flights.get(key);
    if (flying !== undefined) return flying;
    const flight = act().finally(() => flights.delete(key));
    flights.set(key, flight);
    return flight;
  };
}
