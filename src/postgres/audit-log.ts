// Table audit_event: changes that somebody made, in the order of their commits.
import type { AuditAction, NewAuditEvent } from '../domain/audit.ts';
import type { AuditLog, AuditReader } from '../domain/ports.ts';
import { auditRowOf, type StoredEvent } from '../domain/record-rows.ts';
import type { FedEvent } from '../domain/records.ts';
import type { Connections, Query } from './connect.ts';
import type { PostgresWriter } from './writer.ts';

/** More events than come between the look for the newest one and its turn to write. */
const JUST_BEFORE = 1000;

export class PostgresAuditLog implements AuditLog, AuditReader {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  append(event: NewAuditEvent): Promise<number> {
    return this.#writer.run(({ addEvent }) => addEvent(event));
  }

  /** Null, and nothing is written, when the server's newest event of that action says the same: nodes that start together say it once. */
  appendUnlessLast(event: NewAuditEvent): Promise<number | null> {
    return this.#writer.run(async ({ query, addEvent }) => {
      // what is older than these was seen before; a search of the whole record would hold up all changes
      const [row] = await query<{ private: string }>(
        `
        SELECT private
        FROM audit_event
        WHERE seq > (SELECT max(seq) FROM audit_event) - $2
          AND split_part(leaf, '"', 4) = $1 AND private LIKE '{"actor":"server",%'
        ORDER BY seq DESC
        LIMIT 1`,
        [event.action, JUST_BEFORE],
      );
      return row !== undefined && reasonOf(row) === event.private.reason ? null : addEvent(event);
    });
  }

  async after(seq: number, limit: number): Promise<readonly FedEvent[]> {
    const rows = await this.#query<StoredEvent>(
      'SELECT seq, at_ms, leaf, private FROM audit_event WHERE seq > $1 ORDER BY seq LIMIT $2',
      [seq, limit],
    );
    return rows.map((row) => ({ ...auditRowOf(row), leaf: row.leaf }));
  }

  async lastReason(action: AuditAction): Promise<string | null> {
    // both texts are canonical JSON of ours (src/domain/audit.ts), whose first members are action and actor
    const [row] = await this.#query<{ private: string }>(
      `
      SELECT private
      FROM audit_event
      WHERE split_part(leaf, '"', 4) = $1 AND private LIKE '{"actor":"server",%'
      ORDER BY seq DESC
      LIMIT 1`,
      [action],
    );
    return row === undefined ? null : reasonOf(row);
  }
}

function reasonOf(row: { readonly private: string }): string | null {
  return (JSON.parse(row.private) as { reason: string | null }).reason; // as privateText() writes it
}
