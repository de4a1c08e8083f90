// The reader processes, as the process that owns the data directory sees them: starts and replaces them, answers what they ask, and
// tells them what has changed before that is acknowledged. Why: docs/decisions/readers.md.
import type { ImageId } from '../domain/image.ts';
import type { Log, SignatureSet } from '../domain/ports.ts';
import type { Listener } from '../http/listener.ts';
import type { CountsElsewhere } from '../http/request-counts.ts';
import type { HeldSet } from '../service/read.ts';
import type { PackedDays } from '../sqlite/packed-days.ts';
import { createBalance, createRate, letGo, trafficOf } from './balance.ts';
import { Link } from './link.ts';
import {
  type Ask,
  type CacheCounts,
  FIRST_SOCKET,
  type FromReader,
  REPORT_EVERY_MS,
  type ReaderState,
  type Report,
} from './messages.ts';

const AFTER_ABORT_MS = 1000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
const LIVES_MS = 60_000;

export interface FleetOptions {
  /** How many processes beside this one. */
  readonly size: number;
  /** What the copies of sets in each of them may hold. */
  readonly setBytes: number;
  readonly log: Log;
  readonly nowMs: () => number;
  /** Another program than a reader, for tests. */
  readonly script?: URL;
}

/** What a fleet needs once the data directory is open and the sockets listen. */
export interface FleetStart {
  /** As it is now; places is another array whenever a site has come or gone. */
  readonly state: () => ReaderState;
  /** Those of this process: the readers listen on the same sockets. */
  readonly listeners: readonly Pick<Listener, 'fd' | 'traffic' | 'letGo'>[];
  readonly passOnPath: string;
  readonly readHeld: (image: ImageId) => Promise<HeldSet>;
  readonly writeRows: (days: PackedDays) => Promise<void>;
  readonly onCounted: (counts: CountsElsewhere) => void;
  readonly writeAccessLine: (line: string) => void;
  readonly onPlainHttp: (address: string) => void;
}

export interface Fleet {
  readonly size: number;
  /** Starts them, without waiting for them. */
  start(start: FleetStart): void;
  /** Null: any image may have changed. */
  forgotten(image: ImageId | null): void;
  /** Resolves once all readers have forgotten what was forgotten so far, and know the state of now; null: they do already. */
  untilSeen(): Promise<void> | null;
  stateChanged(): void;
  setFull(isFull: boolean): void;
  /** Has all readers write their rows and report; waits for a second at most. */
  flush(): Promise<void>;
  readonly buffer: Report['buffer'];
  readonly cache: CacheCounts;
  readonly counts: { readonly serving: number; readonly ended: number };
  /** What is wrong, in a sentence, or null. */
  readonly fault: string | null;
  /** They accept no more connections, answer what they have begun, and end. Resolves when all have ended. */
  drain(): Promise<void>;
  /** Ends what is still there; resolves within a second or so. */
  abort(): Promise<void>;
}

