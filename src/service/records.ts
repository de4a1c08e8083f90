// Answers questions over the records of changes and of reads, and writes down who asked for what people did.
import type { NewAuditEvent } from '../domain/audit.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { AuditLog, Clock, KeyStore, RecordEraser } from '../domain/ports.ts';
import { questionText } from '../domain/record-question.ts';
import type {
  Completeness,
  ExportFormat,
  Forgotten,
  Grouping,
  Person,
  Position,
  RecordFilter,
  RecordLookups,
  RecordPage,
  RecordQuestion,
  RecordSession,
  RecordSums,
} from '../domain/records.ts';
import type { AccessRecorder } from './access.ts';
import type { Actor, MakeEvent } from './audit.ts';
import { findKey } from './keys.ts';

/** Who asks, and whether somebody still waits. */
export interface Asker {
  readonly actor: Actor;
  readonly signal: AbortSignal;
}

/** An error: this look failed, and the next may not. Null, once a second: nothing is new. */
export type Followed = RecordPage | LookasideError | null;

export interface PageWanted {
  /** The `next` of the page before, or null. */
  readonly cursor: string | null;
  readonly limit: number;
}

/** Every method rejects with QUESTION_TOO_LONG, BUSY, STATE_UNUSABLE, INDEX_UNUSABLE, STORE_UNAVAILABLE. */
export interface Records {
  /** @throws also REQUEST_INVALID for a cursor of another question, or of none */
  page(question: RecordQuestion, wanted: PageWanted, asker: Asker): Promise<RecordPage>;
  sums(question: RecordQuestion, by: Grouping, limit: number, asker: Asker): Promise<RecordSums>;
  /** Pieces of text, newest row first. An audit event says that it was asked for, before the first piece. */
  export(question: RecordQuestion, format: ExportFormat, asker: Asker): AsyncIterable<string>;
  /**
   * The newest rows, and then those of each look that differ from those before. A question about a person is one event, however long it
   * is followed. @throws also BUSY while as many questions are followed as may be
   */
  follow(
    question: RecordQuestion,
    limit: number,
    asker: Asker,
    isWanted: () => Promise<boolean>,
  ): Promise<AsyncGenerator<Followed>>;
  /**
   * Takes a person out of both records before that time, and writes an event that does not say whom.
   * @throws REQUEST_INVALID for a time that is still to come
   */
  forget(person: Person, before: Date, actor: Actor): Promise<Forgotten>;
  /** Several look-ups that make one answer; `about` is for the audit log when it is about a person, else null. */
  session<T>(
    about: SessionAbout | null,
    asker: Asker,
    act: (session: RecordSession) => Promise<T>,
  ): Promise<T>;
}

/** An export whose first piece has come, so that what is refused is refused before anything is sent. */
export interface ExportedText {
  readonly type: string;
  /** It must be taken to its end or left: both end the look-up. */
  readonly pieces: AsyncIterable<string>;
}

const TYPES = { jsonl: 'application/jsonl', csv: 'text/csv; charset=utf-8' } as const;

/** Rejects as Records.export() does. */
export async function exportedText(
  records: Pick<Records, 'export'>,
  question: RecordQuestion,
  format: ExportFormat,
  actor: Actor,
): Promise<ExportedText> {
  const leaving = new AbortController();
  const pieces = records.export(question, format, { actor, signal: leaving.signal })[Symbol.asyncIterator]();
  let ahead: IteratorResult<string> | null = await pieces.next();
  // not a generator: one that nobody has asked for a piece would end without what ends it, and hold its place among few
  const all: AsyncIterableIterator<string> = {
    [Symbol.asyncIterator]: () => all,
    async next() {
      const piece = ahead ?? (await pieces.next());
      ahead = null;
      return piece;
    },
    async return() {
      leaving.abort(new Error('the asker left before the end'));
      await pieces.return?.();
      return { done: true, value: undefined };
    },
  };
  return { type: TYPES[format], pieces: all };
}

export interface SessionAbout {
  readonly action: 'query' | 'export';
  /** In words for people. */
  readonly text: string;
  readonly filter: Pick<RecordFilter, 'signature' | 'fingerprint'>;
}

export interface RecordsOptions {
  readonly lookups: RecordLookups;
  readonly recorder: Pick<AccessRecorder, 'flush' | 'buffer'>;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly makeEvent: MakeEvent;
  readonly sha256: (bytes: Uint8Array) => string;
  readonly wait: (ms: number) => Promise<unknown>;
  readonly eraser: RecordEraser;
  /** For questions that name a key by its ID. */
  readonly keys: Pick<KeyStore, 'find' | 'list'>;
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
}

