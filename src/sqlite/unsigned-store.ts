// DATA/access/unsigned.db: what the days of the access record say of images without a signature, in a form that is summed up in
// milliseconds. It is made by pack-unsigned-thread.ts from what stands elsewhere, so that it may be lost.
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { type ImageId, parseLongImageFolder } from '../domain/image.ts';
import type { HeldFile } from './open.ts';
import { Statements } from './question-parts.ts';

/** Images of one block, and of one piece of a day. */
export const BLOCK = 65_536;
/** A flood may invent more: days with further images are answered from their own files. */
export const MAX_IMAGES_KEPT = 2_000_000;
const COLUMNS = 4;

export const UNSIGNED_NAME = 'unsigned.db';

export function unsignedFileOf(dataDir: string): string {
  return join(dataDir, 'access', UNSIGNED_NAME);
}

/** What the thread that writes the file says. */
export interface PackOutcome {
  /** Why it could not; null: it is done. */
  readonly failed: string | null;
}

export interface Place {
  readonly site: string;
  readonly path: string;
}

/** What is known of each image; the id is the place in each list. */
export interface KnownImages {
  readonly places: Uint32Array;
  /** 1: it has had a signature. */
  readonly signed: Uint8Array;
}

/** Images of one day, each with its requests; times are milliseconds of the day. */
export interface Piece {
  readonly ids: Uint32Array;
  readonly counts: Uint32Array;
  readonly firsts: Uint32Array;
  readonly lasts: Uint32Array;
}

export interface KeptDay {
  readonly day: string;
  readonly closedAtMs: number | null;
  readonly untilMs: number | null;
  readonly requests: number;
}

/** Up to which row of which file. */
export interface Noted {
  readonly file: string;
  readonly row: number;
}

export interface ImageColumns {
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Uint8Array;
}

/** What both who writes the file and who asks it read from it. */
export class KeptUnsigned {
  readonly statements: Statements;
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
    this.statements = new Statements(db);
  }

  /** All that `act` reads is of one moment. */
  atOnce<T>(act: () => T): T {
    return this.#db.transaction(act).deferred();
  }

  /** How many images there are; it is the greatest id. */
  get size(): number {
    return this.statements.plucked<number>('SELECT coalesce(max(id), 0) FROM image').get() ?? 0;
  }

  /** By their ids. */
  places(): readonly Place[] {
    return this.statements
      .raw<readonly [string, string]>('SELECT site, path FROM place ORDER BY id')
      .all()
      .map(([site, path]) => ({ site, path }));
  }

  /** With room for ids up to `most`. */
  images(most: number): KnownImages {
    const places = new Uint32Array(most + 1);
    const signed = new Uint8Array(most + 1);
    const blocks = this.statements.raw<readonly [number, Uint8Array, Uint8Array]>(
      'SELECT id, places, signed FROM block',
    );
    for (const [id, ofPlaces, ofSigned] of blocks.iterate()) {
      const room = most + 1 - id * BLOCK;
      if (room <= 0) continue;
      places.set(numbersOf(ofPlaces).subarray(0, room), id * BLOCK);
      signed.set(ofSigned.subarray(0, room), id * BLOCK);
    }
    return { places, signed };
  }

  days(): readonly KeptDay[] {
    return this.statements
      .of<KeptDay>(`
        SELECT day, closed_at_ms AS closedAtMs, until_ms AS untilMs, requests
        FROM day`)
      .all();
  }

  *pieces(day: string): Generator<Piece> {
    const select = this.statements.plucked<Uint8Array>(`
      SELECT numbers
      FROM piece
      WHERE day = ?
      ORDER BY number`);
    for (const bytes of select.iterate(day)) {
      const numbers = numbersOf(bytes);
      const length = numbers.length / COLUMNS;
      const column = (at: number) => numbers.subarray(at * length, (at + 1) * length);
      yield { ids: column(0), counts: column(1), firsts: column(2), lasts: column(3) };
    }
  }

  idOf({ site, path, layout, algorithm, digest }: ImageColumns): number | null {
    const id = this.statements
      .plucked<number>(`
        SELECT id
        FROM image
        WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?`)
      .get(site, path, layout, algorithm, digest);
    return id ?? null;
  }

  image(id: number): ImageId {
    const row = this.statements
      .of<ImageColumns>(`
        SELECT site, path, layout, algorithm, digest
        FROM image
        WHERE id = ?`)
      .get(id);
    if (row === undefined) throw new Error(`${this.#db.name}: there is no image ${id}`);
    return imageOf(row);
  }

  noted(name: 'upload' | 'signature'): Noted {
    return (
      this.statements.of<Noted>('SELECT file, row FROM noted WHERE name = ?').get(name) ?? {
        file: '',
        row: 0,
      }
    );
  }
}

