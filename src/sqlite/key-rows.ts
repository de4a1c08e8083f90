// Table openpgp_key, changed by the writer thread; each change comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import type { KeyDetails } from '../domain/key.ts';
import { textOf } from '../domain/key-details.ts';
import type { RevokedByHand } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export interface NewKey extends KeyDetails {
  readonly certificate: Uint8Array;
}

export class KeyRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #put: Statement<[string, string, number, number, string, Uint8Array]>;
  readonly #remove: Statement<[string]>;
  readonly #retire: Statement<[number, string]>;
  readonly #unretire: Statement<[string]>;
  readonly #revoked: Statement<[string], { readonly is_revoked: 0 | 1; readonly withdraws: 0 | 1 }>;
  readonly #revoke: Statement<[number, string, string, number, number, string]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#put = db.prepare(`
      INSERT INTO openpgp_key (fingerprint, details, added_at_ms, changed_at_ms, added_by, certificate)
      VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT (fingerprint) DO UPDATE SET
        details = excluded.details,
        changed_at_ms = excluded.changed_at_ms,
        certificate = excluded.certificate`);
    this.#remove = db.prepare(`
      DELETE FROM openpgp_key
      WHERE fingerprint = ?`);
    this.#retire = db.prepare(`
      UPDATE openpgp_key
      SET retired_at_ms = ?
      WHERE fingerprint = ? AND retired_at_ms IS NULL`);
    this.#unretire = db.prepare(`
      UPDATE openpgp_key
      SET retired_at_ms = NULL
      WHERE fingerprint = ? AND retired_at_ms IS NOT NULL`);
    this.#revoked = db.prepare(`
      SELECT revoked_at_ms IS NOT NULL AS is_revoked, withdraws
      FROM openpgp_key
      WHERE fingerprint = ?`);
    this.#revoke = db.prepare(`
      UPDATE openpgp_key
      SET
        revoked_at_ms = coalesce(revoked_at_ms, ?),
        revoked_by = ?,
        revoked_reason = ?,
        revoked_seq = ?,
        withdraws = max(withdraws, ?)
      WHERE fingerprint = ?`);
  }

  /** Adds the key or replaces the one of that fingerprint; the event's time is the time of the change. */
  put(key: NewKey, event: NewAuditEvent): void {
    const atMs = event.at.getTime();
    inTransaction(this.#db, () => {
      this.#put.run(key.fingerprint, textOf(key), atMs, atMs, event.private.actor, key.certificate);
      this.#audit.add(event);
    });
  }

  /** False, without an event, when that changes nothing or there is no such key. The time of a first revocation stays. */
  revoke({ fingerprint, key, by, reason, withdraws }: RevokedByHand, event: NewAuditEvent): boolean {
    const atMs = event.at.getTime();
    return inTransaction(this.#db, () => {
      const before = this.#revoked.get(fingerprint);
      if (before === undefined) return false;
      const isNews = before.is_revoked === 0 || (withdraws && before.withdraws === 0);
      if (!isNews && key === null) return false;
      if (key !== null) this.#put.run(fingerprint, textOf(key), atMs, atMs, by, key.certificate);
      const seq = this.#audit.add(event);
      if (isNews) this.#revoke.run(atMs, by, reason, seq, withdraws ? 1 : 0, fingerprint);
      return true;
    });
  }

  /** False, without an event, when there is no such key. */
  remove(fingerprint: string, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = this.#remove.run(fingerprint);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }

  /** False, without an event, when that changes nothing; the event's time is the time of the retirement. */
  setRetired(fingerprint: string, isRetired: boolean, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const { changes } = isRetired
        ? this.#retire.run(event.at.getTime(), fingerprint)
        : this.#unretire.run(fingerprint);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }
}
