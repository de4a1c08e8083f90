// The tables of the log, as the writer thread adds to them: the hashes of leaves come with their events in one transaction.
import { createHash } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import type { LogIdentity, NewCheckpoint, Witnessed } from '../domain/log.ts';
import { foldHashes, leafHash, type Sha256, TILE_WIDTH } from '../domain/merkle.ts';
import { inTransaction } from './open.ts';

const sha256: Sha256 = (...pieces) => {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
};

function hashOfLeaf(leaf: string): Uint8Array {
  return leafHash(sha256, Buffer.from(leaf, 'utf8'));
}

/** Events that get their hashes in one transaction, where an older version has left them without. */
const FILLED_AT_ONCE = 5000;

interface LeafRow {
  readonly seq: number;
  readonly leaf: string;
}

export class LogRows {
  readonly #db: Database;
  readonly #insert: Statement<[number, number, Uint8Array]>;
  readonly #tile: Statement<[number, number, number], Buffer>;
  readonly #size: Statement<[], number>;
  readonly #isBegun: Statement<[], number>;
  readonly #leaves: Statement<[number, number], LeafRow>;
  readonly #addCheckpoint: Statement<[number, Uint8Array, number, string]>;
  readonly #cosign: Statement<[string, number]>;
  readonly #begin: Statement<[string, string, number]>;
  readonly #void: Statement<[number, number]>;
  readonly #resetSequence: Statement<[number]>;
  readonly #witnessed: Statement<[string], number>;
  readonly #witness: Statement<[string, number, Uint8Array, number, string]>;

  constructor(db: Database) {
    this.#db = db;
    this.#insert = db.prepare(`
      INSERT INTO log_hash (level, n, hash)
      VALUES (?, ?, ?)`);
    this.#tile = db
      .prepare<[number, number, number], Buffer>(`
        SELECT hash
        FROM log_hash
        WHERE level = ? AND n >= ? AND n < ?
        ORDER BY n`)
      .pluck();
    this.#size = db
      .prepare<[], number>(`
        SELECT coalesce(max(n), -1) + 1
        FROM log_hash
        WHERE level = 0`)
      .pluck();
    this.#isBegun = db
      .prepare<[], number>(`
        SELECT 1
        FROM log_identity
        LIMIT 1`)
      .pluck();
    this.#leaves = db.prepare(`
      SELECT seq, leaf
      FROM audit_event
      WHERE seq > ?
      ORDER BY seq
      LIMIT ?`);
    this.#addCheckpoint = db.prepare(`
      INSERT INTO log_checkpoint (size, root, at_ms, note)
      VALUES (?, ?, ?, ?)`);
    this.#cosign = db.prepare(`
      UPDATE log_checkpoint
      SET note = ?
      WHERE id = ?`);
    this.#begin = db.prepare(`
      INSERT INTO log_identity (origin, vkey, since_ms)
      VALUES (?, ?, ?)`);
    this.#void = db.prepare(`
      UPDATE log_checkpoint
      SET void_ms = ?
      WHERE size > ? AND void_ms IS NULL`);
    this.#resetSequence = db.prepare(`
      UPDATE sqlite_sequence
      SET seq = ?
      WHERE name = 'audit_event'`);
    this.#witnessed = db
      .prepare<[string], number>(`
        SELECT size
        FROM witnessed
        WHERE origin = ?`)
      .pluck();
    this.#witness = db.prepare(`
      INSERT INTO witnessed (origin, size, root, at_ms, note)
      VALUES (?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET
        size = excluded.size, root = excluded.root, at_ms = excluded.at_ms, note = excluded.note`);
  }

  /** Call it inside the transaction that adds the event of that number. */
  add(seq: number, leaf: string): void {
    this.#addHash(0, seq - 1, hashOfLeaf(leaf));
  }

  #addHash(level: number, n: number, hash: Uint8Array): void {
    this.#insert.run(level, n, hash);
    if ((n + 1) % TILE_WIDTH !== 0) return;
    const tile = this.#tile.all(level, n + 1 - TILE_WIDTH, n + 1);
    // an event must not fail because somebody took hashes away: the next start and `audit verify` tell of it
    if (tile.length === TILE_WIDTH)
      this.#addHash(level + 1, (n + 1) / TILE_WIDTH - 1, foldHashes(sha256, tile));
  }

  /** Hashes events of a version that had no log. */
  fill(): void {
    // no transaction where there is nothing to do: another process may hold the write lock while a server starts
    while (this.#isBegun.get() === undefined && this.#leaves.all(this.#size.get() ?? 0, 1).length > 0) {
      inTransaction(this.#db, () => this.#fillSome());
    }
  }

  #fillSome(): number {
    let size = this.#size.get() ?? 0;
    const rows = this.#leaves.all(size, FILLED_AT_ONCE);
    for (const { seq, leaf } of rows) {
      // an event that was cut off by force before the log began has the empty entry
      for (; size < seq - 1; size += 1) this.add(size + 1, '');
      this.add(seq, leaf);
      size = seq;
    }
    return rows.length;
  }

  addCheckpoint({ size, root, at, note }: NewCheckpoint): void {
    this.#addCheckpoint.run(size, root, at.getTime(), note);
  }

  cosign(id: number, note: string): void {
    this.#cosign.run(note, id);
  }

  begin({ origin, vkey }: LogIdentity, at: Date): void {
    this.#begin.run(origin, vkey, at.getTime());
  }

  /** Call it inside the transaction of the event that says so. */
  rollBack(goodSize: number, at: Date): void {
    this.#void.run(at.getTime(), goodSize);
    while (this.#fillSome() > 0);
    this.#resetSequence.run(this.#size.get() ?? 0);
  }

  witness(origin: string, from: number, { size, root, at, note }: Witnessed) {
    return inTransaction(this.#db, () => {
      const last = this.#witnessed.get(origin) ?? 0;
      if (last !== from) return { isRecorded: false, size: last };
      this.#witness.run(origin, size, root, at.getTime(), note);
      return { isRecorded: true, size };
    });
  }
}
