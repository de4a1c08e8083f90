// Table judge_again: a key's own change names whose signatures are to be judged again, so that no crash forgets it. They are
// marked part after part, because one key may have made more of them than one statement can mark in its time.
import type { Change } from './writer.ts';

/** Marked by one act. */
const PART_ROWS = 2000;

/** `issuers`: fingerprints and key IDs. */
export async function noteIssuers({ query }: Change, issuers: readonly string[]): Promise<void> {
  await query(
    `
    INSERT INTO judge_again (issuer)
    SELECT DISTINCT unnest($1::text[])
    ON CONFLICT (issuer) DO UPDATE SET after_id = 0`,
    [issuers],
  );
}

/** False when nothing more is to be marked; the judge is told then. */
export async function markPart(change: Change): Promise<boolean> {
  const { query, notify } = change;
  for (let left = PART_ROWS; left > 0; ) {
    const [noted] = await query<{ issuer: string; after_id: number }>(
      'SELECT issuer, after_id FROM judge_again ORDER BY issuer LIMIT 1',
    );
    if (noted === undefined) {
      await notify('judge');
      return false;
    }
    const { count, last } = await mark(change, noted.issuer, noted.after_id, left);
    if (count < left) await query('DELETE FROM judge_again WHERE issuer = $1', [noted.issuer]);
    else await query('UPDATE judge_again SET after_id = $2 WHERE issuer = $1', [noted.issuer, last]);
    left -= count;
  }
  return true;
}

async function mark({ query }: Change, issuer: string, afterId: number, limit: number) {
  const next = (column: 'issuer' | 'fingerprint') =>
    `(SELECT id FROM signature WHERE ${column} = $1 AND id > $2 ORDER BY id LIMIT $3)`;
  const [marked] = await query<{ count: number; last: number | null }>(
    `
    WITH part AS (
      SELECT id FROM (${next('issuer')} UNION ${next('fingerprint')}) AS either ORDER BY id LIMIT $3
    ), marked AS (
      UPDATE signature SET judge_at_ms = 0 WHERE id IN (SELECT id FROM part) RETURNING id
    )
    SELECT count(*) AS count, max(id) AS last FROM marked`,
    [issuer, afterId, limit],
  );
  if (marked === undefined) throw new Error('a query without GROUP BY has given no row');
  return marked;
}
