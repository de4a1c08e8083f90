// A site that is filled from elsewhere. What is stored is served at once and asked for again behind the reader's back. For what is
// not stored, the reader waits for one walk. A fault of the upstream is never an answer that there are no signatures.
import { LRUCache } from 'lru-cache';
import { createSingleFlight } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey } from '../domain/image.ts';
import { createMatcher, type MirrorSettings } from '../domain/mirror.ts';
import type { Clock, Log, MirrorSetRow, MirrorStore, SignatureSet, SignatureStore } from '../domain/ports.ts';
import { type WalkFault, type WalkFaultKind, walkFault } from '../domain/walk.ts';
import type { Bringer, Brought, Purpose } from './mirror-bring.ts';
import { createGate, type GateOptions } from './mirror-gate.ts';
import type { MirrorRoom } from './mirror-room.ts';

export interface MirrorOptions {
  readonly settings: Pick<MirrorSettings, 'onDemand' | 'onUpstreamFailure' | 'maxAgeMs'>;
  /** What is stored. */
  readonly store: SignatureStore;
  readonly bringer: Omit<Bringer, 'takeOver' | 'left'>;
  readonly mirrors: Pick<MirrorStore, 'setOf'>;
  readonly room: MirrorRoom;
  /** Others fill it too, and what is due here may have been asked for by them; left out: nobody else does. */
  readonly isShared?: boolean;
  /** How long the upstream of that URL is left alone; null: all of them. 0: it is asked. */
  readonly restingMs: (upstream: string | null) => number;
  readonly givingWay: GateOptions['givingWay'];
  readonly clock: Clock;
  /** Resolves after that time, and keeps no process alive. */
  readonly wait: (ms: number) => Promise<unknown>;
  readonly log: Log;
}

export interface Mirror {
  readonly store: SignatureStore;
  /** Whether anything is stored of the image; false too when that cannot be read now. */
  has(image: ImageId): Promise<boolean>;
  /** The same of each, in their order, for less; false as well where only has() may tell. Never throws. */
  haveSome(images: readonly ImageId[]): Promise<readonly boolean[]>;
  /**
   * For a sync, which no rate limits. `onWalked` is called when its walk has ended, if it had one of its own: the set is then judged
   * and stored. Never throws.
   */
  bring(image: ImageId, onWalked?: () => void): Promise<Brought>;
  /** Notes what could not be noted before, so that no sync passes over it. Never throws. */
  readonly noteFailures: Bringer['noteFailures'];
  /** Images whose sets are served from memory, because they could not be stored. */
  readonly unstored: number;
  readonly walks: { readonly set: number; readonly empty: number };
  readonly faults: ReadonlyMap<WalkFaultKind, number>;
  readonly lastFault: { readonly at: Date; readonly upstream: string; readonly message: string } | null;
  /** When a walk has last ended without a fault. */
  readonly lastAnswerAt: Date | null;
  /** Told of each fault by the walker. */
  onFault(upstream: string, fault: WalkFault): void;
  /**
   * No walk begins any more: each is a fault. Resolves when none is under way, and what was served from memory is stored where that
   * can be done.
   */
  stop(): Promise<void>;
}

/** Signatures come after images, so the end of a set is remembered for minutes alone. */
const EMPTY_MS = 300_000;
const MAX_REMEMBERED = 100_000;
const READER_WAITS_MS = 5000;
const WALKS = {
  /** More than the sixteen requests that an upstream gets at once (signature-site.ts): the next one is at hand when one has ended. */
  atOnce: 24,
  perSecond: 50,
  maxWaiting: 1000,
};
/** How many are asked for again behind readers' backs: more would keep those waiting who have nothing yet. */
const REFRESHES_AT_ONCE = 25;
const REFRESH_LATER_MS = 5000;
const WARNED_EVERY_MS = 60_000;
/** A set that could not be stored, or a refresh that failed. */
const TRY_AGAIN_MS = 30_000;
const RETRY_AFTER_S = 5;

