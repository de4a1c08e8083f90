// The rows of one day's record of reads. Everything that strangers can invent (images, addresses, agents, paths) is bounded,
// so that a flood cannot fill the disk.
import { randomInt } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import { MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { networkOf } from '../domain/network.ts';
import { isAddressOf } from '../domain/person.ts';
import type { Person } from '../domain/records.ts';
import {
  type ImageParts,
  imageIn,
  missingIn,
  type PackedBatch,
  type PackedMissing,
  type PackedRead,
  readsIn,
} from './access-columns.ts';
import { AddedReads, type Counts, type ReadKey } from './added-reads.ts';
import { DayImages, DaySignatures } from './day-ids.ts';
import { deleteForGood, emptyJournal } from './forget.ts';
import { NumberSet } from './number-set.ts';
import { inTransaction } from './open.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

// 1,000,000 requests for random digests may use at most 64 MiB of disk (promise 26): 100,000 rows are 16 MiB.
const MISSING_PER_HOUR = 100_000;
const MISSING_PATH_BYTES_PER_HOUR = 8 * 1024 * 1024;
const PREFIXES_PER_HOUR = 1000;
const PREFIX_LENGTH = 128;
const ADDRESSES = { perDay: 100_000, perNetwork: 1000, length: 64 };
const AGENTS = { perDay: 10_000, perNetwork: 100, length: 256 };
const TOKENS = { perDay: Number.POSITIVE_INFINITY, perNetwork: 0, length: Number.POSITIVE_INFINITY };

// 1,000 rows a minute are some 60 MiB a day, so one client cannot fill the log's share of the disk; once that is full,
// nothing is recorded.
const ROWS_PER_NETWORK = 1000;
const NETWORKS_COUNTED = 100_000;
const MINUTES_PER_HOUR = HOUR_MS / MINUTE_MS;

const UNAVAILABLE = 503;

/** How many missing images are remembered: they take 8 MiB. */
const MISSING_KEPT = 250_000;

interface Hour {
  readonly hour: number;
  missing: number;
  path_bytes: number;
  prefixes: number;
}

/** The count for one hour, site and prefix, gathered over a batch. */
interface Other {
  readonly hour: number;
  readonly site: string;
  readonly prefix: string;
  count: number;
  firstAtMs: number;
  lastAtMs: number;
  lastAddress: number;
}

type Seen = [count: number, firstAtMs: number, lastAtMs: number, lastAddress: number];

/** The rows of one day's database. */
export class DayRows {
  readonly #db: Database;
  readonly #addresses: Dictionary;
  readonly #agents: Dictionary;
  readonly #tokens: Dictionary;
  readonly #images: DayImages;
  readonly #addToRead: Statement<[...Counts, ...ReadKey]>;
  readonly #addedReads: AddedReads;
  readonly #newRows = new NewRows();
  readonly #appendMissing: Statement<[...ImageParts, ...Seen]>;
  readonly #addMissing: Statement<[...Seen, ...ImageParts]>;
  readonly #insertMissing: Statement<[...ImageParts, ...Seen]>;
  readonly #seenMissing = new SeenImages();
  readonly #selectAgain: Statement<[], number>;
  /** Whether each image with a row in missing_again is remembered too; null: the table tells. */
  #isAgainSeen: boolean | null = null;
  readonly #selectOther: Statement<[number, string, string], number>;
  readonly #addOther: Statement<[number, string, string, ...Seen]>;
  readonly #others = new Map<string, Other>();
  readonly #selectHour: Statement<[number], Hour>;
  readonly #writeHour: Statement<[number, number, number, number]>;
  readonly #signatures: DaySignatures;
  readonly #addDropped: Statement<[number, number, number, number]>;
  readonly #reopen: Statement<[]>;
  readonly #close: Statement<[number]>;

  constructor(db: Database) {
    this.#db = db;
    this.#addresses = new Dictionary(db, 'address', ADDRESSES);
    this.#agents = new Dictionary(db, 'agent', AGENTS);
    this.#tokens = new Dictionary(db, 'token', TOKENS);
    this.#images = new DayImages(db);
    this.#signatures = new DaySignatures(db);
    this.#addDropped = db.prepare(`
      INSERT INTO dropped (hour, count, first_at_ms, last_at_ms)
      VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET
        count = count + excluded.count,
        first_at_ms = min(first_at_ms, excluded.first_at_ms),
        last_at_ms = max(last_at_ms, excluded.last_at_ms)`);
    this.#close = db.prepare(`
      UPDATE day
      SET closed_at_ms = ?`);
    this.#reopen = db.prepare(`
      UPDATE day
      SET closed_at_ms = NULL
      WHERE closed_at_ms IS NOT NULL`);
    this.#addToRead = db.prepare(`
      UPDATE read
      SET first_at_ms = min(first_at_ms, ?), last_at_ms = max(last_at_ms, ?), count = count + ?, bytes = bytes + ?
      WHERE minute = ? AND image = ? AND number = ? AND status = ? AND address = ? AND agent = ? AND token = ?
        AND signature = ?`);
    this.#addedReads = new AddedReads(db);
    this.#appendMissing = db.prepare(`
      INSERT INTO missing_once
        (site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms, last_address)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#addMissing = db.prepare(`
      UPDATE missing_again
      SET count = count + ?, first_at_ms = min(first_at_ms, ?), last_at_ms = max(last_at_ms, ?), last_address = ?
      WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?`);
    this.#insertMissing = db.prepare(`
      INSERT INTO missing_again
        (site, path, layout, algorithm, digest, count, first_at_ms, last_at_ms, last_address)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#selectAgain = db
      .prepare<[], number>(`
        SELECT 1
        FROM missing_again
        LIMIT 1`)
      .pluck();
    this.#selectOther = db
      .prepare<[number, string, string], number>(`
        SELECT 1
        FROM other
        WHERE hour = ? AND site = ? AND prefix = ?`)
      .pluck();
    this.#addOther = db.prepare(`
      INSERT INTO other (hour, site, prefix, count, first_at_ms, last_at_ms, last_address)
      VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET
        count = count + excluded.count,
        first_at_ms = min(first_at_ms, excluded.first_at_ms),
        last_at_ms = max(last_at_ms, excluded.last_at_ms),
        last_address = excluded.last_address`);
    this.#selectHour = db.prepare(`
      SELECT hour, missing, path_bytes, prefixes
      FROM hour
      WHERE hour = ?`);
    this.#writeHour = db.prepare(`
      INSERT INTO hour (hour, missing, path_bytes, prefixes)
      VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET
        missing = excluded.missing, path_bytes = excluded.path_bytes, prefixes = excluded.prefixes`);
  }

  write(batch: PackedBatch): void {
    const dictionaries = [this.#addresses, this.#agents, this.#tokens];
    try {
      inTransaction(this.#db, () => this.#writeAll(batch));
    } catch (error) {
      // rows that were rolled back do not count against the bounds
      for (const dictionary of dictionaries) dictionary.forgetAdded();
      this.#newRows.clear();
      this.#addedReads.forget();
      this.#images.forget();
      this.#forgetMissing();
      this.#signatures.forget();
      throw error;
    } finally {
      // what they remember may have been rolled back, and must not grow over the day
      this.#others.clear();
      for (const dictionary of dictionaries) dictionary.forget();
      this.#images.forgetMany();
      if (this.#seenMissing.size > MISSING_KEPT) this.#forgetMissing();
      this.#signatures.forgetMany();
    }
  }

  /**
   * Rows of the person before that time go, as does their name where no later row has it. What is left over keeps its keys, so
   * that a page goes on where it was.
   */
  forget({ kind, text }: Person, beforeMs: number): number {
    const table = kind === 'actor' ? 'token' : 'address';
    const all = this.#db
      .prepare<[], { id: number; text: string }>(`SELECT id, text FROM ${table} WHERE id > 0`)
      .all();
    const isPerson = (one: string) => (kind === 'actor' ? one === text : isAddressOf(text, one));
    const ids = all.filter((one) => isPerson(one.text)).map(({ id }) => id);
    if (ids.length === 0) return 0;
    const list = JSON.stringify(ids);
    const within = `${table} IN (SELECT value FROM json_each(@list))`;
    deleteForGood(this.#db);
    const gone = this.#withoutReferences(() => {
      this.#reopen.run();
      const remove = this.#db.prepare(`DELETE FROM read WHERE first_at_ms < @beforeMs AND ${within}`);
      const { changes } = remove.run({ list, beforeMs });
      if (kind === 'address') {
        for (const other of ['missing_once', 'missing_again', 'other']) {
          const clear = this.#db.prepare(`
            UPDATE ${other}
            SET last_address = 0
            WHERE last_at_ms < @beforeMs AND last_address IN (SELECT value FROM json_each(@list))`);
          clear.run({ list, beforeMs });
        }
      }
      const isUsed =
        kind === 'address'
          ? 'id IN (SELECT last_address FROM missing_once UNION SELECT last_address FROM missing_again UNION SELECT last_address FROM other)'
          : '0';
      this.#db
        .prepare(`
          UPDATE ${table}
          SET text = 'forgotten ' || id
          WHERE id IN (SELECT value FROM json_each(@list)) AND id NOT IN (SELECT ${table} FROM read) AND NOT (${isUsed})`)
        .run({ list });
      this.#renew(table);
      return changes;
    });
    emptyJournal(this.#db);
    return gone;
  }

  /** In one transaction that may write rows anew which others refer to by their ids. */
  #withoutReferences<Out>(act: () => Out): Out {
    this.#db.pragma('foreign_keys = OFF'); // nothing within a transaction can change it
    try {
      return inTransaction(this.#db, act);
    } finally {
      this.#db.pragma('foreign_keys = ON');
    }
  }

  /** Writes the table anew: pages that were split before keep copies of what they held, and an update does not reach these. */
  #renew(table: 'token' | 'address'): void {
    const rows = this.#db.prepare<[], { id: number; text: string }>(
      `SELECT id, text FROM ${table} ORDER BY id`,
    );
    const kept = rows.all();
    this.#db.prepare(`DELETE FROM ${table}`).run();
    const insert = this.#db.prepare(`INSERT INTO ${table} (id, text) VALUES (@id, @text)`);
    for (const row of kept) insert.run(row);
  }

  markClosed(at: Date): void {
    this.#close.run(at.getTime());
  }

  #writeAll(batch: PackedBatch): void {
    const { dropped } = batch;
    this.#reopen.run();
    if (dropped !== undefined) this.#drop(dropped.count, dropped.firstAt.getTime(), dropped.lastAt.getTime());
    const hours = new Map<number, Hour>();
    const imageId = this.#images.of(batch);
    const signatureId = this.#signatures.of(batch);
    for (const read of readsIn(batch)) {
      if (mayBeInvented(read) && !this.#hasRoomFor(imageIn(batch, read.image), read.firstAtMs, hours))
        this.#drop(read.count, read.firstAtMs, read.lastAtMs);
      else
        this.#writeRead(read, imageId(read.image), read.signature === null ? 0 : signatureId(read.signature));
    }
    this.#addedReads.end();
    for (const one of missingIn(batch)) this.#writeMissing(one, imageIn(batch, one.image), hours);
    for (const hour of hours.values()) {
      this.#writeHour.run(hour.hour, hour.missing, hour.path_bytes, hour.prefixes);
    }
    const others = new Set(this.#others.values()); // prefixes beyond the bound share one entry
    for (const { hour, site, prefix, count, firstAtMs, lastAtMs, lastAddress } of others) {
      this.#addOther.run(hour, site, prefix, count, firstAtMs, lastAtMs, lastAddress);
    }
  }

  #drop(count: number, firstMs: number, lastMs: number): void {
    this.#addDropped.run(Math.floor(firstMs / HOUR_MS), count, firstMs, lastMs);
  }

  #hasRoomFor(key: ImageParts, firstAtMs: number, hours: Map<number, Hour>): boolean {
    return (
      this.#seenMissing.has(key) || this.#takeRoom(key, this.#hour(Math.floor(firstAtMs / HOUR_MS), hours))
    );
  }

  /**
   * When a network has too many rows, its further reads are counted by the hour, without the parts that a client can invent.
   */
  #writeRead(read: PackedRead, imageId: number, signatureId: number): void {
    const { number, status, address, agent, token, firstAtMs } = read;
    const more: Counts = [firstAtMs, read.lastAtMs, read.count, read.bytes];
    const minute = Math.floor(firstAtMs / MINUTE_MS);
    const network = networkOf(address);
    const tokenId = token === null ? 0 : this.#tokens.idOf(token);
    // an hour's row is as good for what has no agent any more
    if (agent !== null || !this.#newRows.areSpent(minute, network)) {
      const key: ReadKey = [
        minute,
        imageId,
        agent === null ? MERGED_NUMBER : possibleNumber(number),
        status,
        this.#addressId(address, network),
        agent === null ? OTHER_ID : this.#agents.idOf(agent, network),
        tokenId,
        signatureId,
      ];
      // most rows are of the minute's first batch, or in all of its batches
      if (this.#addToRead.run(...more, ...key).changes > 0) return;
      if (this.#newRows.take(minute, network)) {
        this.#addedReads.add(key, more);
        return;
      }
    }
    const hour = minute - (minute % MINUTES_PER_HOUR);
    const networkId = this.#addresses.idOf(network);
    const key: ReadKey = [hour, imageId, MERGED_NUMBER, status, networkId, OTHER_ID, tokenId, signatureId];
    this.#addedReads.add(key, more);
  }

  /** When an IPv6 network has too many addresses, the network stands for the further ones. */
  #addressId(address: string, network: string): number {
    if (network === address) return this.#addresses.idOf(address);
    const id = this.#addresses.idOf(address, network);
    return id === OTHER_ID ? this.#addresses.idOf(network) : id;
  }

  #writeMissing(
    { firstAtMs, lastAtMs, lastAddress, count }: PackedMissing,
    key: ImageParts,
    hours: Map<number, Hour>,
  ): void {
    const [site, path] = key;
    const seen: Seen = [count, firstAtMs, lastAtMs, this.#addressId(lastAddress, networkOf(lastAddress))];
    const isAgain = this.#seenMissing.has(key);
    // a row of today stands for the image in the bounds, so its second one is free
    if (isAgain) {
      if (this.#addMissing.run(...seen, ...key).changes === 0) this.#insertMissing.run(...key, ...seen);
      return;
    }
    const hour = this.#hour(Math.floor(firstAtMs / HOUR_MS), hours);
    if (this.#takeRoom(key, hour)) {
      this.#appendMissing.run(...key, ...seen);
      return;
    }
    // before a restart it may have come twice
    if (this.#mayBeAgain() && this.#addMissing.run(...seen, ...key).changes > 0) return;
    this.#addToOther(this.#otherOf({ site, path }, hour), seen);
  }

  /** Whether an image that is not remembered may have a row in missing_again. */
  #mayBeAgain(): boolean {
    // only images that are remembered get one
    this.#isAgainSeen ??= this.#selectAgain.get() === undefined;
    return !this.#isAgainSeen;
  }

  #forgetMissing(): void {
    this.#seenMissing.clear();
    this.#isAgainSeen = null;
  }

  /** False when the hour has no room for another image that strangers may have made up. */
  #takeRoom(key: ImageParts, hour: Hour): boolean {
    const pathBytes = hour.path_bytes + key[1].length;
    if (hour.missing >= MISSING_PER_HOUR || pathBytes > MISSING_PATH_BYTES_PER_HOUR) return false;
    this.#seenMissing.add(key);
    hour.missing += 1;
    hour.path_bytes = pathBytes;
    return true;
  }

  #addToOther(other: Other, [count, firstAtMs, lastAtMs, lastAddress]: Seen): void {
    other.count += count;
    other.firstAtMs = Math.min(other.firstAtMs, firstAtMs);
    other.lastAtMs = Math.max(other.lastAtMs, lastAtMs);
    other.lastAddress = lastAddress;
  }

  /** The entry for the image's first path component, or for '' once the hour has too many components. */
  #otherOf(image: { readonly site: string; readonly path: string }, hour: Hour): Other {
    const prefix = image.path.split('/', 1).join('').slice(0, PREFIX_LENGTH);
    const key = `${hour.hour} ${image.site} ${prefix}`;
    const known = this.#others.get(key);
    if (known !== undefined) return known;
    const isNew = prefix !== '' && this.#selectOther.get(hour.hour, image.site, prefix) === undefined;
    const isTooMany = isNew && hour.prefixes >= PREFIXES_PER_HOUR;
    if (isNew && !isTooMany) hour.prefixes += 1;
    const none = { count: 0, firstAtMs: Number.MAX_SAFE_INTEGER, lastAtMs: 0, lastAddress: 0 };
    const other = isTooMany
      ? this.#otherOf({ ...image, path: '' }, hour)
      : { hour: hour.hour, site: image.site, prefix, ...none };
    this.#others.set(key, other);
    return other;
  }

  #hour(hour: number, hours: Map<number, Hour>): Hour {
    const known = hours.get(hour);
    if (known !== undefined) return known;
    const row = this.#selectHour.get(hour) ?? { hour, missing: 0, path_bytes: 0, prefixes: 0 };
    hours.set(hour, row);
    return row;
  }
}

/**
 * Images that have a row of the day, as far as is remembered: by two hashes each, so that none is ever taken for another. Nobody can
 * choose two images with the same ones.
 */
class SeenImages {
  readonly #firsts = new NumberSet();
  readonly #seconds = new NumberSet();
  readonly #first = { seed: randomInt(2 ** 32), factor: 0x85ebca6b, shift: 15 };
  readonly #second = { seed: randomInt(2 ** 32), factor: 0xc2b2ae35, shift: 13 };

  get size(): number {
    return this.#firsts.size;
  }

  has(image: ImageParts): boolean {
    return this.#firsts.has(hashOf(image, this.#first)) && this.#seconds.has(hashOf(image, this.#second));
  }

  add(image: ImageParts): void {
    this.#firsts.add(hashOf(image, this.#first));
    this.#seconds.add(hashOf(image, this.#second));
  }

  clear(): void {
    this.#firsts.clear();
    this.#seconds.clear();
  }
}

interface Mixing {
  readonly seed: number;
  readonly factor: number;
  readonly shift: number;
}

function hashOf(image: ImageParts, { seed, factor, shift }: Mixing): number {
  let hash = seed;
  // site, path, layout and algorithm
  for (let part = 0; part < 4; part += 1) {
    const text = image[part] as string; // by the type of the tuple
    for (let at = 0; at < text.length; at += 1) {
      hash = Math.imul(hash ^ text.charCodeAt(at), factor);
      hash ^= hash >>> shift;
    }
  }
  const digest = image[4];
  for (let at = 0; at < digest.length; at += 1) {
    hash = Math.imul(hash ^ (digest[at] ?? 0), factor);
    hash ^= hash >>> shift;
  }
  return hash >>> 0;
}

/** Counts the new rows of a minute by network. */
class NewRows {
  readonly #counts = new Map<string, number>();
  #minute = 0;

  /** Whether the network has used up its rows. */
  areSpent(minute: number, network: string): boolean {
    return minute === this.#minute && (this.#counts.get(this.#countedAs(network)) ?? 0) >= ROWS_PER_NETWORK;
  }

  /** False when the network has used up its rows. */
  take(minute: number, network: string): boolean {
    if (minute !== this.#minute) this.#counts.clear();
    this.#minute = minute;
    const counted = this.#countedAs(network);
    const count = this.#counts.get(counted) ?? 0;
    this.#counts.set(counted, count + 1);
    return count < ROWS_PER_NETWORK;
  }

  /** All later networks share one count. */
  #countedAs(network: string): string {
    return this.#counts.has(network) || this.#counts.size < NETWORKS_COUNTED ? network : '';
  }

  clear(): void {
    this.#counts.clear();
  }
}

interface Bounds {
  readonly perDay: number;
  /** How many texts one network may add. */
  readonly perNetwork: number;
  readonly length: number;
}

const OTHER_ID = 0;

/** A table of texts with ids from 1; OTHER_ID stands for every text beyond the bounds. */
class Dictionary {
  readonly #select: Statement<[string], number>;
  readonly #insert: Statement<[number, string]>;
  readonly #newestId: Statement<[], number>;
  readonly #bounds: Bounds;
  readonly #ids = new Map<string, number>();
  /** By network; it has no more networks than texts were added. */
  readonly #added = new Map<string, number>();

  constructor(db: Database, table: 'address' | 'agent' | 'token', bounds: Bounds) {
    this.#bounds = bounds;
    this.#select = db
      .prepare<[string], number>(`
        SELECT id
        FROM ${table}
        WHERE text = ?`)
      .pluck();
    this.#insert = db.prepare(`
      INSERT INTO ${table} (id, text)
      VALUES (?, ?)`);
    // rows are never deleted, so the newest id is the number of rows
    this.#newestId = db
      .prepare<[], number>(`
        SELECT max(id)
        FROM ${table}`)
      .pluck();
  }

  /** With a network, a new text counts against what that network may add. */
  idOf(text: string, network: string | null = null): number {
    const { length } = this.#bounds;
    const cut = text.length > length ? text.slice(0, length) : text;
    const known = this.#ids.get(cut) ?? this.#select.get(cut);
    const id = known ?? this.#add(cut, network);
    if (id !== OTHER_ID) this.#ids.set(cut, id);
    return id;
  }

  /** Call it after each batch: the ids are remembered only for texts that repeat in the batch. */
  forget(): void {
    this.#ids.clear();
  }

  forgetAdded(): void {
    this.#added.clear();
  }

  #add(text: string, network: string | null): number {
    const newest = this.#newestId.get() ?? 0;
    if (newest >= this.#bounds.perDay) return OTHER_ID;
    if (network !== null) {
      const added = this.#added.get(network) ?? 0;
      if (added >= this.#bounds.perNetwork) return OTHER_ID;
      this.#added.set(network, added + 1);
    }
    this.#insert.run(newest + 1, text);
    return newest + 1;
  }
}

// The number of rows that numbers no longer distinguish. 0 stands for a name that is no number.
const MERGED_NUMBER = -1;

// Clients stop one number past the largest set. Higher numbers are invented, and each would add a row.
function possibleNumber(number: number | null): number {
  return number === null || number > MAX_SIGNATURES_PER_IMAGE + 1 ? 0 : number;
}

/** While an upstream fails, a mirror asks in vain for any name, also for one that somebody made up. */
function mayBeInvented({ status }: PackedRead): boolean {
  return status === UNAVAILABLE;
}
