// Questions to DATA/access, day by day from the newest on. A day is walked in pieces, so that a question can be stopped.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { type ImageId, imageName } from '../domain/image.ts';
import { networkOf, overlaps, parseNetwork, textsWithin } from '../domain/network.ts';
import type { Sums } from '../domain/record-sums.ts';
import {
  type AccessRow,
  type Dimension,
  type Grouping,
  type Position,
  type RecordFilter,
  repositoryOf,
} from '../domain/records.ts';
import { IS_DIGEST, IS_SHA256 } from './day-ids.ts';
import { addPlace, type Missing, MissingRows } from './missing-rows.ts';
import {
  closedOnError,
  type HeldFile,
  hold,
  isCorruption,
  isReachable,
  messageOf,
  openOlderForReading,
} from './open.ts';
import { Conditions, type Pause, Statements, type Value } from './question-parts.ts';

const DAY_FILE = /^([0-9]{4}-[0-9]{2}-[0-9]{2})\.db$/;
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const MINUTES_PER_DAY = 1440;
const MINUTES_PER_HOUR = 60;
const PIECE_MINUTES = 4 * MINUTES_PER_HOUR;
/** The first schema that knows which bytes were sent, and what was dropped. */
const NAMES_BYTES = 2;
/** So many are looked up one by one; of more, the whole dictionary is walked. */
const FEW = 500;

type Ids = readonly number[];

interface ImageRow {
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Uint8Array;
}

/** What a sum may group by, of one group or row. */
interface ReadRow {
  readonly image: number;
  readonly status: number;
  readonly address: number;
  readonly agent: number;
  readonly token: number;
  readonly signature: number;
  readonly first_at_ms: number;
  readonly last_at_ms: number;
  readonly count: number;
  readonly bytes: number;
}

/** The columns that tell a row from all others of its day. */
const KEY = ['minute', 'image', 'number', 'status', 'address', 'agent', 'token', 'signature'] as const;

/** The columns of KEY, then first_at_ms, last_at_ms, count and bytes. */
type ReadColumns = readonly [
  minute: number,
  image: number,
  number: number,
  status: number,
  address: number,
  agent: number,
  token: number,
  signature: number,
  firstAtMs: number,
  lastAtMs: number,
  count: number,
  bytes: number,
];

/** What a question needs from beside the access record. */
export interface BesideAccess {
  /** SHA-256 of all signatures by that key. */
  signaturesBy(fingerprint: string): ReadonlySet<string>;
  /** The primary key that a signature of the image verified with, or null. */
  keyOf(image: ImageId, sha256: string): string | null;
}

/** One day of images that were asked for and had no signature. */
export interface DayOfMissing {
  readonly day: string;
  /** Null: it is not over, or rows have come since. */
  readonly closedAtMs: number | null;
  /** Calls `take` for each image of that filter. */
  all(filter: RecordFilter, take: (missing: Missing) => void): void;
  /** Calls `take` for each image that was asked for then or later, and returns how often the others were asked for. */
  before(ms: number, take: (missing: Missing) => void): number;
}

/** Days that stay open while questions are answered; opening one costs as much as many look-ups. */
const MAX_OPEN_DAYS = 100;
/** Texts of one dictionary that one day remembers. */
const MAX_TEXTS = 50_000;
/** A page of rows has no more of them; an export and a sum have. */
const FEW_TEXTS = 1000;

interface HeldDay {
  readonly held: HeldFile;
  readonly opened: OpenDay;
}

/** The days that one thread has open, for all questions that it answers. */
export class OpenDays {
  readonly #folder: string;
  readonly #pause: Pause;
  readonly #beside: BesideAccess;
  readonly #open = new Map<string, HeldDay>();

  constructor(dataDir: string, pause: Pause, beside: BesideAccess) {
    this.#folder = join(dataDir, 'access');
    this.#pause = pause;
    this.#beside = beside;
  }