/** When the upstream is to be asked again for what is stored. */
interface Due {
  /** By the monotonic clock. */
  readonly atMs: number;
  /** The URL of the only one that is asked; null: it is not known which. */
  readonly upstream: string | null;
}

const STOPPED = walkFault('resting', 'the mirror is being changed, or the server stops');
/** An upstream that is asked at once has its own time, which is shorter: the walk has waited here, or its set waits for the disk. */
const LATE = walkFault('queue', 'many images are asked for, and the walk for this one has not ended in time');
const NO_SET: SignatureSet = { generation: 0, entries: [] };

export function createMirror(options: MirrorOptions): Mirror {
  const { store, bringer, clock, settings } = options;
  const mayBring = createMatcher(settings.onDemand);
  const gate = createGate({ ...options, ...WALKS, isOver: () => isStopped });
  const share = createSingleFlight<Brought>();
  const flights = createFlights();
  /** Until when an image counts as one without signatures, by the monotonic clock. */
  const empties = new LRUCache<string, number>({ max: MAX_REMEMBERED });
  /** What the store has given, by what readers got: it knows its own sets again. */
  const storedAs = new WeakMap<SignatureSet, SignatureSet>();
  const walks = { set: 0, empty: 0 };
  const faults = createFaultRecord(options);
  const isLookDue = createLooks();
  const refreshes = createRefreshes(options, { mayBring, bring: (image) => bring(image, 'read') });
  let isStopped = false;
  let lastAnswerAt: Date | null = null;
  let stopping: Promise<void> | null = null;

  /**
   * One walk for all who ask for the image at the same time; it goes on when they have gone. Readers never join that of a sync,
   * which waits behind many others.
   */
  function bring(
    image: ImageId,
    purpose: 'read' | 'sync',
    onWalked: () => void = () => undefined,
  ): Promise<Brought> {
    const key = imageKey(image);
    const flight = share(`${purpose} ${key}`, async () => {
      if (isStopped) return STOPPED;
      const brought = await bringer.bring(image, purpose, (walk) =>
        gate.pass(purpose, async () => (isStopped ? STOPPED : walk())).finally(onWalked),
      );
      if (brought === null) {
        faults.add('queue');
        return walkFault('queue', 'too many images are asked for at once', RETRY_AFTER_S * 1000);
      }
      remember(key, brought);
      if (isLookDue(brought, purpose)) options.room.grown(mayGo);
      return brought;
    });
    flights.add(key, flight);
    return flight;
  }

  /** Whether that upstream would give it again, as far as is known; null: one of all of them. */
  function mayGo(image: ImageId, upstream: string | null): boolean {
    return options.restingMs(upstream) === 0 && mayBring(image.path) && !flights.isUnderWay(imageKey(image));
  }

  function remember(key: string, brought: Brought): void {
    const nowMs = clock.monotonicMs();
    if (brought.kind !== 'fault') lastAnswerAt = clock.now();
    switch (brought.kind) {
      case 'set':
        walks.set += 1;
        empties.delete(key);
        refreshes.dueIn(key, brought.unstored === null ? settings.maxAgeMs : TRY_AGAIN_MS, brought.upstream);
        break;
      case 'empty':
        walks.empty += 1;
        empties.set(key, nowMs + EMPTY_MS);
        break;
      case 'fault':
        refreshes.dueIn(key, Math.max(TRY_AGAIN_MS, brought.retryAfterMs ?? 0));
    }
  }

  async function readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet> {
    const held = await bringer.held(image);
    const set = held ?? (await store.readSet(image, (known && storedAs.get(known)) ?? known));
    if (set.entries.length > 0) {
      options.room.asked(image);
      const noteAgainMs = clock.monotonicMs() + (options.room.askedEveryMs ?? Number.POSITIVE_INFINITY);
      const askAgainMs = Math.min(await refreshes.beginIfDue(image), noteAgainMs);
      if (set.isSettled !== true) return set;
      const timed = { ...set, askAgainMs };
      storedAs.set(timed, set);
      return timed;
    }
    const key = imageKey(image);
    if (!mayBring(image.path) || (empties.get(key) ?? 0) > clock.monotonicMs()) return NO_SET;
    const brought = await Promise.race([
      bring(image, 'read'),
      options.wait(READER_WAITS_MS).then(() => LATE),
    ]);
    switch (brought.kind) {
      case 'set':
        // it says not when to ask again: the next read does. The store may know its own set again
        return brought.set.isSettled === true ? { ...brought.set, isSettled: false } : brought.set;
      case 'empty':
        return NO_SET;
      case 'fault':
        // faults of this server say nothing of the upstream, which may well have the signatures
        if (settings.onUpstreamFailure === '404' && brought !== STOPPED && brought.fault !== 'queue')
          return NO_SET;
        throw unavailable(brought);
    }
  }

  return {
    store: {
      readSet,
      readBlob: async (image, sha256) => bringer.heldBlob(image, sha256) ?? store.readBlob(image, sha256),
      listFolder: (...page) => store.listFolder(...page),
    },
    has: (image) =>
      orInstead(
        async () => (await store.readSet(image)).entries.length > 0,
        () => false,
      ),
    haveSome: (images) =>
      orInstead(
        async () => (await store.areStored?.(images)) ?? [],
        () => [],
      ),
    bring: (image, onWalked) =>
      orInstead<Brought>(
        () => bring(image, 'sync', onWalked),
        ({ message }) => walkFault('connection', message),
      ),
    noteFailures: bringer.noteFailures,
    get unstored() {
      return bringer.unstored;
    },
    walks,
    faults: faults.counts,
    get lastFault() {
      return faults.last;
    },
    get lastAnswerAt() {
      return lastAnswerAt;
    },
    onFault: faults.onFault,
    stop() {
      isStopped = true;
      stopping ??= endAll(options, flights);
      return stopping;
    },
  };
}

