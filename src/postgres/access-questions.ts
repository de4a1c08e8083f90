// Questions to table access_read: who fetched what, and who asked for what was never signed.
import { imageName } from '../domain/image.ts';
import type { Sums } from '../domain/record-sums.ts';
import {
  type AccessRow,
  ANY_RECORD,
  type Dimension,
  type Grouping,
  type Listed,
  type PageFound,
  type Position,
  type RecordFilter,
  type RepositoryTotal,
  type StaleImage,
  type UnsignedImages,
} from '../domain/records.ts';
import { addAddress, below, Conditions, repositoryIn } from './conditions.ts';
import type { Query } from './connect.ts';
import { imageOf } from './indexed.ts';
import { firstGroups, partOf } from './sum-groups.ts';

const HOUR_MS = 3_600_000;

/** As PostgresAccessLog writes a request for an image without signatures. */
export const IS_MISSING = '(number IS NULL AND status = 404 AND agent IS NULL AND token IS NULL)';
/** Rows that are the same in all of these read the same: any order of them will do. */
const ALL_ELSE = 'last_at_ms, site, folder, number, sha256, status, address, agent, token, count, bytes, day';
const DAY = "to_char(day, 'YYYY-MM-DD')";

/** One group of images without a signature. */
interface UnsignedSum {
  readonly count: number;
  readonly last: number;
  readonly address: string;
  /** How many groups there are. */
  readonly found: number;
}

interface ReadRow {
  readonly id: number;
  readonly first_at_ms: number;
  readonly last_at_ms: number;
  readonly site: string;
  readonly folder: string;
  readonly number: number | null;
  readonly sha256: string | null;
  readonly status: number;
  readonly address: string;
  readonly agent: string | null;
  readonly token: string | null;
  readonly count: number;
  readonly bytes: number;
}

export class AccessQuestions {
  readonly #query: Query;

  constructor(query: Query) {
    this.#query = query;
  }