  /** One question, or the pages of one, without these days. A day that is deleted meanwhile is read until the next question. */
  ask(without: ReadonlySet<string>): AccessQuestions {
    this.letGo();
    return new AccessQuestions(this, { pause: this.#pause, beside: this.#beside, without });
  }

  /** Closes days that were deleted, replaced or changed in form: open, they would keep their space on the disk. */
  letGo(): void {
    for (const [day, { held, opened }] of this.#open)
      if (!isReachable(held) || opened.isOutdated) this.#close(day);
  }

  /** All that are there, newest first. */
  list(): readonly string[] {
    const names = existsSync(this.#folder) ? readdirSync(this.#folder) : [];
    return names
      .flatMap((name) => DAY_FILE.exec(name)?.[1] ?? [])
      .sort()
      .reverse();
  }

  /** Null: it is gone. @throws UnusableFile, and SQLite's own errors */
  take(day: string): OpenDay | null {
    const known = this.#open.get(day);
    if (known !== undefined) return known.opened;
    const file = join(this.#folder, `${day}.db`);
    try {
      const db = openOlderForReading(file, 'access');
      const openDay = closedOnError(db, () => ({
        held: hold(db, file),
        opened: new OpenDay(db, day, this.#pause, this.#beside),
      }));
      if (this.#open.size >= MAX_OPEN_DAYS) this.close();
      this.#open.set(day, openDay);
      return openDay.opened;
    } catch (error) {
      // it may have been deleted since the folder was listed
      if (existsSync(file)) throw error;
      return null;
    }
  }

  /** Call it when nobody asks for a while: what was remembered may be forgotten on purpose before the next question. */
  rest(): void {
    for (const { opened } of this.#open.values()) opened.rest();
  }

  close(): void {
    for (const day of [...this.#open.keys()]) this.#close(day);
  }

  #close(day: string): void {
    this.#open.get(day)?.opened.close();
    this.#open.delete(day);
  }
}

interface QuestionParts {
  readonly pause: Pause;
  readonly beside: BesideAccess;
  /** Days to pass over. */
  readonly without: ReadonlySet<string>;
}

/** One question, or the pages of one: it knows what they lack. */
export class AccessQuestions {
  readonly #days: OpenDays;
  readonly #pause: Pause;
  readonly #beside: BesideAccess;
  readonly #without: ReadonlySet<string>;
  readonly #gaps = new Set<string>();

  constructor(days: OpenDays, { pause, beside, without }: QuestionParts) {
    this.#days = days;
    this.#pause = pause;
    this.#beside = beside;
    this.#without = without;
  }

  /** In words for people, what could not be read. */
  get gaps(): readonly string[] {
    return [...this.#gaps];
  }

  /** Newest first, at most `limit`, and where they end. */
  page(filter: RecordFilter, after: Position | null, limit: number) {
    const rows: AccessRow[] = [];
    let end: Position | null = null;
    const wanted = this.#wanted(filter);
    for (const day of this.#daysOf(filter, after === null ? null : dayText(after[0] ?? 0))) {
      this.#read(day, (opened) => {
        const before = after !== null && after[0] === dayNumber(day) ? after.slice(1) : null;
        const last = opened.addRows(rows, limit, wanted, before);
        if (last !== null) end = [dayNumber(day), ...last];
        if (rows.length < limit) opened.forget();
      });
      if (rows.length >= limit) break;
    }
    return { rows, end: rows.length < limit ? null : (end as Position | null) };
  }

  sums(filter: RecordFilter, by: Grouping, sums: Sums): void {
    const wanted = this.#wanted(filter);
    for (const day of this.#daysOf(filter, null)) {
      this.#read(day, (opened) => {
        opened.sums(wanted, by, sums);
        opened.forget();
      });
    }
  }

  /** How many reads of that time found no room in the record. */
  dropped(filter: RecordFilter): number {
    let dropped = 0;
    for (const day of this.#daysOf(filter, null)) {
      this.#read(day, (opened) => {
        dropped += opened.dropped(filter);
      });
    }
    return dropped;
  }

  /** Calls `act` for each day of the time. */
  daysOfMissing(filter: RecordFilter, act: (day: DayOfMissing) => void): void {
    for (const day of this.#daysOf(filter, null)) this.#read(day, act);
  }

  /** Who asked for these images without a signature last on that day, by imageKey(). */
  lastAddresses(day: string, images: readonly ImageId[]): ReadonlyMap<string, string> {
    let addresses: ReadonlyMap<string, string> = new Map();
    this.#read(day, (opened) => {
      addresses = opened.lastAddresses(images);
    });
    return addresses;
  }

  /** Calls `take` for each image that was fetched, once a day. */
  fetched(filter: RecordFilter, take: (image: ImageId) => void): void {
    for (const day of this.#daysOf(filter, null)) this.#read(day, (opened) => opened.fetched(take));
  }

  /** The first day of the record, or null. */
  get firstDay(): string | null {
    return this.#days.list().at(-1) ?? null;
  }

  #wanted(filter: RecordFilter): Wanted {
    const { signature, fingerprint } = filter;
    const signatures = new Set(fingerprint === null ? [] : this.#beside.signaturesBy(fingerprint));
    if (fingerprint === null && signature !== null) signatures.add(signature);
    const both = fingerprint !== null && signature !== null;
    if (both) for (const one of signatures) if (one !== signature) signatures.delete(one);
    return { filter, signatures: signature === null && fingerprint === null ? null : signatures };
  }

  #daysOf({ since, until }: RecordFilter, from: string | null): readonly string[] {
    return this.#days.list().filter((day) => {
      const startMs = Date.parse(day);
      if ((from !== null && day > from) || this.#without.has(day)) return false;
      return startMs < (until?.getTime() ?? Infinity) && startMs + DAY_MS > (since?.getTime() ?? 0);
    });
  }

  #read(day: string, act: (opened: OpenDay) => void): void {
    this.#pause();
    const opened = this.#opened(day);
    if (opened === null) return;
    try {
      act(opened);
    } catch (error) {
      if (!isCorruption(error)) throw error;
      this.#gaps.add(`the day ${day} is damaged: ${messageOf(error)}`);
    }
  }

  /** Null: the day cannot be read, or is gone. */
  #opened(day: string): OpenDay | null {
    try {
      return this.#days.take(day);
    } catch (error) {
      this.#gaps.add(`the day ${day} cannot be read: ${messageOf(error)}`);
      return null;
    }
  }
}

