// Table token: a snapshot of all in memory for reads of a closed site, which must not wait; changes in one transaction with
// their audit events.
import { timingSafeEqual } from 'node:crypto';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { unknownSigner } from '../domain/grant.ts';
import type { Role, Token, TokenStore } from '../domain/ports.ts';
import { raise } from './changes.ts';
import { type Connections, isTaken, type Query } from './connect.ts';
import { dateOf } from './indexed.ts';
import type { Change, PostgresWriter } from './writer.ts';

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

/** The columns of `token`, with `signer` joined to it. */
export const TOKEN_COLUMNS = `
  token.id, token.name, token.role, token.hash, token.created_at_ms, token.expires_at_ms, token.revoked_at_ms,
  token.signer, signer.disabled_at_ms, token.last_used_at_ms`;

const ROWS = `
  SELECT ${TOKEN_COLUMNS}
  FROM token
  LEFT JOIN signer ON signer.name = token.signer`;

interface Entry {
  readonly token: Token;
  readonly hash: Buffer;
}

type NewToken = Parameters<TokenStore['create']>[0];

export interface TokensOptions {
  readonly connections: Pick<Connections, 'query'>;
  readonly writer: PostgresWriter;
  readonly monotonicMs: () => number;
  /** How long a snapshot is believed while the database cannot be asked. */
  readonly staleMs: number;
}

export class PostgresTokens implements TokenStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;
  readonly #options: TokensOptions;
  #byHash: ReadonlyMap<string, Entry> = new Map();
  #confirmedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: TokensOptions) {
    this.#query = options.connections.query;
    this.#writer = options.writer;
    this.#options = options;
  }

  /** Reads all again. @throws STORE_UNAVAILABLE */
  async reload(): Promise<void> {
    const askedAtMs = this.#options.monotonicMs();
    const rows = await this.#all();
    // of two at once, the one that began first must not undo the other
    if (askedAtMs < this.#confirmedAtMs) return;
    this.#byHash = new Map(
      rows.map((row) => [row.hash.toString('hex'), { token: tokenOf(row), hash: row.hash }]),
    );
    this.#confirmedAtMs = askedAtMs;
  }

  /** The database said that the snapshot holds, when it was asked at that time. */
  confirm(askedAtMs: number): void {
    this.#confirmedAtMs = Math.max(this.#confirmedAtMs, askedAtMs);
  }

  peek(hash: string): Token | null {
    if (this.#options.monotonicMs() - this.#confirmedAtMs > this.#options.staleMs) return null;
    const entry = this.#byHash.get(hash);
    if (entry === undefined || entry.token.revokedAt !== null) return null;
    const given = Buffer.from(hash, 'hex');
    // the map compares digests, and a caller cannot choose the bytes of a digest
    return given.length === entry.hash.length && timingSafeEqual(given, entry.hash) ? entry.token : null;
  }

  async find(hash: string): Promise<Token | null> {
    if (!/^[0-9a-f]{64}$/.test(hash)) return null;
    const [row] = await this.#query<TokenRow>(`${ROWS} WHERE hash = $1`, [Buffer.from(hash, 'hex')]);
    return row === undefined || row.revoked_at_ms !== null ? null : tokenOf(row);
  }

  async list(): Promise<readonly Token[]> {
    return (await this.#all()).map(tokenOf);
  }

  create(token: NewToken, event: NewAuditEvent): Promise<Token> {
    return this.#change((change) => createToken(change, token, event));
  }

  revoke(name: string, revokedAt: Date, event: NewAuditEvent): Promise<Token | null> {
    return this.#change(async (change) => {
      await revokeToken(change, name, revokedAt, event);
      return tokenNamed(change.query, name);
    });
  }

  async noteUse(uses: readonly { readonly name: string; readonly at: Date }[]): Promise<void> {
    await this.#query(
      `
      UPDATE token
      SET last_used_at_ms = greatest(last_used_at_ms, used.at_ms)
      FROM unnest($1::text[], $2::bigint[]) AS used (name, at_ms)
      WHERE token.name = used.name`,
      [uses.map(({ name }) => name), uses.map(({ at }) => at.getTime())],
    );
    await this.#reloadIfPossible();
  }

  async #all(): Promise<readonly TokenRow[]> {
    const all: TokenRow[] = [];
    for (let after = 0; ; ) {
      const rows = await this.#query<TokenRow>(`${ROWS} WHERE token.id > $1 ORDER BY token.id LIMIT $2`, [
        after,
        PAGE_TOKENS,
      ]);
      all.push(...rows);
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE_TOKENS) return all;
      after = last.id;
    }
  }

  async #change<T>(act: (change: Change) => Promise<T>): Promise<T> {
    try {
      return await this.#writer.run(act);
    } finally {
      // also after a failure: it may have been committed all the same
      await this.#reloadIfPossible();
    }
  }

  /** What cannot be read now is read within a second. */
  async #reloadIfPossible(): Promise<void> {
    await this.reload().catch(() => undefined);
  }
}

/** @throws LookasideError NAME_TAKEN, also when the name's token is revoked; NOT_FOUND when the signer is gone */
async function createToken(change: Change, token: NewToken, event: NewAuditEvent): Promise<Token> {
  const { name, role, hash, createdAt, expiresAt, signer } = token;
  const { query } = change;
  if (signer !== null) {
    const signers = await query('SELECT id FROM signer WHERE name = $1', [signer]);
    if (signers.length === 0) throw unknownSigner(signer);
  }
  const values = [name, role, Buffer.from(hash, 'hex'), createdAt.getTime(), expiresAt?.getTime() ?? null];
  try {
    await query(
      `
      INSERT INTO token (name, role, hash, created_at_ms, expires_at_ms, signer)
      VALUES ($1, $2, $3, $4, $5, $6)`,
      [...values, signer],
    );
  } catch (error) {
    if (!isTaken(error, 'token_name_taken')) throw error;
    throw new LookasideError(
      'NAME_TAKEN',
      `a token named ${name} exists already; choose another name: also that of a revoked token is not used again`,
    );
  }
  await change.addEvent(event);
  await raise(change, 'tokens');
  const created = await tokenNamed(query, name);
  if (created === null) throw new Error(`token ${name} is not there after its INSERT`);
  return created;
}

/** False, without an event, when the token is already revoked or does not exist. */
async function revokeToken(
  change: Change,
  name: string,
  revokedAt: Date,
  event: NewAuditEvent,
): Promise<boolean> {
  const revoked = await change.query(
    'UPDATE token SET revoked_at_ms = $2 WHERE name = $1 AND revoked_at_ms IS NULL RETURNING id',
    [name, revokedAt.getTime()],
  );
  if (revoked.length === 0) return false;
  await change.addEvent(event);
  await raise(change, 'tokens');
  return true;
}

async function tokenNamed(query: Query, name: string): Promise<Token | null> {
  const [row] = await query<TokenRow>(`${ROWS} WHERE token.name = $1`, [name]);
  return row === undefined ? null : tokenOf(row);
}

export function tokenOf(row: TokenRow): Token {
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
