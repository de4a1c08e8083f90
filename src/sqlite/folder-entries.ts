// Table folder_entry: the entries of each folder, each with the number of images at or below it.
import type { Database, Statement } from 'better-sqlite3';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { naturalKey } from '../domain/natural-order.ts';
import type { FolderPage } from '../domain/ports.ts';
import type { QuickStamp } from '../domain/tree-walk.ts';

interface Change {
  readonly site: string;
  readonly folder: string;
  readonly name: string;
  images: number;
  /** Undefined: it stays. */
  stamp?: QuickStamp | null;
}

/** The changes of one transaction, gathered so that a folder above many images is written only once. */
export class FolderChanges {
  readonly #changes = new Map<string, Change>();
  readonly #add: Statement<[string, string, string, string, number, number | null]>;
  readonly #stamp: Statement<[number | null, string, string, string, string, number | null]>;
  readonly #take: Statement<[number, string, string, string, string]>;
  readonly #remove: Statement<[string, string, string, string]>;

  constructor(db: Database) {
    this.#add = db.prepare(`
      INSERT INTO folder_entry (site, folder, sort_key, name, images, stamp)
      VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET images = images + excluded.images, stamp = excluded.stamp`);
    this.#stamp = db.prepare(`
      UPDATE folder_entry
      SET stamp = ?
      WHERE site = ? AND folder = ? AND sort_key = ? AND name = ? AND stamp IS NOT ?`);
    // the statement above cannot do this: the CHECK would see the negative number before the conflict is found
    this.#take = db.prepare(`
      UPDATE folder_entry
      SET images = images - ?
      WHERE site = ? AND folder = ? AND sort_key = ? AND name = ?`);
    this.#remove = db.prepare(`
      DELETE FROM folder_entry
      WHERE site = ? AND folder = ? AND sort_key = ? AND name = ? AND images = 0`);
  }

  /** Adds the image (1) or removes it (-1) in the counts of its own folder and of each folder above. */
  count(image: ImageId, by: 1 | -1): void {
    let folder = '';
    for (const name of imageFolder(image).split('/')) {
      this.#changeOf(image.site, folder, name).images += by;
      folder = folder === '' ? name : `${folder}/${name}`;
    }
  }

  /** The stamp of the image's own folder; null: none is known. */
  stamp(image: ImageId, stamp: QuickStamp | null): void {
    const path = imageFolder(image);
    const end = path.lastIndexOf('/');
    this.#changeOf(image.site, path.slice(0, Math.max(end, 0)), path.slice(end + 1)).stamp = stamp;
  }

  #changeOf(site: string, folder: string, name: string): Change {
    const key = `${site}/${folder}/${name}`;
    const known = this.#changes.get(key);
    if (known !== undefined) return known;
    const change = { site, folder, name, images: 0 };
    this.#changes.set(key, change);
    return change;
  }

  /** Call inside the transaction, before it ends. */
  write(): void {
    for (const { site, folder, name, images, stamp } of this.#changes.values()) {
      const sortKey = naturalKey(name);
      if (images > 0) this.#add.run(site, folder, sortKey, name, images, stamp ?? null);
      else if (stamp !== undefined) this.#stamp.run(stamp, site, folder, sortKey, name, stamp);
      if (images >= 0) continue;
      this.#take.run(-images, site, folder, sortKey, name);
      this.#remove.run(site, folder, sortKey, name);
    }
    this.#changes.clear();
  }

  /** Call it after a failed transaction. */
  forget(): void {
    this.#changes.clear();
  }
}

/** Look-ups in the table. */
export class FolderEntries {
  readonly #page: Statement<[string, string, string, string, number], string>;
  readonly #child: Statement<[string, string, string, string], number>;

  constructor(db: Database) {
    this.#page = db
      .prepare<[string, string, string, string, number], string>(`
        SELECT name
        FROM folder_entry
        WHERE site = ? AND folder = ? AND (sort_key, name) > (?, ?)
        ORDER BY sort_key, name
        LIMIT ?`)
      .pluck();
    this.#child = db
      .prepare<[string, string, string, string], number>(`
        SELECT 1
        FROM folder_entry
        WHERE site = ? AND folder = ? AND sort_key = ? AND name = ?`)
      .pluck();
  }

  page(site: string, folder: string, after: string | null, limit: number): FolderPage {
    const cursor = after ?? '';
    const names = this.#page.all(site, folder, naturalKey(cursor), cursor, limit + 1);
    if (names.length <= limit) return { names, next: null };
    const page = names.slice(0, limit);
    return { names: page, next: page.at(-1) ?? null };
  }

  has(site: string, folder: string, name: string): boolean {
    return this.#child.get(site, folder, naturalKey(name), name) !== undefined;
  }
}
