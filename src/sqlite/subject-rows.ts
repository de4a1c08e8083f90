// Table oidc_subject, changed by the writer thread; each change comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { unknownSigner } from '../domain/grant.ts';
import type { NewOidcSubject } from '../domain/oidc.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export interface SubjectAdded {
  readonly id: number;
  /** False: the same subject was there. */
  readonly created: boolean;
}

export class SubjectRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #signerId: Statement<[string], number>;
  readonly #same: Statement<[number, string, string], number>;
  readonly #insert: Statement<[number, string, string, number]>;
  readonly #delete: Statement<[number]>;
  readonly #deleteOf: Statement<[number]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#signerId = db.prepare<[string], number>('SELECT id FROM signer WHERE name = ?').pluck();
    this.#same = db
      .prepare<[number, string, string], number>(`
        SELECT id
        FROM oidc_subject
        WHERE signer_id = ? AND issuer = ? AND claims = ?`)
      .pluck();
    this.#insert = db.prepare(`
      INSERT INTO oidc_subject (signer_id, issuer, claims, created_at_ms)
      VALUES (?, ?, ?, ?)`);
    this.#delete = db.prepare('DELETE FROM oidc_subject WHERE id = ?');
    this.#deleteOf = db.prepare('DELETE FROM oidc_subject WHERE signer_id = ?');
  }

  /** @throws LookasideError NOT_FOUND when there is no such signer */
  add({ signer, issuer, claims, createdAt }: NewOidcSubject, event: NewAuditEvent): SubjectAdded {
    return inTransaction(this.#db, () => {
      const signerId = this.#signerId.get(signer);
      if (signerId === undefined) throw unknownSigner(signer);
      const text = JSON.stringify(claims);
      const same = this.#same.get(signerId, issuer, text);
      if (same !== undefined) return { id: same, created: false };
      const { lastInsertRowid } = this.#insert.run(signerId, issuer, text, createdAt.getTime());
      this.#audit.add(event);
      return { id: Number(lastInsertRowid), created: true };
    });
  }

  /** False, without an event, when there is no such subject. */
  remove(id: number, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = this.#delete.run(id);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }

  /** Within the transaction that removes the signer. */
  removeOf(signerId: number): void {
    this.#deleteOf.run(signerId);
  }
}
