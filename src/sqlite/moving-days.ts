// The days of the record of reads, filled from the database of several nodes. Bounds that keep strangers from filling a disk were
// applied when the reads were recorded.
import { join } from 'node:path';
import type { Database, Statement } from 'better-sqlite3';
import { parseLongImageFolder } from '../domain/image.ts';
import type { MovedRow, MovedValue } from '../domain/moving.ts';
import { DayImages, DaySignatures } from './day-ids.ts';
import { closeInItsFile, inTransaction, openForWriting } from './open.ts';

interface Dropped {
  readonly hour: number;
  readonly count: number;
  readonly atMs: number;
}

/** Rows come day after day, so one file is open at a time. */
export class DayFiller {
  readonly #folder: string;
  readonly #days = new Set<string>();
  #open: { readonly day: string; readonly db: Database; readonly ids: Ids } | null = null;
  #rows = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  has(day: string): boolean {
    return this.#days.has(day);
  }

  /** How many rows: reads, and images that hold no signature. */
  count(): number {
    return this.#rows;
  }

  putReads(rows: readonly MovedRow[]): void {
    for (const [day, ofDay] of byDay(rows)) {
      const { db, ids } = this.#ofDay(day);
      const insert = db.prepare<MovedValue[]>(`
        INSERT INTO read
          (minute, image, number, status, address, agent, token, signature, first_at_ms, last_at_ms, count, bytes)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
      inTransaction(db, () => {
        for (const row of ofDay) {
          insert.run(
            value(row, 'minute'),
            ids.ofImage(row),
            value(row, 'number'),
            value(row, 'status'),
            ids.ofText('address', String(row.address)),
            ids.ofText('agent', String(row.agent)),
            ids.ofText('token', String(row.token)),
            ids.ofSignature(row.sha256 ?? null),
            ...['first_at_ms', 'last_at_ms', 'count', 'bytes'].map((name) => value(row, name)),
          );
        }
      });
      this.#rows += ofDay.length;
    }
  }

  putMissing(rows: readonly MovedRow[]): void {
    for (const [day, ofDay] of byDay(rows)) {
      const { db, ids } = this.#ofDay(day);
      const insert = db.prepare<MovedValue[]>(`
        INSERT INTO missing_again
          (site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms, last_address)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
      inTransaction(db, () => {
        for (const row of ofDay) {
          insert.run(
            ...partsOf(row),
            ...['count', 'first_at_ms', 'last_at_ms'].map((name) => value(row, name)),
            ids.ofText('address', String(row.address)),
          );
        }
      });
      this.#rows += ofDay.length;
    }
  }

  putDropped(day: string, { hour, count, atMs }: Dropped): void {
    this.#ofDay(day)
      .db.prepare(`
        INSERT INTO dropped (hour, count, first_at_ms, last_at_ms)
        VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
          count = count + excluded.count,
          first_at_ms = min(first_at_ms, excluded.first_at_ms),
          last_at_ms = max(last_at_ms, excluded.last_at_ms)`)
      .run(hour, count, atMs, atMs);
  }

  close(): void {
    if (this.#open !== null) closeInItsFile(this.#open.db);
    this.#open = null;
  }

  #ofDay(day: string) {
    if (this.#open?.day === day) return this.#open;
    this.close();
    const db = openForWriting(join(this.#folder, `${day}.db`), 'access');
    this.#open = { day, db, ids: new Ids(db) };
    this.#days.add(day);
    return this.#open;
  }
}

function byDay(rows: readonly MovedRow[]): Map<string, MovedRow[]> {
  const days = new Map<string, MovedRow[]>();
  for (const row of rows) {
    const day = String(row.day);
    const known = days.get(day);
    if (known === undefined) days.set(day, [row]);
    else known.push(row);
  }
  return days;
}

function value(row: MovedRow, name: string): MovedValue {
  return row[name] ?? null;
}

type Parts = [site: string, path: string, layout: string, algorithm: string, digest: Uint8Array];

function partsOf({ site, folder }: MovedRow): Parts {
  const image = parseLongImageFolder(String(site), String(folder));
  if (image === null) throw new Error(`${folder} is not the folder of an image`);
  return [image.site, image.path, image.layout, image.algorithm, Buffer.from(image.hex, 'hex')];
}

type TextTable = 'address' | 'agent' | 'token';

/** Rows that many reads share. Row 0 stands for none, or for all that came after a bound. */
class Ids {
  readonly #texts: Readonly<Record<TextTable, Shared>>;
  readonly #signatures: DaySignatures;
  readonly #signatureIds = new Map<string, number>();
  readonly #images: DayImages;
  readonly #imageIds = new Map<string, number>();

  constructor(db: Database) {
    const texts = (table: TextTable) => new Shared(db, table);
    this.#texts = { address: texts('address'), agent: texts('agent'), token: texts('token') };
    this.#signatures = new DaySignatures(db);
    this.#images = new DayImages(db);
  }

  ofText(table: TextTable, text: string): number {
    return this.#texts[table].idOf(text);
  }

  ofSignature(sha256: MovedValue): number {
    if (!(sha256 instanceof Uint8Array)) return 0;
    return idIn(this.#signatureIds, Buffer.from(sha256).toString('hex'), () => this.#signatures.idOf(sha256));
  }

  ofImage(row: MovedRow): number {
    return idIn(this.#imageIds, `${row.site} ${row.folder}`, () => this.#images.idOf(partsOf(row)));
  }
}

function idIn(ids: Map<string, number>, key: string, find: () => number): number {
  const id = ids.get(key) ?? find();
  ids.set(key, id);
  return id;
}

class Shared {
  readonly #select: Statement<[string], number>;
  readonly #insert: Statement<[string]>;
  readonly #ids = new Map<string, number>();

  constructor(db: Database, table: TextTable) {
    this.#select = db.prepare<[string], number>(`SELECT id FROM ${table} WHERE text = ?`).pluck();
    this.#insert = db.prepare<[string]>(`INSERT INTO ${table} (text) VALUES (?)`);
  }

  idOf(text: string): number {
    return idIn(
      this.#ids,
      text,
      () => this.#select.get(text) ?? Number(this.#insert.run(text).lastInsertRowid),
    );
  }
}
