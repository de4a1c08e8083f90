// Tables signer and signer_grant, changed by the writer thread; each change comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { type NewGrant, type Signer, unknownSigner } from '../domain/grant.ts';
import type { NewOidcSubject } from '../domain/oidc.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';
import type { SubjectRows } from './subject-rows.ts';

export type NewSigner = Omit<Signer, 'disabledAt'>;

export interface GrantAdded {
  readonly id: number;
  /** False: the same grant was there. */
  readonly created: boolean;
}

type Lists = [signerId: number, repositories: string, fingerprints: string, tags: string];

export class SignerRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #subjects: SubjectRows;
  readonly #insert: Statement<[string, string, number]>;
  readonly #disable: Statement<[number | null, string, number | null]>;
  readonly #describe: Statement<[string, string, string]>;
  readonly #idOf: Statement<[string], number>;
  readonly #delete: Statement<[number]>;
  readonly #deleteGrants: Statement<[number]>;
  readonly #revokeTokens: Statement<[number, string]>;
  readonly #sameGrant: Statement<Lists, number>;
  readonly #insertGrant: Statement<[...Lists, number]>;
  readonly #deleteGrant: Statement<[number]>;

  constructor(db: Database, audit: AuditRows, subjects: SubjectRows) {
    this.#db = db;
    this.#audit = audit;
    this.#subjects = subjects;
    this.#insert = db.prepare(`
      INSERT INTO signer (name, description, created_at_ms)
      VALUES (?, ?, ?)`);
    this.#disable = db.prepare(`
      UPDATE signer
      SET disabled_at_ms = ?
      WHERE name = ? AND (disabled_at_ms IS NULL) = (? IS NOT NULL)`);
    this.#describe = db.prepare(`
      UPDATE signer
      SET description = ?
      WHERE name = ? AND description <> ?`);
    this.#idOf = db.prepare<[string], number>('SELECT id FROM signer WHERE name = ?').pluck();
    this.#delete = db.prepare('DELETE FROM signer WHERE id = ?');
    this.#deleteGrants = db.prepare('DELETE FROM signer_grant WHERE signer_id = ?');
    this.#revokeTokens = db.prepare(`
      UPDATE token
      SET revoked_at_ms = ?
      WHERE signer = ? AND revoked_at_ms IS NULL`);
    this.#sameGrant = db
      .prepare<Lists, number>(`
        SELECT id
        FROM signer_grant
        WHERE signer_id = ? AND repositories = ? AND fingerprints = ? AND tags = ?`)
      .pluck();
    this.#insertGrant = db.prepare(`
      INSERT INTO signer_grant (signer_id, repositories, fingerprints, tags, created_at_ms)
      VALUES (?, ?, ?, ?, ?)`);
    this.#deleteGrant = db.prepare('DELETE FROM signer_grant WHERE id = ?');
  }

  /** @throws LookasideError NAME_TAKEN */
  insert(
    { name, description, createdAt }: NewSigner,
    event: NewAuditEvent,
    subjects: readonly { readonly subject: NewOidcSubject; readonly event: NewAuditEvent }[],
  ): void {
    try {
      inTransaction(this.#db, () => {
        this.#insert.run(name, description, createdAt.getTime());
        this.#audit.add(event);
        for (const { subject, event: added } of subjects) this.#subjects.add(subject, added);
      });
    } catch (error) {
      const isTaken =
        systemCode(error) === 'SQLITE_CONSTRAINT_UNIQUE' && String(error).includes('signer.name');
      if (!isTaken) throw error;
      throw new LookasideError('NAME_TAKEN', `a signer named ${name} exists already`);
    }
  }

  /** False, without an event, when it is so already or there is no such signer. */
  setDisabled(name: string, disabledAt: Date | null, event: NewAuditEvent): boolean {
    const atMs = disabledAt?.getTime() ?? null;
    return inTransaction(this.#db, () => {
      const { changes } = this.#disable.run(atMs, name, atMs);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }

  /** False, without an event, when it is so already or there is no such signer. */
  describe(name: string, description: string, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = this.#describe.run(description, name, description);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }

  /** Its grants and OIDC subjects go and its tokens are revoked. False, without an event, when there is no such signer. */
  remove(name: string, removedAt: Date, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const id = this.#idOf.get(name);
      if (id === undefined) return false;
      this.#revokeTokens.run(removedAt.getTime(), name);
      this.#deleteGrants.run(id);
      this.#subjects.removeOf(id);
      this.#delete.run(id);
      this.#audit.add(event);
      return true;
    });
  }

  /** @throws LookasideError NOT_FOUND when there is no such signer */
  addGrant({ signer, createdAt, ...lists }: NewGrant, event: NewAuditEvent): GrantAdded {
    return inTransaction(this.#db, () => {
      const signerId = this.#idOf.get(signer);
      if (signerId === undefined) throw unknownSigner(signer);
      const texts = [lists.repositories, lists.fingerprints, lists.tags].map((list) => JSON.stringify(list));
      const row: Lists = [signerId, texts[0] ?? '', texts[1] ?? '', texts[2] ?? ''];
      const same = this.#sameGrant.get(...row);
      if (same !== undefined) return { id: same, created: false };
      const { lastInsertRowid } = this.#insertGrant.run(...row, createdAt.getTime());
      this.#audit.add(event);
      return { id: Number(lastInsertRowid), created: true };
    });
  }

  /** False, without an event, when there is no such grant. */
  removeGrant(id: number, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = this.#deleteGrant.run(id);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }
}
