// Who fetched what: table access_read, a partition for each day (UTC), which is dropped when it is too old or too large.
import { daysToPrune } from '../domain/access-days.ts';
import { imageFolder } from '../domain/image.ts';
import type { AccessBatch, AccessLimits, AccessLog, AccessPruned, ReadCount } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { storable } from './image-rows.ts';

const DAY_MS = 86_400_000;
/** In the name of a partition. */
const PARTITION = /^access_read_([0-9]{4})([0-9]{2})([0-9]{2})$/;
/** The key of the advisory lock within a transaction that makes or drops a partition: "lookacce" in ASCII. */
const LOCK = '7813586407022977893';

/** Types of the columns, in the order in which a batch has them. */
const COLUMNS = {
  first_at_ms: 'bigint',
  last_at_ms: 'bigint',
  site: 'text',
  folder: 'text',
  number: 'integer',
  sha256: 'bytea',
  status: 'integer',
  address: 'text',
  agent: 'text',
  token: 'text',
  count: 'integer',
  bytes: 'bigint',
} as const;

export class PostgresAccessLog implements AccessLog {
  readonly #connections: Connections;
  readonly #isLeader: () => boolean;
  /** Days whose partition was seen. */
  readonly #days = new Set<string>();

  constructor(connections: Connections, isLeader: () => boolean) {
    this.#connections = connections;
    this.#isLeader = isLeader;
  }

  async write({ reads, missing, dropped }: AccessBatch): Promise<void> {
    const rows = [
      ...Array.from(reads, rowOf),
      // an image without signatures is kept by image and client, as far as the batch tells them apart
      ...Array.from(missing, ({ image, firstAt, lastAt, lastAddress, count }) =>
        rowOf({
          ...{ image, firstAt, lastAt, count, address: lastAddress },
          ...{ number: null, signatureSha256: null, status: 404, agent: null, token: null, bytes: 0 },
        }),
      ),
    ];
    if (dropped !== undefined) await this.#noteDropped(dropped.count, dropped.lastAt);
    if (rows.length === 0) return;
    for (const day of new Set(rows.map(([firstMs]) => dayOf(firstMs)))) await this.#makeDay(day);
    const names = Object.keys(COLUMNS);
    const arrays = Object.values(COLUMNS).map((type, position) => `$${position + 1}::${type}[]`);
    await this.#connections.query(
      `
      INSERT INTO access_read (day, ${names.join(', ')})
      SELECT (to_timestamp(first_at_ms / 1000.0) AT TIME ZONE 'UTC')::date, ${names.join(', ')}
      FROM unnest(${arrays.join(', ')}) AS batch (${names.join(', ')})`,
      names.map((_, position) => rows.map((row) => row[position])),
    );
  }

  /** The node that leads drops days; each of them knows whether there is room. */
  async prune(limits: AccessLimits): Promise<AccessPruned> {
    const partitions = await this.#partitions();
    const { gone, fits, doubted } = daysToPrune(partitions, limits);
    if (!this.#isLeader()) return { fits, doubted: null };
    for (const { name, day } of partitions) {
      if (!gone.includes(day)) continue;
      await this.#connections.query(`DROP TABLE IF EXISTS ${name}`);
      this.#days.delete(day);
    }
    return { fits, doubted };
  }

  /** PostgreSQL keeps its tables tidy by itself. */
  async closeDays(): Promise<void> {}

  /** Oldest first. */
  async #partitions() {
    const rows = await this.#connections.query<{ name: string; sizeBytes: number }>(`
      SELECT c.relname AS name, pg_total_relation_size(c.oid) AS "sizeBytes"
      FROM pg_inherits AS i
      JOIN pg_class AS c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'access_read'::regclass
      ORDER BY c.relname`);
    return rows.flatMap(({ name, sizeBytes }) => {
      const match = PARTITION.exec(name);
      return match === null ? [] : [{ name, sizeBytes, day: `${match[1]}-${match[2]}-${match[3]}` }];
    });
  }

  async #makeDay(day: string): Promise<void> {
    if (this.#days.has(day)) return;
    await inOneStatement(this.#connections.query, dayPartition(day));
    this.#days.add(day);
  }

  async #noteDropped(count: number, at: Date): Promise<void> {
    await this.#connections.query('INSERT INTO access_dropped (at_ms, count) VALUES ($1, $2)', [
      at.getTime(),
      count,
    ]);
  }
}

/** Makes the partition of that day, `2026-11-22`, within a transaction. */
export function dayPartition(day: string): string {
  const next = dayOf(new Date(day).getTime() + DAY_MS);
  return `
    SELECT pg_advisory_xact_lock(${LOCK});
    CREATE TABLE IF NOT EXISTS access_read_${day.replaceAll('-', '')}
    PARTITION OF access_read FOR VALUES FROM ('${day}') TO ('${next}')`;
}

/** Several statements without values are one transaction. */
async function inOneStatement(query: Query, sql: string): Promise<void> {
  await query(`BEGIN; ${sql}; COMMIT`);
}

type Row = readonly [firstMs: number, ...rest: unknown[]];

function rowOf(read: Omit<ReadCount, 'image'> & Pick<ReadCount, 'image'>): Row {
  const { image, number, signatureSha256, agent, token } = read;
  return [
    read.firstAt.getTime(),
    read.lastAt.getTime(),
    image.site,
    imageFolder(image),
    number,
    signatureSha256 === null ? null : Buffer.from(signatureSha256, 'hex'),
    read.status,
    storable(read.address),
    agent === null ? null : storable(agent),
    token,
    read.count,
    read.bytes,
  ];
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
