// A data directory on its way into this database: parts of its rows, each with the place that they reach in one transaction. No node
// starts before the last one.
import { createHash } from 'node:crypto';
import { LookasideError } from '../domain/errors.ts';
import type { LogReaderStore } from '../domain/log.ts';
import { isOfSites, MIRRORS } from '../domain/moved-tables.ts';
import {
  type MovedCounts,
  type MovedPart,
  type MovedRow,
  type MovedValue,
  type MovePlace,
  type MoveTarget,
  placeInSite,
  SignaturesMark,
  signatureText,
} from '../domain/moving.ts';
import { dayPartition } from './access-log.ts';
import { connect, isDuplicate, type Query } from './connect.ts';
import { storable } from './image-rows.ts';
import { readOnlyLog } from './log-store.ts';
import { migrate } from './migrate.ts';
import { checkServer } from './open.ts';

/** The key of the advisory lock, which one run holds: "lookmove" in ASCII. */
const LOCK = '7813586407223883365';

/** All that a move fills, in an order in which rows that refer to others are emptied with them. */
const FILLED = `audit_event, log_hash, log_identity, log_checkpoint, witnessed, upload, tombstone, image, blob, signature, folder_entry,
  access_read, access_hour, access_dropped, signer, signer_grant, oidc_subject, token, page_session, openpgp_key,
  ${MIRRORS.map(({ name }) => name).join(', ')}`;

/** Tables whose ids the database gives. */
const NUMBERED = ['log_identity', 'log_checkpoint', 'image', 'signature', 'signer', 'signer_grant'].concat([
  ...['oidc_subject', 'token', 'page_session', 'openpgp_key'],
]);

/** Tables that no node leaves all empty once it has begun. */
const TELLING = ['audit_event', 'log_identity', 'image', 'token', 'signer', 'openpgp_key'];

const IMAGES_AT_ONCE = 500;

export interface OpenedMoveTarget extends MoveTarget {
  readonly log: LogReaderStore;
  close(): Promise<void>;
}

export interface OpenMoveTargetOptions {
  readonly url: string;
  /** The database is looked at, and nothing changed. */
  readonly isDryRun: boolean;
  readonly warn: (message: string) => void;
}

/** @throws LookasideError STATE_UNUSABLE, BUSY when another run fills the database, STORE_UNAVAILABLE */
export async function openMoveTarget({
  url,
  isDryRun,
  warn,
}: OpenMoveTargetOptions): Promise<OpenedMoveTarget> {
  const connections = connect({ url, poolSize: 2, isPatient: true });
  try {
    await checkServer(connections, warn, false);
    if (!isDryRun) await migrate(connections);
    const { query, release } = await connections.take();
    const [held] = await query<{ got: boolean }>(`SELECT pg_try_advisory_lock(${LOCK}) AS got`);
    if (held?.got !== true) {
      release(true);
      throw new LookasideError('BUSY', 'another lookaside migrate fills this database now; wait for its end');
    }
    return {
      ...moveTarget(query),
      log: readOnlyLog(connections),
      async close() {
        release(true); // with it goes the lock
        await connections.close();
      },
    };
  } catch (error) {
    await connections.close();
    throw error;
  }
}

