// Which images would lose their last verified signature with one key. The images of the key stand in signature_by_key; the other
// signatures of each are looked up.
import type { Database, Statement } from 'better-sqlite3';
import { type ImageId, imageName } from '../domain/image.ts';
import type { PartSignatures } from '../domain/key.ts';
import {
  type BrokenImage,
  type ImagePlace,
  REASONS_OF_KEYS,
  type RevocationCounts,
  type UsableKeys,
} from '../domain/revocation.ts';
import { IndexGaps } from './index-gaps.ts';

type Names = { readonly site: string; readonly key: string };
type Others = { readonly keys: string; readonly ended: string; readonly now: number };

interface ImageRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
}

const IMAGE = 'path, layout, algorithm, digest';
const SAME_IMAGE = ['site', 'path', 'layout', 'algorithm', 'digest']
  .map((column) => `other.${column} = mine.${column}`)
  .join(' AND ');

// keep in sync with stateOf() in src/domain/state.ts
const BROKEN = `
  FROM signature AS mine INDEXED BY signature_by_key
  WHERE site = @site AND fingerprint = @key AND (${IMAGE}) > (@path, @layout, @algorithm, @digest)
    AND NOT EXISTS (
      SELECT 1
      FROM signature AS other
      WHERE ${SAME_IMAGE} AND other.verdict = 'good'
        AND other.fingerprint IN (SELECT value FROM json_each(@keys))
        AND (other.signing_fingerprint IS NULL OR other.signing_fingerprint NOT IN (SELECT value FROM json_each(@ended)))
        AND (other.expires_at_ms IS NULL OR other.expires_at_ms > @now)
    )`;

type Place = { path: string; layout: string; algorithm: string; digest: Uint8Array };
const BEGINNING: Place = { path: '', layout: '', algorithm: '', digest: Buffer.alloc(0) };

export class RevocationQuestions {
  readonly #index: IndexGaps;
  readonly #signatures: Statement<[Names], number>;
  readonly #images: Statement<[Names], number>;
  readonly #refused: Statement<[{ site: string; issuers: string; reasons: string }], number>;
  readonly #byPart: Statement<[string], { readonly fingerprint: string; readonly signatures: number }>;
  readonly #countBroken: Statement<[Names & Others & Place], number>;
  readonly #broken: Statement<[Names & Others & Place & { limit: number }], ImageRow>;

  constructor(db: Database) {
    this.#index = new IndexGaps(db);
    this.#signatures = db
      .prepare<[Names], number>(`
        SELECT (
          SELECT count(*)
          FROM signature INDEXED BY signature_by_fingerprint
          WHERE site = @site AND fingerprint = @key
        ) - (
          SELECT count(*)
          FROM signature INDEXED BY signature_filler
          WHERE site = @site AND fingerprint = @key AND filler = 1
        )`)
      .pluck();
    this.#images = db
      .prepare<[Names], number>(`
        SELECT count(*)
        FROM (
          SELECT DISTINCT ${IMAGE}
          FROM signature INDEXED BY signature_by_key
          WHERE site = @site AND fingerprint = @key
        )`)
      .pluck();
    this.#refused = db
      .prepare<[{ site: string; issuers: string; reasons: string }], number>(`
        SELECT count(*)
        FROM signature INDEXED BY signature_not_good
        WHERE site = @site AND verdict = 'bad' AND verdict <> 'good' AND filler = 0
          AND reason IN (SELECT value FROM json_each(@reasons))
          AND issuer IN (SELECT value FROM json_each(@issuers))`)
      .pluck();
    this.#byPart = db.prepare(`
      SELECT signing_fingerprint AS fingerprint, count(*) AS signatures
      FROM signature INDEXED BY signature_by_fingerprint
      WHERE site IN (SELECT name FROM site) AND fingerprint = ? AND filler = 0 AND signing_fingerprint IS NOT NULL
      GROUP BY signing_fingerprint
      ORDER BY signing_fingerprint`);
    this.#countBroken = db
      .prepare<[Names & Others & Place], number>(`SELECT count(*) FROM (SELECT DISTINCT ${IMAGE} ${BROKEN})`)
      .pluck();
    this.#broken = db.prepare(`SELECT DISTINCT ${IMAGE} ${BROKEN} ORDER BY ${IMAGE} LIMIT @limit`);
  }

  signaturesBy(key: string): readonly PartSignatures[] {
    return this.#byPart.all(key);
  }

  counts(
    key: string,
    issuers: readonly string[],
    others: UsableKeys,
    nowMs: number,
  ): RevocationCounts & { readonly gaps: readonly string[] } {
    const counts = { signatures: 0, images: 0, broken: 0, refused: 0 };
    const named = { issuers: JSON.stringify(issuers), reasons: JSON.stringify(REASONS_OF_KEYS) };
    for (const site of this.#index.sites()) {
      counts.signatures += this.#signatures.get({ site, key }) ?? 0;
      counts.images += this.#images.get({ site, key }) ?? 0;
      counts.refused += this.#refused.get({ site, ...named }) ?? 0;
      counts.broken += this.#countBroken.get({ site, key, ...valuesOf(others, nowMs), ...BEGINNING }) ?? 0;
    }
    return { ...counts, gaps: this.#index.found(nowMs) };
  }

  /** At most `limit`, and where the next piece begins; null at the end. */
  broken(
    key: string,
    others: UsableKeys,
    nowMs: number,
    after: ImagePlace,
    limit: number,
  ): { readonly images: readonly BrokenImage[]; readonly next: ImagePlace } {
    const values = valuesOf(others, nowMs);
    for (const site of this.#index.sites()) {
      if (after !== null && site < after[0]) continue;
      const place = after !== null && after[0] === site ? placeOf(after) : BEGINNING;
      const rows = this.#broken.all({ site, key, ...values, ...place, limit });
      const last = rows.at(-1);
      if (last === undefined) continue;
      return {
        images: rows.map(({ digest, ...image }) => ({
          site,
          image: imageName({ site, ...image, hex: digest.toString('hex') }),
        })),
        next: [site, last.path, last.layout, last.algorithm, last.digest.toString('hex')],
      };
    }
    return { images: [], next: null };
  }
}

function valuesOf({ keys, endedSubkeys }: UsableKeys, now: number): Others {
  return { keys: JSON.stringify(keys), ended: JSON.stringify(endedSubkeys), now };
}

function placeOf([, path, layout, algorithm, hex]: NonNullable<ImagePlace>): Place {
  return { path, layout, algorithm, digest: Buffer.from(hex, 'hex') };
}
