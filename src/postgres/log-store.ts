// The tables of the log: hashes come with their events (writer.ts); checkpoints are added by the node that leads.
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import type {
  LogExtent,
  LoggedEvent,
  LogIdentity,
  LogReaderStore,
  LogStore,
  NewCheckpoint,
  StoredCheckpoint,
  Witnessed,
} from '../domain/log.ts';
import type { Connections, Query } from './connect.ts';
import type { Fence } from './leader.ts';
import type { PostgresWriter } from './writer.ts';

interface CheckpointRow {
  readonly id: number;
  readonly size: number;
  readonly root: Buffer;
  readonly at_ms: number;
  readonly note: string;
}

const CHECKPOINTS = 'SELECT id, size, root, at_ms, note FROM log_checkpoint WHERE void_ms IS NULL';

export class PostgresLog implements LogStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;
  readonly #fence: Fence;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter, fence: Fence) {
    this.#query = query;
    this.#writer = writer;
    this.#fence = fence;
  }

  async extent(): Promise<LogExtent> {
    const [row] = await this.#query<LogExtent>(`
      SELECT
        (SELECT coalesce(max(n), -1) + 1 FROM log_hash WHERE level = 0) AS hashes,
        (SELECT coalesce(max(seq), 0) FROM audit_event) AS "lastSeq",
        (SELECT size FROM log_head WHERE id = 1) AS "givenSeq"`);
    if (row === undefined) throw new Error('a query without FROM has given no row');
    return row;
  }

  async hashes(level: number, from: number, count: number): Promise<readonly Uint8Array[]> {
    const rows = await this.#query<{ hash: Buffer }>(
      'SELECT hash FROM log_hash WHERE level = $1 AND n >= $2 AND n < $3 ORDER BY n',
      [level, from, from + count],
    );
    return rows.map(({ hash }) => hash);
  }

  events(fromSeq: number, count: number): Promise<readonly LoggedEvent[]> {
    return this.#query<LoggedEvent>(
      'SELECT seq, at_ms AS "atMs", leaf, private, salt FROM audit_event WHERE seq >= $1 AND seq < $2 ORDER BY seq',
      [fromSeq, fromSeq + count],
    );
  }

  lastCheckpoint(): Promise<StoredCheckpoint | null> {
    return this.#checkpoint(`${CHECKPOINTS} ORDER BY size DESC, id DESC LIMIT 1`, []);
  }

  checkpointHolding(size: number): Promise<StoredCheckpoint | null> {
    // the note of a log alone has one line that begins with a dash
    return this.#checkpoint(
      `
      SELECT id, size, root, at_ms, note
      FROM (${CHECKPOINTS} AND size >= $1 ORDER BY size, id LIMIT 100) AS holding
      ORDER BY length(note) - length(replace(note, chr(8212), '')) > 1 DESC, size, id
      LIMIT 1`,
      [size],
    );
  }

  async checkpoints(after: number, limit: number): Promise<readonly StoredCheckpoint[]> {
    const rows = await this.#query<CheckpointRow>(`${CHECKPOINTS} AND id > $1 ORDER BY id LIMIT $2`, [
      after,
      limit,
    ]);
    return rows.map(checkpointOf);
  }

  identities(): Promise<readonly LogIdentity[]> {
    return this.#query<LogIdentity>('SELECT origin, vkey FROM log_identity ORDER BY id');
  }

  async seqOfUpload(site: string, image: string, sha256: string): Promise<number | null> {
    const [row] = await this.#query<{ audit_seq: number }>(
      'SELECT audit_seq FROM upload WHERE site = $1 AND image = $2 AND sha256 = $3',
      [site, image, Buffer.from(sha256, 'hex')],
    );
    return row?.audit_seq ?? null;
  }

  async witnessed(origin: string): Promise<Witnessed | null> {
    const [row] = await this.#query<CheckpointRow>(
      'SELECT 0 AS id, size, root, at_ms, note FROM witnessed WHERE origin = $1',
      [origin],
    );
    return row === undefined ? null : checkpointOf(row);
  }

  async addCheckpoint({ size, root, at, note }: NewCheckpoint): Promise<void> {
    await this.#writer.run(async ({ query, notify }) => {
      await this.#fence(query);
      await query('INSERT INTO log_checkpoint (size, root, at_ms, note) VALUES ($1, $2, $3, $4)', [
        size,
        Buffer.from(root),
        at.getTime(),
        note,
      ]);
      await notify('log');
    });
  }

  async cosign(id: number, note: string): Promise<void> {
    await this.#writer.run(async ({ query }) => {
      await this.#fence(query);
      await query('UPDATE log_checkpoint SET note = $2 WHERE id = $1', [id, note]);
    });
  }

  /** Without an event it is a log's beginning, which the first of several nodes makes. @throws LOG_MISMATCH when another key has begun */
  async begin({ origin, vkey }: LogIdentity, at: Date, event: NewAuditEvent | null): Promise<void> {
    await this.#writer.run(async ({ query, addEvent }) => {
      const [last] = await query<LogIdentity>(
        'SELECT origin, vkey FROM log_identity ORDER BY id DESC LIMIT 1',
      );
      if (last?.vkey === vkey) return;
      if (last !== undefined && event === null) throw otherKey(last.vkey, vkey);
      await query('INSERT INTO log_identity (origin, vkey, since_ms) VALUES ($1, $2, $3)', [
        origin,
        vkey,
        at.getTime(),
      ]);
      if (event !== null) await addEvent(event);
    });
  }

  async acceptRollback(goodSize: number, event: NewAuditEvent): Promise<void> {
    await this.#writer.run(async ({ query, addEvent }) => {
      await query('UPDATE log_checkpoint SET void_ms = $2 WHERE size > $1 AND void_ms IS NULL', [
        goodSize,
        event.at.getTime(),
      ]);
      await addEvent(event);
    });
  }

  /** Compared and set in one transaction that locks out those of all other nodes: two heads of one size are never both recorded. */
  witness(origin: string, from: number, { size, root, at, note }: Witnessed) {
    return this.#writer.run(async ({ query }) => {
      const [last] = await query<{ size: number }>('SELECT size FROM witnessed WHERE origin = $1', [origin]);
      const lastSize = last?.size ?? 0;
      if (lastSize !== from) return { isRecorded: false, size: lastSize };
      await query(
        `
        INSERT INTO witnessed (origin, size, root, at_ms, note)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (origin) DO UPDATE SET
          size = excluded.size, root = excluded.root, at_ms = excluded.at_ms, note = excluded.note`,
        [origin, size, Buffer.from(root), at.getTime(), note],
      );
      return { isRecorded: true, size };
    }, note.length);
  }

  async #checkpoint(sql: string, values: readonly unknown[]): Promise<StoredCheckpoint | null> {
    const [row] = await this.#query<CheckpointRow>(sql, values);
    return row === undefined ? null : checkpointOf(row);
  }
}

/** The log for who looks at it beside the nodes. */
export function readOnlyLog(connections: Pick<Connections, 'query'>): LogReaderStore {
  const writes = () => Promise.reject(new Error('this log is only read'));
  // of the writer nothing but run() is used, and no look-up uses that
  const log = new PostgresLog(connections, { run: writes } as unknown as PostgresWriter, writes);
  return {
    extent: () => log.extent(),
    hashes: (...asked) => log.hashes(...asked),
    events: (...asked) => log.events(...asked),
    lastCheckpoint: () => log.lastCheckpoint(),
    checkpointHolding: (size) => log.checkpointHolding(size),
    checkpoints: (...page) => log.checkpoints(...page),
    identities: () => log.identities(),
    seqOfUpload: (...of) => log.seqOfUpload(...of),
    witnessed: (origin) => log.witnessed(origin),
  };
}

/** Nodes that sign with different keys would give out two logs. */
export function otherKey(theirs: string, ours: string): LookasideError {
  return new LookasideError(
    'LOG_MISMATCH',
    `the log in the database is signed as ${theirs}, and this node would sign as ${ours}; give every node the same key (LOOKASIDE_LOG_KEY_FILE) and the same LOOKASIDE_LOG_ORIGIN; or, to change them for ever, start one node with --accept-rollback`,
  );
}

function checkpointOf({ id, size, root, note, at_ms }: CheckpointRow): StoredCheckpoint & Witnessed {
  return { id, size, root, note, at: new Date(at_ms) };
}
