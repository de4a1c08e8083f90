// Everything in a data directory as rows for the tables that several nodes share (docs/decisions/several-nodes.md), which have the
// same names of columns. Nothing may write to the directory meanwhile.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { parseMirrorSettings } from '../domain/mirror-settings.ts';
import {
  CHECKPOINTS,
  COUNTED,
  EVENTS,
  HASHES,
  HOURS,
  IDENTITIES,
  isMoved,
  isOfSites,
  MIRRORS,
  type MovedTable,
  RULES,
  SIGNATURE_COLUMNS,
  TOMBSTONES,
  UPLOADS,
  WITNESSED,
} from '../domain/moved-tables.ts';
import {
  filesOfMirror,
  type MovedCounts,
  type MovedMirror,
  type MovedPart,
  type MovedRow,
  type MovePlace,
  type MoveSource,
  placeInSite,
  SignaturesMark,
  signatureText,
} from '../domain/moving.ts';
import { naturalKey } from '../domain/natural-order.ts';
import { newestVersion } from './migrate.ts';
import {
  isCorruption,
  messageOf,
  openForReading,
  openForWriting,
  openOlderForReading,
  stateFileOf,
  UnusableFile,
} from './open.ts';

const ROWS_AT_ONCE = 2000;
const READS_AT_ONCE = 5000;
const BYTES_AT_ONCE = 8 * 1024 * 1024;
const DAY_FILE = /^([0-9]{4}-[0-9]{2}-[0-9]{2})\.db$/;
const HOUR_MS = 3_600_000;

export interface MoveSourceOptions {
  readonly dataDir: string;
  /** Names of the sites that are moved. */
  readonly sites: readonly string[];
  /** Nothing in the directory is brought up to date. */
  readonly isDryRun: boolean;
  /** All bytes of a signature file that is too large for the index; null when it is gone. */
  readonly readFile: (site: string, folder: string, number: number) => Promise<Uint8Array | null>;
}

/** A day of the record of reads whose file is damaged. */
export interface LeftOutDay {
  /** `2026-11-22`, UTC. */
  readonly day: string;
  readonly reason: string;
}

export interface OpenedMoveSource extends MoveSource {
  readonly daysLeftOut: readonly LeftOutDay[];
  close(): void;
}

/** The index must be complete and true to the tree. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openMoveSource({ dataDir, sites, isDryRun, readFile }: MoveSourceOptions): OpenedMoveSource {
  const state = { db: openForReading(stateFileOf(dataDir), 'state'), sites };
  const index = openForReading(join(dataDir, 'index.db'), 'index');
  const days = new Days(join(dataDir, 'access'), isDryRun);
  const signatures = new Signatures(index, sites, readFile);
  const counts = countsOf(state, signatures, days);
  const signaturesMark = signatures.mark();
  return {
    counts,
    fillers: signatures.fillers(),
    mirrors: mirrorsOf(state, signatures),
    daysLeftOut: days.leftOut,
    signatures: signaturesMark,
    mark: markOf(state, counts, signatures.madeAs() + signaturesMark),
    parts: (place) => partsOf(place, { state, signatures, days }),
    rules: async () => RULES.map((table) => [table.name, [...rowsOf(state, table, 0)]]),
    numbers: async () => numbersOf(state),
    close() {
      state.db.close();
      index.close();
    },
  };
}

/** @throws LookasideError STATE_UNUSABLE when a database of the directory has the schema of an older version */
export function refuseOlder(dataDir: string): void {
  const files = [
    [stateFileOf(dataDir), 'state'],
    [join(dataDir, 'index.db'), 'index'],
  ] as const;
  for (const [file, kind] of files) {
    try {
      if (existsSync(file)) openForReading(file, kind).close();
    } catch (error) {
      // what else may be wrong is told when it is opened
      if (!(error instanceof UnusableFile) || error.misfit !== 'older') continue;
      const message = `${error.message}; a dry run does not do that`;
      throw new LookasideError('STATE_UNUSABLE', message, { cause: error });
    }
  }
}

