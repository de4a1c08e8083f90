// Whole repositories, by the paths of table image.
import type { IndexedRepository, RepositoryIndex, RepositoryWalk } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';

const SIGNED = 'EXISTS (SELECT 1 FROM signature AS s WHERE s.image_id = i.id)';

export class PostgresRepositories implements RepositoryIndex {
  readonly #query: Query;

  constructor({ query }: Pick<Connections, 'query'>) {
    this.#query = query;
  }

  async repositoryPaths(site: string, { from, before, limit }: RepositoryWalk): Promise<readonly string[]> {
    const rows = await this.#query<{ path: string }>(
      `
      SELECT DISTINCT i.path
      FROM image AS i
      WHERE i.site = $1 AND i.path >= $2 AND i.path < $3 AND ${SIGNED}
      ORDER BY i.path
      LIMIT $4`,
      [site, from, before, limit],
    );
    return rows.map(({ path }) => path);
  }

  async repositories(
    site: string,
    paths: readonly string[],
    most: number,
  ): Promise<readonly IndexedRepository[]> {
    const rows = await this.#query<{ path: string; images: number; newest: number | null }>(
      `
      SELECT asked.path,
        (SELECT count(*)
         FROM (SELECT 1 FROM image AS i WHERE i.site = $1 AND i.path = asked.path AND ${SIGNED} LIMIT $3) AS few) AS images,
        (SELECT s.stored_at_ms
         FROM image AS i
         JOIN signature AS s ON s.image_id = i.id
         WHERE i.site = $1 AND i.path = asked.path
         ORDER BY s.id DESC
         LIMIT 1) AS newest
      FROM unnest($2::text[]) WITH ORDINALITY AS asked (path, position)
      ORDER BY asked.position`,
      [site, paths, most],
    );
    return rows.flatMap(({ path, images, newest }) =>
      newest === null ? [] : [{ path, images, newestAt: new Date(newest) }],
    );
  }

  /** There is no index that could lack anything. */
  async isComplete(): Promise<boolean> {
    return true;
  }
}
