// Table audit_event of state.db as the main thread sees it.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import type { AuditLog, AuditReader } from '../domain/ports.ts';
import type { FedEvent } from '../domain/records.ts';
import { type EventRow, toAuditRow } from './audit-questions.ts';
import type { Writer } from './writer.ts';

/** The size of an event in the writer's queue. */
export const EVENT_BYTES = 1000;

export class SqliteAuditLog implements AuditLog, AuditReader {
  readonly #writer: Writer;
  readonly #after: Statement<[number, number], EventRow>;

  constructor(reader: Database, writer: Writer) {
    this.#writer = writer;
    this.#after = reader.prepare(`
      SELECT seq, at_ms, leaf, private
      FROM audit_event
      WHERE seq > ?
      ORDER BY seq
      LIMIT ?`);
  }

  append(event: NewAuditEvent): Promise<number> {
    return this.#writer.run('state.append-audit-event', event, EVENT_BYTES);
  }

  async after(seq: number, limit: number): Promise<readonly FedEvent[]> {
    return this.#after.all(seq, limit).map((row) => ({ ...toAuditRow(row), leaf: row.leaf }));
  }
}
