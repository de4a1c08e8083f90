// Table token of state.db as the main thread sees it: all tokens in memory, changes through the writer thread.
import { timingSafeEqual } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import type { Role, Token, TokenStore } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import type { NewToken, TokenUse } from './token-rows.ts';
import type { Writer } from './writer.ts';

const COMMAND_BYTES = EVENT_BYTES + 500;
// Tokens are read in pages of this size, which bounds memory.
const PAGE_TOKENS = 1000;

export interface TokenRow {
  readonly id: number;
  readonly name: string;
  readonly role: Role;
  readonly hash: Buffer;
  readonly created_at_ms: number;
  readonly expires_at_ms: number | null;
  readonly revoked_at_ms: number | null;
  readonly signer: string | null;
  readonly disabled_at_ms: number | null;
  readonly last_used_at_ms: number | null;
}

/** The columns of the joined tables token and signer. */
export const TOKEN_COLUMNS =
  'token.id, token.name, role, token.created_at_ms, token.expires_at_ms, revoked_at_ms, signer, signer.disabled_at_ms, last_used_at_ms';

interface Entry {
  readonly token: Token;
  readonly hash: Buffer;
}

/** Look-ups over what is in the table now; load() reads it again. */
export class TokenTable {
  readonly #page: Statement<[number, number], TokenRow>;
  #byHash = new Map<string, Entry>();
  #byName = new Map<string, Token>();

  constructor(db: Database) {
    this.#page = db.prepare(`
      SELECT ${TOKEN_COLUMNS}, hash
      FROM token
      LEFT JOIN signer ON signer.name = token.signer
      WHERE token.id > ?
      ORDER BY token.id
      LIMIT ?`);
    this.load();
  }

  load(): void {
    const byHash = new Map<string, Entry>();
    const byName = new Map<string, Token>();
    let after = 0;
    for (let rows = this.#page.all(after, PAGE_TOKENS); rows.length > 0; ) {
      for (const row of rows) {
        const token = tokenOf(row);
        byHash.set(row.hash.toString('hex'), { token, hash: row.hash });
        byName.set(row.name, token);
        after = row.id;
      }
      rows = this.#page.all(after, PAGE_TOKENS);
    }
    this.#byHash = byHash;
    this.#byName = byName;
  }

  find(hash: string): Token | null {
    const entry = this.#byHash.get(hash);
    if (entry === undefined || entry.token.revokedAt !== null) return null;
    const given = Buffer.from(hash, 'hex');
    // the map compares digests, and a caller cannot choose the bytes of a digest
    return given.length === entry.hash.length && timingSafeEqual(given, entry.hash) ? entry.token : null;
  }

  named(name: string): Token | null {
    return this.#byName.get(name) ?? null;
  }

  /** In the order in which they were made. */
  list(): readonly Token[] {
    return [...this.#byName.values()];
  }
}

export class SqliteTokenStore implements TokenStore {
  readonly #db: Database;
  readonly #writer: Writer;
  readonly #table: TokenTable;

  /** `db`: a read-only connection to state.db. */
  constructor(db: Database, writer: Writer) {
    this.#db = db;
    this.#writer = writer;
    this.#table = new TokenTable(db);
  }

  peek(hash: string): Token | null {
    return this.#table.find(hash);
  }

  async find(hash: string): Promise<Token | null> {
    return this.#table.find(hash);
  }

  async list(): Promise<readonly Token[]> {
    return this.#table.list();
  }

  async create(token: NewToken, event: NewAuditEvent): Promise<Token> {
    await this.#change(() => this.#writer.run('state.create-token', { token, event }, COMMAND_BYTES));
    const created = this.#table.named(token.name);
    if (created === null) throw new Error(`token ${token.name} is not there after its commit`);
    return created;
  }

  async revoke(name: string, revokedAt: Date, event: NewAuditEvent): Promise<Token | null> {
    if (this.#table.named(name) === null) return null;
    const input = { name, revokedAt, event };
    await this.#change(() => this.#writer.run('state.revoke-token', input, COMMAND_BYTES));
    return this.#table.named(name);
  }

  async noteUse(uses: readonly TokenUse[]): Promise<void> {
    await this.#change(() => this.#writer.run('state.note-token-use', uses, 200 * uses.length));
  }

  /** A signer was changed, and its tokens with it. */
  reload(): void {
    if (this.#db.open) this.#table.load();
  }

  // Loads also after a failure: a thread may have committed and died before it could answer.
  async #change(act: () => Promise<null>): Promise<void> {
    try {
      await act();
    } finally {
      this.reload();
    }
  }
}

export function tokenOf(row: Omit<TokenRow, 'hash'>): Token {
  return {
    name: row.name,
    role: row.role,
    createdAt: new Date(row.created_at_ms),
    expiresAt: dateOf(row.expires_at_ms),
    revokedAt: dateOf(row.revoked_at_ms),
    signer: row.signer,
    disabledAt: dateOf(row.disabled_at_ms),
    lastUsedAt: dateOf(row.last_used_at_ms),
  };
}

function dateOf(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}
