// Table page_session of state.db as the main thread sees it: look-ups on a read-only connection, changes through the writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import type { NewSession, PageSession, Role, SessionStore, Token } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { messageOf } from './open.ts';
import { TOKEN_COLUMNS, type TokenRow, tokenOf } from './tokens.ts';
import type { Writer } from './writer.ts';

const COMMAND_BYTES = EVENT_BYTES + 500;
const PAGE_ROWS = 1000;

interface Times {
  readonly session: number;
  readonly begun_at_ms: number;
  readonly ends_at_ms: number;
}

/** The identity is null where the token is not, and the other way round. */
type SessionRow = Times &
  (
    | (Omit<TokenRow, 'hash'> & { readonly issuer: null })
    | {
        readonly issuer: string;
        readonly identity_name: string;
        readonly identity_shown: string;
        readonly identity_role: Role;
        readonly identity_signer: string | null;
        readonly identity_disabled_at_ms: number | null;
      }
  );

/** The look-ups on one connection. */
export class SessionTable {
  readonly #byHash: Statement<[Uint8Array], SessionRow>;
  readonly #page: Statement<[number, number], SessionRow>;

  constructor(db: Database) {
    const session = `
      SELECT page_session.id AS session, page_session.created_at_ms AS begun_at_ms,
        page_session.expires_at_ms AS ends_at_ms, page_session.issuer, identity_name, identity_shown, identity_role,
        own.name AS identity_signer, own.disabled_at_ms AS identity_disabled_at_ms, ${TOKEN_COLUMNS}
      FROM page_session
      LEFT JOIN token ON token.id = token_id
      LEFT JOIN signer ON signer.name = token.signer
      LEFT JOIN signer AS own ON own.id = signer_id`;
    // the digest of a text that only the browser has: who guesses cannot choose its bytes
    this.#byHash = db.prepare(`${session} WHERE page_session.hash = ?`);
    this.#page = db.prepare(`${session} WHERE page_session.id > ? ORDER BY page_session.id LIMIT ?`);
  }

  find(hash: string): PageSession | null {
    return asLookUp(() => {
      const row = this.#byHash.get(Buffer.from(hash, 'hex'));
      return row === undefined ? null : sessionOf(row);
    });
  }

  list(): readonly PageSession[] {
    return asLookUp(() => {
      const sessions: PageSession[] = [];
      for (;;) {
        const rows = this.#page.all(sessions.at(-1)?.id ?? 0, PAGE_ROWS);
        sessions.push(...rows.map(sessionOf));
        if (rows.length < PAGE_ROWS) return sessions;
      }
    });
  }
}

export class SqliteSessionStore implements SessionStore {
  readonly #writer: Writer;
  readonly #table: SessionTable;

  /** `db`: a read-only connection to state.db. */
  constructor(db: Database, writer: Writer) {
    this.#writer = writer;
    this.#table = new SessionTable(db);
  }

  async find(hash: string): Promise<PageSession | null> {
    return this.#table.find(hash);
  }

  async list(): Promise<readonly PageSession[]> {
    return this.#table.list();
  }

  add(session: NewSession, event: NewAuditEvent): Promise<number | null> {
    return this.#writer.run('state.add-session', { session, event }, COMMAND_BYTES);
  }

  end(id: number, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run('state.end-session', { id, event }, COMMAND_BYTES);
  }
}

function sessionOf(row: SessionRow): PageSession {
  const [createdAt, expiresAt] = [new Date(row.begun_at_ms), new Date(row.ends_at_ms)];
  if (row.issuer === null) return { id: row.session, token: tokenOf(row), createdAt, expiresAt };
  const disabledAtMs = row.identity_disabled_at_ms;
  const token: Token = {
    name: row.identity_name,
    role: row.identity_role,
    signer: row.identity_signer,
    disabledAt: disabledAtMs === null ? null : new Date(disabledAtMs),
    ...{ createdAt, expiresAt: null, revokedAt: null, lastUsedAt: null },
  };
  const identity = { issuer: row.issuer, shownName: row.identity_shown };
  return { id: row.session, token, identity, createdAt, expiresAt };
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `sessions cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
