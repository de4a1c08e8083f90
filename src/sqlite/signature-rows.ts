// Tables signature and site, changed by the writer thread. A signature that stays keeps its id and its verdict.
import type { Database, Statement } from 'better-sqlite3';
import { type ImageId, imageKey, parseLongImageFolder } from '../domain/image.ts';
import { type PackedImage, unpackImages } from '../domain/packed-images.ts';
import type { RecordedImage, RecordedSignature } from '../domain/ports.ts';
import type { Judged, NewImages } from './commands.ts';
import { FolderChanges } from './folder-entries.ts';
import { inTransaction } from './open.ts';
import { type JudgeAgain, type Value, VERDICT_COLUMNS, VerdictRows, verdictValues } from './verdict-rows.ts';

const FORGET_CHUNK_IMAGES = 1000;
// Higher than any recorded number: rows get numbers from here on while numbers are exchanged.
const PARKED = 2 ** 40;

type Key = [site: string, path: string, layout: string, algorithm: string, digest: Uint8Array];

interface StoredRow {
  readonly id: number;
  readonly number: number;
  readonly sha256: Buffer;
  readonly size_bytes: number;
  readonly stored_at_ms: number;
  readonly has_bytes: 0 | 1;
  readonly filler: 0 | 1;
}

interface ImageRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
}

export class SignatureRows {
  readonly #db: Database;
  readonly #folders: FolderChanges;
  readonly #verdicts: VerdictRows;
  readonly #sites = new Map<string, { images: number; signatures: number }>();
  readonly #select: Statement<Key, StoredRow>;
  readonly #isThere: Statement<Key, number>;
  readonly #delete: Statement<[number]>;
  readonly #insert: Statement<[...Key, number, Uint8Array, number, number, Uint8Array | null, number]>;
  readonly #insertJudged: Statement<Value[]>;
  readonly #renumber: Statement<[number, number]>;
  readonly #update: Statement<[number, number, number, Uint8Array | null, number, number]>;
  readonly #makeSite: Statement<[string]>;
  readonly #addToSite: Statement<[number, number, string]>;
  readonly #complete: Statement<[string]>;
  readonly #tree: Statement<[string], { readonly tree: string }>;
  readonly #bind: Statement<[string, string]>;
  readonly #allImages: Statement<[string, number], ImageRow>;
  readonly #imagesInFolder: Statement<[string, string, number], ImageRow>;
  readonly #imagesBelow: Statement<[string, string, string, number], ImageRow>;

