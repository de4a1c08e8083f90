// Running asynchronous work with a bound.

/**
 * Runs `act` over the items, at most `limit` at once. After the first failure it starts no more; it throws that failure
 * once the running ones have ended.
 */
export async function forEachConcurrently<T>(
  items: AsyncIterable<T> | Iterable<T>,
  limit: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  // kept until the end: a job may fail while the next item is being fetched, when nobody awaits the job
  const failures: unknown[] = [];
  let running = 0;
  let onEnd: () => void = () => undefined;
  const oneEnds = () =>
    new Promise<void>((resolve) => {
      onEnd = resolve;
    });
  try {
    for await (const item of items) {
      if (failures.length > 0) break;
      const job = act(item);
      running += 1;
      void job
        .catch((error: unknown) => void failures.push(error))
        .finally(() => {
          running -= 1;
          onEnd();
        });
      if (running >= limit) await oneEnds();
    }
  } finally {
    while (running > 0) await oneEnds();
  }
  if (failures.length > 0) throw failures[0];
}

/** The results of `act` in the order of the items, computed ahead, at most `limit` at once. */
export async function* mapInOrder<T, R>(
  items: AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const ahead: Promise<R>[] = [];
  for await (const item of items) {
    const result = act(item);
    // a failure is thrown in its turn; until then it must not count as unhandled
    result.catch(() => undefined);
    ahead.push(result);
    const first = ahead.length < limit ? undefined : ahead.shift();
    if (first !== undefined) yield await first;
  }
  for (const result of ahead) yield await result;
}

/**
 * Questions that had all come before any of them was answered: one look, made once they had come, is new enough for all. Each round is
 * a symbol of its own.
 */
export type Round = symbol;

/** Room for so many things of so many bytes at once, or for one that is larger, for all that ask. */
export interface Places {
  /** Resolves once there is room; `leave` makes it again. Those that wait are served in the order of asking. */
  enter(sizeBytes: number): Promise<Place>;
  /** Runs `act` in such a place. */
  take<T>(sizeBytes: number, act: () => Promise<T>): Promise<T>;
}

export interface Place {
  /** Call it once. */
  readonly leave: () => void;
}

export function createPlaces(limits: Limits): Places {
  const waiting: { readonly sizeBytes: number; readonly begin: () => void }[] = [];
  let [items, bytes] = [0, 0];

  /** Nobody comes ahead of one that waits for much room: it would wait for ever. */
  function admit(): void {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const { sizeBytes, begin } = first;
      if (items > 0 && (items >= limits.items || bytes + sizeBytes > limits.bytes)) return;
      waiting.shift();
      items += 1;
      bytes += sizeBytes;
      begin();
    }
  }

  async function enter(sizeBytes: number): Promise<Place> {
    await new Promise<void>((begin) => {
      waiting.push({ sizeBytes, begin });
      admit();
    });
    return {
      leave() {
        items -= 1;
        bytes -= sizeBytes;
        admit();
      },
    };
  }

  return {
    enter,
    async take(sizeBytes, act) {
      const { leave } = await enter(sizeBytes);
      try {
        return await act();
      } finally {
        leave();
      }
    },
  };
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

/**
 * Lets callers of the same key share one run that begins after all of them have asked. A run that has already begun may
 * have passed the point that they ask about, so they wait for the next one. `before` is what the run ahead of it has given;
 * undefined = there was none, or it failed.
 */
export function createSharedRuns<T = void>(): (
  key: string,
  act: (before: T | undefined) => Promise<T>,
) => Promise<T> {
  type Act = (before: T | undefined) => Promise<T>;
  const underWay = new Map<string, Promise<T>>();
  const next = new Map<string, Promise<T>>();

  function begin(key: string, act: Act, before?: T): Promise<T> {
    const run = act(before).finally(() => underWay.delete(key));
    underWay.set(key, run);
    return run;
  }

  async function beginAfter(key: string, running: Promise<T>, act: Act): Promise<T> {
    const before = await running.catch(() => undefined); // the callers of that run get its failure
    next.delete(key);
    return begin(key, act, before);
  }

  return (key, act) => {
    const before = underWay.get(key);
    if (before === undefined) return begin(key, act);
    const shared = next.get(key) ?? beginAfter(key, before, act);
    next.set(key, shared);
    return shared;
  };
}

