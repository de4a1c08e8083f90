// DATA/access: one database for each day (UTC), filled and pruned by the writer thread.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { daysToPrune } from '../domain/access-days.ts';
import type { AccessLimits, AccessPruned } from '../domain/ports.ts';
import type { Person } from '../domain/records.ts';
import type { PackedBatch } from './access-columns.ts';
import { DayRows } from './access-rows.ts';
import {
  closeInItsFile,
  filesOf,
  type HeldFile,
  hold,
  isCorruption,
  isInPlace,
  openForWriting,
} from './open.ts';
import { UNSIGNED_NAME } from './unsigned-store.ts';

// Batches come in order, so two days are written only around midnight.
const OPEN_DAYS = 2;

const DAY_FILE = /^([0-9]{4}-[0-9]{2}-[0-9]{2})\.db/;

export class AccessDays {
  readonly #folder: string;
  readonly #open = new Map<string, { readonly held: HeldFile; readonly rows: DayRows }>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Adds a batch whose events are all of `day`, in one transaction. A damaged file is set aside and replaced by an empty one.
   */
  write(day: string, batch: PackedBatch): void {
    try {
      this.#rowsOf(day).write(batch);
    } catch (error) {
      if (!isCorruption(error)) throw error;
      this.#setAside(day);
      this.#rowsOf(day).write(batch);
    }
  }

  /** Takes the person out of the day's rows before that time; how many rows are gone. A damaged day stays as it is. */
  forget(day: string, person: Person, beforeMs: number): number {
    if (!existsSync(join(this.#folder, `${day}.db`))) return 0;
    return this.#rowsOf(day).forget(person, beforeMs);
  }

  /** Says that the day has its indexes and its totals are kept. */
  markClosed(day: string, at: Date): void {
    if (!existsSync(join(this.#folder, `${day}.db`))) return;
    this.#rowsOf(day).markClosed(at);
  }

  /** The sums over unsigned images count too; they are bounded by themselves, so no day must go for what they free only later. */
  prune(limits: AccessLimits): AccessPruned {
    const files = this.#filesByDay();
    const kept = [...files].map(([day, names]) => ({ day, sizeBytes: this.#sizeOf(names) }));
    const { gone, fits, doubted } = daysToPrune(kept, limits, this.#sizeOf([UNSIGNED_NAME]));
    for (const day of gone) this.#delete(day, files.get(day) ?? []);
    return { fits, doubted };
  }

  close(): void {
    for (const day of [...this.#open.keys()]) this.#close(day);
  }

  #rowsOf(day: string): DayRows {
    const known = this.#open.get(day);
    if (known !== undefined && isInPlace(known.held)) return known.rows;
    this.#close(day);
    const [oldest] = this.#open.keys();
    if (this.#open.size >= OPEN_DAYS && oldest !== undefined) this.#close(oldest);
    mkdirSync(this.#folder, { recursive: true });
    const file = join(this.#folder, `${day}.db`);
    const db = openForWriting(file, 'access');
    const rows = new DayRows(db);
    this.#open.set(day, { held: hold(db, file), rows });
    return rows;
  }

  #close(day: string, close = closeInItsFile): void {
    const db = this.#open.get(day)?.held.db;
    this.#open.delete(day);
    if (db !== undefined) close(db);
  }

  #setAside(day: string): void {
    this.#close(day, closeAsItIs);
    const file = join(this.#folder, `${day}.db`);
    const aside = filesOf(`${file}.damaged`);
    for (const name of aside) rmSync(name, { force: true });
    filesOf(file).forEach((name, position) => {
      if (existsSync(name)) renameSync(name, String(aside[position]));
    });
  }

  #filesByDay(): Map<string, readonly string[]> {
    const byDay = new Map<string, readonly string[]>();
    const names = existsSync(this.#folder) ? readdirSync(this.#folder).sort() : [];
    for (const name of names) {
      const day = DAY_FILE.exec(name)?.[1];
      if (day !== undefined) byDay.set(day, [...(byDay.get(day) ?? []), name]);
    }
    return byDay;
  }

  #sizeOf(names: readonly string[]): number {
    return names.reduce(
      (sum, name) => sum + (statSync(join(this.#folder, name), { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
  }

  #delete(day: string, names: readonly string[]): void {
    this.#close(day, closeAsItIs);
    for (const name of names) rmSync(join(this.#folder, name), { force: true });
  }
}

function closeAsItIs(db: Database): void {
  db.close();
}
