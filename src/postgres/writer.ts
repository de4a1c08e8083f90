// Every change of a node goes through here: acts that wait are joined into one transaction, which locks log_head first, so that
// changes of all nodes come one after the other (docs/decisions/several-nodes.md).
import { createHash } from 'node:crypto';
import { leafText, type NewAuditEvent, privateText } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { foldHashes, leafHash, type Sha256, TILE_WIDTH } from '../domain/merkle.ts';
import { type Connections, isKeptWaiting, isLockTimeout, type Query } from './connect.ts';
import { ownSchema, refuseOlderWriter } from './migrate.ts';
import { IS_MOVED_BACK, refuseMovedBack } from './moved-back.ts';

/** What an act may do; nothing of it outlives the act. */
export interface Change {
  readonly query: Query;
  /** Adds the event, with its leaf's hash; its number. */
  addEvent(event: NewAuditEvent): Promise<number>;
  /** As addEvent() for each of them in their order, by few statements. */
  addEvents(events: readonly NewAuditEvent[]): Promise<void>;
  /** Told to the other nodes once it is committed. */
  notify(what: string): Promise<void>;
}

export type Act<T> = (change: Change) => Promise<T>;

/** So that acts of other nodes do not wait long, and a session is not paused by the load. */
const ACTS_AT_ONCE = 32;
const BYTES_AT_ONCE = 8 * 1024 * 1024;
/** A transaction that has lasted for so long takes no further act: those of other nodes wait for its end. */
const LONG_MS = 1000;
const MAX_WAITING = 4096;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** An act that has not begun by then is refused: who asks is told in time that nothing was done. */
const MAX_WAIT_MS = 4500;

export const CHANNEL = 'lookaside';

interface Waiting {
  readonly act: Act<unknown>;
  readonly sizeBytes: number;
  /** When it is too late to begin, by performance.now(). */
  readonly lastMs: number;
  timer: NodeJS.Timeout;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export class PostgresWriter {
  readonly #connections: Pick<Connections, 'take'>;
  readonly #maxWaitMs: number;
  readonly #schema: number;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | null = null;

  constructor(connections: Pick<Connections, 'take'>, maxWaitMs = MAX_WAIT_MS, schema = ownSchema()) {
    this.#connections = connections;
    this.#maxWaitMs = maxWaitMs;
    this.#schema = schema;
  }

  /**
   * Resolves once the act is committed, in the order of asking. An act that throws leaves nothing behind.
   * @throws what the act throws; LookasideError BUSY when too much waits, or the act could not begin in time: nothing is done; STORE_UNAVAILABLE: it may be committed all the same
   */
  run<T>(act: Act<T>, sizeBytes = 1000): Promise<T> {
    if (this.#waiting.length >= MAX_WAITING || this.#waitingBytes + sizeBytes > MAX_WAITING_BYTES) {
      const message = `${this.#waiting.length} changes wait for the database, and no more are taken; try again in a few seconds`;
      return Promise.reject(new LookasideError('BUSY', message));
    }
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUp(waiting), this.#maxWaitMs);
      const lastMs = performance.now() + this.#maxWaitMs;
      const waiting = { act, sizeBytes, lastMs, timer, resolve: resolve as (value: unknown) => void, reject };
      this.#waiting.push(waiting);
      this.#waitingBytes += sizeBytes;
      this.#running ??= this.#work();
    });
  }

  /** They come first in the next transaction. */
  #putBack(acts: readonly Waiting[]): void {
    for (const waiting of acts) {
      waiting.timer = setTimeout(() => this.#giveUp(waiting), waiting.lastMs - performance.now());
      this.#waitingBytes += waiting.sizeBytes;
    }
    this.#waiting.unshift(...acts);
  }

  #giveUp(waiting: Waiting): void {
    this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
    this.#waitingBytes -= waiting.sizeBytes;
    const message = `the database is too slow: this change could not begin within ${this.#maxWaitMs / 1000} s, and nothing of it was done; try again in a few seconds`;
    waiting.reject(new LookasideError('BUSY', message));
  }

  /** Resolves when nothing waits. */
  async drain(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #work(): Promise<void> {
    // what is asked in this turn of the event loop is joined
    await Promise.resolve();
    while (this.#waiting.length > 0) await this.#together(this.#next());
    this.#running = null;
  }

  #next(): readonly Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { sizeBytes } of this.#waiting.slice(0, ACTS_AT_ONCE)) {
      bytes += sizeBytes;
      if (count > 0 && bytes > BYTES_AT_ONCE) break;
      count += 1;
    }
    const next = this.#waiting.splice(0, count);
    for (const { timer } of next) clearTimeout(timer);
    this.#waitingBytes -= next.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return next;
  }

  async #together(acts: readonly Waiting[]): Promise<void> {
    const answers: (() => void)[] = [];
    let joined = acts;
    let release: ((error?: boolean) => void) | null = null;
    try {
      const taken = await this.#connections.take();
      release = taken.release;
      const { query } = taken;
      const head = await begin(query);
      if (head === undefined)
        throw new LookasideError(
          'STATE_UNUSABLE',
          'the row of log_head is missing; restore the database from a backup',
        );
      // a node may have been paused while others were upgraded, or cut off from the database while it was moved
      refuseOlderWriter(head.oldest, this.#schema);
      if (head.moved) await refuseMovedBack(query);
      // a move ends with events, and begins where there are none
      if (head.size === 0) await refuseHalfMoved(query);
      let { size } = head;
      let end = '';
      const beginMs = performance.now();
      for (const [position, waiting] of acts.entries()) {
        if (performance.now() - beginMs > LONG_MS) {
          joined = acts.slice(0, position);
          this.#putBack(acts.slice(position));
          break;
        }
        if (end !== '') await query(`${end}; SAVEPOINT act`);
        const attempt = new OneAct(query, size);
        try {
          const value = await waiting.act(attempt);
          end = 'RELEASE SAVEPOINT act';
          size = attempt.size;
          answers.push(() => waiting.resolve(value));
        } catch (error) {
          end = 'ROLLBACK TO SAVEPOINT act';
          answers.push(() => waiting.reject(error));
        }
      }
      const log =
        size === head.size
          ? ''
          : `; UPDATE log_head SET size = ${size} WHERE id = 1; SELECT pg_notify('${CHANNEL}', 'log')`;
      await query(`${end}${log}; COMMIT`);
      release();
      for (const answer of answers) answer();
    } catch (error) {
      release?.(true); // closing the connection takes back what was not committed
      for (const { reject } of joined) reject(error);
    }
  }
}