  /**
   * Newest first. `after`: time and id of the last row that was seen. Migration 0006 has left rows without an id of their own at 0;
   * behind such a row, `after` also says how many rows of that time were seen.
   */
  async page(filter: RecordFilter, after: Position | null, limit: number): Promise<PageFound> {
    const conditions = await this.#conditionsOf(filter);
    const [afterMs = 0, afterId = 0, seen = 0] = after ?? [];
    const compare = seen === 0 ? '<' : '<=';
    if (after !== null)
      conditions.add(`(first_at_ms, id) ${compare} (?::bigint, ?::bigint)`, afterMs, afterId);
    const rows = await this.#query<ReadRow>(
      `
      SELECT id, first_at_ms, last_at_ms, site, folder, number, encode(sha256, 'hex') AS sha256, status, address, agent,
        token, count, bytes
      FROM access_read
      WHERE ${conditions.text}
      ORDER BY first_at_ms DESC, id DESC, ${ALL_ELSE}
      LIMIT ${conditions.with(limit + 1)} OFFSET ${conditions.with(seen)}`,
      conditions.values,
    );
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    const next = rows.length > limit && last !== undefined ? placeOf(last, page, after) : null;
    return { rows: page.map(rowOf), next, dropped: await this.dropped(filter), gaps: [] };
  }

  async sums(filter: RecordFilter, by: Grouping, sums: Sums): Promise<void> {
    const conditions = await this.#conditionsOf(filter);
    const isByKey = by.includes('key');
    const dimensions = by.filter((dimension) => dimension !== 'key').map((one) => COLUMNS[one]);
    const columns = [...dimensions, ...(isByKey ? KEY_COLUMNS : [])];
    const sum = {
      count: 'sum(count)',
      bytes: 'sum(bytes)',
      first: 'min(first_at_ms)',
      last: 'max(last_at_ms)',
    };
    const summing = {
      query: this.#query,
      table: 'access_read',
      conditions,
      by,
      columns,
      isWhole: !isByKey,
      sum,
    } as const;
    const { rows, finish } = await firstGroups(summing, sums);
    const places = by.filter((dimension) => dimension !== 'key');
    const keys = isByKey ? await this.#keysOf(rows, dimensions.length) : new Map<string, string | null>();
    for (const row of rows) {
      const of = by.map((dimension) =>
        dimension === 'key'
          ? (keys.get(keyOf(row, dimensions.length)) ?? null)
          : textOf(dimension, row[`d${places.indexOf(dimension)}`] ?? null),
      );
      sums.add(of, partOf(row));
    }
    finish();
  }

  /** The key of a signature that is stored; else the key that verified them when they were uploaded. */
  async #keysOf(rows: readonly Record<string, string | number | null>[], from: number) {
    const wanted = new Map(rows.map((row) => [keyOf(row, from), row]));
    const keys = await this.#query<{ key: string; fingerprint: string | null }>(
      `
      SELECT a.key, coalesce(
        (SELECT s.fingerprint
         FROM image AS i
         JOIN signature AS s ON s.image_id = i.id
         WHERE i.site = a.site AND i.folder = a.folder AND s.sha256 = decode(a.sha256, 'hex')
         LIMIT 1),
        (SELECT e.leaf::json ->> 'fingerprint'
         FROM upload AS u
         JOIN audit_event AS e ON e.seq = u.audit_seq
         WHERE u.site = a.site AND u.image = a.folder AND u.sha256 = decode(a.sha256, 'hex'))) AS fingerprint
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS a (key, site, folder, sha256)
      WHERE a.sha256 IS NOT NULL`,
      [
        [...wanted.keys()],
        ...[0, 1, 2].map((column) => [...wanted.values()].map((row) => row[`d${from + column}`] ?? null)),
      ],
    );
    return new Map(keys.map(({ key, fingerprint }) => [key, fingerprint]));
  }

  /** How many reads of that time found no room in the record. */
  async dropped({ since, until }: RecordFilter): Promise<number> {
    const [row] = await this.#query<{ count: number }>(
      'SELECT coalesce(sum(count), 0)::bigint AS count FROM access_dropped WHERE at_ms >= $1 AND at_ms < $2',
      [since?.getTime() ?? 0, until?.getTime() ?? Number.MAX_SAFE_INTEGER],
    );
    return row?.count ?? 0;
  }

  async unsigned(
    { since, until, site, repository, image }: RecordFilter,
    limit: number,
  ): Promise<UnsignedImages> {
    const filter = { ...ANY_RECORD, since, until, site, repository, image };
    const rows = await this.#unsignedBy<{ site: string; folder: string; first: number }>(filter, limit, {
      columns: 'site, folder, min(first_at_ms) AS first',
      by: 'site, folder',
    });
    const repositories = await this.#unsignedBy<{ repository: string; images: number }>(filter, limit, {
      columns: `${repositoryIn('folder')} AS repository, count(DISTINCT (site, folder)) AS images`,
      by: 'repository',
    });
    return {
      rows: rows.map((row) => ({
        site: row.site,
        image: imageName(imageOf(row)),
        count: row.count,
        firstAt: new Date(row.first),
        lastAt: new Date(row.last),
        lastAddress: row.address,
      })),
      found: rows[0]?.found ?? 0,
      repositories: repositories.map((row) => ({
        repository: row.repository,
        count: row.count,
        images: row.images,
        lastAt: new Date(row.last),
        lastAddress: row.address,
      })),
      repositoriesFound: repositories[0]?.found ?? 0,
      dropped: await this.dropped(filter),
      gaps: [],
    };
  }

  async #unsignedBy<Row>(
    filter: RecordFilter,
    limit: number,
    { columns, by }: { readonly columns: string; readonly by: string },
  ): Promise<readonly (Row & UnsignedSum)[]> {
    const conditions = await this.#conditionsOf(filter, IS_MISSING);
    return this.#query<Row & UnsignedSum>(
      `
      SELECT ${columns}, sum(count)::bigint AS count, max(last_at_ms) AS last,
        (array_agg(address ORDER BY last_at_ms DESC))[1] AS address, count(*) OVER () AS found
      FROM access_read
      WHERE ${conditions.text}
        AND NOT EXISTS (SELECT 1 FROM upload AS u WHERE u.site = access_read.site AND u.image = folder)
        AND NOT EXISTS (
          SELECT 1
          FROM image AS i
          JOIN signature AS s ON s.image_id = i.id
          WHERE i.site = access_read.site AND i.folder = access_read.folder
        )
      GROUP BY ${by}
      ORDER BY sum(count) DESC, max(last_at_ms) DESC
      LIMIT ${conditions.with(limit)}`,
      conditions.values,
    );
  }

  /** Days whose hours a data directory had summed up before it was moved here count by those. */
  async repositoryTotals({ since, until }: RecordFilter, limit: number): Promise<Listed<RepositoryTotal>> {
    const rows = await this.#query<RepositoryTotal & { found: number }>(
      `
      WITH kept AS (
        SELECT repository, fetched, ended, bytes
        FROM access_hour
        WHERE hour >= $3 AND hour < $4
      ), live AS (
        SELECT ${repositoryIn('folder')} AS repository,
          CASE WHEN status IN (200, 304) THEN count ELSE 0 END AS fetched,
          CASE WHEN status IN (200, 304) THEN 0 ELSE count END AS ended, bytes
        FROM access_read
        WHERE last_at_ms >= $1 AND first_at_ms < $2 AND NOT ${IS_MISSING}
          AND day NOT IN (
            SELECT DISTINCT (to_timestamp(hour * 3600.0) AT TIME ZONE 'UTC')::date
            FROM access_hour
            WHERE hour >= $3 AND hour < $4
          )
      )
      SELECT repository, sum(fetched)::bigint AS fetched, sum(ended)::bigint AS ended, sum(bytes)::bigint AS bytes,
        count(*) OVER () AS found
      FROM (SELECT * FROM kept UNION ALL SELECT * FROM live) AS together
      GROUP BY repository
      ORDER BY 2 DESC, 1
      LIMIT $5`,
      [
        since?.getTime() ?? 0,
        until?.getTime() ?? Number.MAX_SAFE_INTEGER,
        hourOf(since, 0),
        hourOf(until, Number.MAX_SAFE_INTEGER),
        limit,
      ],
    );
    return {
      rows: rows.map(({ repository, fetched, ended, bytes }) => ({ repository, fetched, ended, bytes })),
      found: rows[0]?.found ?? 0,
      dropped: await this.dropped({ ...ANY_RECORD, since, until }),
      gaps: [],
    };
  }

  async stale(since: Date, { site, repository }: RecordFilter, limit: number): Promise<Listed<StaleImage>> {
    const conditions = new Conditions();
    if (site !== null) conditions.add('i.site = ?', site);
    if (repository !== null) conditions.add(below('i.path'), repository, repository);
    conditions.add(
      `NOT EXISTS (
          SELECT 1
          FROM access_read AS r
          WHERE r.site = i.site AND r.folder = i.folder AND r.status IN (200, 304) AND r.last_at_ms >= ?
        )`,
      since.getTime(),
    );
    const rows = await this.#query<{
      site: string;
      folder: string;
      signatures: number;
      stored: number;
      found: number;
    }>(
      `
      SELECT i.site, i.folder, count(*) AS signatures, max(s.stored_at_ms) AS stored, count(*) OVER () AS found
      FROM image AS i
      JOIN signature AS s ON s.image_id = i.id
      WHERE ${conditions.text}
      GROUP BY i.id
      HAVING max(s.stored_at_ms) < ${conditions.with(since.getTime())}
      ORDER BY 4, 1, 2
      LIMIT ${conditions.with(limit)}`,
      conditions.values,
    );
    const [first] = await this.#query<{ day: string | null }>(`SELECT min(${DAY}) AS day FROM access_read`);
    const day = first?.day ?? null;
    const isShort = day === null || Date.parse(day) > since.getTime();
    return {
      rows: rows.map((row) => ({
        site: row.site,
        image: imageName(imageOf(row)),
        signatures: row.signatures,
        storedAt: new Date(row.stored),
      })),
      found: rows[0]?.found ?? 0,
      dropped: await this.dropped({ ...ANY_RECORD, since }),
      gaps: isShort
        ? [
            `the access record begins ${day === null ? 'with the next read' : `on ${day}`}: what was fetched before is not known`,
          ]
        : [],
    };
  }

  async #conditionsOf(filter: RecordFilter, kind = `NOT ${IS_MISSING}`): Promise<Conditions> {
    const conditions = new Conditions();
    const { since, until, site, repository, image, signature, fingerprint, actor, agent, status } = filter;
    conditions.add(kind);
    if (since !== null) {
      const at = since.getTime();
      // a row that counts many reads lies in the day of the first of them
      conditions.add(
        "last_at_ms >= ? AND day >= (to_timestamp(?::bigint / 1000.0) AT TIME ZONE 'UTC')::date - 1",
        at,
        at,
      );
    }
    if (until !== null) conditions.add('first_at_ms < ?', until.getTime());
    if (status !== null) conditions.add('status = ?', status);
    if (site !== null) conditions.add('site = ?', site);
    if (repository !== null) conditions.add(below(repositoryIn('folder')), repository, repository);
    if (image !== null) {
      const { digest, place } = image;
      const tail = `${digest.algorithm}=${digest.hex}`;
      if (place === null) conditions.add(`folder LIKE '%' || ?`, tail);
      else if (place.layout === 'repository') conditions.add('folder = ?', `${place.path}@${tail}`);
      else conditions.add('folder = ?', place.path === '' ? tail : `${place.path}/${tail}`);
    }
    if (signature !== null) conditions.add("sha256 = decode(?, 'hex')", signature);
    if (fingerprint !== null) conditions.add(BY_KEY, fingerprint, fingerprint);
    if (actor !== null) conditions.add('token = ?', actor);
    if (agent !== null) conditions.add('strpos(lower(agent), lower(?)) > 0', agent);
    if (filter.address !== null) addAddress(conditions, 'address', filter.address);
    return conditions;
  }
}

