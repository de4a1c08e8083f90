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
