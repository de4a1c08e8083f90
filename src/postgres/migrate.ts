// Brings a database to the schema of this code: the first node runs the files of migrations/postgres, others wait for it.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LookasideError } from '../domain/errors.ts';
import type { Connections, Query } from './connect.ts';

/** Of the advisory lock: "lookside" in ASCII. */
const LOCK = '7813586407089136485';

interface Migration {
  readonly version: number;
  readonly sql: string;
}

/**
 * Runs the migrations that the database lacks, each in one transaction.
 * @throws LookasideError STATE_UNUSABLE when the database is of a newer version; STORE_UNAVAILABLE
 */
export async function migrate(connections: Connections): Promise<void> {
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
    await runMissing(query);
    isDone = true;
  } finally {
    release(true); // with it go the lock and the settings
    if (isDone) await connections.query('SELECT 1');
  }
}

async function runMissing(query: Query): Promise<void> {
  const migrations = readMigrations();
  const newest = migrations.length;
  const [row] = await query<{ version: number | null }>(
    'SELECT max(version) AS version FROM lookaside_schema',
  );
  const found = row?.version ?? 0;
  if (found > newest) {
    throw new LookasideError(
      'STATE_UNUSABLE',
      `the database has the schema ${found} of a newer lookaside, and this one knows ${newest}; install the version that the other nodes have`,
    );
  }
  for (const { version, sql } of migrations.slice(found)) {
    await query(
      `BEGIN; ${sql}; INSERT INTO lookaside_schema (version, at) VALUES (${version}, now()); COMMIT`,
    );
  }
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
