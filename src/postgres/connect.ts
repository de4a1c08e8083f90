// The connections of one node to PostgreSQL, with the bounds that keep every request short.
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { LookasideError } from '../domain/errors.ts';
import { CopyIn } from './copy-in.ts';
import { inTime, LONGEST_MS, leftAfter, wasPaused } from './in-time.ts';
import { clientClassOf } from './tls-files.ts';

/** Beyond these, a session that was paused or cut off gives back what it holds: docs/decisions/several-nodes.md. */
export const SESSION = {
  idle_in_transaction_session_timeout: 3000,
  lock_timeout: 4000,
  statement_timeout: 4500,
} as const;
/** The bounds of a session whose statements take as long as they take: one that is cut off gives back what it holds within minutes. */
const PATIENT = {
  idle_in_transaction_session_timeout: 60_000,
  lock_timeout: 0,
  statement_timeout: 0,
  tcp_keepalives_idle: 30,
  tcp_keepalives_interval: 10,
  tcp_keepalives_count: 3,
} as const;
const CONNECT_MS = 2000;

const INT8 = 20;

export type Query = <Row extends object>(sql: string, values?: readonly unknown[]) => Promise<readonly Row[]>;

export interface TakenConnection {
  readonly query: Query;
  /** COPY … FROM STDIN of the rows of CopyRows: all of them or none. @throws LookasideError STORE_UNAVAILABLE */
  copyIn(sql: string, rows: readonly Uint8Array[]): Promise<void>;
  release(error?: boolean): void;
}

export interface Connections {
  /** One statement by itself, or several without values: the rows are those of the last one that gives any. @throws LookasideError STORE_UNAVAILABLE */
  readonly query: Query;
  /** A connection for one who must give it back; `error`: it is broken. @throws STORE_UNAVAILABLE */
  take(): Promise<TakenConnection>;
  /** A connection of its own, outside of the pool. */
  dedicated(): pg.Client;
  close(): Promise<void>;
}

export interface ConnectOptions {
  /** `postgres://user:password@host:port/database`, or a folder of a socket as host. */
  readonly url: string;
  readonly poolSize?: number;
  /** For a command that works for long, beside nodes that do not start meanwhile: no statement is given up. */
  readonly isPatient?: boolean;
}

/** @throws LookasideError STORE_UNAVAILABLE when a file that the URL names cannot be read */
export function connect({ url, poolSize = 10, isPatient = false }: ConnectOptions): Connections {
  const settings: pg.ClientConfig = {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    ...(isPatient ? { keepAlive: true } : {}),
    options: Object.entries(isPatient ? PATIENT : SESSION)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
    application_name: 'lookaside',
    types: {
      // numbers of events and times are far below 2 ** 53
      getTypeParser: (oid: number, format?: 'text' | 'binary') =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format as 'text'),
    },
  };
  const Client = clientClassOf(url);
  const pool = new pg.Pool({ ...settings, max: poolSize, Client });
  // where the server does not answer at all, not even with an error; a timeout of pg would come ahead of an answer that lies unread
  const longestMs = isPatient ? null : LONGEST_MS;
  // an idle connection that breaks is replaced with the next query, which tells who asks
  pool.on('error', () => undefined);

  async function askOnce<Row extends object>(sql: string, values: readonly unknown[] | undefined) {
    const startMs = performance.now();
    const client = await connected(pool);
    // what it has waited for a connection counts too
    const leftMs = longestMs === null ? null : Math.max(1, leftAfter(longestMs, performance.now() - startMs));
    // a session that failed may be broken, or still busy with the answer
    return asked<Row>(client, sql, values, leftMs).then(
      (rows) => {
        client.release();
        return rows;
      },
      (error) => {
        client.release(true);
        throw error;
      },
    );
  }

  return {
    query: (sql, values) => askOnce<never>(sql, values),
    async take() {
      const client = await connected(pool);
      const release = (error = false) => client.release(error);
      return {
        query: (sql, values) => asked(client, sql, values, longestMs),
        copyIn: (sql, rows) => copied(client, sql, rows, longestMs),
        release,
      };
    },
    dedicated: () => new Client({ ...settings, keepAlive: true, query_timeout: LONGEST_MS }),
    close: () => pool.end(),
  };
}

async function connected(pool: pg.Pool): Promise<pg.PoolClient> {
  const startMs = performance.now();
  const connecting = async () => {
    try {
      return await pool.connect();
    } catch (error) {
      // its time ran out while this process was paused
      if (wasPaused(CONNECT_MS, performance.now() - startMs)) return pool.connect();
      throw error;
    }
  };
  try {
    const client = await connecting();
    // a session that ends while it is taken fails its next query
    if (client.listenerCount('error') === 0) client.on('error', () => undefined);
    return client;
  } catch (error) {
    throw isNoneFree(error) ? noneFree(error) : unavailable(error);
  }
}

/** pg-pool has no code for it. */
const isNoneFree = (error: unknown) =>
  error instanceof Error && error.message === 'timeout exceeded when trying to connect';

/** The server may be well: it is not said to be out of reach. */
function noneFree(cause: unknown): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `no connection of this node to PostgreSQL was free within ${CONNECT_MS / 1000} s: PostgreSQL answers slowly or not at all, or more is asked at once than LOOKASIDE_DATABASE_POOL connections carry; try again in a few seconds`,
    { cause },
  );
}

async function asked<Row extends object>(
  on: pg.ClientBase,
  text: string,
  values: readonly unknown[] = [],
  answerMs: number | null = null,
): Promise<readonly Row[]> {
  const question: pg.QueryConfig = { text, ...(values.length === 0 ? {} : { values: [...values] }) };
  try {
    // of several statements there are several results, which the types of pg do not say
    const result: pg.QueryResult<Row> | readonly pg.QueryResult<Row>[] = await answered(
      on.query<Row>(question),
      answerMs,
    );
    return Array.isArray(result) ? (result.findLast(({ rows }) => rows.length > 0)?.rows ?? []) : result.rows;
  } catch (error) {
    throw unavailable(error);
  }
}

