// Brings a database to the schema of this code: the first node runs the files of migrations/postgres, others wait for it.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LookasideError } from '../domain/errors.ts';
import type { Connections, Query } from './connect.ts';

/** The key of the advisory lock: "lookside" in ASCII. */
const LOCK = '7813586407089136485';

interface Migration {
  readonly version: number;
  readonly sql: string;
}

/**
 * Runs the migrations that the database lacks, each in one transaction. It writes nothing when none is missing: a node starts on a
 * database that takes no changes too.
 * @throws LookasideError STATE_UNUSABLE when the database is of a newer version, or lacks some and takes no changes; STORE_UNAVAILABLE
 */
export async function migrate(connections: Connections): Promise<void> {
  const migrations = readMigrations();
  const before = await schemaOf(connections.query, migrations.length);
  if (before === migrations.length) return;
  await refuseReadOnly(connections.query, before, migrations.length);
  const { query, release } = await connections.take();
  let isDone = false;
  try {
    // a migration takes as long as it takes, and another node's too
    await query(
      'SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0',
    );
    await query(`SELECT pg_advisory_lock(${LOCK})`);
    await query(
      'CREATE TABLE IF NOT EXISTS lookaside_schema (version integer PRIMARY KEY, at timestamptz NOT NULL)',
    );
    const schema = await schemaOf(query, migrations.length);
    for (const { version, sql } of migrations.slice(schema)) {
      await query(
        `BEGIN; ${sql}; INSERT INTO lookaside_schema (version, at) VALUES (${version}, now()); COMMIT`,
      );
    }
    isDone = true;
  } finally {
    release(true); // with it go the lock and the settings
    if (isDone) await connections.query('SELECT 1');
  }
}

/**
 * For a command beside nodes, which may be of an older release: it must not change their tables.
 * @throws LookasideError STATE_UNUSABLE when the database is of another version; STORE_UNAVAILABLE
 */
export async function requireSchema({ query }: Pick<Connections, 'query'>): Promise<void> {
  const newest = readMigrations().length;
  const schema = await schemaOf(query, newest);
  if (schema === newest) return;
  throw new LookasideError(
    'STATE_UNUSABLE',
    `the database ${has(schema)}, and this command needs ${newest}; start a node (lookaside serve) of this release first, or ask a running node with --server`,
  );
}

const has = (schema: number) =>
  schema === 0 ? 'has no tables of lookaside' : `has the schema ${schema} of an older lookaside`;

async function refuseReadOnly(query: Query, schema: number, newest: number): Promise<void> {
  const [row] = await query<{ closed: boolean }>(
    "SELECT current_setting('transaction_read_only') = 'on' AS closed",
  );
  if (row?.closed !== true) return;
  throw new LookasideError(
    'STATE_UNUSABLE',
    `the database ${has(schema)}, this release needs ${newest}, and the database takes no changes, as a standby does; start a node of this release over the primary first, which brings the tables up to date`,
  );
}

/** No release of lookaside uses the database yet. @throws LookasideError STORE_UNAVAILABLE */
export async function isEmpty({ query }: Pick<Connections, 'query'>): Promise<boolean> {
  return (await schemaOf(query, Number.POSITIVE_INFINITY)) === 0;
}

/** 0 = there are no tables. @throws LookasideError STATE_UNUSABLE when it is newer than `newest` */
async function schemaOf(query: Query, newest: number): Promise<number> {
  const [table] = await query<{ there: boolean }>(
    "SELECT to_regclass('lookaside_schema') IS NOT NULL AS there",
  );
  if (table?.there !== true) return 0;
  const [row] = await query<{ version: number | null }>(
    'SELECT max(version) AS version FROM lookaside_schema',
  );
  const schema = row?.version ?? 0;
  if (schema <= newest) return schema;
  throw new LookasideError(
    'STATE_UNUSABLE',
    `the database has the schema ${schema} of a newer lookaside, and this one knows ${newest}; install the version that the other nodes have`,
  );
}

/** The number of the schema that this code knows. */
export function ownSchema(): number {
  own ??= readMigrations().length;
  return own;
}

let own: number | null = null;

/**
 * For a node that was paused while others were upgraded past what it can bear. Behind a balancer, the next try reaches one of those.
 * @throws LookasideError STORE_UNAVAILABLE
 */
export function refuseOlderWriter(oldest: number, schema: number): void {
  if (schema >= oldest) return;
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `the database takes changes from lookaside with the schema ${oldest} or newer, and this one has ${schema}: it was upgraded while this node went on; stop it, and start the version that the other nodes have`,
  );
}

function readMigrations(): readonly Migration[] {
  const folder = join(packageFolder(), 'migrations', 'postgres');
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .sort();
  return names.map((name, position) => {
    const version = Number(/^([0-9]{4})_[a-z0-9-]+\.sql$/.exec(name)?.[1]);
    if (version !== position + 1) throw new Error(`${folder}: ${name} is not migration ${position + 1}`);
    return { version, sql: readFileSync(join(folder, name), 'utf8') };
  });
}

// The built file is in dist/src/postgres. migrations/ is beside package.json, both in the repository and in the installed
// package.
function packageFolder(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no package.json above ${import.meta.dirname}`);
    folder = parent;
  }
  return folder;
}
