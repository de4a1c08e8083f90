// DATA/access: one database for each day (UTC), filled and pruned by the writer thread.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
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
import { dayOf } from './packed-days.ts';
import { UNSIGNED_NAME } from './unsigned-store.ts';

const DAY_MS = 86_400_000;

// A shorter pause in the record is normal: a start that leaves old days for a later prune does not report them.
const FAR_MS = 7 * DAY_MS;

// Batches come in order, so two days are written only around midnight.
const OPEN_DAYS = 2;

const DAY_FILE = /^([0-9]{4}-[0-9]{2}-[0-9]{2})\.db/;

function endOf(day: string): number {
  return Date.parse(day) + DAY_MS;
}

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

  prune(limits: AccessLimits): AccessPruned {
    const doubted = this.#pruneByAge(limits);
    return { fits: this.#pruneBySize(limits), doubted };
  }

  /**
   * A clock that is years ahead would make all days too old. So the clock is trusted only after it has run steadily for a
   * day. Until then, ages are counted from the newest day that ended a day ago or earlier.
   */
  #pruneByAge({ now, steadyMs, retentionMs }: AccessLimits): AccessPruned['doubted'] {
    const nowMs = now.getTime();
    const files = this.#filesByDay();
    const newest = [...files.keys()].findLast((day) => endOf(day) + DAY_MS <= nowMs) ?? null;
    const before = newest === null ? Number.NEGATIVE_INFINITY : endOf(newest);
    const believedMs = steadyMs >= DAY_MS ? nowMs : before;
    let doubted = 0;
    for (const [day, names] of files) {
      if (endOf(day) > nowMs - retentionMs || day === dayOf(now)) continue;
      if (endOf(day) <= believedMs - retentionMs) this.#delete(day, names);
      else doubted += 1;
    }
    return doubted === 0 || nowMs - believedMs < FAR_MS ? null : { days: doubted, newest };
  }

  /**
   * Deletes the oldest days by name. Days ahead of today, from a wrong clock, are treated like any other. The sums over unsigned
   * images count too; they are bounded by themselves, so no day must go for what they free only later.
   */
  #pruneBySize({ now, maxBytes }: AccessLimits): boolean {
    const files = [...this.#filesByDay()].map(([day, names]) => ({
      day,
      names,
      sizeBytes: this.#sizeOf(names),
    }));
    let totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, this.#sizeOf([UNSIGNED_NAME]));
    for (const { day, names, sizeBytes } of files) {
      if (totalBytes <= maxBytes) break;
      if (day === dayOf(now)) continue;
      this.#delete(day, names);
      totalBytes -= sizeBytes;
    }
    return totalBytes <= maxBytes;
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
