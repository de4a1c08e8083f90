// Questions to table audit_event of state.db. It is walked in pieces, so that a question can be stopped.
import type { Database } from 'better-sqlite3';
import { imageFolder } from '../domain/image.ts';
import { overlaps, parseNetwork, textsWithin } from '../domain/network.ts';
import { auditRowOf, type StoredEvent } from '../domain/record-rows.ts';
import type { Sums } from '../domain/record-sums.ts';
import {
  type AuditRow,
  type Dimension,
  type Grouping,
  type Position,
  type RecordFilter,
  type RepositoryTotal,
  repositoryOf,
} from '../domain/records.ts';
import { below, Conditions, type Pause, Statements } from './question-parts.ts';

const PIECE_EVENTS = 20_000;
/** So many events of a folder of repositories are named one by one; of more, most pieces have some. No filter's events are counted beyond. */
const FEW_EVENTS = 20_000;
/** So many addresses are looked at one by one; of more, the events are. */
const FEW_ADDRESSES = 20_000;
/** So many addresses are looked up in each piece; of more, the events are named once where they are few. */
const MANY_ADDRESSES = 200;

/** One connection to state.db; whoever made it closes it. */
export class AuditQuestions {
  readonly #statements: Statements;
  readonly #pause: Pause;

  constructor(db: Database, pause: Pause) {
    this.#statements = new Statements(db);
    this.#pause = pause;
    db.function('in_network', { deterministic: true }, inNetwork);
  }

