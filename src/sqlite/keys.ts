// Table openpgp_key of state.db as the main thread sees it: all keys in memory, changes through the writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import type { RegisteredKey } from '../domain/key.ts';
import { detailsOf, type RevocationColumns, revocationOf } from '../domain/key-details.ts';
import type { KeyStore, RevokedByHand } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import type { NewKey } from './key-rows.ts';
import type { Writer } from './writer.ts';

// a certificate has at most 64 KiB
const PAGE_KEYS = 100;
// The size of a key in the writer's queue without its certificate: 64 KiB hold up to 400 of the smallest subkeys.
const DETAILS_BYTES = 96 * 1024;

interface KeyRow extends RevocationColumns {
  readonly id: number;
  readonly details: string;
  readonly added_at_ms: number;
  readonly changed_at_ms: number;
  readonly retired_at_ms: number | null;
  readonly withdraws: 0 | 1;
  readonly added_by: string | null;
  readonly certificate: Buffer;
}

/** Look-ups in memory over the table as it was when read. */
export class KeyTable {
  readonly #page: Statement<[number, number], KeyRow>;
  readonly #one: Statement<[string], KeyRow>;
  /** In the order of adding. */
  readonly #byFingerprint = new Map<string, RegisteredKey>();

  constructor(db: Database) {
    const columns = `id, details, added_at_ms, changed_at_ms, retired_at_ms, revoked_at_ms, revoked_by, revoked_reason,
      revoked_seq, withdraws, added_by, certificate`;
    this.#page = db.prepare(`
      SELECT ${columns}
      FROM openpgp_key
      WHERE id > ?
      ORDER BY id
      LIMIT ?`);
    this.#one = db.prepare(`
      SELECT ${columns}
      FROM openpgp_key
      WHERE fingerprint = ?`);
    this.#loadAll();
  }

  /** Reads that key again; it may have been removed. */
  reload(fingerprint: string): void {
    const row = this.#one.get(fingerprint);
    if (row === undefined) this.#byFingerprint.delete(fingerprint);
    else this.#byFingerprint.set(fingerprint, keyOf(row));
  }

  list(): readonly RegisteredKey[] {
    return [...this.#byFingerprint.values()];
  }

  find(fingerprint: string): RegisteredKey | null {
    return this.#byFingerprint.get(fingerprint) ?? null;
  }

  #loadAll(): void {
    let after = 0;
    for (let rows = this.#page.all(after, PAGE_KEYS); rows.length > 0; ) {
      for (const row of rows) {
        const key = keyOf(row);
        this.#byFingerprint.set(key.fingerprint, key);
        after = row.id;
      }
      rows = this.#page.all(after, PAGE_KEYS);
    }
  }
}

export class SqliteKeyStore implements KeyStore {
  readonly #db: Database;
  readonly #writer: Writer;
  readonly #table: KeyTable;

  /** `db`: a read-only connection to state.db. */
  constructor(db: Database, writer: Writer) {
    this.#db = db;
    this.#writer = writer;
    this.#table = new KeyTable(db);
  }

  /** Others have changed these keys. */
  reload(fingerprints: readonly string[]): void {
    if (this.#db.open) for (const fingerprint of fingerprints) this.#table.reload(fingerprint);
  }

  async list(): Promise<readonly RegisteredKey[]> {
    return this.#table.list();
  }

  async find(fingerprint: string): Promise<RegisteredKey | null> {
    return this.#table.find(fingerprint);
  }

  async put(key: NewKey, event: NewAuditEvent): Promise<RegisteredKey> {
    // cloning a view to the thread would copy the whole buffer beneath it
    const own = { ...key, certificate: new Uint8Array(key.certificate) };
    const sizeBytes = EVENT_BYTES + DETAILS_BYTES + own.certificate.length;
    try {
      await this.#writer.run('state.put-key', { key: own, event }, sizeBytes);
    } finally {
      // also after a failure: a thread may have committed and died before it could answer
      if (this.#db.open) this.#table.reload(key.fingerprint);
    }
    const stored = this.#table.find(key.fingerprint);
    if (stored === null) throw new Error(`key ${key.fingerprint} is not there after its commit`);
    return stored;
  }

  async remove(fingerprint: string, event: NewAuditEvent): Promise<boolean> {
    try {
      return await this.#writer.run('state.remove-key', { fingerprint, event }, EVENT_BYTES);
    } finally {
      if (this.#db.open) this.#table.reload(fingerprint); // as in put()
    }
  }

  async setRetired(fingerprint: string, isRetired: boolean, event: NewAuditEvent): Promise<boolean> {
    try {
      return await this.#writer.run('state.retire-key', { fingerprint, isRetired, event }, EVENT_BYTES);
    } finally {
      if (this.#db.open) this.#table.reload(fingerprint); // as in put()
    }
  }

  async revoke(revoked: RevokedByHand, event: NewAuditEvent): Promise<boolean> {
    const { fingerprint, key } = revoked;
    const own = key === null ? null : { ...key, certificate: new Uint8Array(key.certificate) };
    const sizeBytes = EVENT_BYTES + DETAILS_BYTES + (own?.certificate.length ?? 0);
    try {
      return await this.#writer.run(
        'state.revoke-key',
        { revoked: { ...revoked, key: own }, event },
        sizeBytes,
      );
    } finally {
      if (this.#db.open) this.#table.reload(fingerprint); // as in put()
    }
  }
}

function keyOf(row: KeyRow): RegisteredKey {
  const details = detailsOf(row.details);
  return {
    ...details,
    ...revocationOf(details.revokedAt, row, row.withdraws === 1),
    addedAt: new Date(row.added_at_ms),
    changedAt: new Date(row.changed_at_ms),
    retiredAt: row.retired_at_ms === null ? null : new Date(row.retired_at_ms),
    addedBy: row.added_by,
    certificate: row.certificate,
  };
}
