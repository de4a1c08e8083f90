// A database on its way back into a data directory: all of it as it was at one moment, in rows for the tables of the directory.
import { setTimeout as wait } from 'node:timers/promises';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, parseLongImageFolder } from '../domain/image.ts';
import type { LogReaderStore } from '../domain/log.ts';
import { parseMirrorSettings } from '../domain/mirror-settings.ts';
import {
  CHECKPOINTS,
  COUNTED,
  EVENTS,
  HASHES,
  HOURS,
  IDENTITIES,
  isMoved,
  isOfSites,
  MIRRORS,
  type MovedTable,
  RULES,
  SIGNATURE_COLUMNS,
  TOMBSTONES,
  UPLOADS,
  WITNESSED,
} from '../domain/moved-tables.ts';
import {
  filesOfMirror,
  type MovedCounts,
  type MovedMirror,
  type MovedPart,
  type MovedRow,
  type MoveSource,
  type MoveStep,
} from '../domain/moving.ts';
import { IS_MISSING } from './access-questions.ts';
import { type Connections, connect, isLockTimeout, type Query } from './connect.ts';
import { LEADER_LOCK } from './leader.ts';
import { readOnlyLog } from './log-store.ts';
import { requireSchema } from './migrate.ts';
import { acceptMovedBack, beginMoveBack, endMoveBack } from './moved-back.ts';
import { countsOf, markSignatures } from './moving.ts';
import { refuseHalfMoved } from './writer.ts';

type Taken = Awaited<ReturnType<Connections['take']>>;

/** Sessions of what has just been stopped have ended by then. */
const STOPPING_MS = 3000;
const ROWS_AT_ONCE = 2000;
/** Rows of these tables may hold the bytes of a signature. */
const LARGE_ROWS_AT_ONCE = 50;
const BYTES_AT_ONCE = 8 * 1024 * 1024;

export interface OpenedMoveSource extends MoveSource {
  readonly log: LogReaderStore;
  /** Names of mirrors that stay behind. */
  readonly mirrorsLeft: readonly string[];
  /** Says that all of it is in the directory, which is not opened before. */
  end(): Promise<void>;
  /** The directory can be opened: the bar stays. */
  stayBarred(): void;
  close(): Promise<void>;
}

export interface OpenMoveSourceOptions {
  readonly url: string;
  /** Nodes may run meanwhile. */
  readonly isDryRun: boolean;
  /** Mirrors stay behind. */
  readonly withoutMirrors: boolean;
  /** The data directory and its machine, for people. */
  readonly place: string;
  readonly onProgress: (signatures: number) => void;
}

/**
 * Until close(), no node and no command changes anything. A dry run hinders nobody.
 * @throws LookasideError ALREADY_RUNNING while a node or another command uses it. STATE_UNUSABLE when the database is of another
 * version or half filled. DAMAGE_FOUND when bytes of a signature are others. STORE_UNAVAILABLE.
 */
