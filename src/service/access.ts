// Who fetched what: counts events in memory as they come and writes them in batches after the response.
import type { ImageId } from '../domain/image.ts';
import { networkOf } from '../domain/network.ts';
import type { AccessBatch, AccessLimits, AccessLog, Clock, DroppedCount, Log } from '../domain/ports.ts';
import { MissingRows } from './missing-rows.ts';
import { type Reader, ReadRows } from './read-rows.ts';

export interface AccessEvent {
  readonly image: ImageId;
  /** Null when the requested name has no signature number. */
  readonly number: number | null;
  /** As AnsweredRead of http has it. */
  readonly signatureSha256: string | null;
  /** False when the image holds no signature at all. */
  readonly imageIsSigned: boolean;
  readonly status: number;
  readonly address: string;
  readonly agent: string;
  /** Name of the token, or null. */
  readonly token: string | null;
  readonly bytes: number;
}

export interface AccessRecorder {
  /** Never waits and never throws. */
  record(event: AccessEvent): void;
  /** Writes the counted events; resolves when they are written or given up. */
  flush(): Promise<void>;
  /** As flush(), and then logs the losses that are not logged yet, because no later call could do it. */
  end(): Promise<void>;
  /** While full, events are dropped and counted. */
  setFull(isFull: boolean): void;
  readonly buffer: { readonly rows: number; readonly dropped: number };
}

export interface AccessRecorderOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly accessLog: AccessLog;
}

/**
 * How many different rows memory holds until the next write. This is more than the server answers in a second. Beyond it, new
 * rows are dropped and counted.
 */
const MAX_ROWS = 20_000;
/** How many of these rows one client network may fill with values that it can invent. */
const MAX_ROWS_PER_NETWORK = 1000;
const MAX_AGENT_CHARACTERS = 256;
const MINUTE_MS = 60_000;

interface Rows {
  readonly reads: ReadRows;
  readonly missing: MissingRows;
}

function newRows({ monotonicMs }: Clock): Rows {
  const nanoseconds = Math.floor(1e6 * monotonicMs());
  return { reads: new ReadRows(MAX_ROWS), missing: new MissingRows(MAX_ROWS, nanoseconds) };
}

function sizeOf({ reads, missing }: Rows): number {
  return reads.size + missing.size;
}

export function createAccessRecorder({ log, clock, accessLog }: AccessRecorderOptions): AccessRecorder {
  let rows = newRows(clock);
  /** More of them, for use while the others are written. */
  let spare: Rows | null = null;
  let dropped = 0;
  let unwritten: DroppedCount | null = null;
  let isDiskShareUsed = false;
  let unlogged: { readonly error: unknown; readonly rows: number } | null = null;
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  let writing: Promise<void> | null = null;

  function record(event: AccessEvent): void {
    if (isDiskShareUsed) drop(oneAt(clock.now()));
    else if (event.imageIsSigned) recordRead(event);
    else recordMissing(event);
  }

  /** The number goes into the record with the next batch that it takes. */
  function drop(more: DroppedCount): void {
    dropped += more.count;
    unwritten = together(unwritten, more);
  }

  function recordRead(event: AccessEvent): void {
    const { number, address } = event;
    const nowMs = clock.now().getTime();
    const reader: Reader = { number, address, agent: event.agent.slice(0, MAX_AGENT_CHARACTERS) };
    const { reads } = rows;
    if (reads.count(event, reader, nowMs)) return;
    const network = networkOf(address);
    if (reads.ofNetwork(network) < MAX_ROWS_PER_NETWORK) addRead(event, reader, nowMs, network);
    else {
      const merged: Reader = { number: null, address: network, agent: null };
      if (!reads.count(event, merged, nowMs)) addRead(event, merged, nowMs, network);
    }
  }

  function addRead(event: AccessEvent, reader: Reader, nowMs: number, network: string): void {
    if (!isFull()) rows.reads.add(event, reader, nowMs, network);
  }

  function recordMissing({ image, address }: AccessEvent): void {
    rows.missing.count(image, address, clock.now().getTime(), hasRoom);
  }

  const hasRoom = () => !isFull();

  function isFull(): boolean {
    if (sizeOf(rows) < MAX_ROWS) return false;
    drop(oneAt(clock.now()));
    return true;
  }

  /** Writes one batch at a time. While the database is locked, events keep gathering here, within the bounds. */
  async function flush(): Promise<void> {
    // a loop: of several callers that waited, one writes first, and the others wait for that write too
    while (writing !== null) await writing;
    if (sizeOf(rows) === 0 && unwritten === null) return;
    const batch: AccessBatch = {
      ...rows,
      ...(unwritten === null ? {} : { dropped: unwritten }),
    };
    unwritten = null;
    const written = rows;
    rows = spare ?? newRows(clock);
    spare = null;
    writing = accessLog
      .write(batch)
      .catch((error: unknown) => lose(error, batch))
      .finally(() => {
        writing = null;
        written.reads.clear();
        written.missing.clear();
        spare = written;
      });
    await writing;
  }

  /** Logged at most once a minute: a disk stays full for long, and the log may be on the same disk. */
  function lose(error: unknown, batch: AccessBatch): void {
    const lost = [...batch.reads, ...batch.missing];
    for (const row of lost) drop(row);
    if (batch.dropped !== undefined) unwritten = together(unwritten, batch.dropped);
    if (lost.length === 0) return;
    unlogged = { error, rows: lost.length + (unlogged?.rows ?? 0) };
    if (clock.monotonicMs() - loggedAtMs >= MINUTE_MS) logLost();
  }

  function logLost(): void {
    if (unlogged === null) return;
    log.warn({ err: unlogged.error, rows: unlogged.rows }, 'access events were not written');
    loggedAtMs = clock.monotonicMs();
    unlogged = null;
  }

  return {
    record,
    flush,
    async end() {
      await flush();
      logLost();
    },
    setFull(isFull) {
      if (isFull && !isDiskShareUsed) {
        log.warn(
          {},
          'the access log of today alone has reached LOOKASIDE_ACCESS_MAX: reads are no longer recorded; raise it',
        );
      }
      isDiskShareUsed = isFull;
    },
    get buffer() {
      return { rows: sizeOf(rows), dropped };
    },
  };
}

