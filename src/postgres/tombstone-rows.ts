// Table tombstone: which signatures were withdrawn.
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { Tombstone, WithdrawnFilter, WithdrawnPlace } from '../domain/tombstone.ts';
import { Conditions, repositoryIn } from './conditions.ts';
import type { Query } from './connect.ts';
import { dateOf, imageOf } from './indexed.ts';

interface TombstoneRow {
  readonly site: string;
  readonly folder: string;
  readonly sha256: string;
  readonly number: number;
  readonly audit_seq: number;
  readonly withdrawn_at_ms: number;
  readonly withdrawn_by: string;
  readonly reason: string;
  readonly until_ms: number | null;
  readonly lifted_at_ms: number | null;
}

const ROWS = `
  SELECT site, image AS folder, encode(sha256, 'hex') AS sha256, number, audit_seq, withdrawn_at_ms, withdrawn_by,
    reason, until_ms, lifted_at_ms
  FROM tombstone`;

/** In the order of withdrawing. */
export async function tombstonesOf(query: Query, image: ImageId): Promise<readonly Tombstone[]> {
  const rows = await query<TombstoneRow>(
    `${ROWS} WHERE site = $1 AND image = $2 ORDER BY audit_seq, number`,
    [image.site, imageFolder(image)],
  );
  return rows.map(tombstoneOf);
}

/** Those in force that should have come back by then, the earliest first; behind `after`. */
export async function endedTombstones(
  query: Query,
  now: Date,
  limit: number,
  after?: Tombstone,
): Promise<readonly Tombstone[]> {
  const asked = new Conditions();
  asked.add('lifted_at_ms IS NULL AND until_ms <= ?', now.getTime());
  if (after !== undefined)
    asked.add(
      "(until_ms, site, image, sha256) > (?, ?, ?, decode(?, 'hex'))",
      after.until?.getTime() ?? 0,
      after.image.site,
      imageFolder(after.image),
      after.sha256,
    );
  const rows = await query<TombstoneRow>(
    `${ROWS} WHERE ${asked.text} ORDER BY until_ms, site, image, tombstone.sha256 LIMIT ${asked.with(limit)}`,
    asked.values,
  );
  return rows.map(tombstoneOf);
}

export interface WithdrawnAsked {
  readonly site: string;
  readonly filter: WithdrawnFilter;
  readonly after: WithdrawnPlace | null;
  readonly limit: number;
}

/** Those in force, by image. */
export async function withdrawnPage(
  query: Query,
  { site, filter: { path, digest, by, since }, after, limit }: WithdrawnAsked,
): Promise<readonly Tombstone[]> {
  const asked = new Conditions();
  asked.add('lifted_at_ms IS NULL AND site = ?', site);
  if (after !== null) asked.add("(image, sha256) > (?, decode(?, 'hex'))", after.image, after.sha256);
  if (path !== null) asked.add(`${repositoryIn('image')} = ?`, path);
  if (digest !== null) asked.add("image LIKE '%' || ?", `${digest.algorithm}=${digest.hex}`);
  if (by !== null) asked.add('withdrawn_by = ?', by);
  if (since !== null) asked.add('withdrawn_at_ms >= ?', since.getTime());
  const rows = await query<TombstoneRow>(
    `${ROWS} WHERE ${asked.text} ORDER BY image, sha256 LIMIT ${asked.with(limit)}`,
    asked.values,
  );
  return rows.map(tombstoneOf);
}

function tombstoneOf(row: TombstoneRow): Tombstone {
  return {
    image: imageOf(row),
    sha256: row.sha256,
    number: row.number,
    // rows of signatures say themselves whether they are fillers
    fillers: [],
    auditSeq: row.audit_seq,
    withdrawnAt: new Date(row.withdrawn_at_ms),
    withdrawnBy: row.withdrawn_by,
    reason: row.reason,
    until: dateOf(row.until_ms),
    isInForce: row.lifted_at_ms === null,
  };
}