/** A database that another process has locked must not keep an answer back. */
const FLUSH_MS = 2000;

/** Questions that are followed at once. They take turns, so that one of them is being answered at a time. */
const MOST_FOLLOWED = 16;
const STEP_MS = 1000;
const LOOK_EVERY_MS = 2000;
/** A question that takes long is asked less often: it may take that part of the time. */
const SHARE_OF_TIME = 1 / 20;
const LOOK_AT_LEAST_EVERY_MS = 60_000;

export function createRecords(options: RecordsOptions): Records {
  const { lookups, sha256 } = options;

  async function opened<T>(
    about: SessionAbout | null,
    { actor, signal }: Asker,
    act: (session: RecordSession) => Promise<T>,
  ): Promise<T> {
    if (about !== null) await options.audit.append(eventOf(options.makeEvent, about, actor));
    await Promise.race([options.recorder.flush(), options.wait(FLUSH_MS)]);
    await using session = await lookups.open(signal);
    return await act(session);
  }

  const withGaps = <T extends Completeness>(question: RecordQuestion, answer: T): T => {
    const { rows } = options.recorder.buffer;
    if (question.record === 'audit' || rows === 0) return answer;
    return { ...answer, gaps: [...answer.gaps, `${rows} rows of the last seconds are not written yet`] };
  };

  const pageOf = (question: RecordQuestion, { after, limit, about, asker }: Look): Promise<RecordPage> =>
    opened(about, asker, async (session) => {
      const { rows, next, ...rest } = await session.page(question, after, limit);
      const formatted = next === null ? null : formatCursor(next, question, sha256);
      return withGaps(question, { record: question.record, rows, next: formatted, ...rest });
    });

  let followed = 0;
  /** Those whose first look is not over. */
  let begun = 0;
  let turn: Promise<unknown> = Promise.resolve();

  function inTurn(question: RecordQuestion, limit: number, asker: Asker): Promise<RecordPage> {
    const look = turn.then(() => pageOf(question, { after: null, limit, about: null, asker }));
    turn = look.catch(() => undefined);
    return look;
  }

  /** Counted only once it is taken from, so that whoever left before then is not. */
  async function* looks(
    first: RecordPage,
    look: () => Promise<RecordPage>,
    isWanted: () => Promise<boolean>,
  ): AsyncGenerator<Followed> {
    followed += 1;
    try {
      let known = JSON.stringify(first);
      let waitMs = LOOK_EVERY_MS;
      yield first;
      for (;;) {
        for (let waitedMs = 0; waitedMs < waitMs; waitedMs += STEP_MS) {
          await options.wait(STEP_MS);
          if (!(await isWanted())) return;
          yield null;
        }
        const startMs = options.clock.monotonicMs();
        const page = await look().catch(asOurs);
        waitMs = waitAfter(options.clock.monotonicMs() - startMs);
        const text = page instanceof LookasideError ? page.message : JSON.stringify(page);
        if (text !== known) yield page;
        known = text;
      }
    } finally {
      followed -= 1;
    }
  }

  return {
    session: opened,
    async follow(asked, limit, asker, isWanted) {
      if (followed + begun >= MOST_FOLLOWED) {
        throw new LookasideError(
          'BUSY',
          `${MOST_FOLLOWED} pages follow the record, and no more may at once; load the page again for the newest rows`,
        );
      }
      begun += 1;
      try {
        const question = await withFingerprint(asked, options.keys);
        const about = aboutPerson(question);
        if (about !== null) {
          const event = { ...about, text: `${about.text}, followed` };
          await options.audit.append(eventOf(options.makeEvent, event, asker.actor));
        }
        const look = () => inTurn(question, limit, asker);
        return looks(await look(), look, async () => !asker.signal.aborted && (await isWanted()));
      } finally {
        begun -= 1;
      }
    },
    async page(asked, { cursor, limit }, asker) {
      const question = await withFingerprint(asked, options.keys);
      const after = cursor === null ? null : parseCursor(cursor, question, sha256);
      return pageOf(question, { after, limit, about: aboutPerson(question), asker });
    },
    async sums(asked, by, limit, asker) {
      const question = await withFingerprint(asked, options.keys);
      return opened(aboutPerson(question), asker, async (session) => {
        const sums = await session.sums(question, by, limit);
        return withGaps(question, { record: question.record, by, ...sums });
      });
    },
    async forget(person, before, actor) {
      if (before > options.clock.now()) {
        throw new LookasideError(
          'REQUEST_INVALID',
          `${before.toISOString()} is still to come, expected a time that is over`,
        );
      }
      await options.recorder.flush();
      const reads = await options.eraser.forgetReads(person, before);
      const reason = `the reads (${reads} rows) and events of one ${person.kind} before ${before.toISOString()}`;
      const event = options.makeEvent({ action: 'forget', result: 'forgotten', reason }, actor);
      return { events: await options.eraser.forgetEvents(person, before, event), reads };
    },
    async *export(asked, format, { actor, signal }) {
      const question = await withFingerprint(asked, options.keys);
      await options.audit.append(eventOf(options.makeEvent, aboutExport(question), actor));
      await Promise.race([options.recorder.flush(), options.wait(FLUSH_MS)]);
      await using session = await lookups.open(signal);
      yield* session.export(question, format);
    },
  };
}

