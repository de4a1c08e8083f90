// Brings a database to the schema of this code: runs the SQL files of migrations/ in order, each in one transaction. The
// schema's version is SQLite's user_version: the number of the last file that ran.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Database } from 'better-sqlite3';

export type DatabaseKind = 'state' | 'index' | 'access' | 'unsigned';

interface Migration {
  readonly version: number;
  readonly sql: string;
}

const loaded = new Map<DatabaseKind, readonly Migration[]>();

/** The schema version after migrate(). */
export function newestVersion(kind: DatabaseKind): number {
  return migrationsOf(kind).length;
}

/**
 * Runs the migrations that `db` lacks and sets `applicationId` with each; writes nothing when none is lacking. `db` must not
 * be newer than the code.
 */
export function migrate(db: Database, kind: DatabaseKind, applicationId: number): void {
  const current = versionOf(db);
  for (const { version, sql } of migrationsOf(kind).slice(current)) {
    db.transaction(() => {
      // another connection may have run it while this one waited for the lock
      if (versionOf(db) >= version) return;
      db.exec(sql);
      db.pragma(`application_id = ${applicationId}`);
      db.pragma(`user_version = ${version}`);
    }).immediate();
  }
}

function versionOf(db: Database): number {
  return Number(db.pragma('user_version', { simple: true }));
}

function migrationsOf(kind: DatabaseKind): readonly Migration[] {
  const known = loaded.get(kind);
  if (known !== undefined) return known;
  const migrations = readMigrations(join(packageFolder(), 'migrations', kind));
  loaded.set(kind, migrations);
  return migrations;
}

function readMigrations(folder: string): readonly Migration[] {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .sort();
  return names.map((name, position) => {
    const version = Number(/^([0-9]{4})_[a-z0-9-]+\.sql$/.exec(name)?.[1]);
    if (version !== position + 1) throw new Error(`${folder}: ${name} is not migration ${position + 1}`);
    return { version, sql: readFileSync(join(folder, name), 'utf8') };
  });
}

// The built file is in dist/src/sqlite. migrations/ is beside package.json, both in the repository and in the installed
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
