// The stamps of folders in index.db, for a thread that walks the tree: it has a connection of its own.
import { naturalKey } from '../domain/natural-order.ts';
import type { QuickStamp } from '../domain/tree-walk.ts';
import { openForReading } from './open.ts';

export interface FolderStamps {
  /** The names that the index has in a folder, each with its stamp. @throws SQLite's errors */
  in(site: string, folder: string): Map<string, QuickStamp | null>;
  close(): void;
}

/** A page is short, so that the file's -wal can be written into it meanwhile. */
const PAGE_NAMES = 5000;

/** @throws UnusableFile, and SQLite's errors */
export function openFolderStamps(file: string): FolderStamps {
  const db = openForReading(file, 'index');
  const page = db
    .prepare<[string, string, string, string], [string, number | null]>(`
      SELECT name, stamp
      FROM folder_entry
      WHERE site = ? AND folder = ? AND (sort_key, name) > (?, ?)
      ORDER BY sort_key, name
      LIMIT ${PAGE_NAMES}`)
    .raw();
  return {
    in(site, folder) {
      const stamps = new Map<string, QuickStamp | null>();
      for (let after = ''; ; ) {
        const rows = page.all(site, folder, naturalKey(after), after);
        for (const [name, stamp] of rows) stamps.set(name, stamp);
        after = rows.at(-1)?.[0] ?? '';
        if (rows.length < PAGE_NAMES) return stamps;
      }
    },
    close: () => void db.close(),
  };
}
