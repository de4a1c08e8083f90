// Brings unsigned.db up to the days of the access record and the signatures that came since.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { systemCode } from '../domain/errors.ts';
import { imageFolder } from '../domain/image.ts';
import { daysIn } from './close-day.ts';
import { MissingRows } from './missing-rows.ts';
import {
  hold,
  inTransaction,
  isCorruption,
  messageOf,
  openForReading,
  openOlderForReading,
  stateFileOf,
} from './open.ts';
import { Statements } from './question-parts.ts';
import {
  BLOCK,
  type ImageColumns,
  imageOf,
  indexedSince,
  isOrWasSigned,
  KeptUnsigned,
  type KnownImages,
  MAX_IMAGES_KEPT,
  type Piece,
  packed,
  type SignedSource,
  uploadedSince,
} from './unsigned-store.ts';

/** The first schema of a day that says when it was closed. */
const KNOWS_ITS_END = 2;
const FEW_ROWS = 2000;
/** Fewer images are not worth another file. */
const MANY_IMAGES = 10_000;

type MissingRow = readonly [
  ...place: [site: string, path: string, layout: string, algorithm: string, digest: Uint8Array],
  ...times: [count: number, firstAtMs: number, lastAtMs: number],
];

export interface PackerLimits {
  readonly mostImages?: number;
  /** So many further rows of a day that goes on are read from its own file at each question. */
  readonly fewRows?: number;
  /** So large may the file grow; further days are read from their own files. */
  readonly mostBytes?: number;
}

/** What one image of one day takes. */
const PIECE_ROW_BYTES = 16;
/** What an image that no other day has takes: 300,000 take 58 MB. */
const NEW_IMAGE_BYTES = 200;
/** New images that are written between two looks at the size. */
const LOOK_EVERY = 4096;

export class UnsignedPacker {
  readonly #db: Database;
  readonly #kept: KeptUnsigned;
  readonly #dataDir: string;
  readonly #state: SignedSource | null;
  readonly #index: SignedSource | null;
  readonly #placeIds = new Map<string, number>();
  readonly #images: KnownImages;
  #size: number;
  readonly #roomFor: number;
  readonly #fewRows: number;
  readonly #mostBytes: number;
  readonly #changedBlocks = new Set<number>();
  /** A day had no room, and was written in vain. The others are tried only if they have room with new images alone. */
  #isFull = false;