interface Head {
  readonly size: number;
  readonly oldest: number;
  readonly moved: boolean;
}

/** Locks out changes of others until the end of the transaction. @throws LookasideError STORE_UNAVAILABLE */
async function begin(query: Query): Promise<Head | undefined> {
  try {
    // statements that need no answer between them go together: the database may be far away
    const [head] = await query<Head>(
      `BEGIN; SELECT size, oldest_writer AS oldest, ${IS_MOVED_BACK} AS moved FROM log_head WHERE id = 1 FOR UPDATE; SAVEPOINT act`,
    );
    return head;
  } catch (error) {
    throw isLockTimeout(error) ? isKeptWaiting('changes', error) : error;
  }
}

/** What an interrupted lookaside migrate has left is not served. @throws LookasideError STATE_UNUSABLE */
export async function refuseHalfMoved(query: Query): Promise<void> {
  const rows = await query('SELECT 1 FROM moved_directory WHERE finished_at_ms IS NULL');
  if (rows.length === 0) return;
  throw new LookasideError(
    'STATE_UNUSABLE',
    'lookaside migrate has begun to bring a data directory into this database and has not ended; wait for its end, or give the same command again, which goes on from there',
  );
}

/** One act of a transaction; `size`: how many events there are, these included. */
class OneAct implements Change {
  readonly query: Query;
  size: number;

  constructor(query: Query, size: number) {
    this.query = query;
    this.size = size;
  }

  // functions of the object and no methods: an act takes a Change apart
  readonly addEvent = async (event: NewAuditEvent): Promise<number> => {
    await this.#addFew([event]);
    return this.size;
  };

  readonly addEvents = async (events: readonly NewAuditEvent[]): Promise<void> => {
    for (let from = 0; from < events.length; ) {
      const few = events.slice(from, from + TILE_WIDTH - (this.size % TILE_WIDTH));
      await this.#addFew(few);
      from += few.length;
    }
  };

  /** The events are of one tile. */
  async #addFew(events: readonly NewAuditEvent[]): Promise<void> {
    const first = this.size + 1;
    const rows = events.map((event, position) => rowOf(event, first + position));
    await this.query(
      `
      WITH event AS (
        INSERT INTO audit_event (seq, at_ms, leaf, private, salt)
        SELECT n + 1, at_ms, leaf, private, salt
        FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bytea[]) AS row (n, at_ms, leaf, private, salt)
      )
      INSERT INTO log_hash (level, n, hash)
      SELECT 0, n, hash
      FROM unnest($1::bigint[], $6::bytea[]) AS leaf (n, hash)`,
      [
        rows.map((_, position) => this.size + position),
        rows.map(({ atMs }) => atMs),
        rows.map(({ leaf }) => leaf),
        rows.map(({ text }) => text),
        rows.map(({ salt }) => salt),
        rows.map(({ hash }) => hash),
      ],
    );
    this.size += rows.length;
    await foldTile(this.query, 0, this.size - 1);
  }

  readonly notify = async (what: string): Promise<void> => {
    await this.query('SELECT pg_notify($1, $2)', [CHANNEL, what]);
  };
}

function rowOf(event: NewAuditEvent, seq: number) {
  const salt = Buffer.from(event.salt, 'hex');
  const text = privateText(event.private);
  const privateHash = createHash('sha256').update(salt).update(text).digest('hex');
  const leaf = leafText(seq, privateHash, event);
  return { atMs: event.at.getTime(), leaf, text, salt, hash: leafHash(sha256, Buffer.from(leaf, 'utf8')) };
}

/** The hash of a tile that is full with hash n stands a level higher. */
async function foldTile(query: Query, level: number, n: number): Promise<void> {
  if ((n + 1) % TILE_WIDTH !== 0) return;
  const tile = await query<{ hash: Buffer }>(
    'SELECT hash FROM log_hash WHERE level = $1 AND n >= $2 AND n < $3 ORDER BY n',
    [level, n + 1 - TILE_WIDTH, n + 1],
  );
  // an event must not fail because somebody took hashes away: `audit verify` tells of it
  if (tile.length !== TILE_WIDTH) return;
  const above = (n + 1) / TILE_WIDTH - 1;
  const hash = foldHashes(
    sha256,
    tile.map((one) => one.hash),
  );
  await query('INSERT INTO log_hash (level, n, hash) VALUES ($1, $2, $3)', [level + 1, above, hash]);
  await foldTile(query, level + 1, above);
}

const sha256: Sha256 = (...pieces) => {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
};
