// The stamps of folders in index.db, for a thread that walks the tree: it has a connection of its own.
import { naturalKey } from '../domain/natural-order.ts';
import type { RecordedNames } from '../domain/tree-walk.ts';
import { openForReading } from './open.ts';
import { StampTable } from './stamp-table.ts';

export interface FolderStamps {
  /**
   * The names that the index has in a folder, each with its stamp, and of them those that are wanted: each takes memory. It throws SQLite's
   * errors, and keys() of what it returns does.
   */
  in(site: string, folder: string, isWanted: (name: string) => boolean): RecordedNames;
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
  function* rowsOf(site: string, folder: string): Generator<[string, number | null]> {
    for (let after = ''; ; ) {
      const rows = page.all(site, folder, naturalKey(after), after);
      yield* rows;
      after = rows.at(-1)?.[0] ?? '';
      if (rows.length < PAGE_NAMES) return;
    }
  }

  return {
    in(site, folder, isWanted) {
      const table = new StampTable();
      for (const [name, stamp] of rowsOf(site, folder)) if (isWanted(name)) table.add(name, stamp);
      return {
        get: (name) => table.get(name),
        delete: (name) => table.delete(name),
        *keys() {
          if (table.size === 0) return;
          for (const [name] of rowsOf(site, folder)) if (table.get(name) !== undefined) yield name;
        },
      };
    },
    close: () => void db.close(),
  };
}
