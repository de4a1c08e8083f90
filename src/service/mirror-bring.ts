// Brings the set of one image from a mirror's upstream: walked whole, judged, stored behind what is there. Nothing that was ever
// served under a number loses it.
import { LRUCache } from 'lru-cache';
import { createBatches, createPlaces, forEachConcurrently, type Place } from '../domain/concurrency.ts';
import { isLookasideError, type LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { bytesOnDisk } from '../domain/mirror.ts';
import type {
  BatchPublisher,
  CheckedSet,
  Clock,
  FailedWalk,
  Log,
  MirrorSetRow,
  MirrorStore,
  Published,
  SignatureSet,
  SignatureStore,
  TombstoneStore,
  Verifier,
} from '../domain/ports.ts';
import { whyUnreadable } from '../domain/readable.ts';
import type { Judgement } from '../domain/verdict.ts';
import { type WalkFault, walkFault } from '../domain/walk.ts';
import { judgedInPlace } from './judge.ts';
import { createHeldSets, type HeldSets } from './mirror-held.ts';
import type { Walker } from './walk.ts';

export interface BringerOptions {
  /** URLs of the upstreams, in the walker's order. */
  readonly upstreams: readonly string[];
  readonly walker: Pick<Walker, 'walk'>;
  readonly store: Pick<SignatureStore, 'readSet'>;
  readonly publisher: BatchPublisher;
  readonly mirrors: Pick<MirrorStore, 'setOf' | 'checked' | 'failed'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly verifier: Pick<Verifier, 'examine'>;
  /** The number changes whenever the verifier gets another keyring. */
  readonly keyringChanges: () => number;
  readonly sha256: (bytes: Uint8Array) => string;
  readonly clock: Clock;
  readonly wait: (ms: number) => Promise<unknown>;
  /** Told when a set that was there has grown. */
  readonly onGrown: (image: ImageId, added: number) => void;
  /** What was read of the image before is no longer true: a set of it is held in memory. */
  readonly onHeld: (image: ImageId) => void;
  /** Others serve it too, and what one of them alone holds in memory could have other numbers there: nothing is held. */
  readonly isShared?: boolean;
  readonly log: Log;
}

export type Brought =
  | {
      readonly kind: 'set';
      /** For a sync without any bytes. */
      readonly set: SignatureSet;
      readonly added: number;
      readonly leftOut: MirrorSetRow['leftOut'];
      /** Why it is held in memory alone; null: it is stored. */
      readonly unstored: string | null;
      /** The upstream has given all of it now; false: some of it is gone there. */
      readonly isWhole: boolean;
      /** The URL of where it came from; null: it is not known. */
      readonly upstream: string | null;
    }
  /** `leftOut`: what the upstream has instead. */
  | { readonly kind: 'empty'; readonly leftOut: MirrorSetRow['leftOut'] }
  | WalkFault;

/** What is stored or held, whatever the upstream has given of it. */
type Kept =
  | Omit<Extract<Brought, { readonly kind: 'set' }>, 'isWhole' | 'upstream'>
  | Extract<Brought, { readonly kind: 'empty' }>;

export type Purpose = 'read' | 'sync';
export type Pass = <T>(walk: () => Promise<T>) => Promise<T | WalkFault | null>;

export interface Bringer {
  /**
   * `pass` runs the walk when it may begin; null: too many wait, and so nothing is brought. A sync stores what it brings together with
   * others. @throws LookasideError BUSY when nothing can be verified now; STORE_UNAVAILABLE when the image cannot be read
   */
  bring(image: ImageId, purpose: Purpose, pass: Pass): Promise<Brought | null>;
  /**
   * A set that could not be stored, under the numbers at which it was served, without what has been withdrawn since; undefined for
   * all others. @throws LookasideError STORE_UNAVAILABLE
   */
  held(image: ImageId): Promise<SignatureSet | undefined>;
  heldBlob(image: ImageId, sha256: string): Uint8Array | null;
  /** The mirror is opened anew with other settings: what the bringer before could neither store nor note is that of this one now. */
  takeOver(before: Pick<Bringer, 'left'>): void;
  readonly left: { readonly heldSets: Pick<HeldSets, 'all'>; readonly failures: () => Iterable<FailedWalk> };
  /** Notes the walks that have failed while nothing could be noted. Never throws. */
  noteFailures(): Promise<void>;
  /** Sets that are served from memory, because they could not be stored. */
  readonly unstored: number;
  /** Tries once more to store what is held in memory, and then no more. Never throws. */
  stop(): Promise<void>;
}

interface Judged {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly judgement: Judgement;
  readonly keyring: number;
}

/** What was brought, and what is to be noted of it; null: nothing. */
interface Noted {
  readonly brought: Brought;
  readonly row: CheckedSet | null;
}

interface Asking {
  readonly row: MirrorSetRow | null;
  readonly purpose: Purpose;
  readonly pass: Pass;
}

interface ToKeep {
  readonly kept: readonly Judged[];
  readonly leftOut: MirrorSetRow['leftOut'];
  readonly storing: Storing;
  readonly purpose: Purpose;
}

/** In an object, as a promise alone would be waited for where it is handed on. */
interface Storing {
  readonly done: Promise<Published>;
}

const ROW_BYTES = 1000;
const ROWS = { items: 500, bytes: 500 * ROW_BYTES };
/** What was walked and waits to be judged or to be stored. */
const WALKED = { items: 500, bytes: 64 * 1024 * 1024 };
/** Where more sets fail on a full disk, those that have failed first are forgotten. */
const MAX_UNWRITTEN = 100_000;
const STORE_AGAIN_MS = 30_000;
const STORED_AT_ONCE = 16;
/** With the walks that end before it, less than the ten seconds that containers have to stop. */
const LAST_TRY_MS = 3000;
const UNSTORED_TEXT =
  'mirrored sets were served from memory, and the disk does not take them: the upstream may give them other numbers from now on';
const TRIES_WHEN_BUSY = 10;
const BUSY_PAUSE_MS = 200;

export function createBringer(options: BringerOptions): Bringer {
  const { walker, publisher, mirrors, clock, sha256 } = options;
  const heldSets = createHeldSets(options);
  const judgeAll = createSetJudge(options);
  const noteChecked = createNoter(options, (rows: readonly CheckedSet[]) => mirrors.checked(rows));
  const failures = createFailureNotes(options);
  const noteFailed = createNoter(options, failures.write);
  const places = createPlaces(WALKED);
  const retries = createRetries(options, heldSets);

  async function bring(image: ImageId, purpose: Purpose, pass: Pass): Promise<Brought | null> {
    const row = await mirrors.setOf(image);
    const timed = timedPass(pass, clock);
    const outcome = await fetchAndStore(image, { row, purpose, pass: timed.pass });
    if (outcome === null) return null;
    if ('fault' in outcome) {
      // that an upstream is left alone, or that nothing can be stored here, tells nothing of the image
      if (row !== null && outcome.fault !== 'resting' && outcome.fault !== 'queue')
        await noteFailed({ image, begunAt: timed.begunAt() });
      return outcome;
    }
    // by now no bytes are held: a thousand images may wait here for the disk
    const { brought } = outcome;
    if (outcome.row !== null) await noteChecked(outcome.row);
    else if (row !== null && brought.kind === 'set') await noteFailed({ image, begunAt: timed.begunAt() });
    return brought;
  }

  async function fetchAndStore(
    image: ImageId,
    { row, purpose, pass }: Asking,
  ): Promise<Noted | WalkFault | null> {
    const position = row?.upstream == null ? -1 : options.upstreams.indexOf(row.upstream);
    const walked = await pass(async () => {
      const walk = await walker.walk(imageFolder(image), position === -1 ? null : position);
      if (walk.kind === 'fault') return walk;
      const blobs = walk.kind === 'set' ? walk.blobs : [];
      // its place among the walks is for others as soon as what was walked and is not stored has room
      const place = await places.enter(blobs.reduce((sum, { length }) => sum + length, 0));
      return { walk, blobs, place };
    });
    if (walked === null || 'fault' in walked) return walked;
    const { walk, blobs } = walked;
    const { kept, leftOut, storing } = await judgeAndStore(image, { ...walked, purpose });
    const result = await keep(image, { kept, leftOut, storing, purpose });
    if (result.kind === 'fault') return result;
    const there = new Set(blobs.map(sha256));
    const served = result.kind === 'set' ? result.set.entries : [];
    const gone = served.flatMap((entry) => (there.has(entry.sha256) ? [] : [entry.sha256]));
    const upstream =
      walk.kind === 'set' ? (options.upstreams[walk.upstream] ?? null) : (row?.upstream ?? null);
    const brought: Brought =
      result.kind === 'set' ? { ...result, isWhole: gone.length === 0, upstream } : result;
    // an image without signatures is remembered only where somebody with a token has named it. A set that is in memory alone gets no
    // row: after a restart the row would say that there is nothing to ask for
    const isNoted = brought.kind === 'set' ? brought.unstored === null : purpose === 'sync';
    if (!isNoted) return { brought, row: null };
    return {
      brought,
      row: {
        site: image.site,
        image: imageFolder(image),
        checkedAt: clock.now(),
        upstream: brought.kind === 'set' ? upstream : null,
        gone,
        leftOut,
        syncedAt: purpose === 'sync' ? clock.now() : null,
        sizeBytes: brought.kind === 'set' ? bytesOnDisk(served) : null,
      },
    };
  }

  async function judgeAndStore(
    image: ImageId,
    { blobs, place, purpose }: { blobs: readonly Uint8Array[]; place: Place; purpose: Purpose },
  ) {
    try {
      const judged = await judgeAll(image, blobs, purpose);
      return { ...judged, storing: await store(image, judged.kept, purpose) };
    } finally {
      place.leave();
    }
  }

  /** What is stored then; begins it. A reader waits for nobody else's sets. */
  async function store(image: ImageId, kept: readonly Judged[], purpose: Purpose): Promise<Storing> {
    const first = heldSets.blobs(image).map((bytes) => ({ bytes, judgement: null }));
    const next = kept.map(({ bytes, judgement, keyring }) => {
      return { bytes, judgement: keyring === options.keyringChanges() ? judgement : null };
    });
    const set = [image, [...first, ...next]] as const;
    const { done } =
      purpose === 'sync' ? await publisher.gather(...set) : { done: publisher.publish(...set) };
    done.catch(() => undefined); // keep() tells
    return { done };
  }

  /** What was stored; where that failed, it is held in memory at the numbers that it would have had. */
  async function keep(
    image: ImageId,
    { kept, leftOut, storing, purpose }: ToKeep,
  ): Promise<Kept | WalkFault> {
    try {
      const published = await storing.done;
      heldSets.release(image);
      const { added, entries } = published;
      if (published.before > 0 && added > 0) options.onGrown(image, added);
      if (entries.length === 0) return { kind: 'empty', leftOut };
      // nobody reads what a sync has brought
      const set =
        purpose === 'sync' ? withoutBytes({ generation: 0, entries }) : await options.store.readSet(image);
      return { kind: 'set', set, added, leftOut, unstored: null };
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      if (options.isShared === true) return unstoredFault(options, image, error);
      options.log.warn(
        { reason: error.message, image: imageFolder(image) },
        'a mirrored set cannot be stored; it is served from memory',
      );
      const { set, added } = await heldSets.hold(image, kept, purpose === 'read');
      retries.begin();
      if (set.entries.length === 0) return { kind: 'empty', leftOut };
      const given = purpose === 'sync' ? withoutBytes(set) : set;
      return { kind: 'set', set: given, added, leftOut, unstored: error.message };
    }
  }

  return {
    bring,
    held: heldSets.read,
    heldBlob: heldSets.blob,
    takeOver({ left }) {
      heldSets.takeOver(left.heldSets);
      retries.begin();
      failures.keep(left.failures());
    },
    left: { heldSets, failures: failures.all },
    async noteFailures() {
      try {
        await failures.write([]);
      } catch (error) {
        tellUnnoted(options, error, failures.size);
      }
    },
    get unstored() {
      return heldSets.all.size;
    },
    stop: retries.stop,
  };
}

/** Stores what is held in memory as soon as the disk takes it, without the upstream. */
function createRetries(
  { publisher, clock, wait, log }: Pick<BringerOptions, 'publisher' | 'clock' | 'wait' | 'log'>,
  heldSets: Pick<HeldSets, 'all' | 'releaseIf'>,
) {
  let isWaiting = false;
  let isStopped = false;
  let underWay = Promise.resolve();

  /** Ends with the first that fails; the last try goes on with the others, for so long. */
  async function storeAll(isLastTry: boolean): Promise<void> {
    const untilMs = clock.monotonicMs() + LAST_TRY_MS;
    let isOver = false;
    await forEachConcurrently([...heldSets.all.values()], STORED_AT_ONCE, async (held) => {
      if (isLastTry ? clock.monotonicMs() > untilMs : isOver || isStopped) return;
      const blobs = [...held.blobs.values()].map((bytes) => ({ bytes, judgement: null }));
      try {
        await publisher.publish(held.image, blobs, isLastTry);
        heldSets.releaseIf(held);
      } catch (error) {
        isOver = true;
        const text = 'a mirrored set cannot be stored yet';
        if (isLookasideError(error)) log.debug({ reason: error.message }, text);
        else log.error({ err: error }, text);
      }
    });
  }

  async function begin(): Promise<void> {
    if (isWaiting) return;
    isWaiting = true;
    while (heldSets.all.size > 0 && !isStopped) {
      await wait(STORE_AGAIN_MS);
      if (isStopped) break;
      underWay = storeAll(false);
      await underWay;
    }
    isWaiting = false;
  }

  return {
    begin: () => void begin(),
    async stop(): Promise<void> {
      isStopped = true;
      await underWay;
      await storeAll(true);
      const some = [...heldSets.all.values()].slice(0, 3).map(({ image }) => imageFolder(image));
      if (some.length > 0) log.error({ images: some, sets: heldSets.all.size }, UNSTORED_TEXT);
    },
  };
}

/** A set that could not be stored, where nobody holds it. */
function unstoredFault(
  { log }: Pick<BringerOptions, 'log'>,
  image: ImageId,
  { message }: LookasideError,
): WalkFault {
  log.warn(
    { reason: message, image: imageFolder(image) },
    'a mirrored set cannot be stored, so nobody gets it yet',
  );
  return walkFault('queue', `what the upstream has cannot be stored now: ${message}`);
}

/** Knows when the walk began; before that, when it was asked for. */
function timedPass(pass: Pass, clock: Clock): { readonly pass: Pass; readonly begunAt: () => Date } {
  let at = clock.now();
  return {
    begunAt: () => at,
    pass: (walk) =>
      pass(() => {
        at = clock.now();
        return walk();
      }),
  };
}

function withoutBytes(set: SignatureSet): SignatureSet {
  return { ...set, entries: set.entries.map((entry) => ({ ...entry, bytes: null })) };
}

/** What walks that end together have found is committed together. */
function createNoter<T>(
  { log }: Pick<BringerOptions, 'log'>,
  write: (entries: readonly T[]) => Promise<void>,
): (entry: T) => Promise<void> {
  const notes = createBatches<T, null>(ROWS, async (batch) => {
    try {
      await write(batch);
    } catch (error) {
      tellUnnoted({ log }, error, batch.length);
    }
    return batch.map(() => null);
  });
  return async (entry) => void (await (await notes.add(entry, ROW_BYTES)).done);
}

/** What was found is true without it: at worst the upstream is asked again sooner. */
function tellUnnoted({ log }: Pick<BringerOptions, 'log'>, error: unknown, images: number): void {
  if (!isLookasideError(error)) throw error;
  log.warn({ reason: error.message, images }, 'what walks have found cannot be noted');
}

/** Walks that have failed: until that is noted, a sync would pass over their images as young. So what cannot be written is kept. */
function createFailureNotes({ mirrors, clock }: Pick<BringerOptions, 'mirrors' | 'clock'>) {
  const unwritten = new LRUCache<string, FailedWalk>({ max: MAX_UNWRITTEN });
  function keep(walks: Iterable<FailedWalk>): void {
    for (const walk of walks) unwritten.set(imageKey(walk.image), walk);
  }
  return {
    get size() {
      return unwritten.size;
    },
    all: () => unwritten.values(),
    keep,
    async write(walks: readonly FailedWalk[]): Promise<void> {
      keep(walks);
      const all = [...unwritten.entries()];
      for (let from = 0; from < all.length; from += ROWS.items) {
        const some = all.slice(from, from + ROWS.items);
        await mirrors.failed(
          some.map(([, walk]) => walk),
          clock.now(),
        );
        // those that have failed again meanwhile stay
        for (const [key, walk] of some) if (unwritten.peek(key) === walk) unwritten.delete(key);
      }
    },
  };
}

/** Judges what a walk has brought: what is kept, and what no client could use. */
function createSetJudge(options: BringerOptions) {
  async function judgeAll(image: ImageId, blobs: readonly Uint8Array[], purpose: Purpose) {
    const kept: Judged[] = [];
    const leftOut: { readonly sha256: string; readonly code: string }[] = [];
    for (const bytes of blobs) {
      const hash = options.sha256(bytes);
      const keyring = options.keyringChanges();
      const judgement = judgedInPlace(image, await examine(bytes, purpose));
      const isUseless = judgement.verdict === 'bad' || judgement.verdict === 'unreadable';
      if (isUseless) leftOut.push({ sha256: hash, code: judgement.refusal?.code ?? 'SIGNATURE_BAD' });
      else if (whyUnreadable(bytes) !== null) leftOut.push({ sha256: hash, code: 'FORMAT_UNSUPPORTED' });
      else kept.push({ bytes, sha256: hash, judgement, keyring });
    }
    return { kept, leftOut };
  }

  async function examine(bytes: Uint8Array, purpose: Purpose): Promise<Judgement> {
    const urgency = purpose === 'read' ? 'upload' : 'idle';
    for (let tries = 1; ; tries += 1) {
      try {
        return await options.verifier.examine(bytes, options.clock.now(), urgency);
      } catch (error) {
        if (!isLookasideError(error, 'BUSY')) throw error;
        // several syncs fill the queue together; nobody waits for this one, and its turn comes
        const isInQueue = purpose === 'sync' && error.detail?.waiting !== undefined;
        if (!isInQueue && tries >= TRIES_WHEN_BUSY) throw error;
        await options.wait(BUSY_PAUSE_MS);
      }
    }
  }

  return judgeAll;
}
