// A data directory that is filled from the database of several nodes: state.db under another name, index.db and the days of the record
// of reads. The files of the signatures are written by the caller.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import type { SignaturePlace } from '../domain/backup.ts';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, parseLongImageFolder } from '../domain/image.ts';
import { MAX_INDEXED_BYTES } from '../domain/limits.ts';
import type { LogReaderStore } from '../domain/log.ts';
import { COUNTED, RULES, SIGNATURE_COLUMNS } from '../domain/moved-tables.ts';
import {
  type LastPart,
  type MovedCounts,
  type MovedPart,
  type MovedRow,
  type MovedValue,
  placeInSite,
  SignaturesMark,
  signatureText,
} from '../domain/moving.ts';
import { FolderChanges } from './folder-entries.ts';
import { logReader } from './log-store.ts';
import { DayFiller } from './moving-days.ts';
import { closeInItsFile, filesOf, inTransaction, openForWriting, unfinishedStateFileOf } from './open.ts';

const FILES_AT_ONCE = 32;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

export interface FillOptions {
  readonly dataDir: string;
  /** `tree`: as the index is to name it. */
  readonly sites: readonly { readonly name: string; readonly tree: string }[];
  readonly writeFile: (place: SignaturePlace, bytes: Uint8Array, modifiedAt: Date) => Promise<void>;
  /** Null when it is not there. */
  readonly readFile: (place: SignaturePlace) => Promise<Uint8Array | null>;
}

export interface FilledDirectory {
  readonly log: LogReaderStore;
  put(part: MovedPart): Promise<void>;
  counts(tables: readonly string[]): MovedCounts;
  /** Reads every file again. @throws LookasideError DAMAGE_FOUND */
  signatures(onProgress: (done: number) => void): Promise<string>;
  finish(last: LastPart): void;
  /** With everything in the files themselves. */
  close(): void;
}

/** Names in the data directory of what is made there, beside the tree and the file that becomes state.db. */
export function namesOfFilled(dataDir: string): readonly string[] {
  const journals = filesOf(unfinishedStateFileOf(dataDir)).slice(1);
  return [...journals, ...filesOf(join(dataDir, 'index.db')), join(dataDir, 'access')].map((path) =>
    path.slice(dataDir.length + 1),
  );
}

/** The file that becomes state.db must be there, and empty. */
export function openFilledDirectory(options: FillOptions): FilledDirectory {
  const { dataDir } = options;
  const state = openForWriting(unfinishedStateFileOf(dataDir), 'state');
  const index = openForWriting(join(dataDir, 'index.db'), 'index');
  const accessFolder = join(dataDir, 'access');
  mkdirSync(accessFolder, { recursive: true });
  const days = new DayFiller(accessFolder);
  const signatures = new SignatureFiller(index, options);
  const counters: Readonly<Record<string, () => number>> = {
    image: () => signatures.imageCount(),
    signature: () => countIn(index, 'signature'),
    access_read: () => days.count(),
  };
  return {
    log: logReader(state),
    async put({ rows }) {
      for (const [table, some] of rows) {
        if (table === 'signature') await signatures.put(some);
        else if (table === 'access_read') days.putReads(some);
        else if (table === 'access_missing') days.putMissing(some);
        else if (table === 'access_dropped') putDropped(state, days, some);
        else inTransaction(state, () => insertRows(state, table, some));
      }
    },
    counts: (tables) =>
      Object.fromEntries(
        tables.map((table) => [table, counters[table]?.() ?? countIn(state, knownTable(table))]),
      ),
    signatures: (onProgress) => signatures.mark(onProgress),
    finish({ rules, numbers, check }) {
      inTransaction(state, () => {
        for (const [table, rows] of rules) insertRows(state, table, rows);
        check(Object.fromEntries(rules.map(([table]) => [table, countIn(state, knownTable(table))])));
        nameFillers(state, signatures.fillers());
        for (const { name } of RULES) raiseNumber(state, name, numbers[name] ?? 0);
      });
      inTransaction(index, () => {
        signatures.finish(options.sites);
        raiseNumber(index, 'signature', numbers.signature ?? 0);
      });
    },
    close() {
      days.close();
      closeInItsFile(index);
      closeInItsFile(state);
    },
  };
}

