// Table openpgp_key, changed by the writer thread; each change comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import type { KeyDetails, KeyPart } from '../domain/key.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export interface NewKey extends KeyDetails {
  readonly certificate: Uint8Array;
}

export class KeyRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #put: Statement<[string, string, number, number, Uint8Array]>;
  readonly #remove: Statement<[string]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#put = db.prepare(`
      INSERT INTO openpgp_key (fingerprint, details, added_at_ms, changed_at_ms, certificate)
      VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (fingerprint) DO UPDATE SET
        details = excluded.details,
        changed_at_ms = excluded.changed_at_ms,
        certificate = excluded.certificate`);
    this.#remove = db.prepare(`
      DELETE FROM openpgp_key
      WHERE fingerprint = ?`);
  }

  /** Adds the key or replaces the one of that fingerprint; the event's time is the time of the change. */
  put(key: NewKey, event: NewAuditEvent): void {
    const atMs = event.at.getTime();
    inTransaction(this.#db, () => {
      this.#put.run(key.fingerprint, textOf(key), atMs, atMs, key.certificate);
      this.#audit.add(event);
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
}

interface StoredPart {
  readonly fingerprint: string;
  readonly algorithm: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly canSign: boolean;
}

interface StoredDetails extends StoredPart {
  readonly userIds: readonly string[];
  readonly subkeys: readonly StoredPart[];
}

function textOf(key: KeyDetails): string {
  const stored: StoredDetails = {
    ...toStored(key),
    userIds: key.userIds,
    subkeys: key.subkeys.map(toStored),
  };
  return JSON.stringify(stored);
}

/** What column `details` holds. */
export function detailsOf(text: string): KeyDetails {
  const stored = JSON.parse(text) as StoredDetails; // only textOf() writes it
  return { ...toPart(stored), userIds: stored.userIds, subkeys: stored.subkeys.map(toPart) };
}

function toStored({ fingerprint, algorithm, createdAt, expiresAt, revokedAt, canSign }: KeyPart): StoredPart {
  return {
    fingerprint,
    algorithm,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    revokedAt: revokedAt?.toISOString() ?? null,
    canSign,
  };
}

function toPart({ fingerprint, algorithm, createdAt, expiresAt, revokedAt, canSign }: StoredPart): KeyPart {
  return {
    fingerprint,
    algorithm,
    createdAt: new Date(createdAt),
    expiresAt: expiresAt === null ? null : new Date(expiresAt),
    revokedAt: revokedAt === null ? null : new Date(revokedAt),
    canSign,
  };
}
