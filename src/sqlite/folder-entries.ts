// Table folder_entry: the entries of each folder, each with the number of images at or below it.
import type { Database, Statement } from 'better-sqlite3';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { naturalKey } from '../domain/natural-order.ts';
import type { FolderPage } from '../domain/ports.ts';

interface Change {
  readonly site: string;
  readonly folder: string;
  readonly name: string;
  images: number;
}

/** The changes of one transaction, gathered so that a folder above many images is written only once. */
export class FolderChanges {
  readonly #changes = new Map<string, Change>();
  readonly #add: Statement<[string, string, string, string, number]>;
  readonly #take: Statement<[number, string, string, string, string]>;
  readonly #remove: Statement<[string, string, string, string]>;

  constructor(db: Database) {
    this.#add = db.prepare(`
      INSERT INTO folder_entry (site, folder, sort_key, name, images)
      VALUES (?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET images = images + excluded.images`);
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
      const key = `${image.site}/${folder}/${name}`;
      const change = this.#changes.get(key);
      if (change === undefined) this.#changes.set(key, { site: image.site, folder, name, images: by });
      else change.images += by;
      folder = folder === '' ? name : `${folder}/${name}`;
    }
  }

  /** Call inside the transaction, before it ends. */
  write(): void {
    for (const { site, folder, name, images } of this.#changes.values()) {
      const sortKey = naturalKey(name);
      if (images > 0) this.#add.run(site, folder, sortKey, name, images);
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
