// Sums by the database: it sends the first groups and what all of them sum up to, however many there are.
import type { Sums } from '../domain/record-sums.ts';
import type { Grouping } from '../domain/records.ts';
import type { Conditions } from './conditions.ts';
import type { Query } from './connect.ts';

/** More than anybody asks for at once. Each is read and sorted on the thread that serves. */
const MAX_GROUPS = 5000;

export type GroupRow = Readonly<Record<string, string | number | null>>;

export interface Summing {
  readonly query: Query;
  readonly table: 'access_read' | 'audit_event';
  readonly conditions: Conditions;
  readonly by: Grouping;
  /** Text in SQL for each part of a group; as d0, d1, … in the rows. */
  readonly columns: readonly string[];
  /** Whether a row is a group, and not a part of one. */
  readonly isWhole: boolean;
  /** Aggregates in SQL. */
  readonly sum: Readonly<Record<'count' | 'bytes' | 'first' | 'last', string>>;
}

/** The first groups, in the order of Sums.groups(), to be added to `sums`; `finish` then adds the number and the total of all. */
export async function firstGroups(summing: Summing, sums: Sums) {
  const { query, table, conditions, by, columns, isWhole, sum } = summing;
  const places = columns.map((_, position) => `d${position} COLLATE "C"`);
  const order =
    by[0] === 'day'
      ? places.map((place) => `${place} DESC NULLS LAST`)
      : ['count DESC', ...places.map((place) => `${place} NULLS FIRST`)];
  const rows = await query<GroupRow>(
    `
    SELECT *, count(*) OVER () AS group_count, sum(count) OVER ()::bigint AS all_count, sum(bytes) OVER ()::bigint AS all_bytes,
      sum(rows) OVER ()::bigint AS all_rows, min(first_at_ms) OVER () AS all_first, max(last_at_ms) OVER () AS all_last
    FROM (
      SELECT ${columns.map((column, position) => `${column} AS d${position}, `).join('')}
        ${sum.count}::bigint AS count, ${sum.bytes}::bigint AS bytes, count(*) AS rows,
        ${sum.first} AS first_at_ms, ${sum.last} AS last_at_ms
      FROM ${table}
      WHERE ${conditions.text}
      ${columns.length === 0 ? '' : `GROUP BY ${columns.map((_, position) => position + 1).join(', ')}`}
    ) AS grouped
    ORDER BY ${order.join(', ')}
    LIMIT ${conditions.with(MAX_GROUPS)}`,
    conditions.values,
  );
  const [first] = rows;
  // the last: what is added later would count twice
  return { rows, finish: () => addOthers(first, rows.length, isWhole, sums) };
}

function addOthers(first: GroupRow | undefined, added: number, isWhole: boolean, sums: Sums): void {
  const groups = Number(first?.group_count ?? 0);
  if (first === undefined || groups <= added) return;
  const total = {
    count: Number(first.all_count),
    bytes: Number(first.all_bytes),
    rows: Number(first.all_rows),
    firstAtMs: Number(first.all_first),
    lastAtMs: Number(first.all_last),
  };
  sums.addOthers({ found: isWhole ? groups : null, left: groups - added, total });
}

export function partOf(row: GroupRow) {
  return {
    rows: Number(row.rows),
    count: Number(row.count),
    bytes: Number(row.bytes),
    firstAtMs: Number(row.first_at_ms),
    lastAtMs: Number(row.last_at_ms),
  };
}
