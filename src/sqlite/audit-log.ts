// Table audit_event of state.db as the main thread sees it.
import type { Database, Statement } from 'better-sqlite3';
import type { AuditAction, NewAuditEvent } from '../domain/audit.ts';
import type { AuditLog, AuditReader } from '../domain/ports.ts';
import { auditRowOf, type StoredEvent } from '../domain/record-rows.ts';
import type { FedEvent } from '../domain/records.ts';
import type { Writer } from './writer.ts';

/** The size of an event in the writer's queue. */
export const EVENT_BYTES = 1000;

export class SqliteAuditLog implements AuditLog, AuditReader {
  readonly #writer: Writer;
  readonly #after: Statement<[number, number], StoredEvent>;
  readonly #lastReason: Statement<[string], string | null>;

  constructor(reader: Database, writer: Writer) {
    this.#writer = writer;
    this.#after = reader.prepare(`
      SELECT seq, at_ms, leaf, private
      FROM audit_event
      WHERE seq > ?
      ORDER BY seq
      LIMIT ?`);
    // by the index over actors: the server's own events are few
    this.#lastReason = reader
      .prepare<[string], string | null>(`
        SELECT private ->> '$.reason'
        FROM audit_event
        WHERE private IS NOT NULL AND private ->> '$.actor' = 'server' AND leaf ->> '$.action' = ?
        ORDER BY seq DESC
        LIMIT 1`)
      .pluck();
  }

  append(event: NewAuditEvent): Promise<number> {
    return this.#writer.run('state.append-audit-event', event, EVENT_BYTES);
  }

  async after(seq: number, limit: number): Promise<readonly FedEvent[]> {
    return this.#after.all(seq, limit).map((row) => ({ ...auditRowOf(row), leaf: row.leaf }));
  }

  async lastReason(action: AuditAction): Promise<string | null> {
    return this.#lastReason.get(action) ?? null;
  }
}