async function endAll(
  { room, bringer }: Pick<MirrorOptions, 'room' | 'bringer'>,
  flights: ReturnType<typeof createFlights>,
): Promise<void> {
  await room.stop();
  await flights.ended();
  await bringer.stop();
  await bringer.noteFailures();
}

/** @throws what is none of the errors of lookaside */
async function orInstead<T>(act: () => Promise<T>, instead: (error: LookasideError) => T): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!isLookasideError(error)) throw error;
    return instead(error);
  }
}

interface Bringing {
  readonly mayBring: (path: string) => boolean;
  readonly bring: (image: ImageId) => Promise<unknown>;
}

/** Asks again for what is stored, behind the backs of those who read it. */
function createRefreshes(options: MirrorOptions, { mayBring, bring }: Bringing) {
  const { clock } = options;
  const due = new LRUCache<string, Due>({ max: MAX_REMEMBERED });
  let underWay = 0;

  /** When it is to be called again, by the monotonic clock. Never throws, and waits for no upstream. */
  async function beginIfDue(image: ImageId): Promise<number> {
    const key = imageKey(image);
    try {
      if (!mayBring(image.path)) return Number.POSITIVE_INFINITY;
      const known = due.get(key) ?? (await dueSince(image));
      const { atMs, upstream } = isLate(known) ? await dueByAll(image, known) : known;
      const nowMs = clock.monotonicMs();
      if (atMs > nowMs) return atMs;
      const restingMs = options.restingMs(upstream);
      if (restingMs > 0) return nowMs + restingMs;
      if (underWay >= REFRESHES_AT_ONCE) return nowMs + REFRESH_LATER_MS;
      // ahead of the walk: those who read meanwhile must not begin others
      dueIn(key, TRY_AGAIN_MS);
      void refresh(image);
      return nowMs; // the walk tells more
    } catch (error) {
      tellRefresh(error);
      return clock.monotonicMs();
    }
  }

  async function refresh(image: ImageId): Promise<void> {
    underWay += 1;
    try {
      await bring(image);
    } catch (error) {
      tellRefresh(error);
    } finally {
      underWay -= 1;
    }
  }

  /** Nobody waits for it. */
  function tellRefresh(error: unknown): void {
    options.log[isLookasideError(error) ? 'debug' : 'error'](
      { err: error },
      'a mirrored set is asked for again later',
    );
  }

  function dueIn(key: string, ms: number, upstream = due.get(key)?.upstream ?? null): void {
    due.set(key, { atMs: clock.monotonicMs() + ms, upstream });
  }

  const isLate = ({ atMs }: Due): boolean => atMs <= clock.monotonicMs();

  async function dueByAll(image: ImageId, known: Due): Promise<Due> {
    if (options.isShared !== true) return known;
    const row = await options.mirrors.setOf(image);
    if (row === null) return known;
    const since = dueOf(image, row);
    return isLate(since) ? known : since;
  }

  async function dueSince(image: ImageId): Promise<Due> {
    return dueOf(image, await options.mirrors.setOf(image));
  }

  function dueOf(image: ImageId, row: MirrorSetRow | null): Due {
    if (row === null) return { atMs: Number.NEGATIVE_INFINITY, upstream: null };
    const ageMs = clock.now().getTime() - row.checkedAt.getTime();
    // what was checked in the future was checked by a clock that was wrong: nobody knows when
    const leftMs = ageMs < 0 ? 0 : options.settings.maxAgeMs - ageMs;
    const since = { atMs: clock.monotonicMs() + leftMs, upstream: row.upstream };
    due.set(imageKey(image), since);
    return since;
  }

  return { beginIfDue, dueIn };
}