function moveTarget(query: Query): MoveTarget {
  return {
    async look(mark) {
      const [schema] = await query<{ has: boolean }>(
        "SELECT to_regclass('moved_directory') IS NOT NULL AS has",
      );
      if (schema?.has !== true) {
        const [older] = await query<{ has: boolean }>("SELECT to_regclass('audit_event') IS NOT NULL AS has");
        if (older?.has === true) await refuseFilled(query);
        return null;
      }
      const [move] = await query<MoveRow>(
        'SELECT mark, step, cursor, finished_at_ms FROM moved_directory WHERE id = 1',
      );
      const place = placeOf(move, mark);
      if (move === undefined) await refuseFilled(query);
      return place;
    },
    async begin(mark, now) {
      const [move] = await query<MoveRow>(
        'SELECT mark, step, cursor, finished_at_ms FROM moved_directory WHERE id = 1',
      );
      const place = placeOf(move, mark);
      if (place !== null) return place;
      // a node that starts meanwhile has written before, and is seen, or finds the row with its first change
      await inTransaction(query, async () => {
        if (move !== undefined) await empty(query);
        await refuseFilled(query);
        await query(
          `
          INSERT INTO moved_directory (id, mark, step, started_at_ms)
          VALUES (1, $1, 'events', $2)`,
          [mark, now.getTime()],
        );
      });
      return null;
    },
    put: (step, part) =>
      inTransaction(query, async () => {
        await insertPart(query, part).catch((error) => Promise.reject(asOther(error)));
        await query('UPDATE moved_directory SET step = $1, cursor = $2 WHERE id = 1', [step, part.cursor]);
      }),
    counts: (tables) => countsOf(query, tables),
    signatures: (onProgress) => markSignatures(query, null, onProgress),
    finish: ({ rules, numbers, now, check }) =>
      inTransaction(query, async () => {
        await insertPart(query, { rules: true, rows: rules });
        check(
          await countsOf(
            query,
            rules.map(([table]) => table),
          ),
        );
        await setNumbers(query, numbers);
        await query('UPDATE moved_directory SET finished_at_ms = $1 WHERE id = 1', [now.getTime()]);
      }),
    clear: () => inTransaction(query, () => empty(query)),
  };
}

interface MoveRow {
  readonly mark: string;
  readonly step: MovePlace['step'];
  readonly cursor: string | null;
  readonly finished_at_ms: number | null;
}

/** Null: it is to begin anew. @throws LookasideError NAME_TAKEN */
function placeOf(move: MoveRow | undefined, mark: string): MovePlace | 'finished' | null {
  if (move === undefined) return null;
  if (move.mark === mark)
    return move.finished_at_ms === null ? { step: move.step, cursor: move.cursor } : 'finished';
  if (move.finished_at_ms === null) return null;
  throw occupied('a data directory was moved there already, and it was in another state than this one is in');
}

/** Rows that are there already are not of the directory as it is now. */
function asOther(error: unknown): unknown {
  if (!isDuplicate(error)) return error;
  const message =
    'rows of an earlier run are not those of the directory as it is now; give the same command again, which begins anew';
  return new LookasideError('CHANGED_MEANWHILE', message, { cause: error });
}

function occupied(what: string): LookasideError {
  return new LookasideError(
    'NAME_TAKEN',
    `the database is not empty: ${what}; name an empty one, made with: CREATE DATABASE lookaside2 OWNER lookaside ENCODING 'UTF8' TEMPLATE template0`,
  );
}

/** @throws LookasideError NAME_TAKEN */
async function refuseFilled(query: Query): Promise<void> {
  for (const table of TELLING) {
    const rows = await query(`SELECT 1 FROM ${table} LIMIT 1`);
    if (rows.length > 0) throw occupied(`table ${table} has rows, as a node or a command has left them`);
  }
}

async function inTransaction(query: Query, act: () => Promise<void>): Promise<void> {
  await query('BEGIN');
  try {
    // nodes that were started before the move begin no change meanwhile, and find that it is not theirs to begin
    const [head] = await query<{ size: number }>('SELECT size FROM log_head WHERE id = 1 FOR UPDATE');
    if (head === undefined || head.size > 0) throw occupied('a node has begun to write there');
    await act();
    await query('COMMIT');
  } catch (error) {
    await query('ROLLBACK').catch(() => undefined); // the server does so by itself when it cannot be told
    throw error;
  }
}

async function insertPart(query: Query, part: { readonly rows: MovedPart['rows']; readonly rules?: true }) {
  for (const [table, rows] of part.rows) {
    const [first] = rows;
    if (first === undefined) continue;
    if (table === 'access_read') {
      for (const day of new Set(rows.map((row) => String(row.day)))) await query(dayPartition(day));
    }
    const columns = Object.keys(first).join(', ');
    const conflict =
      table === 'folder_entry'
        ? 'ON CONFLICT (site, folder, sort_key, name) DO UPDATE SET images = folder_entry.images + excluded.images'
        : '';
    await query(
      `
      INSERT INTO ${table} (${columns})
      OVERRIDING SYSTEM VALUE
      SELECT ${columns}
      FROM json_populate_recordset(NULL::${table}, $1::json)
      ${conflict}`,
      [JSON.stringify(rows.map(toJson))],
    );
  }
}

