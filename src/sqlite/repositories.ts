// Looks up whole repositories in table signature. Only indexes are read, never the rows.
import type { Database, Statement } from 'better-sqlite3';
import type { IndexedRepository, RepositoryWalk } from '../domain/ports.ts';

interface Place {
  readonly site: string;
  readonly path: string;
}

export class Repositories {
  readonly #paths: Statement<RepositoryWalk & { readonly site: string }, string>;
  readonly #images: Statement<Place & { readonly most: number }, number>;
  readonly #newest: Statement<Place, number>;

  constructor(db: Database) {
    // from one path to the next, past all signatures of the first
    this.#paths = db
      .prepare<RepositoryWalk & { readonly site: string }, string>(`
        WITH RECURSIVE repository (path) AS (
          SELECT (
            SELECT min(path)
            FROM signature INDEXED BY signature_by_path
            WHERE site = @site AND path >= @from AND path < @before
          )
          UNION ALL
          SELECT (
            SELECT min(path)
            FROM signature INDEXED BY signature_by_path
            WHERE site = @site AND path > repository.path AND path < @before
          )
          FROM repository
          WHERE repository.path IS NOT NULL
          LIMIT @limit
        )
        SELECT path
        FROM repository
        WHERE path IS NOT NULL`)
      .pluck();
    this.#images = db
      .prepare<Place & { readonly most: number }, number>(`
        SELECT count(*)
        FROM (
          SELECT DISTINCT layout, algorithm, digest
          FROM signature
          WHERE site = @site AND path = @path
          LIMIT @most
        )`)
      .pluck();
    this.#newest = db
      .prepare<Place, number>(`
        SELECT stored_at_ms
        FROM signature INDEXED BY signature_by_path
        WHERE site = @site AND path = @path
        ORDER BY id DESC
        LIMIT 1`)
      .pluck();
  }

  paths(site: string, walk: RepositoryWalk): readonly string[] {
    return this.#paths.all({ site, ...walk });
  }

  describe(site: string, paths: readonly string[], most: number): readonly IndexedRepository[] {
    return paths.flatMap((path) => {
      const newestMs = this.#newest.get({ site, path });
      if (newestMs === undefined) return [];
      const images = this.#images.get({ site, path, most }) ?? 0;
      return [{ path, images, newestAt: new Date(newestMs) }];
    });
  }
}
