// Running asynchronous work with a bound.

/** Runs `act` over the items, at most `limit` at once. Stops and throws at the first failure. */
export async function forEachConcurrently<T>(
  items: AsyncIterable<T> | Iterable<T>,
  limit: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  for await (const item of items) {
    const job = act(item).finally(() => running.delete(job));
    // a failure is met at the next race or at the end; until then it must not count as unhandled
    job.catch(() => undefined);
    running.add(job);
    if (running.size >= limit) await Promise.race(running);
  }
  await Promise.all(running);
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