export async function openMoveSource({
  url,
  isDryRun,
  withoutMirrors,
  place,
  onProgress,
}: OpenMoveSourceOptions): Promise<OpenedMoveSource> {
  const connections = connect({ url, poolSize: 3, isPatient: true });
  const taken: Taken[] = [];
  const bar: Bar = { isOurs: false };
  const close = async () => {
    // a move that has failed, or was a dry run, has moved nothing
    if (bar.isOurs) await acceptMovedBack(connections.query).catch(() => undefined);
    for (const { release } of taken) release(true); // with the sessions go their locks
    await connections.close();
  };
  try {
    await requireSchema(connections);
    await refuseHalfMoved(connections.query);
    if (!isDryRun) await keepOut(connections, taken, { place, bar });
    const query = await openSnapshot(connections, taken);
    const mirrors = await mirrorsIn(query);
    const names = mirrors.map(({ name }) => name);
    const sites = [DEFAULT_SITE, ...(withoutMirrors ? [] : names)];
    const snapshot = { query, sites };
    const counts = await countAll(snapshot);
    const [fillers] = await query<{ count: number }>(
      `SELECT count(*) AS count FROM signature AS s JOIN image AS i ON i.id = s.image_id WHERE s.filler AND ${isOfSites('i.site', sites)}`,
    );
    return {
      counts,
      fillers: fillers?.count ?? 0,
      mirrors: withoutMirrors ? [] : mirrors,
      mirrorsLeft: withoutMirrors ? names : [],
      signatures: await markSignatures(query, sites, onProgress),
      mark: '', // a directory is filled at one go
      parts: ({ step }) => partsOf(snapshot, step),
      rules: async () => {
        const rules: [string, readonly MovedRow[]][] = [];
        for (const table of RULES) rules.push([table.name, await rowsOf(snapshot, table)]);
        return rules;
      },
      numbers: () => numbersOf(query),
      log: readOnlyLog({ query }),
      async end() {
        await endMoveBack(connections.query, place, new Date());
      },
      stayBarred() {
        bar.isOurs = false;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What keeps nodes from starting; it is taken away again when the move fails that has put it there. */
interface Bar {
  isOurs: boolean;
}

/** A session that waits for the files of the directory, for as long as it takes. */
async function takePatient(connections: Connections, taken: Taken[]): Promise<Query> {
  const session = await connections.take();
  taken.push(session);
  await session.query('SET idle_in_transaction_session_timeout = 0');
  return session.query;
}

/** What is written meanwhile would be missing in the directory. @throws LookasideError ALREADY_RUNNING, STORE_UNAVAILABLE */
async function keepOut(
  connections: Connections,
  taken: Taken[],
  { place, bar }: { readonly place: string; readonly bar: Bar },
): Promise<void> {
  const query = await takePatient(connections, taken);
  // sessions of a node that has just been stopped end a moment later
  await query(`SET lock_timeout = ${STOPPING_MS}`);
  await query(`SELECT pg_advisory_lock(${LEADER_LOCK})`).catch(async (error: unknown) => {
    if (!isLockTimeout(error)) throw error;
    throw isInUse(await othersOf(query), error);
  });
  // what starts from now on sees it, and what has started before is seen
  bar.isOurs = await beginMoveBack(query, place, new Date());
  await refuseOthers(query);
  await query("SET lock_timeout = '10s'");
  await query('BEGIN');
  await query('SELECT size FROM log_head WHERE id = 1 FOR UPDATE');
}

/** One of several nodes leads, and this session may have taken its place. */
async function refuseOthers(query: Query): Promise<void> {
  const startMs = performance.now();
  for (;;) {
    const others = await othersOf(query);
    if (others.length === 0) return;
    if (performance.now() - startMs > STOPPING_MS) throw isInUse(others);
    await wait(100);
  }
}

/** The machines whose nodes and commands are connected to the database, beside this session. */
async function othersOf(query: Query): Promise<readonly string[]> {
  const others = await query<{ place: string }>(`
    SELECT DISTINCT coalesce(host(client_addr), 'its own machine') AS place
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = current_setting('application_name')
      AND pid <> pg_backend_pid()
    ORDER BY 1`);
  return others.map(({ place }) => place);
}

/** `places` may be empty: the session that was in the way may have ended meanwhile. */
function isInUse(places: readonly string[], cause?: unknown): LookasideError {
  const from = places.length === 0 ? '' : ` from ${places.join(', ')}`;
  return new LookasideError(
    'ALREADY_RUNNING',
    `a node or a command of lookaside uses this database${from}, and what it takes meanwhile would be missing in the directory; stop all nodes, and give the same command again`,
    { cause },
  );
}

async function openSnapshot(connections: Connections, taken: Taken[]): Promise<Query> {
  const query = await takePatient(connections, taken);
  await query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  return query;
}

/** The view of the database, and the sites whose rows are moved. */
interface Snapshot {
  readonly query: Query;
  readonly sites: readonly string[];
}

interface MirrorRow {
  readonly name: string;
  readonly settings: string;
  readonly sets: number;
  readonly images: number;
  readonly signatures: number;
}

async function mirrorsIn(query: Query): Promise<readonly MovedMirror[]> {
  const rows = await query<MirrorRow>(`
    SELECT m.name, m.settings, (SELECT count(*) FROM mirror_set AS t WHERE t.site = m.name) AS sets,
      count(DISTINCT s.image_id) AS images, count(s.id) FILTER (WHERE NOT s.filler) AS signatures
    FROM mirror AS m
    LEFT JOIN image AS i ON i.site = m.name
    LEFT JOIN signature AS s ON s.image_id = i.id
    GROUP BY m.name
    ORDER BY m.name`);
  return rows.map(({ settings, ...mirror }) => ({
    ...mirror,
    files: filesOfMirror(parseMirrorSettings(JSON.parse(settings))),
  }));
}

async function countAll({ query, sites }: Snapshot): Promise<MovedCounts> {
  const counts = await countsOf(
    query,
    COUNTED.map(({ name }) => name),
    new Map(COUNTED.map((table) => [table.name, isMoved(table, sites)])),
  );
  const [row] = await query<{ images: number; signatures: number; reads: number }>(`
    SELECT count(DISTINCT s.image_id) AS images, count(s.id) AS signatures,
      (SELECT count(*) FROM (${READS}) AS r) + (SELECT count(*) FROM (${MISSING}) AS m) AS reads
    FROM signature AS s
    JOIN image AS i ON i.id = s.image_id
    WHERE ${isOfSites('i.site', sites)}`);
  if (row === undefined) throw new Error('a query without FROM has given no row');
  return { ...counts, image: row.images, signature: row.signatures, access_read: row.reads };
}

async function* partsOf(snapshot: Snapshot, step: MoveStep): AsyncGenerator<MovedPart> {
  switch (step) {
    case 'events':
      return yield* inParts(snapshot, EVENTS);
    case 'hashes':
      return yield* inParts(snapshot, HASHES);
    case 'checkpoints':
      yield* inParts(snapshot, IDENTITIES);
      yield* inParts(snapshot, WITNESSED);
      return yield* inParts(snapshot, CHECKPOINTS);
    case 'uploads':
      return yield* inParts(snapshot, UPLOADS, LARGE_ROWS_AT_ONCE);
    case 'tombstones':
      return yield* inParts(snapshot, TOMBSTONES, LARGE_ROWS_AT_ONCE);
    case 'signatures':
      return yield* signatureParts(snapshot);
    case 'mirrors':
      for (const table of MIRRORS) yield* inParts(snapshot, table);
      return;
    case 'reads':
      // day by day: each is a file
      yield* fetched(snapshot.query, 'access_read', `${READS} ORDER BY day`, ROWS_AT_ONCE);
      return yield* fetched(snapshot.query, 'access_missing', `${MISSING} ORDER BY day`, ROWS_AT_ONCE);
    case 'hours':
      yield* fetched(
        snapshot.query,
        'access_dropped',
        'SELECT at_ms, count FROM access_dropped',
        ROWS_AT_ONCE,
      );
      return yield* inParts(snapshot, HOURS);
  }
}

/** Rows of several nodes for one client, signature and minute are one row of a day's file, which has no NULL. */
const READS = `
  SELECT to_char(day, 'YYYY-MM-DD') AS day, site, folder, first_at_ms / 60000 AS minute,
    coalesce(number, CASE WHEN agent IS NULL THEN -1 ELSE 0 END) AS number, sha256, status, address,
    coalesce(agent, 'other') AS agent, coalesce(token, '') AS token, min(first_at_ms) AS first_at_ms,
    max(last_at_ms) AS last_at_ms, sum(count)::bigint AS count, sum(bytes)::bigint AS bytes
  FROM access_read
  WHERE NOT ${IS_MISSING}
  GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10`;
const MISSING = `
  SELECT to_char(day, 'YYYY-MM-DD') AS day, site, folder, min(first_at_ms) AS first_at_ms,
    max(last_at_ms) AS last_at_ms, sum(count)::bigint AS count,
    (array_agg(address ORDER BY last_at_ms DESC))[1] AS address
  FROM access_read
  WHERE ${IS_MISSING}
  GROUP BY 1, 2, 3`;

function inParts(
  { query, sites }: Snapshot,
  table: MovedTable,
  rowsAtOnce = ROWS_AT_ONCE,
): AsyncGenerator<MovedPart> {
  return fetched(query, table.name, selectOf(table, sites), rowsAtOnce);
}

function selectOf(table: MovedTable, sites: readonly string[]): string {
  const { name, columns, key } = table;
  return `SELECT ${columns.join(', ')} FROM ${name} WHERE ${isMoved(table, sites)} ORDER BY ${key}`;
}

async function rowsOf({ query, sites }: Snapshot, table: MovedTable): Promise<readonly MovedRow[]> {
  return (await query<PostgresRow>(selectOf(table, sites))).map(movedRow);
}

/** The server keeps what was not fetched yet. */
async function* fetched(
  query: Query,
  name: string,
  sql: string,
  rowsAtOnce: number,
): AsyncGenerator<MovedPart> {
  await query(`DECLARE moved NO SCROLL CURSOR FOR ${sql}`);
  for (;;) {
    const rows = await query<PostgresRow>(`FETCH ${rowsAtOnce} FROM moved`);
    if (rows.length === 0) break;
    yield { rows: [[name, rows.map(movedRow)]], cursor: '' };
  }
  await query('CLOSE moved');
}

type PostgresRow = Readonly<Record<string, string | number | boolean | Buffer | null>>;

function movedRow(row: PostgresRow): MovedRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, typeof value === 'boolean' ? Number(value) : value]),
  );
}