/** `answerMs`: null: however long it takes. */
function answered<T>(answering: Promise<T>, answerMs: number | null): Promise<T> {
  if (answerMs === null) return answering;
  return inTime(answering, () => new Error('it has not answered in time'), answerMs);
}

async function copied(
  on: pg.PoolClient,
  sql: string,
  rows: readonly Uint8Array[],
  answerMs: number | null,
): Promise<void> {
  try {
    const copying = new Promise<void>((resolve, reject) => {
      on.query(new CopyIn(sql, rows, (error) => (error ? reject(error) : resolve())));
    });
    await answered(copying, answerMs);
  } catch (error) {
    throw unavailable(error);
  }
}

function unavailable(error: unknown): LookasideError {
  const said = messageOf(error);
  const message =
    error instanceof pg.DatabaseError
      ? `PostgreSQL refused this: ${said}; its log says more`
      : `PostgreSQL cannot be reached: ${said}; is it running, and is LOOKASIDE_DATABASE right?`;
  return new LookasideError('STORE_UNAVAILABLE', message, { cause: error });
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // of several addresses that were tried
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ');
  return error.message;
}

/** Classes of its codes: a value, a limit of PostgreSQL, its files, and damage that it has found. */
const OF_ROWS = ['22', '54', '58', 'XX'];

/** Whether PostgreSQL failed over rows of this very statement: others may do, also parts of this one. It may have no room for those otherwise. */
export function isAboutRows(error: unknown): boolean {
  const cause = error instanceof LookasideError ? error.cause : error;
  return cause instanceof pg.DatabaseError && OF_ROWS.includes(cause.code?.slice(0, 2) ?? '');
}

/** Whether the statement failed because a row with that name is there. */
export function isTaken(error: unknown, constraint: string): boolean {
  const cause = error instanceof LookasideError ? error.cause : error;
  return cause instanceof pg.DatabaseError && cause.constraint === constraint;
}

const LOCK_NOT_AVAILABLE = '55P03';

/** Whether the statement was given up because somebody else has held a lock for too long. */
export function isLockTimeout(error: unknown): boolean {
  const cause = error instanceof LookasideError ? error.cause : error;
  return cause instanceof pg.DatabaseError && cause.code === LOCK_NOT_AVAILABLE;
}

/** One change of these comes after the other, over all nodes. */
export function isKeptWaiting(what: 'changes' | 'changes of keys', cause: unknown): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `${what} through another node have kept this one waiting for ${SESSION.lock_timeout / 1000} s, and nothing of it was done; try again in a few seconds`,
    { cause },
  );
}

const UNIQUE_VIOLATION = '23505';

/** Whether the statement failed because a row with the same key is there. */
export function isDuplicate(error: unknown): boolean {
  const cause = error instanceof LookasideError ? error.cause : error;
  return cause instanceof pg.DatabaseError && cause.code === UNIQUE_VIOLATION;
}

export interface Notifications {
  close(): Promise<void>;
}

/** What is asked of the session that listens, for as long as it lasts. */
export interface Rounds {
  /** The time from one question to the next; an answer that takes longer is waited for. */
  readonly everyMs: number;
  /** Ends the session by throwing. */
  ask(query: Query): Promise<{ readonly isStandby: boolean }>;
  /** The session is over; another one follows. */
  onEnd(): void;
}

const LISTEN_AGAIN_MS = 1000;

/** Hears what is told on the channel, as far as the session lasts; a broken one is made anew. Notifications may be lost. */
export function listenOn(
  connections: Pick<Connections, 'dedicated'>,
  channel: string,
  hear: (payload: string) => void,
  rounds: Rounds | null = null,
): Notifications {
  const closing = new AbortController();
  let current: pg.Client | null = null;
  let timer: NodeJS.Timeout | null = null;

  function open(): void {
    timer = null;
    const client = connections.dedicated();
    current = client;
    client.on('notification', ({ payload = '' }) => hear(payload));
    // 'end' follows
    client.on('error', () => undefined);
    const ending = new AbortController();
    client.once('end', () => {
      ending.abort();
      rounds?.onEnd();
      current = null;
      if (!closing.signal.aborted) timer ??= setTimeout(open, LISTEN_AGAIN_MS).unref();
    });
    const signal = AbortSignal.any([closing.signal, ending.signal]);
    listen(client, channel, { rounds, signal }).catch(() => client.end().catch(() => undefined));
  }

  open();
  return {
    async close() {
      closing.abort();
      if (timer !== null) clearTimeout(timer);
      await current?.end().catch(() => undefined);
    },
  };
}

async function listen(
  client: pg.Client,
  channel: string,
  { rounds, signal }: { readonly rounds: Rounds | null; readonly signal: AbortSignal },
): Promise<void> {
  await client.connect();
  if (rounds === null) {
    await client.query(`LISTEN ${channel}`);
    return;
  }
  const query = <Row extends object>(sql: string, values?: readonly unknown[]) =>
    asked<Row>(client, sql, values);
  let isListening = false;
  while (!signal.aborted) {
    const beginMs = performance.now();
    const { isStandby } = await rounds.ask(query);
    // a standby takes none, until it is the primary
    if (!isListening && !isStandby) {
      await client.query(`LISTEN ${channel}`);
      isListening = true;
    }
    const leftMs = Math.max(0, rounds.everyMs - (performance.now() - beginMs));
    await wait(leftMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
