// Details of a key as the JSON text that stores keep.
import type { KeyDetails, KeyPart, KeyRevocation } from './key.ts';

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

/** The key in words, for a column of a table. */
export function textOf(key: KeyDetails): string {
  const stored: StoredDetails = {
    ...toStored(key),
    userIds: key.userIds,
    subkeys: key.subkeys.map(toStored),
  };
  return JSON.stringify(stored);
}

/** The key of such a text. */
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

/** Columns of a key's row that say that an administrator has revoked it; all null: nobody has. */
export interface RevocationColumns {
  readonly revoked_at_ms: number | null;
  readonly revoked_by: string | null;
  readonly revoked_reason: string | null;
  readonly revoked_seq: number | null;
}

/** When a key is revoked by what its certificate and its row say, the earlier of the two; and what the row says. */
export function revocationOf(
  inCertificate: Date | null,
  row: RevocationColumns,
  withdraws: boolean,
): { readonly revokedAt: Date | null; readonly revocation: KeyRevocation | null } {
  const { revoked_at_ms: atMs, revoked_by: by, revoked_reason: reason, revoked_seq: auditSeq } = row;
  if (atMs === null || by === null || reason === null || auditSeq === null)
    return { revokedAt: inCertificate, revocation: null };
  const at = new Date(atMs);
  return {
    revokedAt: inCertificate !== null && inCertificate < at ? inCertificate : at,
    revocation: { at, by, reason, auditSeq, withdraws, isInCertificate: inCertificate !== null },
  };
}
