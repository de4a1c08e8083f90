// Table audit_event of state.db as the main thread sees it.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { AuditLog } from '../domain/ports.ts';
import type { Writer } from './writer.ts';

/** The size of an event in the writer's queue. */
export const EVENT_BYTES = 1000;

export class SqliteAuditLog implements AuditLog {
  readonly #writer: Writer;

  constructor(writer: Writer) {
    this.#writer = writer;
  }

  append(event: NewAuditEvent): Promise<number> {
    return this.#writer.run('state.append-audit-event', event, EVENT_BYTES);
  }
}