interface Wanted {
  readonly filter: RecordFilter;
  /** Null: whatever bytes. */
  readonly signatures: ReadonlySet<string> | null;
}

class OpenDay implements DayOfMissing {
  readonly day: string;
  readonly #db: Database;
  readonly #pause: Pause;
  readonly #beside: BesideAccess;
  readonly #namesBytes: boolean;
  readonly #version: number;
  readonly #statements: Statements;
  readonly #missing: MissingRows;
  readonly #texts: Texts = {
    address: new Map(),
    agent: new Map(),
    token: new Map(),
    signature: new Map(),
  };
  readonly #images = new Map<number, NamedImage>();

  constructor(db: Database, day: string, pause: Pause, beside: BesideAccess) {
    this.#db = db;
    this.day = day;
    this.#pause = pause;
    this.#beside = beside;
    this.#version = versionOf(db);
    this.#namesBytes = this.#version >= NAMES_BYTES;
    this.#statements = new Statements(db);
    this.#missing = new MissingRows(this.#statements, this.#version);
  }

  /** A late read brings a day of an older version to the newest schema. */
  get isOutdated(): boolean {
    try {
      return versionOf(this.#db) !== this.#version;
    } catch {
      return true; // damaged: whoever opens it again names the day as a gap, and the other days answer
    }
  }

  /**
   * What was remembered of its dictionaries, and of a day of which much was read, also the pages of its file: one day's are enough at a
   * time. SQLite keeps up to 16 MB of each, and 90 days may be open.
   */
  forget(): void {
    const wasWalked = this.#images.size + this.#texts.address.size + this.#texts.signature.size > FEW_TEXTS;
    for (const texts of Object.values(this.#texts)) texts.clear();
    this.#images.clear();
    if (wasWalked) this.#db.pragma('shrink_memory');
  }

  rest(): void {
    this.forget();
    this.#db.pragma('shrink_memory');
  }

  close(): void {
    this.#db.close();
  }

  /** Adds rows until there are `limit`; returns the place of the last, or null when it added none. */
  addRows(rows: AccessRow[], limit: number, wanted: Wanted, before: Position | null): Position | null {
    const conditions = this.#conditions(wanted);
    if (conditions === null) return null;
    const key = KEY.map((name) => this.#column(name)).join(', ');
    // texts come from what is remembered of the dictionaries: joins would look up five of them for each row
    const select = this.#statements.raw<ReadColumns>(`
      SELECT ${key}, first_at_ms, last_at_ms, count, bytes
      FROM read
      WHERE minute >= ? AND minute < ?
          AND (${key}) < (?, ?, ?, ?, ?, ?, ?, ?)
          AND ${conditions.text}
      ORDER BY ${KEY.map((name) => `${this.#column(name)} DESC`).join(', ')}
      LIMIT ?`);
    const end = KEY.map((_, position) => before?.[position] ?? Number.MAX_SAFE_INTEGER);
    let last: ReadColumns | undefined;
    for (const [low, high] of this.#pieces(wanted.filter, before?.[0] ?? null)) {
      const piece = select.all(low, high, ...end, ...conditions.values, limit - rows.length);
      for (const columns of piece) rows.push(this.#toRow(columns));
      last = piece.at(-1) ?? last;
      if (rows.length >= limit) break;
      this.#pause();
    }
    return last === undefined ? null : last.slice(0, KEY.length);
  }

  sums(wanted: Wanted, by: Grouping, sums: Sums): void {
    const conditions = this.#conditions(wanted);
    if (conditions === null) return;
    const columns = [...new Set(by.flatMap((dimension) => COLUMNS[dimension]))].map((name) =>
      this.#column(name, true),
    );
    const select = this.#statements.of<ReadRow & { readonly rows: number }>(`
      SELECT ${[...columns, 'sum(count) AS count', 'sum(bytes) AS bytes', 'count(*) AS rows'].join(', ')},
        min(first_at_ms) AS first_at_ms, max(last_at_ms) AS last_at_ms
      FROM read
      WHERE minute >= ? AND minute < ?
          AND ${conditions.text}
      ${columns.length === 0 ? '' : `GROUP BY ${columns.map((_, position) => position + 1).join(', ')}`}`);
    for (const [low, high] of this.#pieces(wanted.filter, null)) {
      for (const row of select.all(low, high, ...conditions.values)) {
        const of = by.map((dimension) => this.#valueOf(dimension, row));
        const { rows, count, bytes } = row;
        sums.add(of, { rows, count, bytes, firstAtMs: row.first_at_ms, lastAtMs: row.last_at_ms });
      }
      this.#pause();
    }
  }

  dropped({ since, until }: RecordFilter): number {
    if (!this.#namesBytes) return 0;
    return (
      this.#statements
        .plucked<number>(`
          SELECT coalesce(sum(count), 0)
          FROM dropped
          WHERE last_at_ms >= ? AND first_at_ms < ?`)
        .get(since?.getTime() ?? 0, until?.getTime() ?? Number.MAX_SAFE_INTEGER) ?? 0
    );
  }

  get closedAtMs(): number | null {
    if (!this.#namesBytes) return null;
    return this.#statements.plucked<number | null>('SELECT closed_at_ms FROM day').get() ?? null;
  }

  all(filter: RecordFilter, take: (missing: Missing) => void): void {
    this.#missing.all(filter, take);
  }

  before(ms: number, take: (missing: Missing) => void): number {
    return this.#missing.before(ms, take);
  }

  lastAddresses(images: readonly ImageId[]): ReadonlyMap<string, string> {
    return this.#missing.lastAddresses(images);
  }

  /** The dictionary has an image only once it was read, with any status; a 404 alone is no fetch. */
  fetched(take: (image: ImageId) => void): void {
    const select = this.#statements.of<ImageRow>(`
      SELECT site, path, layout, algorithm, digest
      FROM image
      WHERE id IN (SELECT image FROM read WHERE status IN (200, 304))`);
    for (const row of select.all()) take(toImage(row));
  }

  /** Ranges of minutes, newest first. A row that counts an hour has its first minute. */
  *#pieces({ since, until }: RecordFilter, newest: number | null): Generator<readonly [number, number]> {
    const start = dayNumber(this.day) * MINUTES_PER_DAY;
    const sinceHour =
      since === null ? 0 : Math.floor(since.getTime() / MINUTE_MS / MINUTES_PER_HOUR) * MINUTES_PER_HOUR;
    const first = Math.max(start, sinceHour);
    const last = Math.min(
      start + MINUTES_PER_DAY,
      until === null ? Number.MAX_SAFE_INTEGER : Math.floor(until.getTime() / MINUTE_MS) + 1,
      newest === null ? Number.MAX_SAFE_INTEGER : newest + 1,
    );
    for (let high = last; high > first; high -= PIECE_MINUTES)
      yield [Math.max(high - PIECE_MINUTES, first), high];
  }

  /** Null: nothing of this day is wanted. */
  #conditions({ filter, signatures }: Wanted): Conditions | null {
    const conditions = new Conditions();
    const { since, until, site, repository, image, address, actor, agent, status } = filter;
    if (since !== null) conditions.add('last_at_ms >= ?', since.getTime());
    if (until !== null) conditions.add('first_at_ms < ?', until.getTime());
    if (status !== null) conditions.add('status = ?', status);
    const lists: (readonly [string, Ids])[] = [];
    if (site !== null || repository !== null || image !== null) lists.push(['image', this.#imageIds(filter)]);
    if (address !== null) lists.push(['address', this.#addressIds(address)]);
    if (actor !== null) lists.push(['token', actor === '' ? [] : this.#idsOf('token', 'text = ?', actor)]);
    if (agent !== null)
      lists.push(['agent', this.#idsOf('agent', 'id > 0 AND instr(lower(text), lower(?)) > 0', agent)]);
    if (signatures !== null) lists.push(['signature', this.#signatureIds(signatures)]);
    for (const [column, ids] of lists) {
      if (ids.length === 0) return null;
      const [only] = ids;
      if (ids.length === 1 && only !== undefined) conditions.add(`${column} = ?`, only);
      else conditions.add(`${column} IN (SELECT value FROM json_each(?))`, JSON.stringify(ids));
    }
    return conditions;
  }

  #imageIds({ site, repository, image }: RecordFilter): Ids {
    const conditions = new Conditions();
    addPlace(conditions, { site, repository });
    if (image !== null) {
      const { digest, place } = image;
      const bytes = Buffer.from(digest.hex, 'hex');
      conditions.add(`${IS_DIGEST} AND algorithm = ?`, bytes, bytes, digest.algorithm);
      if (place !== null) conditions.add('layout = ? AND path = ?', place.layout, place.path);
    }
    return this.#statements
      .plucked<number>(`SELECT id FROM image WHERE ${conditions.text}`)
      .all(...conditions.values);
  }

  #addressIds(asked: string): Ids {
    const network = parseNetwork(asked);
    if (network === null) return this.#idsOf('address', 'text = ?', asked);
    // a single IPv6 address stands as itself or within its /64
    if (network.family === 6 && network.prefix === 128) {
      const ids = this.#idsOf('address', 'text IN (?, ?)', asked, networkOf(asked));
      if (ids.length > 0) return ids;
    }
    const [low, high] = textsWithin(asked);
    const rows = this.#statements
      .of<{ id: number; text: string }>(`
        SELECT id, text
        FROM address
        WHERE text >= ? AND text <= ?`)
      .all(low, high);
    return rows.flatMap(({ id, text }) => {
      const one = parseNetwork(text);
      return one !== null && overlaps(one, network) ? [id] : [];
    });
  }

  #signatureIds(wanted: ReadonlySet<string>): Ids {
    if (!this.#namesBytes || wanted.size === 0) return [];
    if (wanted.size <= FEW) {
      return [...wanted].flatMap((sha256) => {
        const bytes = Buffer.from(sha256, 'hex');
        return this.#idsOf('signature', IS_SHA256, bytes, bytes);
      });
    }
    const select = this.#statements.of<{ id: number; sha256: Uint8Array }>(
      'SELECT id, sha256 FROM signature',
    );
    return select
      .all()
      .flatMap(({ id, sha256 }) => (wanted.has(Buffer.from(sha256).toString('hex')) ? [id] : []));
  }

  #idsOf(table: 'address' | 'agent' | 'token' | 'signature', condition: string, ...values: Value[]): Ids {
    return this.#statements.plucked<number>(`SELECT id FROM ${table} WHERE ${condition}`).all(...values);
  }

  #column(name: string, isNamed = false): string {
    if (name !== 'signature' || this.#namesBytes) return name;
    const nought = 'minute * 0'; // a bare number would be a column's position in ORDER BY
    return isNamed ? `${nought} AS signature` : nought;
  }

  #toRow(columns: ReadColumns): AccessRow {
    const [, imageId, number, status, address, agent, token, signature, firstAtMs, lastAtMs, count, bytes] =
      columns;
    const { image, name } = this.#image(imageId);
    return {
      firstAt: new Date(firstAtMs),
      lastAt: new Date(lastAtMs),
      site: image.site,
      image: name,
      number: number < 1 ? null : number,
      signatureSha256: this.#text('signature', signature),
      status,
      address: this.#text('address', address) ?? '',
      agent: this.#text('agent', agent),
      token: this.#text('token', token),
      count,
      bytes,
    };
  }

  #valueOf(dimension: Dimension, row: ReadRow): string | null {
    switch (dimension) {
      case 'image':
        return this.#image(row.image).name;
      case 'repository':
        return repositoryOf(this.#image(row.image).name);
      case 'signature':
        return this.#text('signature', row.signature);
      case 'key': {
        const sha256 = this.#text('signature', row.signature);
        return sha256 === null ? null : this.#beside.keyOf(this.#image(row.image).image, sha256);
      }
      case 'actor':
        return this.#text('token', row.token);
      case 'address':
      case 'agent':
        return this.#text(dimension, row[dimension]);
      case 'day':
        return this.day;
      case 'status':
        return String(row.status);
      default:
        return null;
    }
  }

  #image(id: number): NamedImage {
    const known = this.#images.get(id);
    if (known !== undefined) return known;
    const row = this.#statements
      .of<ImageRow>(`
        SELECT site, path, layout, algorithm, digest
        FROM image
        WHERE id = ?`)
      .get(id);
    if (row === undefined) throw new Error(`${this.#db.name}: a read is of image ${id}, which is not there`);
    const image = toImage(row);
    const named = { image, name: imageName(image) };
    if (this.#images.size >= MAX_TEXTS) this.#images.clear();
    this.#images.set(id, named);
    return named;
  }

  /** Row 0 of `agent`, `token` and `signature` stands for none. */
  #text(table: keyof Texts, id: number): string | null {
    if (id === 0 && table !== 'address') return null;
    const texts = this.#texts[table];
    const known = texts.get(id);
    if (known !== undefined) return known;
    const column = table === 'signature' ? 'lower(hex(sha256))' : 'text';
    const text =
      this.#statements.plucked<string>(`SELECT ${column} FROM ${table} WHERE id = ?`).get(id) ?? null;
    if (texts.size >= MAX_TEXTS) texts.clear();
    texts.set(id, text);
    return text;
  }
}

interface NamedImage {
  readonly image: ImageId;
  readonly name: string;
}

/** By the id in their dictionary. */
type Texts = Readonly<Record<'address' | 'agent' | 'token' | 'signature', Map<number, string | null>>>;

const COLUMNS: Readonly<Record<Dimension, readonly (keyof ReadRow)[]>> = {
  repository: ['image'],
  image: ['image'],
  signature: ['signature'],
  key: ['image', 'signature'],
  actor: ['token'],
  address: ['address'],
  day: [],
  agent: ['agent'],
  status: ['status'],
  action: [],
  result: [],
};

function toImage({ site, path, layout, algorithm, digest }: ImageRow): ImageId {
  return { site, path, layout, algorithm, hex: Buffer.from(digest).toString('hex') };
}

function dayNumber(day: string): number {
  return Date.parse(day) / DAY_MS;
}

function dayText(number: number): string {
  return new Date(number * DAY_MS).toISOString().slice(0, 10);
}

function versionOf(db: Database): number {
  return Number(db.pragma('user_version', { simple: true }));
}