/** state.db, and the sites whose rows are moved. */
interface MovedState {
  readonly db: Database;
  readonly sites: readonly string[];
}

interface Opened {
  readonly state: MovedState;
  readonly signatures: Signatures;
  readonly days: Days;
}

function partsOf({ step, cursor }: MovePlace, { state, signatures, days }: Opened) {
  switch (step) {
    case 'events':
      return inParts(state, EVENTS, cursor);
    case 'hashes':
      return inParts(state, HASHES, cursor);
    case 'checkpoints':
      return inParts(state, CHECKPOINTS, cursor, [
        ['log_identity', [...rowsOf(state, IDENTITIES, 0)]],
        ['witnessed', [...rowsOf(state, WITNESSED, 0)]],
      ]);
    case 'uploads':
      return inParts(state, UPLOADS, cursor);
    case 'tombstones':
      return inParts(state, TOMBSTONES, cursor);
    case 'signatures':
      return signatures.parts(cursor);
    case 'mirrors':
      return inTables(state, MIRRORS, cursor);
    case 'reads':
      return days.parts(cursor);
    case 'hours':
      return inParts(state, HOURS, cursor, [['access_dropped', droppedOf(state, days)]]);
  }
}

/** `first` comes ahead, all of it. The cursor counts rows: nothing is added or removed meanwhile. */
function* inParts(
  state: MovedState,
  table: MovedTable,
  cursor: string | null,
  first: MovedPart['rows'] = [],
): Generator<MovedPart> {
  if (cursor === null && first.length > 0) yield { rows: first, cursor: '0' };
  const after = Number(cursor ?? 0);
  let rows: MovedRow[] = [];
  let bytes = 0;
  let done = after;
  for (const row of rowsOf(state, table, after)) {
    rows.push(row);
    done += 1;
    bytes += sizeOf(row);
    if (rows.length < ROWS_AT_ONCE && bytes < BYTES_AT_ONCE) continue;
    yield { rows: [[table.name, rows]], cursor: String(done) };
    rows = [];
    bytes = 0;
  }
  if (rows.length > 0) yield { rows: [[table.name, rows]], cursor: String(done) };
}

/** One table after the other. The cursor says which, and counts its rows. */
function* inTables(
  state: MovedState,
  tables: readonly MovedTable[],
  cursor: string | null,
): Generator<MovedPart> {
  const [first = 0, after = 0] = cursor?.split(' ').map(Number) ?? [];
  for (const [position, table] of tables.entries()) {
    if (position < first) continue;
    for (const part of inParts(state, table, position === first ? String(after) : null))
      yield { ...part, cursor: `${position} ${part.cursor}` };
  }
}

/** In the order of their primary key. */
function rowsOf({ db, sites }: MovedState, table: MovedTable, after: number): Iterable<MovedRow> {
  const { name, columns, key } = table;
  const sql = `
    SELECT ${columns.join(', ')}
    FROM ${name}
    WHERE ${isMoved(table, sites)}
    ORDER BY ${key}
    LIMIT -1 OFFSET ?`;
  return db.prepare<[number], MovedRow>(sql).iterate(after);
}

function sizeOf(row: MovedRow): number {
  return Object.values(row).reduce<number>(
    (sum, value) => sum + (typeof value === 'object' ? (value?.length ?? 0) : String(value).length),
    0,
  );
}

function countsOf({ db, sites }: MovedState, signatures: Signatures, days: Days): MovedCounts {
  const counted = COUNTED.map((table) => [
    table.name,
    db
      .prepare<[], number>(`SELECT count(*) FROM ${table.name} WHERE ${isMoved(table, sites)}`)
      .pluck()
      .get() ?? 0,
  ]);
  return { ...Object.fromEntries(counted), ...signatures.counts(), access_read: days.count() };
}

