// Questions to table audit_event. Its texts are canonical JSON of ours: src/domain/audit.ts.
import { imageFolder } from '../domain/image.ts';
import { textsWithin } from '../domain/network.ts';
import { auditRowOf, type StoredEvent } from '../domain/record-rows.ts';
import type { Sums } from '../domain/record-sums.ts';
import type { Dimension, Grouping, PageFound, Position, RecordFilter } from '../domain/records.ts';
import { addAddress, addressesIn, Conditions, repositoryIn } from './conditions.ts';
import type { Query } from './connect.ts';
import { firstGroups, partOf } from './sum-groups.ts';

const leaf = (name: string) => `(leaf::json ->> '${name}')`;
// ->> fails over a NUL anywhere in the text, which older versions took
const readable = String.raw`replace(private, '\u0000', '\ufffd')`;
const known = (name: string) => `(${readable}::json ->> '${name}')`;

// As in the indexes of migrations/postgres/0011_audit-by-what-is-rare.sql: keep in sync. What is null has no text.
const member = (column: 'leaf' | 'private', name: string) =>
  `split_part(split_part(${column}, '"${name}":"', 2), '"', 1)`;
const indexed = (name: string) => `(${member('leaf', name)} COLLATE "C")`;
const IMAGE = indexed('image');
/** The names of all algorithms have six characters. */
const DIGEST = `(substr(${member('leaf', 'image')}, strpos(${member('leaf', 'image')}, '=') - 6) COLLATE "C")`;
/** As JSON writes it, without quotes around it. */
const ACTOR = `(split_part(split_part(private, '"actor":"', 2), '","address":', 1) COLLATE "C")`;
const ADDRESS = `(${member('private', 'address')} COLLATE "C")`;

/** What the indexes of audit events are over, beside their numbers, times and actions. */
export const INDEXED_OF_EVENTS: readonly string[] = [
  ...['site', 'result', 'fingerprint', 'signatureSha256'].map(indexed),
  ...[IMAGE, DIGEST, ACTOR, ADDRESS],
];

const MAX_ADDRESSES = 1000;

export class AuditQuestions {
  readonly #query: Query;

  constructor(query: Query) {
    this.#query = query;
  }

  /** Newest first. `after`: the number of the last event seen. */
  async page(filter: RecordFilter, after: Position | null, limit: number): Promise<PageFound> {
    const conditions = await this.#conditionsOf(filter);
    if (after !== null) conditions.add('seq < ?', after[0]);
    const rows = await this.#query<StoredEvent>(
      `
      SELECT seq, at_ms, leaf, private
      FROM audit_event
      WHERE ${conditions.text}
      ORDER BY seq DESC
      LIMIT ${conditions.with(limit + 1)}`,
      conditions.values,
    );
    const page = rows.slice(0, limit).map(auditRowOf);
    const last = page.at(-1);
    const next = rows.length > limit && last !== undefined ? [last.seq] : null;
    return { rows: page, next, dropped: 0, gaps: [] };
  }

  async sums(filter: RecordFilter, by: Grouping, sums: Sums): Promise<void> {
    const conditions = await this.#conditionsOf(filter);
    const sum = {
      count: `coalesce(sum(coalesce(${leaf('count')}::bigint, 1)), 0)`,
      bytes: '0',
      first: 'min(at_ms)',
      last: 'max(at_ms)',
    };
    const columns = by.map((dimension) => COLUMNS[dimension]);
    const summing = {
      query: this.#query,
      table: 'audit_event',
      conditions,
      by,
      columns,
      isWhole: true,
      sum,
    } as const;
    const { rows, finish } = await firstGroups(summing, sums);
    for (const row of rows) {
      const of = by.map((dimension, position) => textOf(dimension, row[`d${position}`] ?? null));
      sums.add(of, partOf(row));
    }
    finish();
  }

  async #conditionsOf(filter: RecordFilter): Promise<Conditions> {
    const conditions = new Conditions();
    const { since, until, site, repository, image, signature, fingerprint, actor, action, result } = filter;
    if (since !== null) conditions.add('at_ms >= ?', since.getTime());
    if (until !== null) conditions.add('at_ms < ?', until.getTime());
    if (action !== null) conditions.add(`split_part(leaf, '"', 4) = ?`, action);
    if (site !== null) conditions.add(`${indexed('site')} = ?`, site);
    if (repository !== null) {
      const ranges = ['@A', '/0'].map(([end = '', behind = '']) => [
        `${repository}${end}`,
        `${repository}${behind}`,
      ]);
      conditions.add(
        `(${ranges.map(() => `(${IMAGE} >= ? AND ${IMAGE} < ?)`).join(' OR ')})`,
        ...ranges.flat(),
      );
    }
    if (image !== null) {
      const { digest, place } = image;
      // the path and the layout say all of a folder but the site
      if (place !== null) conditions.add(`${IMAGE} = ?`, imageFolder({ site: '', ...digest, ...place }));
      else conditions.add(`${DIGEST} = ?`, `${digest.algorithm}=${digest.hex}`);
    }
    if (signature !== null) conditions.add(`${indexed('signatureSha256')} = ?`, signature);
    if (fingerprint !== null) conditions.add(`${indexed('fingerprint')} = ?`, fingerprint);
    if (actor !== null) conditions.add(`${ACTOR} = ?`, JSON.stringify(actor).slice(1, -1));
    if (result !== null) conditions.add(`${indexed('result')} = ?`, result);
    if (filter.address !== null) await this.#addAddress(conditions, filter.address);
    return conditions;
  }

  /**
   * The addresses of a network are looked up first, each by one step in the index, so that it leads to their events. With so many
   * addresses that no index would help, each event is looked at.
   */
  async #addAddress(conditions: Conditions, asked: string): Promise<void> {
    const [low, high] = textsWithin(asked);
    const rows = await this.#query<{ address: string }>(
      `
      WITH RECURSIVE one (address) AS (
        (SELECT ${ADDRESS} FROM audit_event WHERE ${ADDRESS} >= $1 ORDER BY ${ADDRESS} LIMIT 1)
        UNION ALL
        SELECT (SELECT ${ADDRESS} FROM audit_event WHERE ${ADDRESS} > one.address ORDER BY ${ADDRESS} LIMIT 1)
        FROM one
        WHERE one.address <= $2
      )
      SELECT address
      FROM one
      WHERE address <= $2
      LIMIT $3`,
      [low, high, MAX_ADDRESSES + 1],
    );
    if (rows.length > MAX_ADDRESSES) {
      addAddress(conditions, ADDRESS, asked);
      return;
    }
    const addresses = addressesIn(
      rows.map(({ address }) => address),
      asked,
    );
    conditions.add(`${ADDRESS} = ANY (?::text[])`, addresses);
  }
}

const COLUMNS: Readonly<Record<Dimension, string>> = {
  repository: repositoryIn(leaf('image')),
  image: leaf('image'),
  signature: leaf('signatureSha256'),
  key: leaf('fingerprint'),
  actor: known('actor'),
  address: known('address'),
  day: "to_char(to_timestamp(at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
  action: leaf('action'),
  result: leaf('result'),
  agent: 'NULL::text',
  status: 'NULL::text',
};

function textOf(dimension: Dimension, value: string | number | null): string | null {
  if (value === null) return null;
  return dimension === 'image' ? String(value).replace('=', ':') : String(value);
}
