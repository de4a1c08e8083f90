// Questions to the records and to the verdicts, each asker with a connection of its own: a long question keeps no node from serving.
import pg from 'pg';
import { LookasideError } from '../domain/errors.ts';
import { MAX_QUESTIONS_AT_ONCE, QUESTION_MS } from '../domain/limits.ts';
import { Sums } from '../domain/record-sums.ts';
import { exportEnd, exportHead, exportRow } from '../domain/record-text.ts';
import type {
  ExportFormat,
  Grouping,
  PageFound,
  Position,
  RecordLookups,
  RecordQuestion,
  RecordSession,
} from '../domain/records.ts';
import { AccessQuestions } from './access-questions.ts';
import { AuditQuestions } from './audit-questions.ts';
import { type Connections, connect, type Query } from './connect.ts';
import type { WhileAnswering } from './in-time.ts';
import { VerdictQuestions } from './verdict-questions.ts';

const EXPORT_ROWS = 2000;
/** How long the answer may take after PostgreSQL has given the statement up; after that the connection is lost. */
const GRACE_MS = 5000;
/** So long after its asker has left, PostgreSQL may still work at a question. */
const LEFT_MS = 1000;
/** invalid_parameter_value: the system cannot; undefined_object, insufficient_privilege: the server is another one. */
const CANNOT_SET: ReadonlySet<string> = new Set(['22023', '42704', '42501']);

export interface QuestionBounds {
  readonly questionMs?: number;
  /** So long after its time, a question is given up without an answer. */
  readonly graceMs?: number;
  /** Gives it up sooner when the database answers nobody. */
  readonly whileAnswering?: WhileAnswering;
}

export class PostgresQuestions implements RecordLookups {
  readonly #connections: Connections;
  readonly #bounds: Required<QuestionBounds>;
  #open = 0;

  constructor(url: string, bounds: QuestionBounds = {}) {
    const { questionMs = QUESTION_MS, graceMs = GRACE_MS, whileAnswering = (asking) => asking } = bounds;
    this.#bounds = { questionMs, graceMs, whileAnswering };
    this.#connections = connect({ url, poolSize: MAX_QUESTIONS_AT_ONCE, isPatient: true });
  }

  async open(signal: AbortSignal): Promise<RecordSession> {
    signal.throwIfAborted();
    if (this.#open >= MAX_QUESTIONS_AT_ONCE) {
      throw new LookasideError(
        'BUSY',
        `${this.#open} questions are being answered, and no more at once; ask again in a few seconds`,
      );
    }
    this.#open += 1;
    const onClosed = (): void => {
      this.#open -= 1;
    };
    let asker: Asker | null = null;
    try {
      const taken = await this.#connections.take();
      asker = new Asker({
        ...{ ...taken, signal, onClosed },
        ...this.#bounds,
      });
      await asker.query(`SET statement_timeout = ${this.#bounds.questionMs}`);
      await noticeLeaving(asker.query);
      return sessionOf(asker);
    } catch (error) {
      if (asker === null) onClosed();
      else asker.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#connections.close();
  }
}

/** The server gives up what is asked soon after its connection was closed, where its system can tell. */
async function noticeLeaving(query: Query): Promise<void> {
  try {
    await query(`SET client_connection_check_interval = ${LEFT_MS}`);
  } catch (error) {
    // some systems have no way to see it: there a question ends with its time
    const cause = error instanceof LookasideError ? error.cause : error;
    if (!(cause instanceof pg.DatabaseError) || !CANNOT_SET.has(cause.code ?? '')) throw error;
  }
}

interface AskerOptions extends Required<QuestionBounds> {
  readonly query: Query;
  readonly release: (isBroken: boolean) => void;
  readonly signal: AbortSignal;
  /** Called once. */
  readonly onClosed: () => void;
}

/** One connection, until its question is given up. */
class Asker {
  readonly #options: AskerOptions;
  readonly #given: PromiseWithReject;
  #asking = 0;
  #isClosed = false;

  constructor(options: AskerOptions) {
    this.#options = options;
    this.#given = promiseWithReject();
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
    // who has left already is not told again
    if (options.signal.aborted) this.#onAbort();
  }

