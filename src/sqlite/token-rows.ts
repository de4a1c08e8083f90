// Table token, changed by the writer thread; each change comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { Role } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export interface NewToken {
  readonly name: string;
  readonly role: Role;
  readonly hash: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
}

export class TokenRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #insert: Statement<[string, Role, Uint8Array, number, number | null]>;
  readonly #revoke: Statement<[number, string]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#insert = db.prepare(`
      INSERT INTO token (name, role, hash, created_at_ms, expires_at_ms)
      VALUES (?, ?, ?, ?, ?)`);
    this.#revoke = db.prepare(`
      UPDATE token
      SET revoked_at_ms = ?
      WHERE name = ? AND revoked_at_ms IS NULL`);
  }

  /** @throws LookasideError NAME_TAKEN, also when the name's token is revoked */
  insert({ name, role, hash, createdAt, expiresAt }: NewToken, event: NewAuditEvent): void {
    try {
      inTransaction(this.#db, () => {
        this.#insert.run(
          name,
          role,
          Buffer.from(hash, 'hex'),
          createdAt.getTime(),
          expiresAt?.getTime() ?? null,
        );
        this.#audit.add(event);
      });
    } catch (error) {
      const isTaken =
        systemCode(error) === 'SQLITE_CONSTRAINT_UNIQUE' && String(error).includes('token.name');
      if (!isTaken) throw error;
      throw new LookasideError('NAME_TAKEN', `a token named ${name} exists already`);
    }
  }

  /** Does nothing, and writes no event, when the token is already revoked or does not exist. */
  revoke(name: string, revokedAt: Date, event: NewAuditEvent): void {
    inTransaction(this.#db, () => {
      const { changes } = this.#revoke.run(revokedAt.getTime(), name);
      if (changes > 0) this.#audit.add(event);
    });
  }
}
