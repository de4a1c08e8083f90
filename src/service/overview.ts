// What happened in the last day and month, in numbers for one page. Counting ten million reads takes seconds. So an answer is kept
// for a minute, and given out while the next one is made. What is over is counted once an hour.
import { isLookasideError } from '../domain/errors.ts';
import type { Clock, Log } from '../domain/ports.ts';
import { ANY_RECORD, type Completeness, type RecordSession, type SumGroup } from '../domain/records.ts';
import { SERVER } from './audit.ts';
import type { Records } from './records.ts';

/** What happened in one hour or on one day. */
export interface Activity {
  readonly at: Date;
  /** Requests that got a signature. */
  readonly fetched: number;
  /** 404 behind the last signature of an image: how clients find the end. */
  readonly ended: number;
  /** Any other status: the store failed. */
  readonly failed: number;
  /** Uploads. */
  readonly accepted: number;
  readonly refused: number;
}

export interface Overview extends Completeness {
  readonly madeAt: Date;
  /** The last 24 hours, oldest first. */
  readonly hours: readonly Activity[];
  /** The last 30 days, the last of them today; UTC. */
  readonly days: readonly Activity[];
  /** Images without a signature that were asked for. */
  readonly missed: { readonly day: number; readonly month: number };
  /** The refusals of the month, most frequent first. */
  readonly refusals: readonly { readonly code: string; readonly count: number }[];
}

export interface OverviewService {
  /**
   * Null: it is being counted, which takes longer than a page may.
   * @throws LookasideError BUSY, QUESTION_TOO_LONG, STATE_UNUSABLE, STORE_UNAVAILABLE while there is no answer yet
   */
  get(): Promise<Overview | null>;
}

