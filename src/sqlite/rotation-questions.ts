// Which images of one key another key has signed too: asked of signature_by_key alone, an index that holds whole answers.
import type { Database, Statement } from 'better-sqlite3';
import { type ImageId, imageName } from '../domain/image.ts';
import type { RotationCounts, RotationPlace, RotationWork } from '../domain/rotation.ts';
import { IndexGaps } from './index-gaps.ts';

type Names = { readonly site: string; readonly old: string; readonly next: string };

interface WorkRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
  readonly docker_reference: string;
}

const IMAGE = 'path, layout, algorithm, digest';
const SAME_IMAGE = ['path', 'layout', 'algorithm', 'digest']
  .map((column) => `other.${column} = mine.${column}`)
  .join(' AND ');

export class RotationQuestions {
  readonly #index: IndexGaps;
  readonly #ofOne: Statement<[string, string], number>;
  readonly #ofBoth: Statement<[Names], number>;
  readonly #work: Statement<
    [Names & { limit: number } & Record<string, string | number | Uint8Array>],
    WorkRow
  >;

  constructor(db: Database) {
    this.#index = new IndexGaps(db);
    // copies at the numbers of withdrawn signatures are of the same image as what they are copies of
    this.#ofOne = db
      .prepare<[string, string], number>(`
        SELECT count(*)
        FROM (
          SELECT DISTINCT ${IMAGE}
          FROM signature INDEXED BY signature_by_key
          WHERE site = ? AND fingerprint = ?
        )`)
      .pluck();
    this.#ofBoth = db
      .prepare<[Names], number>(`
        SELECT count(*)
        FROM (
          SELECT DISTINCT ${IMAGE}
          FROM signature AS mine INDEXED BY signature_by_key
          WHERE site = @site AND fingerprint = @old AND EXISTS (
            SELECT 1
            FROM signature AS other INDEXED BY signature_by_key
            WHERE other.site = @site AND other.fingerprint = @next AND ${SAME_IMAGE}
          )
        )`)
      .pluck();
    this.#work = db.prepare(`
      SELECT DISTINCT ${IMAGE}, docker_reference
      FROM signature AS mine INDEXED BY signature_by_key
      WHERE site = @site AND fingerprint = @old
        AND (${IMAGE}, docker_reference) > (@path, @layout, @algorithm, @digest, @reference)
        AND NOT EXISTS (
          SELECT 1
          FROM signature AS other INDEXED BY signature_by_key
          WHERE other.site = @site AND other.fingerprint = @next AND ${SAME_IMAGE}
            AND other.docker_reference = mine.docker_reference
        )
      ORDER BY ${IMAGE}, docker_reference
      LIMIT @limit`);
  }

  counts(
    old: string,
    next: string,
    nowMs: number,
  ): { readonly images: RotationCounts; readonly gaps: readonly string[] } {
    const images = { old: 0, both: 0, new: 0 };
    for (const site of this.#index.sites()) {
      const both = this.#ofBoth.get({ site, old, next }) ?? 0;
      images.both += both;
      images.old += (this.#ofOne.get(site, old) ?? 0) - both;
      images.new += (this.#ofOne.get(site, next) ?? 0) - both;
    }
    return { images, gaps: this.#index.found(nowMs) };
  }

  /** At most `limit`, and where the next piece begins; null at the end. */
  work(
    old: string,
    next: string,
    after: RotationPlace,
    limit: number,
  ): { readonly work: readonly RotationWork[]; readonly next: RotationPlace } {
    for (const site of this.#index.sites()) {
      if (after !== null && site < after[0]) continue;
      const [, path, layout, algorithm, hex, reference] =
        after !== null && after[0] === site ? after : ['', '', '', '', '', ''];
      const digest = Buffer.from(hex, 'hex');
      const rows = this.#work.all({ site, old, next, path, layout, algorithm, digest, reference, limit });
      const last = rows.at(-1);
      if (last === undefined) continue;
      return {
        work: rows.map((row) => workOf(site, row)),
        next: [
          site,
          last.path,
          last.layout,
          last.algorithm,
          last.digest.toString('hex'),
          last.docker_reference,
        ],
      };
    }
    return { work: [], next: null };
  }
}

function workOf(site: string, { path, layout, algorithm, digest, docker_reference }: WorkRow): RotationWork {
  const hex = digest.toString('hex');
  return {
    site,
    image: imageName({ site, path, layout, algorithm, hex }),
    digest: `${algorithm}:${hex}`,
    reference: docker_reference,
  };
}