function toJson(row: MovedRow): Record<string, MovedValue> {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      typeof value === 'string'
        ? storable(value)
        : value instanceof Uint8Array
          ? `\\x${Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex')}`
          : value,
    ]),
  );
}

/** `conditions`: of those of the tables of which not all rows count. */
export async function countsOf(
  query: Query,
  tables: readonly string[],
  conditions: ReadonlyMap<string, string> = new Map(),
): Promise<MovedCounts> {
  const counts: [string, number][] = [];
  for (const table of tables) {
    const condition = conditions.get(table) ?? 'true';
    const [row] = await query<{ count: number }>(`SELECT count(*) AS count FROM ${table} WHERE ${condition}`);
    counts.push([table, row?.count ?? 0]);
  }
  return Object.fromEntries(counts);
}

interface HashedRow {
  readonly image_id: number;
  readonly site: string;
  readonly folder: string;
  readonly number: number;
  readonly sha256: string;
  readonly actual: string;
}

/** `sites`: whose signatures; null: those of all. */
export async function markSignatures(
  query: Query,
  sites: readonly string[] | null,
  onProgress: (done: number) => void,
): Promise<string> {
  const mark = new SignaturesMark();
  let done = 0;
  for (let after = 0; ; after += IMAGES_AT_ONCE) {
    const rows = await query<HashedRow>(
      `
      SELECT i.id AS image_id, i.site, i.folder, s.number, encode(s.sha256, 'hex') AS sha256,
        encode(sha256(b.bytes), 'hex') AS actual
      FROM image AS i
      JOIN signature AS s ON s.image_id = i.id
      JOIN blob AS b ON b.image_id = s.image_id AND b.sha256 = s.sha256
      WHERE i.id > $1 AND i.id <= $2 AND ${sites === null ? 'TRUE' : isOfSites('i.site', sites)}`,
      [after, after + IMAGES_AT_ONCE],
    );
    for (const { site, folder, number, sha256, actual } of rows) {
      if (sha256 !== actual) {
        throw new LookasideError(
          'DAMAGE_FOUND',
          `${placeInSite(site, `${folder}/signature-${number}`)} has other bytes in the database than its hash says; make a new database and begin anew`,
        );
      }
      mark.add(
        createHash('sha256')
          .update(signatureText(site, folder, number, sha256))
          .digest('hex'),
      );
    }
    done += rows.length;
    onProgress(done);
    if (rows.length > 0) continue;
    const [last] = await query<{ id: number | null }>('SELECT max(id) AS id FROM image');
    if ((last?.id ?? 0) <= after + IMAGES_AT_ONCE) return mark.text();
  }
}

/** What comes next goes on from what was moved; nodes read keys and tokens anew. */
async function setNumbers(query: Query, numbers: MovedCounts): Promise<void> {
  for (const table of NUMBERED) {
    await query(
      `
      SELECT setval(pg_get_serial_sequence('${table}', 'id'), greatest(max(id), $1))
      FROM ${table}
      HAVING greatest(max(id), $1) > 0`,
      [numbers[table] ?? 0],
    );
  }
  await query(
    "SELECT setval('set_generation', max(generation)) FROM image HAVING max(generation) IS NOT NULL",
  );
  await query('UPDATE log_head SET size = (SELECT coalesce(max(seq), 0) FROM audit_event) WHERE id = 1');
  await query('UPDATE change SET number = number + 1');
}

/** Events are never deleted, but for those that nobody has seen yet. */
async function empty(query: Query): Promise<void> {
  await query('ALTER TABLE audit_event DISABLE TRIGGER USER');
  await query(`TRUNCATE ${FILLED}`);
  await query('ALTER TABLE audit_event ENABLE TRIGGER USER');
  await query('DELETE FROM moved_directory');
}