interface MirrorRow {
  readonly name: string;
  readonly settings: string;
  readonly sets: number;
}

function mirrorsOf({ db, sites }: MovedState, signatures: Signatures): readonly MovedMirror[] {
  const rows = db
    .prepare<[], MirrorRow>(`
      SELECT name, settings, (SELECT count(*) FROM mirror_set WHERE site = name) AS sets
      FROM mirror
      WHERE ${isOfSites('name', sites)}
      ORDER BY name`)
    .all();
  return rows.map(({ name, settings, sets }) => ({
    ...{ name, sets, ...signatures.countsOf(name) },
    files: filesOfMirror(parseMirrorSettings(JSON.parse(settings))),
  }));
}

/** The numbers of rules, also of those that are gone. */
function numbersOf({ db }: MovedState): MovedCounts {
  const rows = db
    .prepare<[], { name: string; number: number }>(
      'SELECT name, max(seq) AS number FROM sqlite_sequence GROUP BY name',
    )
    .all();
  const given = new Map(rows.map(({ name, number }) => [name, number]));
  return Object.fromEntries(RULES.map(({ name }) => [name, given.get(name) ?? 0]));
}

function markOf(state: MovedState, counts: MovedCounts, signatures: string): string {
  const parts = [EVENTS, HASHES, IDENTITIES, CHECKPOINTS, UPLOADS, TOMBSTONES, HOURS];
  const hash = createHash('sha256');
  const last = state.db
    .prepare<[], string>('SELECT leaf FROM audit_event ORDER BY seq DESC LIMIT 1')
    .pluck()
    .get();
  // who it was may be forgotten in events that are there already
  const known = state.db
    .prepare<[], number>('SELECT count(*) FROM audit_event WHERE private IS NOT NULL')
    .pluck()
    .get();
  const sizes = parts.map(({ name }) => counts[name]);
  // a head of another log is cosigned without an event
  const witnessed = [...rowsOf(state, WITNESSED, 0)].map(({ note }) => note);
  hash.update(JSON.stringify([sizes, counts.access_read, last ?? null, known, signatures, witnessed]));
  // a walk changes rows of mirrors without an event
  for (const table of MIRRORS) {
    hash.update(table.name);
    for (const row of rowsOf(state, table, 0)) hash.update(JSON.stringify(Object.values(row)));
  }
  return hash.digest('hex');
}

interface IndexRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
  readonly number: number;
  readonly sha256: Buffer;
  readonly bytes: Buffer | null;
}

interface ImageRows {
  readonly image: ImageId;
  readonly rows: readonly (IndexRow & MovedRow)[];
}

const IMAGE_ORDER = 'path, layout, algorithm, digest, number';

/** What the index has of the sites, which is what they serve. */
class Signatures {
  readonly #db: Database;
  readonly #sites: readonly string[];
  readonly #readFile: MoveSourceOptions['readFile'];

  constructor(db: Database, sites: readonly string[], readFile: MoveSourceOptions['readFile']) {
    this.#db = db;
    this.#sites = sites;
    this.#readFile = readFile;
  }

  counts(): MovedCounts {
    let image = 0;
    let signature = 0;
    for (const { rows } of this.#images('path, layout, algorithm, digest, number, sha256')) {
      image += 1;
      signature += rows.length;
    }
    return { image, signature };
  }

  /** What one site has. */
  countsOf(site: string): Pick<MovedMirror, 'images' | 'signatures'> {
    const sql = `
      SELECT count(*) AS images, coalesce(sum(signatures), 0) AS signatures
      FROM (
        SELECT sum(filler = 0) AS signatures
        FROM signature
        WHERE site = ?
        GROUP BY path, layout, algorithm, digest
      )`;
    const row = this.#db.prepare<[string], Pick<MovedMirror, 'images' | 'signatures'>>(sql).get(site);
    return row ?? { images: 0, signatures: 0 };
  }

