// Table page_session: log-ins to the web pages, which every node knows at once.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { NewSession, PageSession, Role, SessionStore, Token } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { storable } from './image-rows.ts';
import { dateOf } from './indexed.ts';
import { TOKEN_COLUMNS, type TokenRow, tokenOf } from './tokens.ts';
import type { PostgresWriter } from './writer.ts';

/** Who logs in more often with one token, or as one identity, ends the oldest of its sessions. */
const MAX_OF_A_TOKEN = 100;
const PAGE_ROWS = 1000;

interface Times {
  readonly session: number;
  readonly begun_at_ms: number;
  readonly ends_at_ms: number;
}

/** The identity is null where the token is not, and the other way round. */
type SessionRow = Times &
  (
    | (TokenRow & { readonly issuer: null })
    | {
        readonly issuer: string;
        readonly identity_name: string;
        readonly identity_shown: string;
        readonly identity_role: Role;
        readonly identity_signer: string | null;
        readonly identity_disabled_at_ms: number | null;
      }
  );

const ROWS = `
  SELECT s.id AS session, s.created_at_ms AS begun_at_ms, s.expires_at_ms AS ends_at_ms, s.issuer, s.identity_name,
    s.identity_shown, s.identity_role, own.name AS identity_signer, own.disabled_at_ms AS identity_disabled_at_ms,
    ${TOKEN_COLUMNS}
  FROM page_session AS s
  LEFT JOIN token ON token.id = s.token_id
  LEFT JOIN signer ON signer.name = token.signer
  LEFT JOIN signer AS own ON own.id = s.signer_id`;

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
    const sessions: PageSession[] = [];
    for (;;) {
      const after = sessions.at(-1)?.id ?? 0;
      const page = `${ROWS} WHERE s.id > $1 ORDER BY s.id LIMIT ${PAGE_ROWS}`;
      const rows = await this.#query<SessionRow>(page, [after]);
      sessions.push(...rows.map(sessionOf));
      if (rows.length < PAGE_ROWS) return sessions;
    }
  }

  add(session: NewSession, event: NewAuditEvent): Promise<number | null> {
    return this.#writer.run(async ({ query, addEvent }) => {
      await query('DELETE FROM page_session WHERE expires_at_ms <= $1', [session.createdAt.getTime()]);
      const id = await insert(query, session);
      if (id === null) return null;
      await query(
        `
        DELETE FROM page_session AS s
        USING (SELECT token_id, identity_name FROM page_session WHERE id = $1) AS added
        WHERE (s.token_id = added.token_id OR s.identity_name = added.identity_name)
          AND s.id NOT IN (
            SELECT id
            FROM page_session
            WHERE token_id = added.token_id OR identity_name = added.identity_name
            ORDER BY id DESC
            LIMIT $2)`,
        [id, MAX_OF_A_TOKEN],
      );
      await addEvent(event);
      return id;
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

/** Null when the token was revoked meanwhile, or there is no such signer. */
async function insert(query: Query, session: NewSession): Promise<number | null> {
  const { token: name, identity = null, createdAt, expiresAt } = session;
  const values = [Buffer.from(session.hash, 'hex'), createdAt.getTime(), expiresAt.getTime()];
  if (identity === null) {
    const [added] = await query<{ id: number }>(
      `
      INSERT INTO page_session (token_id, hash, created_at_ms, expires_at_ms)
      SELECT id, $1, $2, $3
      FROM token
      WHERE name = $4 AND revoked_at_ms IS NULL
      RETURNING id`,
      [...values, name],
    );
    return added?.id ?? null;
  }
  const { issuer, shownName, role, signer } = identity;
  const [added] = await query<{ id: number }>(
    `
    INSERT INTO page_session
      (hash, created_at_ms, expires_at_ms, issuer, identity_name, identity_shown, identity_role, signer_id)
    SELECT $1, $2, $3, $4, $5, $6, $7, own.id
    FROM (SELECT 1) AS one
    LEFT JOIN signer AS own ON own.name = $8
    WHERE $8::text IS NULL OR own.id IS NOT NULL
    RETURNING id`,
    [...values, storable(issuer), storable(name), storable(shownName), role, signer],
  );
  return added?.id ?? null;
}

function sessionOf(row: SessionRow): PageSession {
  const { session: id } = row;
  const [createdAt, expiresAt] = [new Date(row.begun_at_ms), new Date(row.ends_at_ms)];
  if (row.issuer === null) return { id, token: tokenOf(row), createdAt, expiresAt };
  const token: Token = {
    name: row.identity_name,
    role: row.identity_role,
    signer: row.identity_signer,
    disabledAt: dateOf(row.identity_disabled_at_ms),
    ...{ createdAt, expiresAt: null, revokedAt: null, lastUsedAt: null },
  };
  const identity = { issuer: row.issuer, shownName: row.identity_shown };
  return { id, token, identity, createdAt, expiresAt };
}