  /** @throws LookasideError QUESTION_TOO_LONG, STORE_UNAVAILABLE; the signal's reason */
  readonly query: Query = async (sql, values) => {
    const { query, signal, questionMs, graceMs, whileAnswering } = this.#options;
    signal.throwIfAborted();
    this.#asking += 1;
    const timer = setTimeout(this.#onSilence, questionMs + graceMs);
    try {
      const asking = whileAnswering(query(sql, values) as Promise<never>, this.#endSilent);
      return await Promise.race([asking, this.#given.promise]);
    } catch (error) {
      throw isCancelled(error) ? tooLong(questionMs) : error;
    } finally {
      clearTimeout(timer);
      this.#asking -= 1;
    }
  };

  readonly #onAbort = (): void => {
    this.#given.reject(this.#options.signal.reason);
    this.close();
  };

  readonly #onSilence = (): void => this.#given.reject(this.#endSilent());

  readonly #endSilent = (): LookasideError => {
    this.close();
    return new LookasideError(
      'STORE_UNAVAILABLE',
      'PostgreSQL does not answer a question, not even with an error; ask again when the database works',
    );
  };

  /** What is asked still ends with its connection: noticeLeaving(). */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#options.release(this.#asking > 0);
    this.#options.onClosed();
  }
}

interface PromiseWithReject {
  readonly promise: Promise<never>;
  reject(reason: unknown): void;
}

function promiseWithReject(): PromiseWithReject {
  let reject: (reason: unknown) => void = () => undefined;
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse;
  });
  promise.catch(() => undefined); // nothing may be asked at that moment
  return { promise, reject: (reason) => reject(reason) };
}

function isCancelled(error: unknown): boolean {
  const cause = error instanceof LookasideError ? error.cause : error;
  return cause instanceof pg.DatabaseError && cause.code === '57014';
}

function tooLong(ms: number): LookasideError {
  return new LookasideError(
    'QUESTION_TOO_LONG',
    `there was no answer within ${ms / 1000} seconds; ask for less, with a shorter time (since, until) or one image, key or address, or take all rows as an export`,
  );
}

function sessionOf(asker: Asker): RecordSession {
  const { query } = asker;
  const audit = new AuditQuestions(query);
  const access = new AccessQuestions(query);
  const verdicts = new VerdictQuestions(query);
  const page = (
    { record, filter }: RecordQuestion,
    after: Position | null,
    limit: number,
  ): Promise<PageFound> =>
    record === 'audit' ? audit.page(filter, after, limit) : access.page(filter, after, limit);
  return {
    page,
    async sums({ record, filter }, by: Grouping, limit) {
      const sums = new Sums();
      if (record === 'audit') await audit.sums(filter, by, sums);
      else await access.sums(filter, by, sums);
      const dropped = record === 'audit' ? 0 : await access.dropped(filter);
      const { left, found, total } = sums;
      const gaps =
        left === 0 ? [] : [`there are more than ${found} groups: those beyond are in the total alone`];
      return { groups: sums.groups(by, limit), found, total, dropped, gaps };
    },
    async *export({ record, filter }, format: ExportFormat) {
      yield exportHead(record, format);
      let rows = 0;
      let after: Position | null = null;
      do {
        const part: PageFound = await page({ record, filter }, after, EXPORT_ROWS);
        rows += part.rows.length;
        if (part.rows.length > 0) yield part.rows.map((row) => exportRow(record, format, row)).join('');
        after = part.next;
      } while (after !== null);
      const dropped = record === 'audit' ? 0 : await access.dropped(filter);
      yield exportEnd(format, { rows, dropped, gaps: [] });
    },
    unsigned: (filter, limit) => access.unsigned(filter, limit),
    repositoryTotals: (filter, limit) => access.repositoryTotals(filter, limit),
    stale: (since, filter, limit) => access.stale(since, filter, limit),
    rotation: (old, next, now) => verdicts.rotation(old, next, now),
    rotationWork: (...asked) => verdicts.rotationWork(...asked),
    signaturesBy: (key) => verdicts.signaturesBy(key),
    revocation: (...asked) => verdicts.revocation(...asked),
    revocationBroken: (...asked) => verdicts.revocationBroken(...asked),
    async [Symbol.asyncDispose]() {
      asker.close();
    },
  };
}
