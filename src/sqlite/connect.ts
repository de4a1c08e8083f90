// Connections whose native objects are never garbage-collected.
//
// On Node.js 24.19 and newer, better-sqlite3 12 ends the process (SIGABRT in RemoveEnvironmentCleanupHook) when one of its
// objects is collected while no JavaScript runs. WiseLibs/better-sqlite3#1515 was closed without a fix. Version 13 does not have
// this bug, and needs Node.js 22. So none of its objects is ever released: a connection keeps its statements, and this module
// keeps its connections. They are few: two databases a day beside those that stay open, about 30 statements each.
import { dirname } from 'node:path';
import SqliteDatabase, { type Database, type Options, type Statement } from 'better-sqlite3';
import { LookasideError, systemCode } from '../domain/errors.ts';

const kept: object[] = [];

function keep<T extends object>(object: T): T {
  kept.push(object);
  return object;
}

/** Connections and statements that this thread keeps until it ends. */
export function keptObjects(): number {
  return kept.length;
}

/** @throws LookasideError STORE_UNAVAILABLE where SQLite itself is missing; SQLite's own errors */
function open(file: string, options: Options): Database {
  try {
    return new SqliteDatabase(file, options);
  } catch (error) {
    if (!isUncompiled(error)) throw error;
    throw new LookasideError(
      'STORE_UNAVAILABLE',
      `the database is missing: better-sqlite3 was installed without its compiled part, as npm --ignore-scripts leaves it, or for another Node.js than ${process.version}; install lookaside again without --ignore-scripts and with --allow-scripts=better-sqlite3, or name a server elsewhere by --server`,
      { cause: error },
    );
  }
}

function isUncompiled(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    error.message.startsWith('Could not locate the bindings file') ||
    systemCode(error) === 'ERR_DLOPEN_FAILED'
  );
}

/**
 * Lets SQLite keep its temporary files here: large sorts, and what undoes large transactions. Where no usual folder can be written,
 * as in a container whose root is read-only, SQLite fails with a bare "disk I/O error". It reads this variable when the process'
 * first database is opened, and a thread has only a copy of the environment: the main thread calls this before it starts one.
 */
export function keepTemporaryFilesIn(folder: string): void {
  process.env.SQLITE_TMPDIR ??= folder;
}

/** As `new Database(file, options)`. Prepare a statement once and use it often: each is kept until the process ends. */
export function connect(file: string, options: Options = {}): Database {
  keepTemporaryFilesIn(dirname(file));
  const db = keep(open(file, options));
  const prepare = db.prepare.bind(db);
  const questions = new Map<string, Statement>();

  /** Queries such as `synchronous` run often and share one statement. Settings run once. */
  function prepareOnce(source: string): Statement {
    const known = questions.get(source);
    if (known !== undefined) return known;
    const statement = keep(prepare(`PRAGMA ${source}`));
    if (/^[a-z_]+$/.test(source)) questions.set(source, statement);
    return statement;
  }

  function pragma(source: string, { simple = false }: { readonly simple?: boolean } = {}): unknown {
    const statement = prepareOnce(source);
    if (!statement.reader) {
      statement.run();
      return undefined;
    }
    return simple ? statement.pluck().get() : statement.all();
  }

  return Object.assign(db, {
    prepare: ((source: string) => keep(prepare(source))) as Database['prepare'], // the same function, kept
    pragma,
  });
}
