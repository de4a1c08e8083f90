// Reads on their way to their rows of a day's table read: several go into each statement, as what is around a statement takes a
// quarter of what a row takes.
import type { Database, Statement } from 'better-sqlite3';

/** Minute, image, number, status, address, agent, token, signature. */
export type ReadKey = [number, number, number, number, number, number, number, number];
export type Counts = [firstAtMs: number, lastAtMs: number, count: number, bytes: number];

const WIDTH = 12;
/** Twice as many save nothing more. */
const AT_ONCE = 8;

export class AddedReads {
  readonly #addOne: Statement<[readonly number[]]>;
  readonly #addMany: Statement<[readonly number[]]>;
  readonly #waiting = new Array<number>(WIDTH * AT_ONCE).fill(0);
  #end = 0;

  constructor(db: Database) {
    [this.#addOne, this.#addMany] = [1, AT_ONCE].map((rows) => prepare(db, rows)) as [Add, Add];
  }

  /** The row is there once end() was called. The same row may come several times. */
  add(key: ReadKey, counts: Counts): void {
    for (let at = 0; at < key.length; at += 1) this.#waiting[this.#end++] = key[at] ?? 0;
    for (let at = 0; at < counts.length; at += 1) this.#waiting[this.#end++] = counts[at] ?? 0;
    if (this.#end < this.#waiting.length) return;
    this.#addMany.run(this.#waiting);
    this.#end = 0;
  }

  /** Call it ahead of the end of the transaction. */
  end(): void {
    for (let from = 0; from < this.#end; from += WIDTH)
      this.#addOne.run(this.#waiting.slice(from, from + WIDTH));
    this.#end = 0;
  }

  /** Call it after a batch that was rolled back. */
  forget(): void {
    this.#end = 0;
  }
}

type Add = Statement<[readonly number[]]>;

function prepare(db: Database, rows: number): Add {
  const row = `(${Array<string>(WIDTH).fill('?').join(', ')})`;
  return db.prepare(`
    INSERT INTO read
      (minute, image, number, status, address, agent, token, signature, first_at_ms, last_at_ms, count, bytes)
    VALUES ${Array<string>(rows).fill(row).join(', ')}
    ON CONFLICT DO UPDATE SET
      first_at_ms = min(first_at_ms, excluded.first_at_ms),
      last_at_ms = max(last_at_ms, excluded.last_at_ms),
      count = count + excluded.count,
      bytes = bytes + excluded.bytes`);
}
