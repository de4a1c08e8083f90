import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { newestVersion } from '../../src/sqlite/migrate.ts';
import {
  inTransaction,
  keepFewPages,
  openForReading,
  openForWriting,
  UnusableFile,
} from '../../src/sqlite/open.ts';
import { temporaryFolder } from './scratch.ts';

const KINDS = ['state', 'index', 'access'] as const;

const WRITES = {
  state: `INSERT INTO token (name, role, hash, created_at_ms) VALUES ('a', 'admin', randomblob(32), 1)`,
  index: `INSERT INTO site (name) VALUES ('default')`,
  access: `INSERT INTO hour (hour, missing, path_bytes, prefixes) VALUES (1, 1, 1, 1)`,
};

describe('a database', () => {
  for (const kind of KINDS) {
    it(`of ${kind} stays at synchronous = FULL after writes, for writers and readers`, (t) => {
      const file = join(temporaryFolder(t), `${kind}.db`);
      const writer = openForWriting(file, kind);
      const reader = openForReading(file, kind);
      t.after(() => void writer.close());
      t.after(() => void reader.close());
      inTransaction(writer, () => writer.exec(WRITES[kind]));
      writer.exec('CREATE TABLE more (x)');
      reader.prepare('SELECT * FROM more').all();
      for (const db of [writer, reader]) {
        assert.equal(db.pragma('synchronous', { simple: true }), 2);
        assert.equal(db.pragma('journal_mode', { simple: true }), 'wal');
      }
    });

    it(`of ${kind} is for its owner's eyes, and every table is STRICT`, (t) => {
      const file = join(temporaryFolder(t), `${kind}.db`);
      const db = openForWriting(file, kind);
      t.after(() => void db.close());
      for (const name of [file, `${file}-wal`]) assert.equal(statSync(name).mode & 0o777, 0o600);
      const loose = db.prepare(
        `SELECT name FROM pragma_table_list WHERE strict = 0 AND type <> 'view' AND name NOT LIKE 'sqlite%'`,
      );
      assert.deepEqual(loose.all(), []);
    });

    it(`of ${kind} with a newer schema is refused and left as it is`, (t) => {
      const file = join(temporaryFolder(t), `${kind}.db`);
      openForWriting(file, kind).close();
      const newer = newestVersion(kind) + 1;
      const other = connectDatabase(file);
      other.pragma(`user_version = ${newer}`);
      other.close();
      for (const open of [openForWriting, openForReading]) {
        assert.throws(
          () => open(file, kind),
          (error) =>
            error instanceof UnusableFile &&
            error.misfit === 'newer' &&
            /newer lookaside/.test(error.message),
        );
      }
    });
  }

  it('of another application or of another kind is refused', (t) => {
    const folder = temporaryFolder(t);
    const file = join(folder, 'a.db');
    const other = connectDatabase(file);
    other.exec('CREATE TABLE theirs (x)');
    other.close();
    const state = join(folder, 'state.db');
    openForWriting(state, 'state').close();
    const notOurs = (error: unknown): boolean => error instanceof UnusableFile && error.misfit === 'not-ours';
    assert.throws(() => openForWriting(file, 'index'), notOurs);
    assert.throws(() => openForWriting(state, 'index'), notOurs);
    assert.throws(() => openForReading(state, 'index'), notOurs);
  });

  it('whose making was cut off before its first table is made to the end', (t) => {
    const file = join(temporaryFolder(t), 'state.db');
    const begun = connectDatabase(file);
    begun.pragma('journal_mode = WAL');
    begun.close();
    const db = openForWriting(file, 'state');
    t.after(() => void db.close());
    assert.equal(db.pragma('user_version', { simple: true }), newestVersion('state'));
  });

  it('that is at the newest schema is opened without a write', (t) => {
    const file = join(temporaryFolder(t), 'state.db');
    openForWriting(file, 'state').close();
    const before = statSync(file, { bigint: true }).mtimeNs;
    openForWriting(file, 'state').close();
    assert.equal(statSync(file, { bigint: true }).mtimeNs, before);
  });
});

it('a connection that keeps few pages gives back what others keep', (t) => {
  const db = openForWriting(join(temporaryFolder(t), 'index.db'), 'index');
  const kept = () => Number(db.pragma('cache_size', { simple: true }));
  const before = kept();
  keepFewPages(db);
  assert.ok(before < -8000 && kept() === -2048, `${before} ${kept()}`);
  db.close();
});