export interface AccessUpkeep {
  readonly recorder: AccessRecorder;
  readonly accessLog: AccessLog;
  readonly log: Log;
  readonly clock: Clock;
  readonly limits: () => Pick<AccessLimits, 'retentionMs' | 'maxBytes'>;
}

const FLUSH_EVERY_MS = 500;
const PRUNE_EVERY_MS = MINUTE_MS;

function oneAt(now: Date): DroppedCount {
  return { count: 1, firstAt: now, lastAt: now };
}

function together(one: DroppedCount | null, { count, firstAt, lastAt }: DroppedCount): DroppedCount {
  if (one === null) return { count, firstAt, lastAt };
  return {
    count: one.count + count,
    firstAt: one.firstAt < firstAt ? one.firstAt : firstAt,
    lastAt: one.lastAt > lastAt ? one.lastAt : lastAt,
  };
}

/** A smaller change is not a jump: a clock that was corrected by some minutes can be trusted. */
const JUMP_MS = 60 * MINUTE_MS;

/** Writes twice a second and prunes every minute until stopped; stop() writes what is left. */
export function keepAccessLog({ recorder, accessLog, log, clock, limits }: AccessUpkeep): {
  stop(): Promise<void>;
} {
  const steadyMs = watchClock(clock);
  let isDoubtLogged = false;

  async function closeDays(): Promise<void> {
    try {
      await accessLog.closeDays(clock.now());
    } catch (error) {
      log.warn(
        { err: error },
        'the record of reads was not tidied up: a day that is over, or the sums of images without a signature; this is tried again within ten minutes',
      );
    }
  }

  async function prune(): Promise<void> {
    try {
      const now = clock.now();
      const { fits, doubted } = await accessLog.prune({ ...limits(), now, steadyMs: steadyMs() });
      recorder.setFull(!fits);
      if (doubted !== null && !isDoubtLogged) log.warn({ now, ...doubted }, DOUBT);
      isDoubtLogged = doubted !== null;
    } catch (error) {
      log.warn({ err: error }, 'old access logs were not pruned');
    }
  }

  const tidy = () => {
    void prune();
    void closeDays();
  };

  const flushing = setInterval(() => void recorder.flush(), FLUSH_EVERY_MS);
  const pruning = setInterval(tidy, PRUNE_EVERY_MS);
  tidy();
  return {
    async stop() {
      clearInterval(flushing);
      clearInterval(pruning);
      await recorder.end();
    },
  };
}

const DOUBT =
  'some days of the access log are older than LOOKASIDE_ACCESS_RETENTION, but so is the newest one before today, as if the clock had jumped: they are kept until it has run steadily for a day; if it is wrong, set it before then';

/** Returns a function that says for how long the clock has run without a jump. */
function watchClock(clock: Clock): () => number {
  const aheadMs = () => clock.now().getTime() - clock.monotonicMs();
  let sinceMs = clock.monotonicMs();
  let steadilyAheadMs = aheadMs();
  return () => {
    if (Math.abs(aheadMs() - steadilyAheadMs) > JUMP_MS) {
      steadilyAheadMs = aheadMs();
      sinceMs = clock.monotonicMs();
    }
    return clock.monotonicMs() - sinceMs;
  };
}
