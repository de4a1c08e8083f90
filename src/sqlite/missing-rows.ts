// Images of one day that were asked for and had no signature. From migration 0003 on they stand in two tables, and the first has no
// index while the day goes on. The view over both would sort all rows for each question, so each question asks the tables themselves.
import { type ImageId, imageKey } from '../domain/image.ts';
import type { RecordFilter } from '../domain/records.ts';
import { below, Conditions, type Statements } from './question-parts.ts';

export interface Missing {
  readonly image: ImageId;
  readonly count: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

interface ImageRow {
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Uint8Array;
}

type MissingRow = ImageRow & Omit<Missing, 'image'>;
type LastRow = ImageRow & { readonly lastAtMs: number; readonly address: number };

/** The first schema with two tables. */
const TWO_TABLES = 3;
const KEY = 'site, path, layout, algorithm, digest';
const ROW = `${KEY}, count, first_at_ms, last_at_ms`;
const SUMS = `${KEY}, sum(count) AS count, min(first_at_ms) AS firstAtMs, max(last_at_ms) AS lastAtMs`;

export class MissingRows {
  readonly #statements: Statements;
  readonly #tables: readonly string[];

  constructor(statements: Statements, version: number) {
    this.#statements = statements;
    this.#tables = version < TWO_TABLES ? ['missing'] : ['missing_once', 'missing_again'];
  }

  /** How many rows were written then or later, at most: an image may have one in each table. */
  countSince(ms: number): number {
    return this.#tables.reduce((sum, table) => {
      const count = this.#statements.plucked<number>(`SELECT count(*) FROM ${table} WHERE last_at_ms >= ?`);
      return sum + (count.get(ms) ?? 0);
    }, 0);
  }

  /** Calls `take` for each image of that filter. */
  all({ since, until, site, repository, image }: RecordFilter, take: (missing: Missing) => void): void {
    const times = [since?.getTime() ?? 0, until?.getTime() ?? Number.MAX_SAFE_INTEGER];
    const parts = this.#tables.map((table) => {
      const conditions = new Conditions();
      addPlace(conditions, { site, repository });
      if (image !== null) {
        const { digest, place } = image;
        conditions.add('algorithm = ? AND digest = ?', digest.algorithm, Buffer.from(digest.hex, 'hex'));
        if (place !== null) conditions.add('layout = ? AND path = ?', place.layout, place.path);
        // the primary key begins with the site
        if (site === null && table !== 'missing_once') conditions.add(`site IN (${sitesOf(table)})`);
      }
      return { select: `SELECT ${ROW} FROM ${table} WHERE ${conditions.text}`, values: conditions.values };
    });
    const select = this.#statements.of<MissingRow>(`
      SELECT ${SUMS}
      FROM (${parts.map((part) => part.select).join(' UNION ALL ')})
      GROUP BY ${KEY}
      HAVING max(last_at_ms) >= ? AND min(first_at_ms) < ?`);
    const values = parts.flatMap((part) => part.values);
    for (const row of select.all(...values, ...times)) take(missingOf(row));
  }

  /** Calls `take` for each image that was asked for then or later, and returns how often the others were asked for. */
  before(ms: number, take: (missing: Missing) => void): number {
    const later = this.#tables.map((table) => `SELECT digest FROM ${table} WHERE last_at_ms >= ?`);
    const parts = this.#tables.map((table) => `SELECT ${ROW} FROM ${table} WHERE digest IN later`);
    const select = this.#statements.of<MissingRow>(`
      WITH later AS MATERIALIZED (${later.join(' UNION ')})
      SELECT ${SUMS}
      FROM (${parts.join(' UNION ALL ')})
      GROUP BY ${KEY}
      HAVING max(last_at_ms) >= ?`);
    let others = 0;
    for (const table of this.#tables) {
      const sum = this.#statements.plucked<number>(`SELECT coalesce(sum(count), 0) FROM ${table}`);
      others += sum.get() ?? 0;
    }
    for (const row of select.all(...this.#tables.map(() => ms), ms)) {
      others -= row.count;
      take(missingOf(row));
    }
    return others;
  }

  /** Who asked for each of these images last, by imageKey(). */
  lastAddresses(images: readonly ImageId[]): ReadonlyMap<string, string> {
    const lasts = new Map<string, LastRow>();
    const offer = (row: LastRow): void => {
      const key = imageKey(toImage(row));
      const known = lasts.get(key);
      const isLater =
        known === undefined ||
        row.lastAtMs > known.lastAtMs ||
        (row.lastAtMs === known.lastAtMs && row.address > known.address);
      if (isLater) lasts.set(key, row);
    };
    for (const table of this.#tables) {
      const last = `SELECT ${KEY}, last_at_ms AS lastAtMs, last_address AS address FROM ${table}`;
      if (table === 'missing_once') {
        // one walk for all of them
        const select = this.#statements.of<LastRow>(
          `${last} WHERE digest IN (SELECT unhex(value) FROM json_each(?))`,
        );
        for (const row of select.all(JSON.stringify(images.map(({ hex }) => hex)))) offer(row);
        continue;
      }
      const select = this.#statements.of<LastRow>(
        `${last} WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?`,
      );
      for (const { site, path, layout, algorithm, hex } of images) {
        const row = select.get(site, path, layout, algorithm, Buffer.from(hex, 'hex'));
        if (row !== undefined) offer(row);
      }
    }
    const text = this.#statements.plucked<string>('SELECT text FROM address WHERE id = ?');
    return new Map([...lasts].map(([key, { address }]) => [key, text.get(address) ?? 'other']));
  }
}

/** Each site of the table, by one look at the index for each. */
function sitesOf(table: string): string {
  return `
    WITH RECURSIVE one (site) AS (
      SELECT min(site) FROM ${table}
      UNION ALL
      SELECT (SELECT min(t.site) FROM ${table} AS t WHERE t.site > one.site) FROM one WHERE one.site IS NOT NULL
    )
    SELECT site FROM one WHERE site IS NOT NULL`;
}

export function addPlace(
  conditions: Conditions,
  { site, repository }: Pick<RecordFilter, 'site' | 'repository'>,
): void {
  if (site !== null) conditions.add('site = ?', site);
  if (repository === null) return;
  const { text, values } = below('path', repository, ['/']);
  conditions.add(`(path = ? OR ${text})`, repository, ...values);
}

function missingOf({ count, firstAtMs, lastAtMs, ...image }: MissingRow): Missing {
  return { image: toImage(image), count, firstAtMs, lastAtMs };
}

function toImage({ site, path, layout, algorithm, digest }: ImageRow): ImageId {
  return { site, path, layout, algorithm, hex: Buffer.from(digest).toString('hex') };
}
