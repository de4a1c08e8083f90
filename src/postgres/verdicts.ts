// The results of verification, which stand with the signatures themselves: look-ups over all images, and new verdicts.
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { IndexedSignature, SignatureFilter, SignaturePage, VerdictIndex } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { VERDICT_COLUMNS, verdictValues } from './image-rows.ts';
import { INDEXED_COLUMNS, type IndexedRow, imageOf, indexedOf } from './indexed.ts';
import { markPart, noteIssuers } from './judge-again.ts';
import type { PostgresWriter } from './writer.ts';

type Judged = Parameters<VerdictIndex['judge']>[0];

/** The share of the writer's transaction: acts of others join the marking of a part, but not many parts. */
const MARKING_BYTES = 4 * 1024 * 1024;

export interface VerdictsOptions {
  readonly connections: Pick<Connections, 'query'>;
  readonly writer: PostgresWriter;
  /** The number of `change` with which this node's keyring was read. */
  readonly keyringNumber: () => number;
  /** Whether this node looks for signatures to judge: one at a time does. */
  readonly isLeader: () => boolean;
}

export class PostgresVerdicts implements VerdictIndex {
  readonly #query: Query;
  readonly #options: VerdictsOptions;

  constructor(options: VerdictsOptions) {
    this.#query = options.connections.query;
    this.#options = options;
  }

  async generation(): Promise<string> {
    const [row] = await this.#query<{ name: string }>('SELECT name FROM database_name WHERE id = 1');
    if (row === undefined) throw new Error('the row of database_name is missing');
    return row.name;
  }

  ofImage(image: ImageId): Promise<readonly IndexedSignature[]> {
    return this.#rows('i.site = $1 AND i.folder = $2 AND NOT s.filler ORDER BY s.number', [
      image.site,
      imageFolder(image),
    ]);
  }

  search(site: string, page: SignaturePage): Promise<readonly IndexedSignature[]> {
    const { conditions, values } = conditionsOf(site, page.filter);
    const [compare, direction] = page.order === 'oldest' ? ['>', 'ASC'] : ['<', 'DESC'];
    const after = page.after ?? (page.order === 'oldest' ? 0 : Number.MAX_SAFE_INTEGER);
    values.push(after, page.limit);
    const keyset = `s.id ${compare} $${values.length - 1}`;
    return this.#rows(
      `${[...conditions, keyset].join(' AND ')} ORDER BY s.id ${direction} LIMIT $${values.length}`,
      values,
    );
  }

  async countByKey(site: string, fingerprint: string): Promise<number> {
    const [row] = await this.#query<{ count: number }>(
      `
      SELECT count(*) AS count
      FROM signature AS s
      JOIN image AS i ON i.id = s.image_id
      WHERE i.site = $1 AND s.fingerprint = $2 AND NOT s.filler`,
      [site, fingerprint],
    );
    return row?.count ?? 0;
  }

  async imagesByKey(
    site: string,
    fingerprint: string,
    after: ImageId | null,
    limit: number,
  ): Promise<readonly ImageId[]> {
    const rows = await this.#query<Pick<IndexedRow, 'site' | 'folder'>>(
      `
      SELECT i.site, i.folder
      FROM image AS i
      WHERE i.site = $1
        AND i.folder > $3
        AND EXISTS (SELECT 1 FROM signature AS s WHERE s.image_id = i.id AND s.fingerprint = $2 AND NOT s.filler)
      ORDER BY i.folder
      LIMIT $4`,
      [site, fingerprint, after === null ? '' : imageFolder(after), limit],
    );
    return rows.map(imageOf);
  }

  async counts(site: string): Promise<{ readonly images: number; readonly signatures: number }> {
    const [row] = await this.#query<{ images: number; signatures: number }>(
      `
      SELECT count(DISTINCT s.image_id) AS images, count(*) AS signatures
      FROM signature AS s
      JOIN image AS i ON i.id = s.image_id
      WHERE i.site = $1 AND NOT s.filler`,
      [site],
    );
    return row ?? { images: 0, signatures: 0 };
  }

  async unjudged(
    site: string,
    now: Date,
    after: number,
    limit: number,
  ): Promise<readonly IndexedSignature[]> {
    if (!this.#options.isLeader()) return [];
    // what a node began that was ended
    if (after === 0 && (await this.#query('SELECT 1 FROM judge_again LIMIT 1')).length > 0)
      await this.#markAll();
    return this.#rows('i.site = $1 AND s.judge_at_ms <= $2 AND s.id > $3 ORDER BY s.id LIMIT $4', [
      site,
      now.getTime(),
      after,
      limit,
    ]);
  }

  unjudgedOf(image: ImageId): Promise<readonly IndexedSignature[]> {
    return this.#rows('i.site = $1 AND i.folder = $2 AND s.judge_at_ms IS NOT NULL ORDER BY s.number', [
      image.site,
      imageFolder(image),
    ]);
  }

  /** Verdicts by an older keyring than that of now are dropped: the keys' change has marked the signatures to be judged again. */
  async judge(judged: Judged): Promise<void> {
    const keyring = this.#options.keyringNumber();
    await this.#options.writer.run(async ({ query }) => {
      const [keys] = await query<{ number: number }>("SELECT number FROM change WHERE topic = 'keys'");
      if (keys?.number !== keyring) return;
      const columns = VERDICT_COLUMNS.map((column, position) => `${column} = $${position + 4}`);
      for (const { image, sha256, judgement } of judged) {
        await query(
          `
          UPDATE signature
          SET ${columns.join(', ')}
          WHERE image_id = (SELECT id FROM image WHERE site = $1 AND folder = $2) AND sha256 = $3`,
          [image.site, imageFolder(image), Buffer.from(sha256, 'hex'), ...verdictValues(judgement)],
        );
      }
    }, judged.length * 500);
  }

  /** Marks signatures of every site: a key is changed for all. What a failure leaves unmarked, the leader marks. */
  async judgeAgain(_site: string, issuers: readonly string[]): Promise<void> {
    await this.#options.writer.run((change) => noteIssuers(change, issuers));
    await this.#markAll();
  }

  async #markAll(): Promise<void> {
    while (await this.#options.writer.run(markPart, MARKING_BYTES));
  }

  async #rows(condition: string, values: readonly unknown[]): Promise<readonly IndexedSignature[]> {
    const rows = await this.#query<IndexedRow>(
      `
      SELECT ${INDEXED_COLUMNS}
      FROM signature AS s
      JOIN image AS i ON i.id = s.image_id
      WHERE ${condition}`,
      values,
    );
    return rows.map(indexedOf);
  }
}

/** Conditions of the given filter alone, so that the plan fits what is asked. */
function conditionsOf(site: string, filter: SignatureFilter) {
  const values: unknown[] = [site];
  const conditions = ['i.site = $1', 'NOT s.filler'];
  const add = (condition: string, value: unknown): void => {
    values.push(value);
    conditions.push(condition.replace('?', `$${values.length}`));
  };
  const { path, digest, fingerprint, tag, verdict, since, until } = filter;
  if (digest !== null) add('i.digest = ?', `${digest.algorithm}=${digest.hex}`);
  if (path !== null) add('i.path = ?', path);
  if (fingerprint !== null) add('s.fingerprint = ?', fingerprint);
  if (tag !== null) add("s.verdict = 'good' AND s.tag = ?", tag);
  if (verdict !== null) add('s.verdict = ?', verdict);
  if (since !== null) add('s.stored_at_ms >= ?', since.getTime());
  if (until !== null) add('s.stored_at_ms < ?', until.getTime());
  return { conditions, values };
}
