// The tables that lookaside migrate moves, which have the same names and columns in state.db and in PostgreSQL.

export interface MovedTable {
  readonly name: string;
  readonly columns: readonly string[];
  /** The primary key. */
  readonly key: string;
  /** The column that names a site: rows of sites that stay behind are not moved. Left out: all rows are. */
  readonly site?: string;
}

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

export const EVENTS: MovedTable = {
  name: 'audit_event',
  columns: words('seq at_ms leaf private salt'),
  key: 'seq',
};
export const HASHES: MovedTable = { name: 'log_hash', columns: words('level n hash'), key: 'level, n' };
export const IDENTITIES: MovedTable = {
  name: 'log_identity',
  columns: words('id origin vkey since_ms'),
  key: 'id',
};
export const CHECKPOINTS: MovedTable = {
  name: 'log_checkpoint',
  columns: words('id size root at_ms note void_ms'),
  key: 'id',
};
/** Moved with the checkpoints: few rows, at once. */
export const WITNESSED: MovedTable = {
  name: 'witnessed',
  columns: words('origin size root at_ms note'),
  key: 'origin',
};
export const UPLOADS: MovedTable = {
  name: 'upload',
  columns: words('audit_seq site image sha256 size_bytes uploader stored_at_ms bytes remap'),
  key: 'audit_seq',
  site: 'site',
};
/**
 * Without the fillers: in PostgreSQL, rows of signatures say themselves whether they are. Those of mirrors that stay behind come along:
 * what was withdrawn would come back when such a mirror is filled anew.
 */
export const TOMBSTONES: MovedTable = {
  name: 'tombstone',
  columns: words(
    'site image sha256 number audit_seq withdrawn_at_ms withdrawn_by reason until_ms bytes lifted_at_ms',
  ),
  key: 'site, image, sha256',
};
export const HOURS: MovedTable = {
  name: 'access_hour',
  columns: words('hour site repository fetched ended bytes'),
  key: 'hour, site, repository',
};

/** What is known of mirrors and of their upstreams. */
export const MIRRORS: readonly MovedTable[] = [
  { name: 'mirror', columns: words('name settings added_at_ms'), key: 'name', site: 'name' },
  {
    name: 'mirror_set',
    columns: words(
      'site image checked_at_ms upstream gone left_out synced_at_ms size_bytes failing_since_ms asked_at_ms',
    ),
    key: 'site, image',
    site: 'site',
  },
  {
    name: 'mirror_run',
    columns: words('site started_at_ms finished_at_ms counts complete_at_ms'),
    key: 'site',
    site: 'site',
  },
  { name: 'mirror_release', columns: words('site hex version arch'), key: 'site, hex', site: 'site' },
  {
    name: 'mirror_release_channel',
    columns: words('site channel hex'),
    key: 'channel, hex, site',
    site: 'site',
  },
];

/** Keys, tokens, signers and their like, in the order in which they refer to each other. */
export const RULES: readonly MovedTable[] = [
  { name: 'signer', columns: words('id name description created_at_ms disabled_at_ms'), key: 'id' },
  {
    name: 'signer_grant',
    columns: words('id signer_id repositories fingerprints tags created_at_ms'),
    key: 'id',
  },
  { name: 'oidc_subject', columns: words('id signer_id issuer claims created_at_ms'), key: 'id' },
  {
    name: 'token',
    columns: words('id name role hash created_at_ms expires_at_ms revoked_at_ms signer last_used_at_ms'),
    key: 'id',
  },
  {
    name: 'page_session',
    columns: words(`id token_id hash created_at_ms expires_at_ms issuer identity_name identity_shown
      identity_role signer_id`),
    key: 'id',
  },
  {
    name: 'openpgp_key',
    columns: words(`id fingerprint details added_at_ms changed_at_ms certificate retired_at_ms revoked_at_ms
      revoked_by revoked_reason revoked_seq withdraws added_by`),
    key: 'id',
  },
];

/** Beside the signatures and the reads, which look different on both sides. */
export const COUNTED = [
  EVENTS,
  HASHES,
  IDENTITIES,
  CHECKPOINTS,
  WITNESSED,
  UPLOADS,
  TOMBSTONES,
  HOURS,
  ...MIRRORS,
  ...RULES,
];

/** What table signature has of each one on both sides, beside image, number and hash. */
export const SIGNATURE_COLUMNS =
  words(`id size_bytes stored_at_ms filler verdict reason form issuer fingerprint signing_fingerprint
  signed_at_ms expires_at_ms claimed_algorithm claimed_digest docker_reference creator signed_sha256 digest_bits
  obstacles tag judge_at_ms`);

/** A condition in SQL that is true of rows of these sites, of which there is at least one. */
export function isOfSites(column: string, sites: readonly string[]): string {
  return `${column} IN (${sites.map((name) => `'${name.replaceAll("'", "''")}'`).join(', ')})`;
}

/** A condition in SQL that is true of the rows that are moved. `sites`: those that come along. */
export function isMoved({ site }: MovedTable, sites: readonly string[]): string {
  return site === undefined ? 'TRUE' : isOfSites(site, sites);
}