/** When a mirror is looked at, whether it has grown too large. */
function createLooks(): (brought: Brought, purpose: Purpose) => boolean {
  // the settings may have changed; until the upstream has given a set, nothing says that it would give others again
  let isOwed = true;
  return (brought, purpose) => {
    if (brought.kind !== 'set') return false;
    const isFirst = isOwed && brought.isWhole;
    if (isFirst) isOwed = false;
    return isFirst || (purpose === 'read' && brought.added > 0);
  };
}

/** The walks that are under way, those that nobody waits for too. */
function createFlights() {
  const all = new Set<Promise<unknown>>();
  const byKey = new Map<string, number>();
  return {
    isUnderWay: (key: string) => byKey.has(key),
    add(key: string, flight: Promise<unknown>): void {
      byKey.set(key, (byKey.get(key) ?? 0) + 1);
      const settled = flight
        .catch(() => undefined)
        .finally(() => {
          const left = (byKey.get(key) ?? 1) - 1;
          if (left === 0) byKey.delete(key);
          else byKey.set(key, left);
          all.delete(settled);
        });
      all.add(settled);
    },
    async ended(): Promise<void> {
      while (all.size > 0) await Promise.all(all);
    },
  };
}

function createFaultRecord({ clock, log }: Pick<MirrorOptions, 'clock' | 'log'>) {
  const counts = new Map<WalkFaultKind, number>();
  let last: Mirror['lastFault'] = null;
  let warnedAtMs = Number.NEGATIVE_INFINITY;

  function add(fault: WalkFaultKind): void {
    counts.set(fault, (counts.get(fault) ?? 0) + 1);
  }

  return {
    counts,
    get last() {
      return last;
    },
    add,
    onFault(upstream: string, fault: WalkFault): void {
      add(fault.fault);
      last = { at: clock.now(), upstream, message: fault.message };
      if (clock.monotonicMs() - warnedAtMs < WARNED_EVERY_MS) return;
      warnedAtMs = clock.monotonicMs();
      const fields = { upstream, fault: fault.fault, reason: fault.message };
      log.warn(fields, 'the upstream of a mirror fails; what is stored is served all the same');
    },
  };
}

function unavailable({ message, retryAfterMs }: WalkFault): LookasideError {
  const retryAfterSeconds = Math.max(RETRY_AFTER_S, Math.ceil((retryAfterMs ?? 0) / 1000));
  return new LookasideError(
    'UPSTREAM_UNAVAILABLE',
    `the signatures of the image are not here yet, and the upstream has not given them: ${message}; try again`,
    { detail: { retryAfterSeconds } },
  );
}
