// Table openpgp_key: each change comes with its audit event, in one transaction.
import type { NewAuditEvent } from '../domain/audit.ts';
import { issuersOf, type KeyDetails, type RegisteredKey } from '../domain/key.ts';
import { detailsOf, type RevocationColumns, revocationOf, textOf } from '../domain/key-details.ts';
import type { KeyStore, RevokedByHand } from '../domain/ports.ts';
import { raise } from './changes.ts';
import type { Connections, Query } from './connect.ts';
import { dateOf } from './indexed.ts';
import { noteIssuers } from './judge-again.ts';
import type { Change, PostgresWriter } from './writer.ts';

// a certificate has at most 64 KiB
const PAGE_KEYS = 100;
/** The size of the details, in the writer's queue. */
const DETAILS_BYTES = 96 * 1024;

interface KeyRow extends RevocationColumns {
  readonly id: number;
  readonly details: string;
  readonly added_at_ms: number;
  readonly changed_at_ms: number;
  readonly retired_at_ms: number | null;
  readonly withdraws: boolean;
  readonly added_by: string | null;
  readonly certificate: Buffer;
}

const COLUMNS = `id, details, added_at_ms, changed_at_ms, retired_at_ms, revoked_at_ms, revoked_by, revoked_reason, revoked_seq,
  withdraws, added_by, certificate`;

export type NewKey = KeyDetails & { readonly certificate: Uint8Array };

export class PostgresKeys implements KeyStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  async list(): Promise<readonly RegisteredKey[]> {
    const keys: RegisteredKey[] = [];
    for (let after = 0; ; ) {
      const rows = await this.#query<KeyRow>(
        `
        SELECT ${COLUMNS}
        FROM openpgp_key
        WHERE id > $1
        ORDER BY id
        LIMIT $2`,
        [after, PAGE_KEYS],
      );
      keys.push(...rows.map(keyOf));
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE_KEYS) return keys;
      after = last.id;
    }
  }

  async find(fingerprint: string): Promise<RegisteredKey | null> {
    const [row] = await this.#query<KeyRow>(`SELECT ${COLUMNS} FROM openpgp_key WHERE fingerprint = $1`, [
      fingerprint,
    ]);
    return row === undefined ? null : keyOf(row);
  }

  put(key: NewKey, event: NewAuditEvent): Promise<RegisteredKey> {
    const sizeBytes = DETAILS_BYTES + key.certificate.length;
    return this.#writer.run((change) => putKey(change, key, event), sizeBytes);
  }

  remove(fingerprint: string, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run((change) => removeKey(change, fingerprint, event));
  }

  setRetired(fingerprint: string, isRetired: boolean, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run((change) => retireKey(change, fingerprint, isRetired, event));
  }

  revoke(revoked: RevokedByHand, event: NewAuditEvent): Promise<boolean> {
    const sizeBytes = DETAILS_BYTES + (revoked.key?.certificate.length ?? 0);
    return this.#writer.run((change) => revokeKey(change, revoked, event), sizeBytes);
  }
}

/** False, without an event, when that changes nothing; the event's time is the time of the retirement. */
export async function retireKey(
  change: Change,
  fingerprint: string,
  isRetired: boolean,
  event: NewAuditEvent,
): Promise<boolean> {
  const set = isRetired
    ? 'retired_at_ms = $2 WHERE fingerprint = $1 AND retired_at_ms IS NULL AND $2::bigint IS NOT NULL'
    : 'retired_at_ms = NULL WHERE fingerprint = $1 AND retired_at_ms IS NOT NULL AND $2::bigint IS NOT NULL';
  const changed = await change.query(`UPDATE openpgp_key SET ${set} RETURNING id`, [
    fingerprint,
    event.at.getTime(),
  ]);
  if (changed.length === 0) return false;
  await change.addEvent(event);
  await raise(change, 'keys');
  return true;
}

/** False, without an event, when that changes nothing or there is no such key. The time of a first revocation stays. */
async function revokeKey(change: Change, revoked: RevokedByHand, event: NewAuditEvent): Promise<boolean> {
  const { fingerprint, key, by, reason, withdraws } = revoked;
  const [before] = await change.query<{ readonly is_revoked: boolean; readonly withdraws: boolean }>(
    `
    SELECT revoked_at_ms IS NOT NULL AS is_revoked, withdraws
    FROM openpgp_key
    WHERE fingerprint = $1
    FOR UPDATE`,
    [fingerprint],
  );
  if (before === undefined) return false;
  const isNews = !before.is_revoked || (withdraws && !before.withdraws);
  if (!isNews && key === null) return false;
  const atMs = event.at.getTime();
  if (key !== null) {
    await putRow(change, key, atMs, by);
    await noteIssuers(change, issuersOf(key));
  }
  const seq = await change.addEvent(event);
  if (isNews) {
    await change.query(
      `
      UPDATE openpgp_key
      SET
        revoked_at_ms = coalesce(revoked_at_ms, $2),
        revoked_by = $3,
        revoked_reason = $4,
        revoked_seq = $5,
        withdraws = withdraws OR $6
      WHERE fingerprint = $1`,
      [fingerprint, atMs, by, reason, seq, withdraws],
    );
  }
  await raise(change, 'keys');
  return true;
}

/** Adds the key, or replaces the one of that fingerprint; the event's time is the time of the change. */
export async function putKey(change: Change, key: NewKey, event: NewAuditEvent): Promise<RegisteredKey> {
  const row = await putRow(change, key, event.at.getTime(), event.private.actor);
  await noteIssuers(change, issuersOf(key));
  await change.addEvent(event);
  await raise(change, 'keys');
  return keyOf(row);
}

async function putRow(change: Change, key: NewKey, atMs: number, by: string): Promise<KeyRow> {
  const [row] = await change.query<KeyRow>(
    `
    INSERT INTO openpgp_key (fingerprint, details, added_at_ms, changed_at_ms, added_by, certificate)
    VALUES ($1, $2, $3, $3, $4, $5)
    ON CONFLICT (fingerprint) DO UPDATE SET
      details = excluded.details,
      changed_at_ms = excluded.changed_at_ms,
      certificate = excluded.certificate
    RETURNING ${COLUMNS}`,
    [key.fingerprint, textOf(key), atMs, by, Buffer.from(key.certificate)],
  );
  if (row === undefined) throw new Error('an INSERT has returned no row');
  return row;
}

/** False, without an event, when there is no such key. */
export async function removeKey(change: Change, fingerprint: string, event: NewAuditEvent): Promise<boolean> {
  const [gone] = await change.query<Pick<KeyRow, 'details'>>(
    'DELETE FROM openpgp_key WHERE fingerprint = $1 RETURNING details',
    [fingerprint],
  );
  if (gone === undefined) return false;
  await noteIssuers(change, issuersOf(detailsOf(gone.details)));
  await change.addEvent(event);
  await raise(change, 'keys');
  return true;
}

function keyOf(row: KeyRow): RegisteredKey {
  const details = detailsOf(row.details);
  return {
    ...details,
    ...revocationOf(details.revokedAt, row, row.withdraws),
    addedAt: new Date(row.added_at_ms),
    changedAt: new Date(row.changed_at_ms),
    retiredAt: dateOf(row.retired_at_ms),
    addedBy: row.added_by,
    certificate: row.certificate,
  };
}