  constructor(db: Database) {
    this.#db = db;
    this.#folders = new FolderChanges(db);
    this.#verdicts = new VerdictRows(db);
    this.#select = db.prepare(`
      SELECT id, number, sha256, size_bytes, stored_at_ms, bytes IS NOT NULL AS has_bytes, filler
      FROM signature
      WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?
      ORDER BY number`);
    this.#isThere = db
      .prepare<Key, number>(`
        SELECT 1
        FROM signature
        WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?
        LIMIT 1`)
      .pluck();
    this.#delete = db.prepare(`
      DELETE FROM signature
      WHERE id = ?`);
    const columns =
      'site, path, layout, algorithm, digest, number, sha256, size_bytes, stored_at_ms, bytes, filler';
    this.#insert = db.prepare(`
      INSERT INTO signature
        (${columns})
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#insertJudged = db.prepare(`
      INSERT INTO signature
        (${columns}, ${VERDICT_COLUMNS.join(', ')})
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ${VERDICT_COLUMNS.map(() => '?').join(', ')})`);
    this.#renumber = db.prepare(`
      UPDATE signature
      SET number = ?
      WHERE id = ?`);
    this.#update = db.prepare(`
      UPDATE signature
      SET number = ?, size_bytes = ?, stored_at_ms = ?, bytes = ?, filler = ?
      WHERE id = ?`);
    this.#makeSite = db.prepare(`
      INSERT INTO site (name)
      VALUES (?)
      ON CONFLICT DO NOTHING`);
    this.#addToSite = db.prepare(`
      UPDATE site
      SET images = images + ?, signatures = signatures + ?
      WHERE name = ?`);
    this.#complete = db.prepare(`
      INSERT INTO site (name, complete)
      VALUES (?, 1)
      ON CONFLICT DO UPDATE SET complete = 1`);
    this.#tree = db.prepare(`
      SELECT tree
      FROM site
      WHERE name = ?`);
    this.#bind = db.prepare(`
      INSERT INTO site (name, tree)
      VALUES (?, ?)
      ON CONFLICT DO UPDATE SET tree = excluded.tree, complete = 0`);
    const images = (condition: string): string => `
      SELECT DISTINCT path, layout, algorithm, digest
      FROM signature
      WHERE site = ? ${condition}
      LIMIT ?`;
    this.#allImages = db.prepare(images(''));
    // team/sha256=… is in the folder team itself; team@sha256=… is beside it
    this.#imagesInFolder = db.prepare(images(`AND path = ? AND layout = 'release'`));
    this.#imagesBelow = db.prepare(images('AND path > ? AND path < ?'));
  }

  /**
   * Makes the images' rows equal to the given ones, in one transaction; writes nothing when they already are. When an image
   * is named twice, the last one counts. A folder loses its stamp when its rows change without another.
   */
  record(images: readonly RecordedImage[]): void {
    const lastOfEach = new Map(images.map((recorded) => [imageKey(recorded.image), recorded]));
    const changed = [...lastOfEach.values()]
      // nobody else writes, so the rows are the same in the transaction
      .map(({ image, signatures, stamp }) => {
        const rows = this.#rowsOf(image);
        return { image, signatures, rows, stamp, isSame: isSame(rows, signatures) };
      })
      .filter((one) => !one.isSame || one.stamp !== undefined);
    if (changed.length === 0) return;
    this.#inTransaction(() => {
      for (const { image, signatures, rows, stamp, isSame } of changed) {
        if (!isSame) this.#replace(image, rows, signatures);
        if (signatures.length > 0) this.#folders.stamp(image, stamp ?? null);
      }
    });
  }

  /** As NewImageIndex.recordNew(). */
  recordNew({ site, packed, without }: NewImages): readonly number[] {
    const known: number[] = [];
    this.#inTransaction(() => {
      let position = -1;
      for (const one of unpackImages(packed)) {
        position += 1;
        if (!without.has(position) && !this.#addNew(site, one)) known.push(position);
      }
    });
    return known;
  }

  /** False: it has rows. */
  #addNew(site: string, { folder, stamp, files }: PackedImage): boolean {
    const image = parseLongImageFolder(site, folder);
    if (image === null) throw new Error(`${folder} is not the folder of an image`);
    const key = keyOf(image);
    if (this.#isThere.get(...key) !== undefined) return false;
    for (const { number, sha256, bytes, modifiedMs } of files)
      this.#insert.run(...key, number, sha256, bytes.length, modifiedMs, bytes, 0);
    this.#count(image, 0, files.length);
    this.#folders.stamp(image, stamp);
    return true;
  }

  judge(judged: Judged): void {
    inTransaction(this.#db, () => {
      for (const { image, sha256, judgement } of judged) this.#verdicts.judge(image, sha256, judgement);
    });
  }

  /** The id up to which the work is done; null when nothing is left. */
  judgeAgain(input: JudgeAgain): number | null {
    return inTransaction(this.#db, () => this.#verdicts.judgeAgain(input));
  }

  /** Forgets the images below `folder` (all images of the site when it is empty), or the image whose folder it is. */
  forgetFolder(site: string, folder: string): void {
    this.#inTransaction(() => {
      const image = parseLongImageFolder(site, folder); // folders that are too long must be forgotten too
      if (image !== null) this.#replace(image, this.#rowsOf(image), []);
      else if (folder === '') this.#forgetAll(site, () => this.#allImages.all(site, FORGET_CHUNK_IMAGES));
      else this.#forgetBelow(site, folder);
    });
  }

  markComplete(site: string): void {
    inTransaction(this.#db, () => this.#complete.run(site));
  }

  bind(site: string, tree: string): void {
    if (this.#tree.get(site)?.tree === tree) return;
    this.#inTransaction(() => {
      this.#forgetAll(site, () => this.#allImages.all(site, FORGET_CHUNK_IMAGES));
      this.#bind.run(site, tree);
    });
  }

  #forgetBelow(site: string, folder: string): void {
    this.#forgetAll(site, () => this.#imagesInFolder.all(site, folder, FORGET_CHUNK_IMAGES));
    // '0' follows '/' in ASCII: exactly the paths that begin with `folder/`
    const end = `${folder}0`;
    this.#forgetAll(site, () => this.#imagesBelow.all(site, `${folder}/`, end, FORGET_CHUNK_IMAGES));
  }

  #forgetAll(site: string, next: () => readonly ImageRow[]): void {
    for (let rows = next(); rows.length > 0; rows = next()) {
      for (const { path, layout, algorithm, digest } of rows) {
        const image = { site, layout, path, algorithm, hex: digest.toString('hex') };
        this.#replace(image, this.#rowsOf(image), []);
      }
      this.#folders.write(); // bounds the number of gathered changes
    }
  }

  #rowsOf(image: ImageId): readonly StoredRow[] {
    return this.#select.all(...keyOf(image));
  }

  #replace(image: ImageId, rows: readonly StoredRow[], signatures: readonly RecordedSignature[]): void {
    const { kept, gone, added } = compare(rows, signatures);
    for (const { id } of gone) this.#delete.run(id);
    this.#keep(kept);
    const written = new Set(added.filter((signature) => this.#add(image, rows, signature, signatures)));
    for (const signature of signatures) {
      const { sha256, judgement } = signature;
      if (judgement !== undefined && !written.has(signature)) this.#verdicts.judge(image, sha256, judgement);
    }
    const before = rows.filter(({ filler }) => filler === 0).length;
    this.#count(image, before, signatures.filter(({ isFiller = false }) => !isFiller).length);
  }

  #keep(kept: readonly Kept[]): void {
    for (const { row, signature } of kept) {
      if (row.number !== signature.number) this.#renumber.run(PARKED + row.number, row.id);
    }
    for (const { row, signature } of kept) {
      if (isAsStored(row, signature)) continue;
      const { number, sizeBytes, storedAt, bytes } = signature;
      this.#update.run(number, sizeBytes, storedAt.getTime(), bytes, fillerOf(signature), row.id);
    }
  }

  /** True: its verdict is written too. */
  #add(
    image: ImageId,
    rows: readonly StoredRow[],
    signature: RecordedSignature,
    all: readonly RecordedSignature[],
  ): boolean {
    const { number, sizeBytes, storedAt, bytes, judgement } = signature;
    const sha256 = Buffer.from(signature.sha256, 'hex');
    const what = [number, sha256, sizeBytes, storedAt.getTime(), bytes, fillerOf(signature)] as const;
    const isOnlyCopy = all.every((other) => other === signature || other.sha256 !== signature.sha256);
    if (judgement !== undefined && isOnlyCopy) {
      // at once: the verdict's columns are in most indexes, and an update would write each of these twice
      this.#insertJudged.run(...keyOf(image), ...what, ...verdictValues(judgement));
      return true;
    }
    const inserted = this.#insert.run(...keyOf(image), ...what);
    // another copy of recorded bytes gets their verdict: compare() keeps all rows with these bytes
    const copied = rows.find((row) => row.sha256.equals(sha256));
    if (copied !== undefined) this.#verdicts.copy(copied.id, Number(inserted.lastInsertRowid));
    return false;
  }

  #count(image: ImageId, before: number, after: number): void {
    const images = Math.sign(after) - Math.sign(before);
    if (images === 1 || images === -1) this.#folders.count(image, images);
    const change = this.#sites.get(image.site) ?? { images: 0, signatures: 0 };
    change.images += images;
    change.signatures += after - before;
    this.#sites.set(image.site, change);
  }

  #inTransaction(act: () => void): void {
    try {
      inTransaction(this.#db, () => {
        act();
        this.#folders.write();
        this.#writeSites();
      });
    } finally {
      this.#folders.forget();
      this.#sites.clear();
    }
  }

  #writeSites(): void {
    for (const [site, { images, signatures }] of this.#sites) {
      this.#makeSite.run(site);
      this.#addToSite.run(images, signatures, site);
    }
  }
}

function keyOf(image: ImageId): Key {
  return [image.site, image.path, image.layout, image.algorithm, Buffer.from(image.hex, 'hex')];
}

interface Kept {
  readonly row: StoredRow;
  readonly signature: RecordedSignature;
}

interface Comparison {
  readonly kept: readonly Kept[];
  readonly gone: readonly StoredRow[];
  readonly added: readonly RecordedSignature[];
}

/** Which row belongs to which signature: a row with the same bytes, preferably with the same number. */
function compare(rows: readonly StoredRow[], signatures: readonly RecordedSignature[]): Comparison {
  const kept: Kept[] = [];
  const left = new Set(rows);
  const take = (
    wanted: readonly RecordedSignature[],
    isIts: (row: StoredRow, its: RecordedSignature) => boolean,
  ) =>
    wanted.filter((signature) => {
      const row = [...left].find((candidate) => isIts(candidate, signature));
      if (row === undefined) return true;
      left.delete(row);
      kept.push({ row, signature });
      return false;
    });
  const isOfBytes = (row: StoredRow, { sha256 }: RecordedSignature) => row.sha256.toString('hex') === sha256;
  const others = take(signatures, (row, its) => row.number === its.number && isOfBytes(row, its));
  const added = take(others, isOfBytes);
  return { kept, gone: [...left], added };
}

function isSame(rows: readonly StoredRow[], signatures: readonly RecordedSignature[]): boolean {
  if (rows.length !== signatures.length) return false;
  const byNumber = new Map(signatures.map((signature) => [signature.number, signature]));
  return rows.every((row) => {
    const signature = byNumber.get(row.number);
    return signature !== undefined && signature.judgement === undefined && isAsStored(row, signature);
  });
}

function fillerOf({ isFiller = false }: RecordedSignature): 0 | 1 {
  return isFiller ? 1 : 0;
}

function isAsStored(row: StoredRow, signature: RecordedSignature): boolean {
  return (
    row.number === signature.number &&
    row.sha256.toString('hex') === signature.sha256 &&
    row.size_bytes === signature.sizeBytes &&
    row.stored_at_ms === signature.storedAt.getTime() &&
    row.has_bytes === (signature.bytes === null ? 0 : 1) &&
    row.filler === fillerOf(signature)
  );
}
