// Tables access_hour and access_dropped of state.db, as the writer thread fills them when a day is over.
import type { Database, Statement } from 'better-sqlite3';
import type { DayTotals } from './day-totals.ts';
import { inTransaction } from './open.ts';

const HOUR_MS = 3_600_000;
const HOURS_PER_DAY = 24;

export class AccessHourRows {
  readonly #db: Database;
  readonly #clear: readonly Statement<[number, number]>[];
  readonly #insert: Statement<[number, string, string, number, number, number]>;
  readonly #insertDropped: Statement<[number, number]>;

  constructor(db: Database) {
    this.#db = db;
    this.#clear = ['access_hour', 'access_dropped'].map((table) =>
      db.prepare(`
        DELETE FROM ${table}
        WHERE hour >= ? AND hour < ?`),
    );
    this.#insert = db.prepare(`
      INSERT INTO access_hour (hour, site, repository, fetched, ended, bytes)
      VALUES (?, ?, ?, ?, ?, ?)`);
    this.#insertDropped = db.prepare(`
      INSERT INTO access_dropped (hour, count)
      VALUES (?, ?)`);
  }

  /** Replaces what is kept of the day, so that it may be done again after a crash or late reads. */
  put(day: string, { hours, dropped }: DayTotals): void {
    const first = Date.parse(day) / HOUR_MS;
    inTransaction(this.#db, () => {
      for (const clear of this.#clear) clear.run(first, first + HOURS_PER_DAY);
      for (const { hour, site, repository, fetched, ended, bytes } of hours) {
        this.#insert.run(hour, site, repository, fetched, ended, bytes);
      }
      for (const { hour, count } of dropped) this.#insertDropped.run(hour, count);
    });
  }
}