export function imageOf({ digest, ...rest }: ImageColumns): ImageId {
  return { ...rest, hex: Buffer.from(digest).toString('hex') };
}

export function columnsOf({ hex, ...rest }: ImageId): ImageColumns {
  return { ...rest, digest: Buffer.from(hex, 'hex') };
}

/** A piece as it is stored. */
export function packed({ ids, counts, firsts, lasts }: Piece, length: number): Uint8Array {
  const numbers = new Uint32Array(COLUMNS * length);
  for (const [at, column] of [ids, counts, firsts, lasts].entries()) {
    numbers.set(column.subarray(0, length), at * length);
  }
  return new Uint8Array(numbers.buffer);
}

function numbersOf(bytes: Uint8Array): Uint32Array {
  const whole = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint32Array(whole.buffer, whole.byteOffset, whole.byteLength >> 2);
}

/** A database with the signatures that images have had. */
export interface SignedSource {
  readonly held: HeldFile;
  readonly statements: Statements;
}

/** The images that got a signature since that was noted, each at least once, and what is to be noted now. When the file is another one: all. */
export function uploadedSince(
  { held, statements }: SignedSource,
  { file, row }: Noted,
  take: (image: ImageColumns) => void,
): Noted {
  const last = lastRow(statements, 'SELECT coalesce(max(audit_seq), 0) FROM upload');
  const select = statements.raw<readonly [string, string]>(`
    SELECT site, image
    FROM upload
    WHERE audit_seq > ? AND audit_seq <= ?`);
  for (const [site, folder] of select.iterate(beginning(held, { file, row }, last), last)) {
    const image = parseLongImageFolder(site, folder);
    if (image !== null) take(columnsOf(image));
  }
  return { file: String(held.inode), row: last };
}

/** As uploadedSince, of index.db. */
export function indexedSince(
  { held, statements }: SignedSource,
  { file, row }: Noted,
  take: (image: ImageColumns) => void,
): Noted {
  const last = lastRow(statements, 'SELECT coalesce(max(id), 0) FROM signature');
  const select = statements.of<ImageColumns>(`
    SELECT site, path, layout, algorithm, digest
    FROM signature
    WHERE id > ? AND id <= ?`);
  for (const image of select.iterate(beginning(held, { file, row }, last), last)) take(image);
  return { file: String(held.inode), row: last };
}

function lastRow(statements: Statements, sql: string): number {
  return statements.plucked<number>(sql).get() ?? 0;
}

/** A file that was replaced, or that has fewer rows than before, is read from its beginning. */
function beginning({ inode }: HeldFile, { file, row }: Noted, last: number): number {
  return file === String(inode) && row <= last ? row : 0;
}

/** Whether the image has or ever had a signature; null: there is no such database. */
export function isOrWasSigned(
  state: SignedSource | null,
  index: SignedSource | null,
  { site, path, layout, algorithm, digest }: ImageColumns,
  folder: string,
): boolean {
  const wasUploaded = state?.statements
    .plucked<number>(`
      SELECT 1
      FROM upload
      WHERE site = ? AND image = ?
      LIMIT 1`)
    .get(site, folder);
  if (wasUploaded !== undefined) return true;
  const isIndexed = index?.statements
    .plucked<number>(`
      SELECT 1
      FROM signature
      WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?
      LIMIT 1`)
    .get(site, path, layout, algorithm, digest);
  return isIndexed !== undefined;
}
