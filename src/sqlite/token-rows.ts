// Table token, changed by the writer thread; each change comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { unknownSigner } from '../domain/grant.ts';
import type { Role } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export interface NewToken {
  readonly name: string;
  readonly role: Role;
  readonly hash: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  /** Null: bound to none. */
  readonly signer: string | null;
}

export interface TokenUse {
  readonly name: string;
  readonly at: Date;
}

export class TokenRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #insert: Statement<[string, Role, Uint8Array, number, number | null, string | null]>;
  readonly #hasSigner: Statement<[string], number>;
  readonly #use: Statement<[number, string]>;
  readonly #revoke: Statement<[number, string]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#insert = db.prepare(`
      INSERT INTO token (name, role, hash, created_at_ms, expires_at_ms, signer)
      VALUES (?, ?, ?, ?, ?, ?)`);
    this.#hasSigner = db.prepare<[string], number>('SELECT id FROM signer WHERE name = ?').pluck();
    this.#use = db.prepare(`
      UPDATE token
      SET last_used_at_ms = ?
      WHERE name = ?`);
    this.#revoke = db.prepare(`
      UPDATE token
      SET revoked_at_ms = ?
      WHERE name = ? AND revoked_at_ms IS NULL`);
  }

  /** @throws LookasideError NAME_TAKEN, also when the name's token is revoked; NOT_FOUND when the signer is gone */
  insert({ name, role, hash, createdAt, expiresAt, signer }: NewToken, event: NewAuditEvent): void {
    try {
      inTransaction(this.#db, () => {
        if (signer !== null && this.#hasSigner.get(signer) === undefined) throw unknownSigner(signer);
        this.#insert.run(
          name,
          role,
          Buffer.from(hash, 'hex'),
          createdAt.getTime(),
          expiresAt?.getTime() ?? null,
          signer,
        );
        this.#audit.add(event);
      });
    } catch (error) {
      const isTaken =
        systemCode(error) === 'SQLITE_CONSTRAINT_UNIQUE' && String(error).includes('token.name');
      if (!isTaken) throw error;
      throw new LookasideError(
        'NAME_TAKEN',
        `a token named ${name} exists already; choose another name: also that of a revoked token is not used again`,
      );
    }
  }

  noteUse(uses: readonly TokenUse[]): void {
    inTransaction(this.#db, () => {
      for (const { name, at } of uses) this.#use.run(at.getTime(), name);
    });
  }

  /** False, without an event, when the token is already revoked or does not exist. */
  revoke(name: string, revokedAt: Date, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = this.#revoke.run(revokedAt.getTime(), name);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }
}
