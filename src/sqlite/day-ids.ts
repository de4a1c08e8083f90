// The ids that a day's images and signatures have in its tables. Those of the last batches stay in memory, as clients ask for the same
// images again.
import { randomInt } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import {
  countImages,
  DIGEST_BYTES,
  type ImageParts,
  imageIn,
  isShortDigest,
  type PackedBatch,
  placeIn,
  SHA256_BYTES,
  signatureIn,
} from './access-columns.ts';
import { DigestIds, NO_ID, wordsOf } from './digest-ids.ts';

/** How many ids of images, and of signatures, are remembered from batch to batch: 7 MiB each. */
const IDS_KEPT = 131_072;
/** Repositories of these images. They are texts, and longer. */
const PLACES_KEPT = 10_000;

const WORD_BYTES = 4;

/** So many images whose digests begin alike are compared one by one. */
const MANY_ALIKE = 256;
/** One look-up in so many counts them, on average. */
const COUNTED_EVERY = 64;

/** A day that is over has it. Until then it is made only where look-ups by the beginning of the digest would be slow. */
export const ADD_IMAGE_BY_PLACE =
  'CREATE INDEX IF NOT EXISTS image_by_place ON image (site, path, layout, algorithm, digest)';

/** What indexes have of a digest; keep in sync with migrations/access/0004. It takes the digest twice. */
export const IS_DIGEST = 'substr(digest, 1, 6) = substr(?, 1, 6) AND digest = ?';
/** The same of a signature. */
export const IS_SHA256 = 'substr(sha256, 1, 6) = substr(?, 1, 6) AND sha256 = ?';

/** Table image. Rows are never deleted, and no other thread adds any. */
export class DayImages {
  readonly #db: Database;
  readonly #select: Statement<[Uint8Array, Uint8Array, string, string, string, string], number>;
  readonly #insert: Statement<ImageParts>;
  readonly #countAlike: Statement<[Uint8Array], number>;
  #lookUpsUntilCount = randomInt(2 * COUNTED_EVERY);
  /** By their places, and digests of SHA-256; others are looked up for each batch. */
  readonly #ids = new DigestIds();
  readonly #places = new Map<string, number>();

  constructor(db: Database) {
    this.#db = db;
    this.#select = db
      .prepare<[Uint8Array, Uint8Array, string, string, string, string], number>(`
        SELECT id
        FROM image
        WHERE ${IS_DIGEST} AND path = ? AND site = ? AND layout = ? AND algorithm = ?`)
      .pluck();
    this.#insert = db.prepare(`
      INSERT INTO image (site, path, layout, algorithm, digest)
      VALUES (?, ?, ?, ?, ?)`);
    this.#countAlike = db
      .prepare<[Uint8Array], number>(`
        SELECT count(*)
        FROM (
          SELECT 1
          FROM image
          WHERE substr(digest, 1, 6) = substr(?, 1, 6)
          LIMIT ${MANY_ALIKE})`)
      .pluck();
  }

  /** The ids of the batch's images by their positions in it; an image gets its row when it is first asked for. */
  of(batch: PackedBatch): (position: number) => number {
    const ids = new Float64Array(countImages(batch));
    const words = wordsOf(batch.images.digests);
    const places = new Map<number, number>();
    return (position) => {
      const known = ids[position] ?? NO_ID;
      if (known !== NO_ID) return known;
      const id = isShortDigest(batch, position)
        ? this.#remembered(batch, position, words, places)
        : this.idOf(imageIn(batch, position));
      ids[position] = id;
      return id;
    };
  }

  idOf(parts: ImageParts): number {
    const [site, path, layout, algorithm, digest] = parts;
    this.#watchAlike(digest);
    const known = this.#select.get(digest, digest, path, site, layout, algorithm);
    return known ?? Number(this.#insert.run(...parts).lastInsertRowid);
  }

  /**
   * One image may stand in thousands of repositories, and who may upload can make up digests that begin alike. The look-ups that count
   * them are random, so that nobody can keep other images for these.
   */
  #watchAlike(digest: Uint8Array): void {
    this.#lookUpsUntilCount -= 1;
    if (this.#lookUpsUntilCount > 0) return;
    this.#lookUpsUntilCount = randomInt(2 * COUNTED_EVERY);
    if (this.#countAlike.get(digest) === MANY_ALIKE) this.#db.exec(ADD_IMAGE_BY_PLACE);
  }

  /** `places` has the numbers of those that the batch has named before, by their numbers in it. */
  #remembered(batch: PackedBatch, position: number, words: Uint32Array, places: Map<number, number>): number {
    const inBatch = placeIn(batch, position);
    const place = places.get(inBatch) ?? this.#placeOf(imageIn(batch, position));
    places.set(inBatch, place);
    const from = (DIGEST_BYTES / WORD_BYTES) * position;
    const known = this.#ids.find(place, words, from);
    if (known !== NO_ID) return known;
    const id = this.idOf(imageIn(batch, position));
    this.#ids.add(place, words, from, id);
    return id;
  }

  #placeOf([site, path, layout, algorithm]: ImageParts): number {
    // neither a site's name nor a path has a space
    const key = `${site} ${path} ${layout} ${algorithm}`;
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    this.#places.set(key, this.#places.size + 1);
    return this.#places.size;
  }

  /** Call it after a batch that was rolled back. */
  forget(): void {
    this.#ids.clear();
    this.#places.clear();
  }

  /** Call it after each batch. */
  forgetMany(): void {
    if (this.#ids.size > IDS_KEPT || this.#places.size > PLACES_KEPT) this.forget();
  }
}

/** Table signature. It is bounded by what is stored: nobody can make up what a read got. */
export class DaySignatures {
  readonly #select: Statement<[Uint8Array, Uint8Array], number>;
  readonly #insert: Statement<[Uint8Array]>;
  readonly #ids = new DigestIds();

  constructor(db: Database) {
    this.#select = db
      .prepare<[Uint8Array, Uint8Array], number>(`
        SELECT id
        FROM signature
        WHERE ${IS_SHA256}`)
      .pluck();
    this.#insert = db.prepare(`
      INSERT INTO signature (sha256)
      VALUES (?)`);
  }

  /** The ids of the batch's signatures by their positions in it. */
  of(batch: PackedBatch): (position: number) => number {
    const words = wordsOf(batch.signatures);
    return (position) => {
      const from = (SHA256_BYTES / WORD_BYTES) * position;
      const known = this.#ids.find(0, words, from);
      if (known !== NO_ID) return known;
      const id = this.idOf(signatureIn(batch, position));
      this.#ids.add(0, words, from, id);
      return id;
    };
  }

  idOf(sha256: Uint8Array): number {
    return this.#select.get(sha256, sha256) ?? Number(this.#insert.run(sha256).lastInsertRowid);
  }

  /** Call it after a batch that was rolled back. */
  forget(): void {
    this.#ids.clear();
  }

  /** Call it after each batch. */
  forgetMany(): void {
    if (this.#ids.size > IDS_KEPT) this.forget();
  }
}
