// Table change: numbers for what nodes keep in memory. A change raises the number in its own transaction and tells the other
// nodes; who misses that sees the number a second later.
import type { Query } from './connect.ts';
import type { Change } from './writer.ts';

export type Topic = 'keys' | 'tokens' | 'mirrors';

export async function raise({ query, notify }: Change, topic: Topic): Promise<void> {
  await query('UPDATE change SET number = number + 1 WHERE topic = $1', [topic]);
  await notify(topic);
}

export type ChangeNumbers = Readonly<Record<Topic, number>>;

interface DatabaseNow extends ChangeNumbers {
  /** How many audit events there are. */
  readonly size: number;
  /** It takes changes: it is no standby. */
  readonly writable: boolean;
  /** The oldest schema whose nodes may change anything. */
  readonly oldest: number;
}

export async function numbersOf(query: Query): Promise<DatabaseNow> {
  const [row] = await query<DatabaseNow>(`
    SELECT
      current_setting('transaction_read_only') = 'off' AS writable,
      (SELECT number FROM change WHERE topic = 'keys') AS keys,
      (SELECT number FROM change WHERE topic = 'tokens') AS tokens,
      (SELECT number FROM change WHERE topic = 'mirrors') AS mirrors,
      head.size, head.oldest_writer AS oldest
    FROM (VALUES (1)) AS one (id)
    LEFT JOIN log_head AS head ON head.id = one.id`);
  if (row === undefined) throw new Error('a query without FROM has given no row');
  return row;
}

/** What has changed of the sets of all images since the one with this generation was the newest. */
export interface ChangedSets {
  readonly isStandby: boolean;
  /** The highest generation of all; 0: there is no image. */
  readonly newest: number;
  /** Null: it cannot be said which. */
  readonly images: readonly ChangedSet[] | null;
}

export interface ChangedSet {
  /** The image's, as imageKey() has it. */
  readonly key: string;
  readonly generation: number;
}

/** More at once are as if all had changed. */
export const CHANGED_AT_ONCE = 1000;

/**
 * Generations are given one after the other, under the lock of all changes: who sees one sees all that are lower.
 * `since`: null: which is the newest is all that is asked.
 */
export async function changedSets(query: Query, since: number | null): Promise<ChangedSets> {
  const rows = await query<{ standby: boolean; key: string | null; generation: number | null }>(
    since === null
      ? 'SELECT pg_is_in_recovery() AS standby, NULL AS key, max(generation) AS generation FROM image'
      : `
      SELECT pg_is_in_recovery() AS standby, i.key, i.generation
      FROM (VALUES (1)) AS one (id)
      LEFT JOIN LATERAL (
        SELECT site || '/' || folder AS key, generation
        FROM image
        WHERE generation >= $1
        ORDER BY generation
        LIMIT ${CHANGED_AT_ONCE + 2}) AS i ON true
      ORDER BY i.generation`,
    since === null ? [] : [since],
  );
  const isStandby = rows[0]?.standby === true;
  const newest = rows.at(-1)?.generation ?? 0;
  // that of last time is there, unless it has changed again. Below it, the database is not what it was
  const changed = rows.flatMap(({ key, generation }) =>
    key === null || generation === null || generation === since ? [] : [{ key, generation }],
  );
  const isKnown = since !== null && newest >= since && changed.length <= CHANGED_AT_ONCE;
  return { isStandby, newest, images: isKnown ? changed : null };
}