/** Signatures that are stored, and those that came here verified by the key. */
const BY_KEY = `sha256 IN (
          SELECT s.sha256
          FROM signature AS s
          WHERE s.fingerprint = ?
          UNION
          SELECT decode(e.leaf::json ->> 'signatureSha256', 'hex')
          FROM audit_event AS e
          WHERE (split_part(split_part(e.leaf, '"fingerprint":"', 2), '"', 1) COLLATE "C") = ? AND e.leaf::json ->> 'signatureSha256' IS NOT NULL
        )`;

const KEY_COLUMNS = ['site', 'folder', "encode(sha256, 'hex')"];

const COLUMNS: Readonly<Record<Exclude<Dimension, 'key'>, string>> & { readonly key?: never } = {
  repository: repositoryIn('folder'),
  image: 'folder',
  signature: "encode(sha256, 'hex')",
  actor: 'token',
  address: 'address',
  day: DAY,
  agent: 'agent',
  status: 'status::text',
  action: 'NULL::text',
  result: 'NULL::text',
};

function keyOf(row: Record<string, string | number | null>, from: number): string {
  return JSON.stringify([0, 1, 2].map((column) => row[`d${from + column}`] ?? null));
}

function textOf(dimension: Dimension, value: string | number | null): string | null {
  if (value === null) return null;
  return dimension === 'image' ? imageName(imageOf({ site: '', folder: String(value) })) : String(value);
}

function placeOf({ first_at_ms, id }: ReadRow, page: readonly ReadRow[], after: Position | null): Position {
  if (id !== 0) return [first_at_ms, id];
  const here = page.filter((row) => row.id === 0 && row.first_at_ms === first_at_ms).length;
  const before = after !== null && after[0] === first_at_ms && after[1] === 0 ? (after[2] ?? 0) : 0;
  return [first_at_ms, 0, before + here];
}

function rowOf(row: ReadRow): AccessRow {
  return {
    firstAt: new Date(row.first_at_ms),
    lastAt: new Date(row.last_at_ms),
    site: row.site,
    image: imageName(imageOf(row)),
    number: row.number,
    signatureSha256: row.sha256,
    status: row.status,
    address: row.address,
    agent: row.agent,
    token: row.token,
    count: row.count,
    bytes: row.bytes,
  };
}

function hourOf(time: Date | null, none: number): number {
  return time === null ? none : Math.floor(time.getTime() / HOUR_MS);
}
