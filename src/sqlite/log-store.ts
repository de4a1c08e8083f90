// The tables of the log as the main thread sees them: look-ups on a read-only connection, changes through the writer thread.
import type { Database, Statement } from 'better-sqlite3';
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
import { EVENT_BYTES } from './audit-log.ts';
import { messageOf } from './open.ts';
import type { Writer } from './writer.ts';

interface CheckpointRow {
  readonly id: number;
  readonly size: number;
  readonly root: Buffer;
  readonly at_ms: number;
  readonly note: string;
}

interface ExtentRow {
  readonly hashes: number;
  readonly last_seq: number;
  readonly given_seq: number;
}

/** The look-ups on one read-only connection to state.db. */
export function logReader(db: Database): LogReaderStore {
  const extent: Statement<[], ExtentRow> = db.prepare(`
    SELECT
      (SELECT coalesce(max(n), -1) + 1 FROM log_hash WHERE level = 0) AS hashes,
      (SELECT coalesce(max(seq), 0) FROM audit_event) AS last_seq,
      (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'audit_event') AS given_seq`);
  const hashes: Statement<[number, number, number], Buffer> = db
    .prepare<[number, number, number], Buffer>(`
      SELECT hash
      FROM log_hash
      WHERE level = ? AND n >= ? AND n < ?
      ORDER BY n`)
    .pluck();
  const events: Statement<[number, number], LoggedEvent> = db.prepare(`
    SELECT seq, at_ms AS atMs, leaf, private, salt
    FROM audit_event
    WHERE seq >= ? AND seq < ?
    ORDER BY seq`);
  const last: Statement<[], CheckpointRow> = db.prepare(`
    SELECT id, size, root, at_ms, note
    FROM log_checkpoint
    WHERE void_ms IS NULL
    ORDER BY size DESC, id DESC
    LIMIT 1`);
  // the note of a log alone has one line that begins with a dash
  const holding: Statement<[number], CheckpointRow> = db.prepare(`
    SELECT id, size, root, at_ms, note
    FROM (
      SELECT id, size, root, at_ms, note
      FROM log_checkpoint
      WHERE void_ms IS NULL AND size >= ?
      ORDER BY size, id
      LIMIT 100)
    ORDER BY length(note) - length(replace(note, char(8212), '')) > 1 DESC, size, id
    LIMIT 1`);
  const checkpoints: Statement<[number, number], CheckpointRow> = db.prepare(`
    SELECT id, size, root, at_ms, note
    FROM log_checkpoint
    WHERE void_ms IS NULL AND id > ?
    ORDER BY id
    LIMIT ?`);
  const identities: Statement<[], LogIdentity> = db.prepare(`
    SELECT origin, vkey
    FROM log_identity
    ORDER BY id`);
  const upload: Statement<[string, string, Uint8Array], number> = db
    .prepare<[string, string, Uint8Array], number>(`
      SELECT audit_seq
      FROM upload
      WHERE site = ? AND image = ? AND sha256 = ?`)
    .pluck();
  const witnessed: Statement<[string], CheckpointRow> = db.prepare(`
    SELECT 0 AS id, size, root, at_ms, note
    FROM witnessed
    WHERE origin = ?`);
  return {
    extent: async () => asLookUp(() => toExtent(extent.get())),
    hashes: async (level, from, count) => asLookUp(() => hashes.all(level, from, from + count)),
    events: async (fromSeq, count) => asLookUp(() => events.all(fromSeq, fromSeq + count)),
    lastCheckpoint: async () => asLookUp(() => toCheckpoint(last.get())),
    checkpointHolding: async (size) => asLookUp(() => toCheckpoint(holding.get(size))),
    checkpoints: async (after, limit) =>
      asLookUp(() => checkpoints.all(after, limit).flatMap((row) => toCheckpoint(row) ?? [])),
    identities: async () => asLookUp(() => identities.all()),
    seqOfUpload: async (site, image, sha256) =>
      asLookUp(() => upload.get(site, image, Buffer.from(sha256, 'hex')) ?? null),
    witnessed: async (origin) => asLookUp(() => toCheckpoint(witnessed.get(origin))),
  };
}

export function sqliteLogStore(db: Database, writer: Writer): LogStore {
  return {
    ...logReader(db),
    async addCheckpoint(checkpoint: NewCheckpoint) {
      await writer.run('state.add-checkpoint', checkpoint, EVENT_BYTES + checkpoint.note.length);
    },
    async cosign(id: number, note: string) {
      await writer.run('state.cosign-checkpoint', { id, note }, note.length);
    },
    async begin(identity: LogIdentity, at: Date, event: NewAuditEvent | null) {
      await writer.run('state.begin-log', { identity, at, event }, EVENT_BYTES);
    },
    async acceptRollback(goodSize: number, event: NewAuditEvent) {
      await writer.run('state.accept-rollback', { goodSize, event }, EVENT_BYTES);
    },
    witness: (origin: string, from: number, head: Witnessed) =>
      writer.run('state.witness', { origin, from, head }, EVENT_BYTES + head.note.length),
  };
}

function toExtent(row: ExtentRow | undefined): LogExtent {
  if (row === undefined) throw new Error('a query without FROM has given no row');
  return { hashes: row.hashes, lastSeq: row.last_seq, givenSeq: row.given_seq };
}

function toCheckpoint(row: CheckpointRow | undefined): StoredCheckpoint | null {
  if (row === undefined) return null;
  const { id, size, root, at_ms, note } = row;
  return { id, size, root, note, at: new Date(at_ms) };
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `the log cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
