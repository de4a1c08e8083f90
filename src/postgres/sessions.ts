// Table page_session: log-ins to the web pages, which every node knows at once.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { NewSession, PageSession, SessionStore } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { TOKEN_COLUMNS, type TokenRow, tokenOf } from './tokens.ts';
import type { PostgresWriter } from './writer.ts';

/** Who logs in more often with one token ends the oldest of its sessions. */
const MAX_OF_A_TOKEN = 100;
const PAGE_ROWS = 1000;

interface SessionRow extends TokenRow {
  readonly session: number;
  readonly begun_at_ms: number;
  readonly ends_at_ms: number;
}

const ROWS = `
  SELECT s.id AS session, s.created_at_ms AS begun_at_ms, s.expires_at_ms AS ends_at_ms, ${TOKEN_COLUMNS}
  FROM page_session AS s
  JOIN token ON token.id = s.token_id
  LEFT JOIN signer ON signer.name = token.signer`;

export class PostgresSessions implements SessionStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  async find(hash: string): Promise<PageSession | null> {
    // the digest of a text that only the browser has: who guesses cannot choose its bytes
    const [row] = await this.#query<SessionRow>(`${ROWS} WHERE s.hash = $1`, [Buffer.from(hash, 'hex')]);
    return row === undefined ? null : sessionOf(row);
  }

  async list(): Promise<readonly PageSession[]> {
    const found: PageSession[] = [];
    for (;;) {
      const after = found.at(-1)?.id ?? 0;
      const page = `${ROWS} WHERE s.id > $1 ORDER BY s.id LIMIT ${PAGE_ROWS}`;
      const rows = await this.#query<SessionRow>(page, [after]);
      found.push(...rows.map(sessionOf));
      if (rows.length < PAGE_ROWS) return found;
    }
  }

  add({ token, hash, createdAt, expiresAt }: NewSession, event: NewAuditEvent): Promise<number | null> {
    return this.#writer.run(async ({ query, addEvent }) => {
      await query('DELETE FROM page_session WHERE expires_at_ms <= $1', [createdAt.getTime()]);
      const [added] = await query<{ id: number; token_id: number }>(
        `
        INSERT INTO page_session (token_id, hash, created_at_ms, expires_at_ms)
        SELECT id, $2, $3, $4
        FROM token
        WHERE name = $1 AND revoked_at_ms IS NULL
        RETURNING id, token_id`,
        [token, Buffer.from(hash, 'hex'), createdAt.getTime(), expiresAt.getTime()],
      );
      if (added === undefined) return null;
      await query(
        `
        DELETE FROM page_session
        WHERE token_id = $1
          AND id NOT IN (SELECT id FROM page_session WHERE token_id = $1 ORDER BY id DESC LIMIT $2)`,
        [added.token_id, MAX_OF_A_TOKEN],
      );
      await addEvent(event);
      return added.id;
    });
  }

  end(id: number, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run(async ({ query, addEvent }) => {
      const ended = await query('DELETE FROM page_session WHERE id = $1 RETURNING id', [id]);
      if (ended.length > 0) await addEvent(event);
      return ended.length > 0;
    });
  }
}

function sessionOf(row: SessionRow): PageSession {
  const { session: id, begun_at_ms, ends_at_ms } = row;
  return {
    id,
    token: tokenOf(row),
    createdAt: new Date(begun_at_ms),
    expiresAt: new Date(ends_at_ms),
  };
}