export interface OverviewOptions {
  readonly records: Pick<Records, 'session'>;
  readonly clock: Clock;
  readonly wait: (ms: number) => Promise<unknown>;
  readonly log: Pick<Log, 'warn'>;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const OVERVIEW_HOURS = 24;
const OVERVIEW_DAYS = 30;
const FRESH_MS = 60_000;
/** An older one says too little of now: whoever asks waits for the next. */
const SHOWN_MS = 15 * 60_000;
/** A page waits so long for its first numbers. */
const SOON_MS = 50;
/** Days that are over change by late reads, and by reads that are forgotten on purpose. */
const OLDER_MS = 3_600_000;
const MOST_GROUPS = 1000;

/** The days before yesterday. */
interface Older {
  readonly today: number;
  readonly atMs: number;
  readonly reads: readonly SumGroup[];
  readonly uploads: readonly SumGroup[];
}

export function createOverview({ records, clock, wait, log }: OverviewOptions): OverviewService {
  let made: { readonly overview: Overview; readonly atMs: number } | null = null;
  let making: Promise<Overview> | null = null;
  let failed: { readonly error: unknown; readonly atMs: number } | null = null;
  let older: Older | null = null;

  /** Another count of what is over, once the day has changed or an hour is gone. */
  async function olderAt(today: number, countOlder: () => Promise<Pick<Older, 'reads' | 'uploads'>>) {
    const atMs = clock.monotonicMs();
    if (older === null || older.today !== today || atMs - older.atMs > OLDER_MS) {
      older = { today, atMs, ...(await countOlder()) };
    }
    return older;
  }

  function make(): Promise<Overview> {
    making ??= records
      .session(null, { actor: SERVER, signal: new AbortController().signal }, (session) =>
        count(session, clock.now(), olderAt),
      )
      .then(
        (overview) => {
          [made, failed] = [{ overview, atMs: clock.monotonicMs() }, null];
          return overview;
        },
        (error: unknown) => {
          failed = { error, atMs: clock.monotonicMs() };
          throw error;
        },
      )
      .finally(() => {
        making = null;
      });
    return making;
  }

  return {
    async get() {
      const nowMs = clock.monotonicMs();
      const ageMs = made === null ? Number.POSITIVE_INFINITY : nowMs - made.atMs;
      if (made === null || ageMs > SHOWN_MS) {
        // a page that loads itself again must not start the same count again and again
        if (failed !== null && nowMs - failed.atMs < FRESH_MS) throw failed.error;
        return Promise.race([make(), wait(SOON_MS).then(() => null)]);
      }
      if (ageMs > FRESH_MS)
        make().catch((error: unknown) => {
          // nobody waits for this count, so an error that went on from here would end the process
          if (!isLookasideError(error))
            log.warn({ err: error }, 'the overview could not be counted; the one before it is shown');
        });
      return made.overview;
    },
  };
}

type OlderAt = (
  today: number,
  countOlder: () => Promise<Pick<Older, 'reads' | 'uploads'>>,
) => Promise<Pick<Older, 'reads' | 'uploads'>>;

async function count(session: RecordSession, now: Date, olderAt: OlderAt): Promise<Overview> {
  const lacks = { dropped: 0, gaps: new Set<string>() };
  const noted = <T extends Completeness>(answer: T): T => {
    lacks.dropped = Math.max(lacks.dropped, answer.dropped);
    for (const gap of answer.gaps) lacks.gaps.add(gap);
    return answer;
  };
  const today = Math.floor(now.getTime() / DAY_MS) * DAY_MS;
  const month = { ...ANY_RECORD, since: new Date(today - (OVERVIEW_DAYS - 1) * DAY_MS) };
  const hour = Math.floor(now.getTime() / HOUR_MS) * HOUR_MS;
  const firstHour = hour - (OVERVIEW_HOURS - 1) * HOUR_MS;
  const sums = async (
    record: 'audit' | 'access',
    filter: typeof month,
    by: readonly ('day' | 'status' | 'result')[],
  ) => noted(await session.sums({ record, filter }, by, MOST_GROUPS)).groups;

  const hours: Activity[] = [];
  for (let at = firstHour; at <= hour; at += HOUR_MS) {
    const filter = { ...ANY_RECORD, since: new Date(at), until: new Date(at + HOUR_MS) };
    const reads = await sums('access', filter, ['status']);
    const uploads = await sums('audit', { ...filter, action: 'upload' } as typeof month, ['result']);
    hours.push({ at: new Date(at), ...readsIn(reads, 0), ...uploadsIn(uploads, 0) });
  }
  const daysOf = async (filter: typeof month) => ({
    reads: await sums('access', filter, ['day', 'status']),
    uploads: await sums('audit', { ...filter, action: 'upload' } as typeof month, ['day', 'result']),
  });
  const yesterday = new Date(today - DAY_MS);
  const older = await olderAt(today, () => daysOf({ ...month, until: yesterday } as typeof month));
  const recent = await daysOf({ ...month, since: yesterday });
  const reads = [...older.reads, ...recent.reads];
  const uploads = [...older.uploads, ...recent.uploads];
  const days = Array.from({ length: OVERVIEW_DAYS }, (_, position): Activity => {
    const at = new Date(month.since.getTime() + position * DAY_MS);
    const isOfDay = ({ of }: SumGroup) => of[0] === at.toISOString().slice(0, 10);
    return { at, ...readsIn(reads.filter(isOfDay), 1), ...uploadsIn(uploads.filter(isOfDay), 1) };
  });
  const refusals = new Map<string, number>();
  for (const { of, count: times } of uploads) {
    const code = of[1] ?? '';
    if (isRefusal(code)) refusals.set(code, (refusals.get(code) ?? 0) + times);
  }
  const missedSince = async (since: Date) => noted(await session.unsigned({ ...ANY_RECORD, since }, 1)).found;
  return {
    madeAt: now,
    hours,
    days,
    missed: { day: await missedSince(new Date(firstHour)), month: await missedSince(month.since) },
    refusals: [...refusals]
      .map(([code, times]) => ({ code, count: times }))
      .sort((one, other) => other.count - one.count),
    dropped: lacks.dropped,
    gaps: [...lacks.gaps],
  };
}

/** `at`: where the group says its status or result. */
function readsIn(groups: readonly SumGroup[], at: number): Pick<Activity, 'fetched' | 'ended' | 'failed'> {
  const sums = { fetched: 0, ended: 0, failed: 0 };
  for (const { of, count: times } of groups) {
    const status = of[at];
    if (status === '200' || status === '304') sums.fetched += times;
    else if (status === '404') sums.ended += times;
    else sums.failed += times;
  }
  return sums;
}

function uploadsIn(groups: readonly SumGroup[], at: number): Pick<Activity, 'accepted' | 'refused'> {
  const sums = { accepted: 0, refused: 0 };
  for (const { of, count: times } of groups) {
    if (isRefusal(of[at] ?? '')) sums.refused += times;
    else sums.accepted += times;
  }
  return sums;
}

function isRefusal(result: string): boolean {
  return /^[A-Z_]+$/.test(result);
}