  fillers(): number {
    const sql = `SELECT count(*) FROM signature WHERE ${isOfSites('site', this.#sites)} AND filler = 1`;
    return this.#db.prepare<[], number>(sql).pluck().get() ?? 0;
  }

  /** Which index it is, and which numbers it has given: the next run goes on with the same ones, or begins anew. */
  madeAs(): string {
    const sql = `
      SELECT (SELECT value FROM generation WHERE id = 1) AS generation, max(id) AS last, sum(id) AS sum
      FROM signature
      WHERE ${isOfSites('site', this.#sites)}`;
    return JSON.stringify(this.#db.prepare<[], object>(sql).get());
  }

  mark(): string {
    const mark = new SignaturesMark();
    for (const { image, rows } of this.#images('path, layout, algorithm, digest, number, sha256')) {
      const folder = imageFolder(image);
      for (const [position, { sha256 }] of rows.entries()) {
        const text = signatureText(image.site, folder, position + 1, sha256.toString('hex'));
        mark.add(createHash('sha256').update(text).digest('hex'));
      }
    }
    return mark.text();
  }

  /** The cursor counts images. */
  async *parts(cursor: string | null): AsyncGenerator<MovedPart> {
    const after = Number(cursor ?? 0);
    let part = new ImagesPart();
    let id = 0;
    const columns = `path, layout, algorithm, digest, number, sha256, bytes, ${SIGNATURE_COLUMNS.join(', ')}`;
    for (const { image, rows } of this.#images(columns)) {
      id += 1;
      if (id <= after) continue;
      part.add(id, image, rows, await this.#bytesOf(image, rows));
      if (!part.isFull) continue;
      yield part.end(id);
      part = new ImagesPart();
    }
    if (id > after && !part.isEmpty) yield part.end(id);
  }

  *#images(columns: string): Generator<ImageRows> {
    for (const site of this.#sites) yield* this.#imagesOf(site, columns);
  }

  *#imagesOf(site: string, columns: string): Generator<ImageRows> {
    const statement = this.#db.prepare<[string], IndexRow & MovedRow>(`
      SELECT ${columns}
      FROM signature
      WHERE site = ?
      ORDER BY ${IMAGE_ORDER}`);
    let rows: (IndexRow & MovedRow)[] = [];
    for (const row of statement.iterate(site)) {
      const [first] = rows;
      if (first !== undefined && !isSameImage(first, row)) {
        yield { image: imageOf(site, first), rows };
        rows = [];
      }
      rows.push(row);
    }
    const [first] = rows;
    if (first !== undefined) yield { image: imageOf(site, first), rows };
  }

  /** By their hashes. */
  async #bytesOf(image: ImageId, rows: ImageRows['rows']): Promise<ReadonlyMap<string, Uint8Array>> {
    const files = new Map<string, Uint8Array>();
    for (const { number, sha256, bytes } of rows) {
      const hex = sha256.toString('hex');
      if (files.has(hex)) continue;
      const read = bytes ?? (await this.#readFile(image.site, imageFolder(image), number));
      if (read === null || createHash('sha256').update(read).digest('hex') !== hex) {
        throw new LookasideError(
          'DAMAGE_FOUND',
          `${placeInSite(image.site, `${imageFolder(image)}/signature-${number}`)} has other bytes than those that are recorded; mend it first, as lookaside fsck says`,
        );
      }
      files.set(hex, read);
    }
    return files;
  }
}

function isSameImage(a: IndexRow, b: IndexRow): boolean {
  return (
    a.path === b.path && a.layout === b.layout && a.algorithm === b.algorithm && a.digest.equals(b.digest)
  );
}

function imageOf(site: string, { path, layout, algorithm, digest }: IndexRow): ImageId {
  return { site, path, layout, algorithm, hex: digest.toString('hex') };
}

/** Rows of the four tables that an image has. */
class ImagesPart {
  readonly #images: MovedRow[] = [];
  readonly #blobs: MovedRow[] = [];
  readonly #signatures: MovedRow[] = [];
  readonly #folders = new Map<string, MovedRow & { images: number }>();
  #bytes = 0;

  get isFull(): boolean {
    return this.#signatures.length >= ROWS_AT_ONCE || this.#bytes >= BYTES_AT_ONCE;
  }

  get isEmpty(): boolean {
    return this.#images.length === 0;
  }

  add(id: number, image: ImageId, rows: ImageRows['rows'], bytes: ReadonlyMap<string, Uint8Array>): void {
    const { site } = image;
    const folder = imageFolder(image);
    this.#images.push({ id, site, folder, generation: id });
    for (const [sha256, content] of bytes) {
      this.#blobs.push({ image_id: id, sha256: Buffer.from(sha256, 'hex'), bytes: content });
      this.#bytes += content.length;
    }
    for (const [position, row] of rows.entries()) {
      const verdict = Object.fromEntries(SIGNATURE_COLUMNS.map((name) => [name, row[name] ?? null]));
      // files that no client can read are left out, and numbers are those that clients ask for
      this.#signatures.push({ ...verdict, image_id: id, number: position + 1, sha256: row.sha256 });
    }
    this.#countIn(site, folder);
  }

  #countIn(site: string, imagesFolder: string): void {
    let folder = '';
    for (const name of imagesFolder.split('/')) {
      const key = `${site}\0${folder}\0${name}`;
      const known = this.#folders.get(key);
      if (known === undefined)
        this.#folders.set(key, { site, folder, sort_key: naturalKey(name), name, images: 1 });
      else known.images += 1;
      folder = folder === '' ? name : `${folder}/${name}`;
    }
  }

  end(id: number): MovedPart {
    const rows = [
      ['image', this.#images],
      ['blob', this.#blobs],
      ['signature', this.#signatures],
      ['folder_entry', [...this.#folders.values()]],
    ] as const;
    return { rows, cursor: String(id) };
  }
}

interface ReadRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
  readonly first_at_ms: number;
}

const READS = `
  SELECT i.site, i.path, i.layout, i.algorithm, i.digest, r.first_at_ms, r.last_at_ms,
    CASE WHEN r.number > 0 THEN r.number END AS number, nullif(s.sha256, x'') AS sha256, r.status,
    a.text AS address, CASE WHEN g.text <> '' THEN g.text END AS agent,
    CASE WHEN t.text <> '' THEN t.text END AS token, r.count, r.bytes
  FROM read AS r
  JOIN image AS i ON i.id = r.image
  JOIN address AS a ON a.id = r.address
  JOIN agent AS g ON g.id = r.agent
  JOIN token AS t ON t.id = r.token
  JOIN signature AS s ON s.id = r.signature
  UNION ALL
  SELECT m.site, m.path, m.layout, m.algorithm, m.digest, m.first_at_ms, m.last_at_ms, NULL, NULL, 404, a.text, NULL,
    NULL, m.count, 0
  FROM missing AS m
  JOIN address AS a ON a.id = m.last_address`;

/** The days of the record of reads. */
class Days {
  readonly #folder: string;
  /** Rows of each day, by the names of files. */
  readonly #counts = new Map<string, number>();
  readonly leftOut: LeftOutDay[] = [];

  /** @throws LookasideError STORE_UNAVAILABLE when a day cannot be reached; one that is damaged is left out */
  constructor(folder: string, isDryRun: boolean) {
    this.#folder = folder;
    const names = existsSync(folder) ? readdirSync(folder).sort() : [];
    for (const name of names) {
      const day = DAY_FILE.exec(name)?.[1];
      if (day === undefined) continue;
      try {
        this.#counts.set(name, this.#countOf(name, isDryRun));
      } catch (error) {
        if (!isCorruption(error)) throw this.#unreachable(name, error);
        this.leftOut.push({ day, reason: messageOf(error) });
      }
    }
  }

  /** A day of an older version gets the schema of this one; a dry run counts its rows as they are. */
  #countOf(name: string, isDryRun: boolean): number {
    const file = join(this.#folder, name);
    const version = this.#read(name, (db) => Number(db.pragma('user_version', { simple: true })));
    if (!isDryRun && version < newestVersion('access')) openForWriting(file, 'access').close();
    if (version === 0) return 0; // made, and nothing was written to it
    const sql = 'SELECT (SELECT count(*) FROM read) + (SELECT count(*) FROM missing)';
    return this.#read(name, (db) => db.prepare<[], number>(sql).pluck().get() ?? 0);
  }

  #unreachable(name: string, error: unknown): LookasideError {
    return new LookasideError(
      'STORE_UNAVAILABLE',
      `${join(this.#folder, name)} cannot be read: ${messageOf(error)}; make it readable for the user of this command, or move it away to leave the reads of that day behind`,
      { cause: error },
    );
  }

  #read<T>(name: string, read: (db: Database) => T): T {
    const db = openOlderForReading(join(this.#folder, name), 'access');
    try {
      return read(db);
    } finally {
      db.close();
    }
  }

  count(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Reads that found no room on days that are not summed up yet. */
  dropped(): readonly { readonly hour: number; readonly count: number }[] {
    const sql = 'SELECT hour, count FROM dropped WHERE (SELECT closed_at_ms FROM day) IS NULL';
    return [...this.#counts.keys()].flatMap((name) =>
      this.#read(name, (db) => db.prepare<[], { hour: number; count: number }>(sql).all()),
    );
  }

  /** The cursor names the day and counts its rows. */
  *parts(cursor: string | null): Generator<MovedPart> {
    const [lastName = '', lastCount = '0'] = cursor?.split(' ') ?? [];
    for (const name of this.#counts.keys()) {
      if (name < lastName) continue;
      try {
        yield* this.#partsOf(name, name === lastName ? Number(lastCount) : 0);
      } catch (error) {
        if (!isCorruption(error)) throw error;
        throw new LookasideError(
          'DAMAGE_FOUND',
          `${join(this.#folder, name)} is damaged: ${messageOf(error)}; move it away to leave the reads of that day behind, and give the same command again`,
          { cause: error },
        );
      }
    }
  }

  *#partsOf(name: string, after: number): Generator<MovedPart> {
    const db = openOlderForReading(join(this.#folder, name), 'access');
    try {
      let rows: MovedRow[] = [];
      let done = 0;
      for (const row of db.prepare<[], ReadRow & MovedRow>(READS).iterate()) {
        done += 1;
        if (done <= after) continue;
        rows.push(readRowOf(row));
        if (rows.length < READS_AT_ONCE) continue;
        yield { rows: [['access_read', rows]], cursor: `${name} ${done}` };
        rows = [];
      }
      if (rows.length > 0) yield { rows: [['access_read', rows]], cursor: `${name} ${done}` };
    } finally {
      db.close();
    }
  }
}

function readRowOf({ path, layout, algorithm, digest, ...rest }: ReadRow & MovedRow): MovedRow {
  const site = String(rest.site);
  const folder = imageFolder({ site, path, layout, algorithm, hex: digest.toString('hex') });
  const day = new Date(rest.first_at_ms).toISOString().slice(0, 10);
  return { ...rest, site, folder, day };
}

/** Reads that the record could not take. */
function droppedOf({ db }: MovedState, days: Days): readonly MovedRow[] {
  const kept = db
    .prepare<[], { hour: number; count: number }>('SELECT hour, count FROM access_dropped ORDER BY hour')
    .all();
  return [...kept, ...days.dropped()].map(({ hour, count }) => ({ at_ms: hour * HOUR_MS, count }));
}