  constructor(
    db: Database,
    dataDir: string,
    {
      mostImages = MAX_IMAGES_KEPT,
      fewRows = FEW_ROWS,
      mostBytes = Number.POSITIVE_INFINITY,
    }: PackerLimits = {},
  ) {
    this.#db = db;
    this.#kept = new KeptUnsigned(db);
    this.#dataDir = dataDir;
    this.#state = sourceOf(stateFileOf(dataDir), 'state');
    this.#index = sourceOf(join(dataDir, 'index.db'), 'index');
    this.#size = this.#kept.size;
    this.#roomFor = Math.max(mostImages, this.#size);
    this.#fewRows = fewRows;
    this.#mostBytes = mostBytes;
    this.#images = this.#kept.images(this.#roomFor);
    for (const [id, { site, path }] of this.#kept.places().entries())
      this.#placeIds.set(`${site} ${path}`, id);
  }

  /** Whether another file would be smaller: most of the images are of days that are gone, or the file may no longer be so large. */
  pack(): boolean {
    const days = daysIn(this.#dataDir);
    if (this.#size > 0 && this.#usedBytes() > this.#mostBytes) return true;
    if (this.#forgetAllBut(new Set(days)) && this.#isMostlyUnused()) return true;
    this.#noteSigned();
    this.#packDays(days);
    return false;
  }

  close(): void {
    this.#state?.held.db.close();
    this.#index?.held.db.close();
  }

  #forgetAllBut(days: ReadonlySet<string>): boolean {
    const gone = this.#kept.days().filter(({ day }) => !days.has(day));
    if (gone.length === 0) return false;
    inTransaction(this.#db, () => {
      for (const { day } of gone) this.#forget(day);
    });
    return true;
  }

  #forget(day: string): void {
    for (const table of ['piece', 'day']) {
      this.#kept.statements.of(`DELETE FROM ${table} WHERE day = ?`).run(day);
    }
  }

  #isMostlyUnused(): boolean {
    if (this.#size < MANY_IMAGES) return false;
    const used = new Uint8Array(this.#size + 1);
    for (const { day } of this.#kept.days()) {
      for (const { ids } of this.#kept.pieces(day)) for (const id of ids) used[id] = 1;
    }
    return used.reduce((sum, one) => sum + one, 0) * 2 < this.#size;
  }

  /** What got a signature since the last time; images that come later are looked up one by one. */
  #noteSigned(): void {
    const sign = (image: ImageColumns): void => {
      const id = this.#kept.idOf(image);
      if (id === null || this.#images.signed[id] === 1) return;
      this.#images.signed[id] = 1;
      this.#changedBlocks.add(Math.floor(id / BLOCK));
    };
    inTransaction(this.#db, () => {
      for (const [name, source, since] of [
        ['upload', this.#state, uploadedSince],
        ['signature', this.#index, indexedSince],
      ] as const) {
        if (source === null) {
          // images that come now are not looked up in it
          this.#kept.statements.of('DELETE FROM noted WHERE name = ?').run(name);
          continue;
        }
        const { file, row } = since(source, this.#kept.noted(name), sign);
        const put = 'INSERT INTO noted (name, file, row) VALUES (?, ?, ?)';
        this.#kept.statements
          .of(`${put} ON CONFLICT DO UPDATE SET file = excluded.file, row = excluded.row`)
          .run(name, file, row);
      }
      this.#writeBlocks();
    });
  }

  /** One that cannot be read, as where the disk fails, keeps no other from being summed up. @throws the first failure, at the end */
  #packDays(days: readonly string[]): void {
    const failures: unknown[] = [];
    for (const day of days) {
      try {
        this.#packDay(day);
      } catch (error) {
        if (systemCode(error) === 'SQLITE_FULL') throw error; // all others would be read in vain
        failures.push(new Error(`the day ${day}: ${messageOf(error)}`, { cause: error }));
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  #packDay(day: string): void {
    const db = dayOf(join(this.#dataDir, 'access', `${day}.db`));
    if (db === null) return;
    try {
      // of one moment
      db.transaction(() => this.#packRows(day, db)).deferred();
    } catch (error) {
      if (!isCorruption(error)) throw error; // a question names the day
    } finally {
      db.close();
    }
  }

  #packRows(day: string, db: Database): void {
    const version = Number(db.pragma('user_version', { simple: true }));
    const rows = new MissingRows(new Statements(db), version);
    const closedAtMs =
      version < KNOWS_ITS_END
        ? null
        : (db.prepare<[], number | null>('SELECT closed_at_ms FROM day').pluck().get() ?? null);
    const known = this.#kept.days().find((one) => one.day === day);
    if (known !== undefined) {
      if (closedAtMs !== null && known.closedAtMs === closedAtMs) return;
      if (closedAtMs === null && !this.#hasMany(rows, known.untilMs ?? 0)) return;
    } else if (closedAtMs === null && !this.#hasMany(rows, 0)) return;
    const [sizeBefore, placesBefore] = [this.#size, this.#placeIds.size];
    try {
      // what cannot fit is not read to its end every ten minutes
      this.#requireRoom((PIECE_ROW_BYTES + (this.#isFull ? NEW_IMAGE_BYTES : 0)) * rows.countSince(0));
      inTransaction(this.#db, () => this.#writeDay(day, db, closedAtMs));
    } catch (error) {
      this.#undo(sizeBefore, placesBefore);
      if (!(error instanceof Full)) throw error;
      this.#isFull = true;
      if (known !== undefined) inTransaction(this.#db, () => this.#forget(day));
    }
  }

  /** @throws Full */
  #requireRoom(bytes: number): void {
    if (this.#usedBytes() + bytes > this.#mostBytes) throw new Full();
  }

  #usedBytes(): number {
    const [pages, free, pageBytes] = ['page_count', 'freelist_count', 'page_size'].map((name) =>
      Number(this.#db.pragma(name, { simple: true })),
    );
    return ((pages ?? 0) - (free ?? 0)) * (pageBytes ?? 0);
  }

  #hasMany(rows: MissingRows, fromMs: number): boolean {
    return rows.countSince(fromMs) > this.#fewRows;
  }

  /** @throws Full */
  #writeDay(day: string, db: Database, closedAtMs: number | null): void {
    const startMs = Date.parse(day);
    this.#forget(day);
    this.#kept.statements
      .of('INSERT INTO day (day, closed_at_ms, until_ms, requests) VALUES (?, ?, NULL, 0)')
      .run(day, closedAtMs);
    const piece = emptyPiece();
    let [length, number, requests, newestMs] = [0, 0, 0, 0];
    const put = () => {
      this.#kept.statements
        .of('INSERT INTO piece (day, number, numbers) VALUES (?, ?, ?)')
        .run(day, number, packed(piece, length));
      number += 1;
      length = 0;
      this.#requireRoom(0);
    };
    const rows = db
      .prepare<[], MissingRow>(`
        SELECT site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms
        FROM missing`)
      .raw()
      .iterate() as Iterable<MissingRow>;
    for (const [site, path, layout, algorithm, digest, count, firstAtMs, lastAtMs] of rows) {
      const image = { site, path, layout, algorithm, digest } as ImageColumns; // who wrote them had an ImageId
      piece.ids[length] = this.#idOf(image);
      piece.counts[length] = count;
      piece.firsts[length] = firstAtMs - startMs;
      piece.lasts[length] = lastAtMs - startMs;
      length += 1;
      requests += count;
      newestMs = Math.max(newestMs, lastAtMs);
      if (length === BLOCK) put();
    }
    if (length > 0) put();
    this.#kept.statements
      .of('UPDATE day SET until_ms = ?, requests = ? WHERE day = ?')
      .run(closedAtMs === null ? newestMs + 1 : null, requests, day);
    this.#writeBlocks();
    this.#requireRoom(0);
  }

  /** @throws Full */
  #idOf(image: ImageColumns): number {
    const known = this.#kept.idOf(image);
    if (known !== null) return known;
    const id = this.#size + 1;
    if (id > this.#roomFor) throw new Full();
    if (id % LOOK_EVERY === 0) this.#requireRoom(0);
    const { site, path, layout, algorithm, digest } = image;
    this.#kept.statements
      .of('INSERT INTO image (id, site, path, layout, algorithm, digest) VALUES (?, ?, ?, ?, ?, ?)')
      .run(id, site, path, layout, algorithm, digest);
    this.#size = id;
    this.#images.places[id] = this.#placeIdOf(site, path);
    this.#images.signed[id] = isOrWasSigned(this.#state, this.#index, image, imageFolder(imageOf(image)))
      ? 1
      : 0;
    this.#changedBlocks.add(Math.floor(id / BLOCK));
    return id;
  }

  #placeIdOf(site: string, path: string): number {
    const key = `${site} ${path}`; // a site's name has no space
    const known = this.#placeIds.get(key);
    if (known !== undefined) return known;
    const id = this.#placeIds.size;
    this.#kept.statements.of('INSERT INTO place (id, site, path) VALUES (?, ?, ?)').run(id, site, path);
    this.#placeIds.set(key, id);
    return id;
  }

  #writeBlocks(): void {
    const { places, signed } = this.#images;
    const put = this.#kept.statements.of(`
      INSERT INTO block (id, places, signed)
      VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET places = excluded.places, signed = excluded.signed`);
    for (const id of this.#changedBlocks) {
      const [from, until] = [id * BLOCK, Math.min((id + 1) * BLOCK, this.#size + 1)];
      put.run(id, new Uint8Array(places.slice(from, until).buffer), signed.slice(from, until));
    }
    this.#changedBlocks.clear();
  }

  /** What a transaction that was rolled back had added. */
  #undo(size: number, places: number): void {
    this.#size = size;
    this.#changedBlocks.clear();
    for (const [key, id] of this.#placeIds) if (id >= places) this.#placeIds.delete(key);
  }
}

/** There is no room for further images. */
class Full extends Error {}

function emptyPiece(): Piece {
  return {
    ids: new Uint32Array(BLOCK),
    counts: new Uint32Array(BLOCK),
    firsts: new Uint32Array(BLOCK),
    lasts: new Uint32Array(BLOCK),
  };
}

/** Null: there is none, or it cannot be used; the signatures in it are then noted the next time. */
function sourceOf(file: string, kind: 'state' | 'index'): SignedSource | null {
  if (!existsSync(file)) return null;
  try {
    const db = openForReading(file, kind);
    return { held: hold(db, file), statements: new Statements(db) };
  } catch (error) {
    if (isCorruption(error)) return null; // whoever needs it says so
    throw error;
  }
}

/** Null: it is damaged or gone; who asks for it is told so. */
function dayOf(file: string): Database | null {
  try {
    return openOlderForReading(file, 'access');
  } catch (error) {
    if (isCorruption(error) || !existsSync(file)) return null;
    throw error;
  }
}