  /** Newest first, at most `limit`. `after`: the number of the last event seen. */
  page(filter: RecordFilter, after: Position | null, limit: number): readonly AuditRow[] {
    // by their numbers: the index of times would lead to all events of the time, to be sorted
    const { text, valuesIn } = this.#conditions(filter, '+at_ms');
    const select = this.#statements.of<StoredEvent>(`
      SELECT seq, at_ms, leaf, private
      FROM audit_event
      WHERE seq > ? AND seq <= ?
          AND ${text}
      ORDER BY seq DESC
      LIMIT ?`);
    const rows: AuditRow[] = [];
    for (const [low, high] of this.#pieces(filter, after)) {
      rows.push(...select.all(low, high, ...valuesIn(low, high), limit - rows.length).map(auditRowOf));
      if (rows.length >= limit) break;
    }
    return rows;
  }

  sums(filter: RecordFilter, by: Grouping, sums: Sums): void {
    const { text, valuesIn } = this.#conditions(filter, 'at_ms');
    const columns = by.map((dimension, position) => `${COLUMNS[dimension]} AS d${position}`);
    const select = this.#statements.of<Record<string, string | number | null>>(`
      SELECT ${[...columns, "sum(coalesce(leaf ->> '$.count', 1)) AS count", 'count(*) AS rows'].join(', ')},
        min(at_ms) AS first_at_ms, max(at_ms) AS last_at_ms
      FROM audit_event
      WHERE seq > ? AND seq <= ?
          AND ${text}
      ${by.length === 0 ? '' : `GROUP BY ${by.map((_, position) => `d${position}`).join(', ')}`}`);
    for (const [low, high] of this.#pieces(filter, null)) {
      for (const row of select.all(low, high, ...valuesIn(low, high))) {
        const of = by.map((dimension, position) => textOf(dimension, row[`d${position}`] ?? null));
        sums.add(of, {
          count: Number(row.count ?? 0),
          bytes: 0,
          rows: Number(row.rows),
          firstAtMs: Number(row.first_at_ms),
          lastAtMs: Number(row.last_at_ms),
        });
      }
    }
  }

  /** The key that verified the signature when it was uploaded; null when it came another way. */
  keyOf(sha256: string): string | null {
    const row = this.#statements
      .plucked<string | null>(`
        SELECT leaf ->> '$.fingerprint'
        FROM audit_event
        WHERE leaf ->> '$.signatureSha256' = ? AND leaf ->> '$.fingerprint' IS NOT NULL
        LIMIT 1`)
      .get(sha256);
    return row ?? null;
  }

  /** SHA-256 of the signatures that came here verified by the key. */
  signaturesBy(fingerprint: string): readonly string[] {
    return this.#statements
      .plucked<string>(`
        SELECT DISTINCT leaf ->> '$.signatureSha256'
        FROM audit_event
        WHERE leaf ->> '$.fingerprint' = ? AND leaf ->> '$.signatureSha256' IS NOT NULL`)
      .all(fingerprint);
  }

  /** Totals of days that are over, by repository, from one hour up to another, and which days they are. */
  hours(first: number, last: number) {
    const rows = this.#statements
      .of<RepositoryTotal>(`
        SELECT repository, sum(fetched) AS fetched, sum(ended) AS ended, sum(bytes) AS bytes
        FROM access_hour
        WHERE hour >= ? AND hour < ?
        GROUP BY repository`)
      .all(first, last);
    const days = this.#statements
      .plucked<string>(`
        SELECT DISTINCT strftime('%Y-%m-%d', hour * 3600, 'unixepoch')
        FROM access_hour
        WHERE hour >= ? AND hour < ?`)
      .all(first, last);
    const dropped = this.#statements
      .plucked<number>(`
        SELECT coalesce(sum(count), 0)
        FROM access_dropped
        WHERE hour >= ? AND hour < ?`)
      .get(first, last);
    return { rows, days: new Set(days), dropped: dropped ?? 0 };
  }

  /**
   * The filter that the fewest events match leads to its events by an index, and the others are looked at there. SQLite would choose
   * without knowing how many events each has.
   */
  #conditions(filter: RecordFilter, time: 'at_ms' | '+at_ms'): ConditionsOfPieces {
    const conditions = new Conditions();
    if (filter.since !== null) conditions.add(`${time} >= ?`, filter.since.getTime());
    if (filter.until !== null) conditions.add(`${time} < ?`, filter.until.getTime());
    const leads = leadsOf(filter);
    if (filter.address !== null) {
      const lead = this.#addressesOf(filter.address);
      if (lead === null) conditions.add(`in_network(${ADDRESS}, ?)`, filter.address);
      else leads.push(lead);
    }
    if (filter.repository !== null) {
      const seqs = this.#seqsBelow(filter.repository);
      // without its index, which would lead to all events of a large folder at each piece; those of a small one are named
      const { text, values } = below(`+(${IMAGE})`, filter.repository, ['@', '/']);
      conditions.add(text, ...values);
      if (seqs !== null) leads.push(leadOf(seqs));
    }
    const best = this.#fewest(leads);
    const seqsAt = new Map<number, readonly number[]>();
    for (const lead of leads) {
      if (lead.seqs !== undefined) seqsAt.set(conditions.values.length, lead.seqs);
      conditions.add(textOfLead(lead, lead === best), lead.value);
    }
    const { text, values } = conditions;
    return {
      text,
      valuesIn: (low, high) =>
        values.map((value, at) => {
          const seqs = seqsAt.get(at);
          return seqs === undefined ? value : JSON.stringify(seqs.filter((seq) => seq > low && seq <= high));
        }),
    };
  }

  #fewest(leads: readonly Lead[]): Lead | undefined {
    if (leads.length < 2) return leads[0];
    const counts = leads.map((lead) => this.#countOf(lead));
    // the first of those with as many
    return leads[counts.indexOf(Math.min(...counts))];
  }

  /** Not beyond FEW_EVENTS. */
  #countOf(lead: Lead): number {
    if (lead.seqs !== undefined) return lead.seqs.length;
    const count = this.#statements
      .plucked<number>(`
        SELECT count(*)
        FROM (SELECT 1 FROM audit_event WHERE ${textOfLead(lead, true)} LIMIT ${FEW_EVENTS})`)
      .get(lead.value);
    return count ?? 0;
  }

  /** The numbers of the events of a folder: neither numbers nor times lead to them, and the index of images does. Null: they are many. */
  #seqsBelow(folder: string): readonly number[] | null {
    // joined by OR, the index would lead to whole rows: each for itself is answered by the index alone
    const [images, folders] = [below(IMAGE, folder, ['@']), below(IMAGE, folder, ['/'])];
    const numbers = this.#statements
      .plucked<number>(`
        SELECT seq
        FROM audit_event
        WHERE ${IMAGE} IS NOT NULL AND ${images.text}
        UNION ALL
        SELECT seq
        FROM audit_event
        WHERE ${IMAGE} IS NOT NULL AND ${folders.text}
        LIMIT ${FEW_EVENTS + 1}`)
      .all(...images.values, ...folders.values);
    return numbers.length <= FEW_EVENTS ? numbers : null;
  }

  /** The addresses of a network are looked up first, so that the index leads to their events. Null: they are many. */
  #addressesOf(asked: string): Lead | null {
    const [low, high] = textsWithin(asked);
    const addresses = this.#statements
      .plucked<string>(`
        WITH RECURSIVE one (address) AS (
          SELECT min(${ADDRESS}) FROM audit_event WHERE ${ADDRESS} IS NOT NULL AND ${ADDRESS} >= ?
          UNION ALL
          SELECT (SELECT min(${ADDRESS}) FROM audit_event WHERE ${ADDRESS} IS NOT NULL AND ${ADDRESS} > one.address)
          FROM one
          WHERE one.address <= ?
        )
        SELECT address
        FROM one
        WHERE address <= ?
        LIMIT ${FEW_ADDRESSES + 1}`)
      .all(low, high, high);
    if (addresses.length > FEW_ADDRESSES) return null;
    const within = addresses.filter((one) => inNetwork(one, asked) === 1);
    const indexed = `${ADDRESS} IS NOT NULL`;
    const lead: Lead = { column: ADDRESS, test: AMONG, value: JSON.stringify(within), indexed };
    if (within.length <= MANY_ADDRESSES) return lead;
    const seqs = this.#statements
      .plucked<number>(`
        SELECT seq
        FROM audit_event
        WHERE ${textOfLead(lead, true)}
        LIMIT ${FEW_EVENTS + 1}`)
      .all(lead.value);
    return seqs.length <= FEW_EVENTS ? leadOf(seqs) : lead;
  }

  /** Ranges of numbers, newest first, that hold all events of the time. */
  *#pieces({ since, until }: RecordFilter, after: Position | null): Generator<readonly [number, number]> {
    const newest = until === null ? this.#lastNumber() : this.#lastNumberBefore(until);
    for (
      let high = Math.min(newest, (after?.[0] ?? Number.MAX_SAFE_INTEGER) - 1);
      high > 0;
      high -= PIECE_EVENTS
    ) {
      // where the page is full already, nobody asks how far back the time goes
      if (since !== null && !this.#hasUpTo(high, since)) return;
      yield [Math.max(high - PIECE_EVENTS, 0), high];
      this.#pause();
    }
  }

  #lastNumber(): number {
    return this.#statements.plucked<number>('SELECT coalesce(max(seq), 0) FROM audit_event').get() ?? 0;
  }

  /** A clock may have been set back: numbers and times do not have the same order. */
  #lastNumberBefore(until: Date): number {
    return (
      this.#statements
        .plucked<number>(`
          SELECT coalesce(max(seq), 0)
          FROM audit_event INDEXED BY audit_event_by_time
          WHERE at_ms < ?`)
        .get(until.getTime()) ?? 0
    );
  }

  /** By time, so that the first that is looked at is low enough wherever any is, unless the clock was set back. */
  #hasUpTo(high: number, since: Date): boolean {
    const row = this.#statements
      .plucked<number>(`
        SELECT 1
        FROM audit_event INDEXED BY audit_event_by_time
        WHERE at_ms >= ? AND seq <= ?
        LIMIT 1`)
      .get(since.getTime(), high);
    return row !== undefined;
  }
}

const IMAGE = "leaf ->> '$.image'";
/** As in its index. The names of all algorithms have six characters. */
const DIGEST = `substr(${IMAGE}, instr(${IMAGE}, '=') - 6)`;
const ADDRESS = "private ->> '$.address'";

const COLUMNS: Readonly<Record<Dimension, string>> = {
  repository: "leaf ->> '$.image'",
  image: "leaf ->> '$.image'",
  signature: "leaf ->> '$.signatureSha256'",
  key: "leaf ->> '$.fingerprint'",
  actor: "private ->> '$.actor'",
  address: "private ->> '$.address'",
  day: "strftime('%Y-%m-%d', at_ms / 1000, 'unixepoch')",
  action: "leaf ->> '$.action'",
  result: "leaf ->> '$.result'",
  agent: 'NULL',
  status: 'NULL',
};

function textOf(dimension: Dimension, value: string | number | null): string | null {
  if (value === null) return null;
  const name = String(value).replace('=', ':');
  if (dimension === 'image') return name;
  return dimension === 'repository' ? repositoryOf(name) : String(value);
}

const AMONG = 'IN (SELECT value FROM json_each(?))';

/** A filter with an index that leads to the events that it matches. */
interface Lead {
  readonly column: string;
  readonly test: '= ?' | typeof AMONG;
  readonly value: string;
  /** The condition of the index, which SQLite wants to read in the question. */
  readonly indexed?: string;
  /** All that match, where `column` is their number: each piece is given those in it, in the place of `value`. */
  readonly seqs?: readonly number[];
}

/** The events of these numbers. */
function leadOf(seqs: readonly number[]): Lead {
  return { column: 'seq', test: AMONG, value: '[]', seqs };
}

interface ConditionsOfPieces {
  readonly text: string;
  /** Behind `low`, up to `high`. */
  readonly valuesIn: (low: number, high: number) => readonly (string | number | Uint8Array)[];
}

/** Without the index, the same events match. */
function textOfLead({ column, test, indexed }: Lead, isByIndex: boolean): string {
  if (!isByIndex) return `+(${column}) ${test}`;
  return indexed === undefined ? `${column} ${test}` : `${indexed} AND ${column} ${test}`;
}

/** Those that mostly match fewer events come first. */
function leadsOf({ site, image, signature, fingerprint, actor, action, result }: RecordFilter): Lead[] {
  const leads: Lead[] = [];
  const add = (column: string, value: string | null, indexed?: string) => {
    if (value !== null)
      leads.push({ column, test: '= ?', value, ...(indexed === undefined ? {} : { indexed }) });
  };
  add("leaf ->> '$.signatureSha256'", signature);
  if (image !== null) {
    const { digest, place } = image;
    // the path and the layout say all of a folder but the site
    if (place !== null) add(IMAGE, imageFolder({ site: '', ...digest, ...place }));
    else add(DIGEST, `${digest.algorithm}=${digest.hex}`, `${IMAGE} IS NOT NULL`);
  }
  add("leaf ->> '$.fingerprint'", fingerprint);
  add("private ->> '$.actor'", actor, 'private IS NOT NULL');
  add("leaf ->> '$.result'", result);
  add("leaf ->> '$.action'", action);
  add("leaf ->> '$.site'", site);
  return leads;
}

function inNetwork(address: unknown, asked: unknown): number {
  if (typeof address !== 'string' || typeof asked !== 'string') return 0;
  if (address === asked) return 1;
  const [one, other] = [parseNetwork(address), parseNetwork(asked)];
  return one !== null && other !== null && overlaps(one, other) ? 1 : 0;
}