/**
 * The same question by the whole fingerprint where it names a registered key by its ID.
 * @throws LookasideError REQUEST_INVALID when several keys have that ID, or none has
 */
async function withFingerprint(
  question: RecordQuestion,
  keys: RecordsOptions['keys'],
): Promise<RecordQuestion> {
  const { filter } = question;
  if (filter.fingerprint === null) return question;
  return { ...question, filter: { ...filter, fingerprint: await fingerprintOf(filter.fingerprint, keys) } };
}

/** The fingerprint that a key ID stands for; a fingerprint as it is: events also tell of keys that are registered no longer. */
export async function fingerprintOf(name: string, keys: Pick<KeyStore, 'find' | 'list'>): Promise<string> {
  if (name.length > KEY_ID_DIGITS) return name;
  try {
    return (await findKey(keys, name)).fingerprint;
  } catch (error) {
    if (!isLookasideError(error, 'NOT_FOUND')) throw error;
    throw new LookasideError(
      'REQUEST_INVALID',
      `no registered key has the ID ${name}; of a key that was removed, give the whole fingerprint: 40 hex digits`,
      { cause: error },
    );
  }
}

const KEY_ID_DIGITS = 16;

interface Look {
  readonly after: Position | null;
  readonly limit: number;
  readonly about: SessionAbout | null;
  readonly asker: Asker;
}

function waitAfter(tookMs: number): number {
  return Math.min(Math.max(LOOK_EVERY_MS, tookMs / SHARE_OF_TIME), LOOK_AT_LEAST_EVERY_MS);
}

/** The error itself where it is one that a caller may meet. */
function asOurs(error: unknown): LookasideError {
  if (error instanceof LookasideError) return error;
  throw error;
}

function eventOf(makeEvent: MakeEvent, { action, text, filter }: SessionAbout, actor: Actor): NewAuditEvent {
  const { signature: signatureSha256, fingerprint } = filter;
  return makeEvent({ action, signatureSha256, fingerprint, result: 'answered', reason: text }, actor);
}

/** Null for a question that names nobody's address. */
function aboutPerson(question: RecordQuestion): SessionAbout | null {
  if (question.filter.address === null) return null;
  return { action: 'query', text: questionText(question), filter: question.filter };
}

function aboutExport(question: RecordQuestion): SessionAbout {
  return { action: 'export', text: questionText(question), filter: question.filter };
}

type Sha256 = RecordsOptions['sha256'];

// A cursor is a place between two rows, which stays where it is while rows come and days close.
function formatCursor(position: Position, question: RecordQuestion, sha256: Sha256): string {
  const text = JSON.stringify(position);
  return Buffer.from(`${text}${sumOf(text, question, sha256)}`).toString('base64url');
}

/** @throws LookasideError REQUEST_INVALID, detail `{"reason":"cursor"}` */
function parseCursor(cursor: string, question: RecordQuestion, sha256: Sha256): Position {
  const written = Buffer.from(cursor, 'base64url').toString('latin1');
  const text = written.slice(0, -SUM_LENGTH);
  if (
    Buffer.from(written, 'latin1').toString('base64url') === cursor &&
    /^\[-?\d+(?:,-?\d+)*\]$/.test(text)
  ) {
    if (written.slice(-SUM_LENGTH) === sumOf(text, question, sha256)) return JSON.parse(text) as Position;
  }
  throw new LookasideError(
    'REQUEST_INVALID',
    'the cursor is damaged or belongs to another question; give the one that came with the page before, with the same filters, or begin again without a cursor',
    { detail: { reason: 'cursor' } },
  );
}

const SUM_LENGTH = 16;

/** Without the times: `7d` is another time at every page, and moves no row to another place. */
function sumOf(position: string, { record, filter }: RecordQuestion, sha256: Sha256): string {
  const question = questionText({ record, filter: { ...filter, since: null, until: null } });
  return sha256(Buffer.from(`${position}\n${question}`)).slice(0, SUM_LENGTH);
}
