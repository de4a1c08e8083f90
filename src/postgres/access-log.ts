// Who fetched what: table access_read, a partition for each day (UTC), which is dropped when it is too old or too large.
import { setTimeout as wait } from 'node:timers/promises';
import { daysToPrune } from '../domain/access-days.ts';
import { imageFolder } from '../domain/image.ts';
import type { AccessBatch, AccessLimits, AccessLog, AccessPruned, ReadCount } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { COPY_NULL, CopyRows, copyBytes, copyText } from './copy-in.ts';
import { storable } from './image-rows.ts';
import { ownSchema, refuseOlderWriter } from './migrate.ts';

const DAY_MS = 86_400_000;
/** In the name of a partition. */
const PARTITION = /^access_read_([0-9]{4})([0-9]{2})([0-9]{2})$/;
/** The key of the advisory lock within a transaction that makes or drops a partition: "lookacce" in ASCII. */
const LOCK = '7813586407022977893';

/** How long the node asks whether a batch whose answer was lost is there. Reads go on gathering meanwhile, within the bounds of memory. */
const UNSURE_MS = 15_000;
/** The same for a process that is to end, which is killed after ten seconds. */
const HURRIED_MS = 1000;
const ASK_AGAIN_MS = 500;

const COLUMNS =
  'day, first_at_ms, last_at_ms, site, folder, number, sha256, status, address, agent, token, count, bytes';

export class PostgresAccessLog implements AccessLog {
  readonly #connections: Connections;
  readonly #isLeader: () => boolean;
  /** Days whose partition was seen. */
  readonly #days = new Set<string>();
  #unsureMs = UNSURE_MS;

  constructor(connections: Connections, isLeader: () => boolean) {
    this.#connections = connections;
    this.#isLeader = isLeader;
  }

  async write({ reads, missing, dropped }: AccessBatch): Promise<void> {
    const days = new Days();
    const rows = new CopyRows();
    for (const read of reads) rows.add(rowOf(read, days));
    // an image without signatures is kept by image and client, as far as the batch tells them apart
    for (const { image, firstAt, lastAt, lastAddress, count } of missing) {
      const read = {
        ...{ image, firstAt, lastAt, count, address: lastAddress },
        ...{ number: null, signatureSha256: null, status: 404, agent: null, token: null, bytes: 0 },
      };
      rows.add(rowOf(read, days));
    }
    const chunks = rows.end();
    if (dropped === undefined && chunks.length === 0) return;
    for (const day of days.all()) await this.#makeDay(day);
    try {
      await this.#writeOnce(chunks, dropped);
    } catch (error) {
      this.#days.clear(); // another node may have dropped one of them
      throw error;
    }
  }

  /** In one transaction. Rejects only when it is not committed, or when nobody could say so for UNSURE_MS. */
  async #writeOnce(chunks: readonly Uint8Array[], dropped: AccessBatch['dropped']): Promise<void> {
    const { query, copyIn, release } = await this.#connections.take();
    let ending: string | null = null;
    try {
      const [begun] = await query<{ xid: string }>('BEGIN; SELECT pg_current_xact_id()::text AS xid');
      if (begun === undefined) throw new Error('a query without FROM has given no row');
      if (dropped !== undefined) {
        const values = [dropped.lastAt.getTime(), dropped.count];
        await query('INSERT INTO access_dropped (at_ms, count) VALUES ($1, $2)', values);
      }
      if (chunks.length > 0) await copyIn(`COPY access_read (${COLUMNS}) FROM STDIN`, chunks);
      // asked last: no migration changes the table any more until this transaction ends
      const [head] = await query<{ oldest: number }>(
        'SELECT oldest_writer AS oldest FROM log_head WHERE id = 1',
      );
      refuseOlderWriter(head?.oldest ?? 0, ownSchema());
      ending = begun.xid;
      await query('COMMIT');
      release();
    } catch (error) {
      release(true);
      if (ending === null || !(await this.#isCommitted(ending))) throw error;
    }
  }

  /** For a COMMIT without an answer. What is counted as dropped must not be there as well. */
  async #isCommitted(xid: string): Promise<boolean> {
    const startMs = performance.now();
    for (;;) {
      const [row] = await this.#connections
        .query<{ status: string | null }>('SELECT pg_xact_status($1::xid8) AS status', [xid])
        .catch(() => []);
      if (row !== undefined && row.status !== 'in progress') return row.status === 'committed';
      if (performance.now() - startMs > this.#unsureMs) return false;
      await wait(ASK_AGAIN_MS);
    }
  }

  /** The process is to end: the node asks only briefly whether a batch is there. */
  hurry(): void {
    this.#unsureMs = HURRIED_MS;
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

/** The names of the days of a batch, which are few. */
class Days {
  readonly #names = new Map<number, string>();

  of(ms: number): string {
    const day = Math.floor(ms / DAY_MS);
    let name = this.#names.get(day);
    if (name === undefined) {
      name = dayOf(ms);
      this.#names.set(day, name);
    }
    return name;
  }

  all(): Iterable<string> {
    return this.#names.values();
  }
}

/** In the order of COLUMNS. */
function rowOf(read: ReadCount, days: Days): string {
  const { image, number, signatureSha256, agent, token } = read;
  const firstMs = read.firstAt.getTime();
  return [
    `${days.of(firstMs)}\t${firstMs}\t${read.lastAt.getTime()}`,
    `${copyText(image.site)}\t${copyText(imageFolder(image))}\t${number ?? COPY_NULL}`,
    `${copyBytes(signatureSha256)}\t${read.status}\t${copyText(storable(read.address))}`,
    `${copyText(agent === null ? null : storable(agent))}\t${copyText(token)}\t${read.count}\t${read.bytes}`,
  ].join('\t');
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