export interface Turns {
  /** Runs `act` once everything asked for earlier under the same key has ended, failed or not. */
  take<T>(key: string, act: () => Promise<T>): Promise<T>;
  /** Whether somebody has the key's turn or waits for it. */
  isTaken(key: string): boolean;
  /** How many keys have such a one. */
  readonly size: number;
}

/** One at a time for each key, in the order of asking; different keys do not wait for each other. */
export function createTurns(): Turns {
  const lasts = new Map<string, { ended: Promise<unknown> }>();
  return {
    take(key, act) {
      const before = lasts.get(key)?.ended;
      const turn = { ended: Promise.resolve() as Promise<unknown> };
      lasts.set(key, turn);
      const mine = (async () => {
        await before;
        try {
          return await act();
        } finally {
          if (lasts.get(key) === turn) lasts.delete(key);
        }
      })();
      turn.ended = mine.catch(() => undefined);
      return mine;
    },
    isTaken: (key) => lasts.has(key),
    get size() {
      return lasts.size;
    },
  };
}

export interface Versions {
  /**
   * Equal numbers at two moments mean that the key did not change in between. Unequal ones prove nothing: the number of
   * a forgotten key grows too.
   */
  of(key: string): number;
  change(key: string): void;
  /** Keys with higher numbers have changed later. */
  readonly last: number;
}

/**
 * Distinguishes what began before a change from what began after it, for any number of keys in bounded memory. The `keysKept` that
 * changed last are known each by itself, and at most twice as many.
 */
export function createVersions(keysKept = 10_000): Versions {
  // A map whose oldest entries are deleted one by one is slow: each look for the oldest goes past all the deleted ones. So a whole map
  // is forgotten at once.
  let recent = new Map<string, number>();
  let older = new Map<string, number>();
  let count = 0;
  // the last change of all keys that were forgotten
  let forgotten = 0;
  // that of all keys in `older`
  let olderUntil = 0;
  return {
    of: (key) => recent.get(key) ?? older.get(key) ?? forgotten,
    get last() {
      return count;
    },
    change(key) {
      count += 1;
      recent.set(key, count);
      if (recent.size < keysKept) return;
      forgotten = olderUntil;
      olderUntil = count;
      older = recent;
      recent = new Map();
    },
  };
}

export interface Limits {
  readonly items: number;
  readonly bytes: number;
}

export interface Batches<T, R> {
  /** Resolves as soon as there is room for it; `done` when its batch has ended, with the result of this item. */
  add(item: T, sizeBytes: number): Promise<{ readonly done: Promise<R> }>;
}

/**
 * Runs one batch after another: what comes while one is under way is the next. So one that comes alone waits for nobody, and many
 * share what a batch costs. `run` gives a result for each item, in their order; its failure is that of each. `pause` after a batch
 * lets more of them come together; it ends early when there is no room for more.
 */
export function createBatches<T, R>(
  limits: Limits,
  run: (items: readonly T[]) => Promise<readonly R[]>,
  pause: () => Promise<unknown> = async () => undefined,
): Batches<T, R> {
  interface Waiting {
    readonly item: T;
    readonly resolve: (result: R) => void;
    readonly reject: (error: unknown) => void;
  }
  let waiting: Waiting[] = [];
  let waitingBytes = 0;
  let isRunning = false;
  let forRoom: (() => void)[] = [];
  let onFull: () => void = () => undefined;

  const isFull = () => waiting.length >= limits.items || waitingBytes >= limits.bytes;

  async function pauseUnlessFull(): Promise<void> {
    if (isFull()) return;
    const full = new Promise<void>((resolve) => {
      onFull = resolve;
    });
    await Promise.race([pause(), full]);
  }

  async function runAll(): Promise<void> {
    isRunning = true;
    while (waiting.length > 0) {
      const batch = waiting;
      const hasRoom = forRoom;
      [waiting, waitingBytes, forRoom] = [[], 0, []];
      for (const tell of hasRoom) tell();
      try {
        const results = await run(batch.map(({ item }) => item));
        // the cast is right because `run` gives one for each
        for (const [position, { resolve }] of batch.entries()) resolve(results[position] as R);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
      await pauseUnlessFull();
    }
    isRunning = false;
  }

  return {
    async add(item, sizeBytes) {
      while (isFull()) {
        await new Promise<void>((resolve) => {
          forRoom.push(resolve);
        });
      }
      const done = new Promise<R>((resolve, reject) => {
        waiting.push({ item, resolve, reject });
      });
      waitingBytes += sizeBytes;
      if (isFull()) onFull();
      if (!isRunning) void runAll();
      return { done };
    },
  };
}