export function createFleet({ size, setBytes, log, nowMs, script }: FleetOptions): Fleet {
  let begun: FleetStart | null = null;
  const links = new Set<Link>();
  const news = createNews(links, () => begun);
  const answer = createAnswering();
  const balance = createBalancing(links, nowMs);
  let isFull = false;
  let isEnding = false;
  let endedUnasked = 0;
  /** The counts of processes that have ended. */
  const past = { dropped: 0, hits: 0, misses: 0 };

  function startOne(start: FleetStart, place: number, pauseMs: number): void {
    const startedMs = nowMs();
    const link: Link = new Link({
      sockets: start.listeners.map(({ fd }) => fd),
      setBytes,
      ...(script === undefined ? {} : { script }),
      onMessage: (message) => take(start, link, message),
      onEnd(how) {
        links.delete(link);
        past.dropped += link.report.buffer.dropped;
        past.hits += link.report.cache.hits;
        past.misses += link.report.cache.misses;
        if (isEnding) return;
        endedUnasked += 1;
        log.error(
          { reader: place, pid: link.pid, how },
          link.pid === undefined
            ? 'a reader process could not be started; this is tried again'
            : 'a reader process has ended unasked; another one takes its place, and reads of its last half second may lack in the record',
        );
        const next =
          nowMs() - startedMs > LIVES_MS ? FIRST_PAUSE_MS : Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
        setTimeout(() => {
          if (!isEnding) startOne(start, place, next);
        }, next).unref();
      },
    });
    links.add(link);
    const sockets = start.listeners.map((_, position) => FIRST_SOCKET + position);
    link.send({ kind: 'begin', sockets, passOnPath: start.passOnPath });
    if (isFull) link.send({ kind: 'full', isFull });
  }

  function take(start: FleetStart, link: Link, message: FromReader): void {
    switch (message.kind) {
      case 'begun':
        link.mayHold = true;
        link.send({ kind: 'listen', state: start.state() });
        break;
      case 'listening':
        link.isServing = true;
        log.info({ pid: link.pid }, 'a reader process answers');
        break;
      case 'forgotten':
        link.hasForgotten(message.number);
        break;
      case 'asks':
        answer(start.readHeld, link, message.asks);
        break;
      case 'write':
        start.writeRows(message.days).then(
          () => link.send({ kind: 'written', id: message.id, fault: null }),
          (error: unknown) => link.send({ kind: 'written', id: message.id, fault: String(error) }),
        );
        break;
      case 'report':
        link.reported(message.report);
        start.onCounted(message.report.counts);
        break;
      case 'flushed':
        link.flushed(message.id);
        break;
      case 'lines':
        for (const line of message.lines) start.writeAccessLine(line);
        break;
      case 'log':
        log[message.level]({ ...message.fields, pid: link.pid }, message.message);
        break;
      case 'plain-http':
        start.onPlainHttp(message.address);
        break;
    }
  }

  // one that hangs keeps its clients waiting for ever; pauses of the whole machine count for both sides
  const watching = setInterval(() => {
    news.tell();
    for (const link of links) link.watch();
    balance(begun?.listeners ?? []);
  }, REPORT_EVERY_MS).unref();

  return {
    size,
    start(start) {
      begun = start;
      for (let place = 1; place <= size; place += 1) startOne(start, place, FIRST_PAUSE_MS / 2);
    },
    forgotten: news.forgotten,
    untilSeen: news.untilSeen,
    stateChanged: news.stateChanged,
    setFull(isNowFull) {
      if (isNowFull === isFull) return;
      isFull = isNowFull;
      for (const link of links) link.send({ kind: 'full', isFull });
    },
    async flush() {
      await Promise.all([...links].map((link) => link.flush()));
    },
    get buffer() {
      const buffers = [...links].map(({ report }) => report.buffer);
      return {
        rows: sum(buffers, ({ rows }) => rows),
        dropped: past.dropped + sum(buffers, ({ dropped }) => dropped),
      };
    },
    get cache() {
      return cacheOf(links, past);
    },
    get counts() {
      return { serving: [...links].filter(({ isServing }) => isServing).length, ended: endedUnasked };
    },
    get fault() {
      if (begun === null || isEnding) return null;
      const { serving } = this.counts;
      if (serving === size) return null;
      return `${serving} of ${size} reader processes answer; the others are being started`;
    },
    async drain() {
      isEnding = true;
      for (const link of links) link.send({ kind: 'drain' });
      await Promise.all([...links].map(({ ended }) => ended));
    },
    async abort() {
      isEnding = true;
      clearInterval(watching);
      const left = [...links];
      for (const link of left) link.send({ kind: 'abort' });
      const timer = setTimeout(() => {
        for (const link of left) link.kill();
      }, AFTER_ABORT_MS);
      await Promise.all(left.map(({ ended }) => ended));
      clearTimeout(timer);
    },
  };
}