interface SizeRow {
  readonly image_id: number;
  readonly number: number;
  readonly size_bytes: number;
}

/** Many small ones at once, and few large ones. */
async function* signatureParts({ query, sites }: Snapshot): AsyncGenerator<MovedPart> {
  for (let after = [0, 0]; ; ) {
    const sizes = await query<SizeRow>(
      `
      SELECT image_id, number, size_bytes
      FROM signature
      JOIN image AS i ON i.id = image_id
      WHERE (image_id, number) > ($1::bigint, $2::integer) AND ${isOfSites('i.site', sites)}
      ORDER BY image_id, number
      LIMIT ${ROWS_AT_ONCE}`,
      after,
    );
    if (sizes.length === 0) return;
    let bytes = 0;
    for (const [position, { image_id, number, size_bytes }] of sizes.entries()) {
      bytes += size_bytes;
      const next = sizes[position + 1];
      if (next !== undefined && bytes + next.size_bytes <= BYTES_AT_ONCE) continue;
      yield {
        rows: [['signature', await signaturesBetween({ query, sites }, after, [image_id, number])]],
        cursor: '',
      };
      after = [image_id, number];
      bytes = 0;
    }
  }
}

async function signaturesBetween(
  { query, sites }: Snapshot,
  after: readonly number[],
  last: readonly number[],
): Promise<readonly MovedRow[]> {
  const columns = SIGNATURE_COLUMNS.filter((name) => name !== 'judge_at_ms').map((name) => `s.${name}`);
  const rows = await query<PostgresRow & { site: string; folder: string }>(
    `
    SELECT i.site, i.folder, s.number, s.sha256, b.bytes, ${columns.join(', ')},
      CASE WHEN EXISTS (
        SELECT 1 FROM judge_again AS j WHERE j.issuer IN (s.issuer, s.fingerprint) AND s.id > j.after_id
      ) THEN 0 ELSE s.judge_at_ms END AS judge_at_ms
    FROM signature AS s
    JOIN image AS i ON i.id = s.image_id
    JOIN blob AS b ON b.image_id = s.image_id AND b.sha256 = s.sha256
    WHERE (s.image_id, s.number) > ($1::bigint, $2::integer) AND (s.image_id, s.number) <= ($3::bigint, $4::integer)
      AND ${isOfSites('i.site', sites)}
    ORDER BY s.image_id, s.number`,
    [...after, ...last],
  );
  return rows.map((row) => {
    if (parseLongImageFolder(row.site, row.folder) === null)
      throw new Error(`${row.folder} is not the folder of an image`);
    return movedRow(row);
  });
}

/** The highest number that a sequence has given; 0 when it has given none. */
async function numbersOf(query: Query): Promise<MovedCounts> {
  const numbers: [string, number][] = [];
  for (const table of ['signature', ...RULES.map(({ name }) => name)]) {
    const [row] = await query<{ number: number | null }>(
      `SELECT pg_sequence_last_value(pg_get_serial_sequence('${table}', 'id')::regclass) AS number`,
    );
    numbers.push([table, row?.number ?? 0]);
  }
  return Object.fromEntries(numbers);
}
