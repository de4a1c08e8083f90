// Table page_session, changed by the writer thread; each change that somebody made comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import type { NewSession, Role } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

/** Who logs in more often with one token, or as one identity, ends the oldest of its sessions. */
const MAX_OF_A_TOKEN = 100;

interface IdentityValues {
  readonly hash: Uint8Array;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly issuer: string;
  readonly name: string;
  readonly shownName: string;
  readonly role: Role;
  readonly signer: number | null;
}

export class SessionRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #deleteExpired: Statement<[number]>;
  readonly #insert: Statement<[Uint8Array, number, number, string]>;
  readonly #insertIdentity: Statement<IdentityValues>;
  readonly #signer: Statement<[string], number>;
  readonly #deleteSurplus: Statement<[number, number, number, number, number]>;
  readonly #delete: Statement<[number]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#deleteExpired = db.prepare('DELETE FROM page_session WHERE expires_at_ms <= ?');
    this.#insert = db.prepare(`
      INSERT INTO page_session (token_id, hash, created_at_ms, expires_at_ms)
      SELECT id, ?, ?, ?
      FROM token
      WHERE name = ? AND revoked_at_ms IS NULL`);
    this.#insertIdentity = db.prepare(`
      INSERT INTO page_session
        (hash, created_at_ms, expires_at_ms, issuer, identity_name, identity_shown, identity_role, signer_id)
      VALUES (@hash, @createdAt, @expiresAt, @issuer, @name, @shownName, @role, @signer)`);
    this.#signer = db.prepare<[string], number>('SELECT id FROM signer WHERE name = ?').pluck();
    this.#deleteSurplus = db.prepare(`
      DELETE FROM page_session
      WHERE token_id IS (SELECT token_id FROM page_session WHERE id = ?)
        AND identity_name IS (SELECT identity_name FROM page_session WHERE id = ?)
        AND id NOT IN (
          SELECT id
          FROM page_session
          WHERE token_id IS (SELECT token_id FROM page_session WHERE id = ?)
            AND identity_name IS (SELECT identity_name FROM page_session WHERE id = ?)
          ORDER BY id DESC
          LIMIT ?)`);
    this.#delete = db.prepare('DELETE FROM page_session WHERE id = ?');
  }

  /** The session's id. Null, without an event, when the token was revoked meanwhile, or there is no such signer. */
  add(session: NewSession, event: NewAuditEvent): number | null {
    return inTransaction(this.#db, () => {
      this.#deleteExpired.run(session.createdAt.getTime());
      const id = this.#inserted(session);
      if (id === null) return null;
      this.#deleteSurplus.run(id, id, id, id, MAX_OF_A_TOKEN);
      this.#audit.add(event);
      return id;
    });
  }

  #inserted({ token: name, identity = null, hash, ...times }: NewSession): number | null {
    const bytes = Buffer.from(hash, 'hex');
    const [createdAt, expiresAt] = [times.createdAt.getTime(), times.expiresAt.getTime()];
    if (identity === null) {
      const { changes, lastInsertRowid } = this.#insert.run(bytes, createdAt, expiresAt, name);
      return changes === 0 ? null : Number(lastInsertRowid);
    }
    const { issuer, shownName, role } = identity;
    const signer = identity.signer === null ? null : this.#signer.get(identity.signer);
    if (signer === undefined) return null;
    const row = { hash: bytes, createdAt, expiresAt, issuer, name, shownName, role, signer };
    return Number(this.#insertIdentity.run(row).lastInsertRowid);
  }

  /** False, without an event, when there is no such session. */
  end(id: number, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = this.#delete.run(id);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }
}