/** Includes the counts of processes that have ended. */
function cacheOf(links: ReadonlySet<Link>, past: Pick<CacheCounts, 'hits' | 'misses'>): CacheCounts {
  const caches = [...links].map(({ report }) => report.cache);
  return {
    bytes: sum(caches, ({ bytes }) => bytes),
    sets: sum(caches, ({ sets }) => sets),
    hits: past.hits + sum(caches, ({ hits }) => hits),
    misses: past.misses + sum(caches, ({ misses }) => misses),
  };
}

/** Answers what readers ask for. */
function createAnswering() {
  const setNumbers = new WeakMap<SignatureSet, number>();
  let lastNumber = 0;

  /** A set never changes once made. */
  function numberOf(set: SignatureSet): number {
    const known = setNumbers.get(set);
    if (known !== undefined) return known;
    lastNumber += 1;
    setNumbers.set(set, lastNumber);
    return lastNumber;
  }

  return (readHeld: FleetStart['readHeld'], link: Link, asks: readonly Ask[]): void => {
    for (const { id, image, known } of asks) {
      readHeld(image).then(
        ({ set, holdsMs }) => {
          const number = numberOf(set);
          link.answer({ id, number, entries: number === known ? null : set.entries, holdsMs });
        },
        () => link.answer({ id, failed: true }),
      );
    }
  };
}

/** Call it in even turns: it has a process that answers much more than the others end some of its connections. */
function createBalancing(links: ReadonlySet<Link>, nowMs: () => number) {
  const surplusOf = createBalance();
  const rateOf = createRate(nowMs);
  return (own: FleetStart['listeners']): void => {
    const serving = [...links].filter(({ isServing }) => isServing);
    const all = [trafficOf(own, rateOf), ...serving.map(({ report }) => report.traffic)];
    const [ofOwn = 0, ...ofOthers] = surplusOf(all);
    letGo(own, ofOwn);
    serving.forEach((link, position) => {
      const connections = ofOthers[position] ?? 0;
      if (connections > 0) link.send({ kind: 'let-go', connections });
    });
  };
}

/** What all readers are told, and whether they have heard it. `begun` gives null before there are any. */
function createNews(links: ReadonlySet<Link>, begun: () => FleetStart | null) {
  let forgotten: ImageId[] | null = [];
  let lastNumber = 0;
  let lastSent: ReaderState | null = null;

  function tellForgotten(): void {
    if (forgotten?.length === 0) return;
    lastNumber += 1;
    for (const link of links) {
      if (link.mayHold) link.forget(lastNumber, forgotten);
    }
    forgotten = [];
  }

  /** Sites come and go. */
  function tellPlaces(): void {
    const now = begun()?.state() ?? null;
    if (now === null || now.places === lastSent?.places) return;
    tellState(now);
    // acknowledged with it: what they had of a site that has gone
    forgotten = null;
  }

  function tellState(now: ReaderState): void {
    lastSent = now;
    for (const link of links) link.send({ kind: 'state', state: now });
  }

  function tell(): void {
    tellPlaces();
    tellForgotten();
  }

  return {
    tell,
    forgotten(image: ImageId | null): void {
      if (links.size === 0) return;
      if (image === null) forgotten = null;
      else forgotten?.push(image);
      if (forgotten === null || forgotten.length === 1) setImmediate(tellForgotten);
    },
    untilSeen(): Promise<void> | null {
      if (links.size === 0) return null;
      tell();
      const behind = [...links].filter((link) => link.isBehind);
      if (behind.length === 0) return null;
      return Promise.all(behind.map((link) => link.untilForgotten(lastNumber))).then(() => undefined);
    },
    stateChanged(): void {
      const now = begun()?.state() ?? null;
      if (now !== null) tellState(now);
    },
  };
}

function sum<One>(all: readonly One[], of: (one: One) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}