function knownTable(name: string): string {
  if (COUNTED.some((table) => table.name === name)) return name;
  throw new Error(`${name} is not a table that is moved`);
}

function countIn(db: Database, table: string): number {
  return db.prepare<[], number>(`SELECT count(*) FROM ${table}`).pluck().get() ?? 0;
}

function insertRows(db: Database, table: string, rows: readonly MovedRow[]): void {
  const [first] = rows;
  if (first === undefined) return;
  // its fillers are named at the end, when all signatures are there
  const added: MovedRow = table === 'tombstone' ? { fillers: '[]', settled: 1 } : {};
  const names = Object.keys({ ...first, ...added });
  const insert = db.prepare<MovedValue[]>(
    `INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
  );
  for (const row of rows) insert.run(...names.map((name) => row[name] ?? added[name] ?? null));
}

/** Only tables in which no number is given a second time have one. */
function raiseNumber(db: Database, table: string, number: number): void {
  const isNumbered = db
    .prepare<[string], number>("SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE '%AUTOINCREMENT%'")
    .pluck()
    .get(table);
  if (isNumbered === undefined || number === 0) return;
  const { changes } = db
    .prepare('UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?')
    .run(number, table);
  if (changes === 0) db.prepare('INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)').run(table, number);
}

/** Reads that found no room are kept with their day as long as it is there. */
function putDropped(state: Database, days: DayFiller, rows: readonly MovedRow[]): void {
  const put = state.prepare<[number, number]>(`
    INSERT INTO access_dropped (hour, count)
    VALUES (?, ?)
    ON CONFLICT DO UPDATE SET count = count + excluded.count`);
  inTransaction(state, () => {
    for (const row of rows) {
      const [atMs, count] = [Number(row.at_ms), Number(row.count)];
      const day = new Date(atMs - (atMs % DAY_MS)).toISOString().slice(0, 10);
      const hour = Math.floor(atMs / HOUR_MS);
      if (days.has(day)) days.putDropped(day, { hour, count, atMs });
      else put.run(hour, count);
    }
  });
}

interface Filler {
  readonly site: string;
  readonly folder: string;
  readonly number: number;
}

/** A filler belongs to the withdrawal whose number it has; one of an earlier withdrawal of the same bytes to any of the image. */
function nameFillers(state: Database, fillers: readonly Filler[]): void {
  const ofImage = new Map<string, { readonly filler: Filler; readonly numbers: number[] }>();
  for (const filler of fillers) {
    const key = `${filler.site} ${filler.folder}`;
    const known = ofImage.get(key);
    if (known === undefined) ofImage.set(key, { filler, numbers: [filler.number] });
    else known.numbers.push(filler.number);
  }
  const select = state.prepare<[string, string], { sha256: Buffer; number: number }>(`
    SELECT sha256, number
    FROM tombstone
    WHERE site = ? AND image = ?
    ORDER BY number`);
  const update = state.prepare<[string, string, string, Uint8Array]>(`
    UPDATE tombstone
    SET fillers = ?
    WHERE site = ? AND image = ? AND sha256 = ?`);
  for (const { filler, numbers } of ofImage.values()) {
    const { site, folder } = filler;
    const tombstones = select.all(site, folder);
    const named = new Set(tombstones.map(({ number }) => number));
    for (const [position, { sha256, number }] of tombstones.entries()) {
      const its = numbers.filter((one) => one === number || (position === 0 && !named.has(one)));
      if (its.length > 0) update.run(JSON.stringify(its), site, folder, sha256);
    }
  }
}

interface FilledRow {
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
  readonly number: number;
  readonly sha256: Buffer;
}

const IMAGE = 'site, path, layout, algorithm, digest';

/** index.db, and the files that it is an index of. */
class SignatureFiller {
  readonly #db: Database;
  readonly #options: FillOptions;

  constructor(db: Database, options: FillOptions) {
    this.#db = db;
    this.#options = options;
  }

  async put(rows: readonly MovedRow[]): Promise<void> {
    await forEachConcurrently(rows, FILES_AT_ONCE, (row) =>
      this.#options.writeFile(
        { site: String(row.site), path: `${row.folder}/signature-${row.number}` },
        bytesIn(row),
        new Date(Number(row.stored_at_ms)),
      ),
    );
    const names = [...IMAGE.split(', '), 'number', 'sha256', 'bytes', ...SIGNATURE_COLUMNS];
    const insert = this.#db.prepare<MovedValue[]>(
      `INSERT INTO signature (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
    );
    inTransaction(this.#db, () => {
      for (const row of rows) {
        const { site, path, layout, algorithm, hex } = imageAt(row);
        const digest = Buffer.from(hex, 'hex');
        const bytes = bytesIn(row);
        const indexed = bytes.length <= MAX_INDEXED_BYTES ? bytes : null;
        const values: MovedRow = { ...row, site, path, layout, algorithm, digest, bytes: indexed };
        insert.run(...names.map((name) => values[name] ?? null));
      }
    });
  }

  imageCount(): number {
    const sql = `SELECT count(*) FROM (SELECT DISTINCT ${IMAGE} FROM signature)`;
    return this.#db.prepare<[], number>(sql).pluck().get() ?? 0;
  }

  async mark(onProgress: (done: number) => void): Promise<string> {
    const mark = new SignaturesMark();
    const rows = this.#db.prepare<[], FilledRow>(`SELECT ${IMAGE}, number, sha256 FROM signature`).all();
    let done = 0;
    await forEachConcurrently(rows, FILES_AT_ONCE, async (row) => {
      const folder = folderOf(row);
      const sha256 = row.sha256.toString('hex');
      const path = `${folder}/signature-${row.number}`;
      const bytes = await this.#options.readFile({ site: row.site, path });
      if (bytes === null || hashOf(bytes) !== sha256) {
        throw new LookasideError(
          'DAMAGE_FOUND',
          `${placeInSite(row.site, path)} was written, and other bytes were read there afterwards; look after the disk, and begin anew`,
        );
      }
      mark.add(hashOf(signatureText(row.site, folder, row.number, sha256)));
      done += 1;
      onProgress(done);
    });
    return mark.text();
  }

  fillers(): readonly Filler[] {
    return this.#db
      .prepare<[], FilledRow>(`SELECT ${IMAGE}, number, sha256 FROM signature WHERE filler = 1`)
      .all()
      .map((row) => ({ site: row.site, folder: folderOf(row), number: row.number }));
  }

  /** What the index counts, and that it is whole. */
  finish(sites: FillOptions['sites']): void {
    const folders = new FolderChanges(this.#db);
    const images = this.#db
      .prepare<[], FilledRow>(`SELECT DISTINCT ${IMAGE} FROM signature WHERE filler = 0`)
      .all();
    for (const image of images) folders.count({ ...image, hex: image.digest.toString('hex') }, 1);
    folders.write();
    const insert = this.#db.prepare<[string, string, number, string]>(`
      INSERT INTO site (name, tree, images, signatures, complete)
      VALUES (?, ?, ?, (SELECT count(*) FROM signature WHERE site = ? AND filler = 0), 1)`);
    for (const { name, tree } of sites)
      insert.run(name, tree, images.filter(({ site }) => site === name).length, name);
  }
}

function bytesIn({ bytes }: MovedRow): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes;
  throw new Error('a signature has bytes');
}

function imageAt({ site, folder }: MovedRow): ImageId {
  const image = parseLongImageFolder(String(site), String(folder));
  if (image === null) throw new Error(`${folder} is not the folder of an image`);
  return image;
}

function folderOf({ digest, ...image }: FilledRow): string {
  return imageFolder({ ...image, hex: digest.toString('hex') });
}

function hashOf(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}
