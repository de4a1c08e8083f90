// Tables signature and site, as the writer thread changes them.
import type { Database, Statement } from 'better-sqlite3';
import { type ImageId, imageKey, parseImageFolder } from '../domain/image.ts';
import type { RecordedImage, RecordedSignature } from '../domain/ports.ts';
import { FolderChanges } from './folder-entries.ts';
import { inTransaction } from './open.ts';

const FORGET_CHUNK_IMAGES = 1000;

type Key = [site: string, path: string, layout: string, algorithm: string, digest: Uint8Array];

interface StoredRow {
  readonly number: number;
  readonly sha256: Buffer;
  readonly size_bytes: number;
  readonly stored_at_ms: number;
  readonly has_bytes: 0 | 1;
  readonly verdict: string;
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
  readonly #sites = new Map<string, { images: number; signatures: number }>();
  readonly #select: Statement<Key, StoredRow>;
  readonly #delete: Statement<Key>;
  readonly #insert: Statement<
    [...Key, number, Uint8Array, number, number, Uint8Array | null, string | undefined]
  >;
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
    const ofImage = 'site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?';
    this.#select = db.prepare(`
      SELECT number, sha256, size_bytes, stored_at_ms, bytes IS NOT NULL AS has_bytes, verdict
      FROM signature
      WHERE ${ofImage}
      ORDER BY number`);
    this.#delete = db.prepare(`
      DELETE FROM signature
      WHERE ${ofImage}`);
    this.#insert = db.prepare(`
      INSERT INTO signature
        (site, path, layout, algorithm, digest, number, sha256, size_bytes, stored_at_ms, bytes, verdict)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce(?, 'unverified'))`);
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
    // team/sha256=… stands in the folder team itself; team@sha256=… stands beside it
    this.#imagesInFolder = db.prepare(images(`AND path = ? AND layout = 'release'`));
    this.#imagesBelow = db.prepare(images('AND path > ? AND path < ?'));
  }

  /** Replaces the images' rows in one transaction; writes nothing when they are as given. Of an image named twice the last counts. */
  record(images: readonly RecordedImage[]): void {
    const lastOfEach = new Map(images.map((recorded) => [imageKey(recorded.image), recorded]));
    const changed = [...lastOfEach.values()].filter(
      ({ image, signatures }) => !isSame(this.#select.all(...keyOf(image)), signatures),
    );
    if (changed.length === 0) return;
    this.#inTransaction(() => {
      for (const { image, signatures } of changed) this.#replace(image, signatures);
    });
  }

  /** Forgets the images below `folder` (all of the site when empty), or the one whose folder it is. */
  forgetFolder(site: string, folder: string): void {
    this.#inTransaction(() => {
      const image = parseImageFolder(site, folder);
      if (image !== null) this.#replace(image, []);
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
        this.#replace({ site, layout, path, algorithm, hex: digest.toString('hex') }, []);
      }
      this.#folders.write(); // keeps the gathered changes few
    }
  }

  #replace(image: ImageId, signatures: readonly RecordedSignature[]): void {
    const key = keyOf(image);
    const before = this.#select.all(...key);
    if (before.length === 0 && signatures.length === 0) return;
    const verdicts = new Map(before.map((row) => [row.sha256.toString('hex'), row.verdict]));
    if (before.length > 0) this.#delete.run(...key);
    for (const { number, sha256, sizeBytes, storedAt, bytes } of signatures) {
      const verdict = verdicts.get(sha256);
      this.#insert.run(
        ...key,
        number,
        Buffer.from(sha256, 'hex'),
        sizeBytes,
        storedAt.getTime(),
        bytes,
        verdict,
      );
    }
    const images = Math.sign(signatures.length) - Math.sign(before.length);
    if (images === 1 || images === -1) this.#folders.count(image, images);
    const change = this.#sites.get(image.site) ?? { images: 0, signatures: 0 };
    change.images += images;
    change.signatures += signatures.length - before.length;
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

function isSame(rows: readonly StoredRow[], signatures: readonly RecordedSignature[]): boolean {
  if (rows.length !== signatures.length) return false;
  const byNumber = new Map(signatures.map((signature) => [signature.number, signature]));
  return rows.every((row) => {
    const signature = byNumber.get(row.number);
    return (
      signature !== undefined &&
      row.sha256.toString('hex') === signature.sha256 &&
      row.size_bytes === signature.sizeBytes &&
      row.stored_at_ms === signature.storedAt.getTime() &&
      row.has_bytes === (signature.bytes === null ? 0 : 1)
    );
  });
}
