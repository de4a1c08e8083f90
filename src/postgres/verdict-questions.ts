// Questions about the images of a key: what its revocation would break, and how far another key has signed them too.
import { type ImageId, imageFolder, imageName } from '../domain/image.ts';
import type { PartSignatures } from '../domain/key.ts';
import type { RecordSession } from '../domain/records.ts';
import {
  type ImagePlace,
  REASONS_OF_KEYS,
  type RevocationCounts,
  type UsableKeys,
} from '../domain/revocation.ts';
import type { RotationPlace } from '../domain/rotation.ts';
import type { Query } from './connect.ts';
import { imageOf } from './indexed.ts';

// keep in sync with stateOf() in src/domain/state.ts
const NO_OTHER = `NOT EXISTS (
          SELECT 1
          FROM signature AS other
          WHERE other.image_id = i.id AND other.verdict = 'good' AND other.fingerprint = ANY ($2::text[])
            AND (other.signing_fingerprint IS NULL OR other.signing_fingerprint <> ALL ($3::text[]))
            AND (other.expires_at_ms IS NULL OR other.expires_at_ms > $4)
        )`;
const HAS_ONE = 'EXISTS (SELECT 1 FROM signature AS s WHERE s.image_id = i.id AND s.fingerprint = $1)';

type Place = { readonly site: string; readonly folder: string };

export class VerdictQuestions {
  readonly #query: Query;

  constructor(query: Query) {
    this.#query = query;
  }

  signaturesBy(key: string): Promise<readonly PartSignatures[]> {
    return this.#query<PartSignatures>(
      `
      SELECT signing_fingerprint AS fingerprint, count(*) AS signatures
      FROM signature
      WHERE fingerprint = $1 AND NOT filler AND signing_fingerprint IS NOT NULL
      GROUP BY signing_fingerprint
      ORDER BY signing_fingerprint`,
      [key],
    );
  }

  async revocation(
    key: string,
    issuers: readonly string[],
    { keys, endedSubkeys }: UsableKeys,
    now: Date,
  ): Promise<RevocationCounts & { readonly gaps: readonly string[] }> {
    const [row] = await this.#query<RevocationCounts>(
      `
      SELECT
        (SELECT count(*) FROM signature WHERE fingerprint = $1 AND NOT filler) AS signatures,
        (SELECT count(DISTINCT image_id) FROM signature WHERE fingerprint = $1) AS images,
        (SELECT count(*) FROM image AS i WHERE ${HAS_ONE} AND ${NO_OTHER}) AS broken,
        (
          SELECT count(*) FROM signature
          WHERE verdict = 'bad' AND NOT filler AND reason = ANY($5) AND issuer = ANY($6)
        ) AS refused`,
      [key, keys, endedSubkeys, now.getTime(), REASONS_OF_KEYS, issuers],
    );
    return { ...(row ?? { signatures: 0, images: 0, broken: 0, refused: 0 }), gaps: await this.#gaps(now) };
  }

  async revocationBroken(
    key: string,
    { keys, endedSubkeys }: UsableKeys,
    now: Date,
    after: ImagePlace,
    limit: number,
  ): ReturnType<RecordSession['revocationBroken']> {
    const from = after === null ? { site: '', folder: '' } : placeOf(after);
    const rows = await this.#query<Place>(
      `
      SELECT i.site, i.folder
      FROM image AS i
      WHERE ${HAS_ONE} AND ${NO_OTHER} AND (i.site, i.folder) > ($5, $6)
      ORDER BY i.site, i.folder
      LIMIT $7`,
      [key, keys, endedSubkeys, now.getTime(), from.site, from.folder, limit],
    );
    const images = rows.map(imageOf);
    const last = images.at(-1);
    return {
      images: images.map((image) => ({ site: image.site, image: imageName(image) })),
      next: last === undefined ? null : partsOf(last),
    };
  }

  async rotation(old: string, next: string, now: Date): ReturnType<RecordSession['rotation']> {
    const [row] = await this.#query<{ old: number; both: number; new: number }>(
      `
      WITH one AS (
        SELECT image_id, bool_or(fingerprint = $1) AS is_old, bool_or(fingerprint = $2) AS is_new
        FROM signature
        WHERE fingerprint IN ($1, $2)
        GROUP BY image_id
      )
      SELECT count(*) FILTER (WHERE is_old AND NOT is_new) AS old, count(*) FILTER (WHERE is_old AND is_new) AS both,
        count(*) FILTER (WHERE is_new AND NOT is_old) AS new
      FROM one`,
      [old, next],
    );
    return { images: row ?? { old: 0, both: 0, new: 0 }, gaps: await this.#gaps(now) };
  }

  async rotationWork(
    old: string,
    next: string,
    after: RotationPlace,
    limit: number,
  ): ReturnType<RecordSession['rotationWork']> {
    const from = after === null ? { site: '', folder: '' } : placeOf(after);
    const rows = await this.#query<Place & { reference: string }>(
      `
      SELECT DISTINCT i.site, i.folder, mine.docker_reference COLLATE "C" AS reference
      FROM signature AS mine
      JOIN image AS i ON i.id = mine.image_id
      WHERE mine.fingerprint = $1 AND (i.site, i.folder, mine.docker_reference COLLATE "C") > ($3, $4, $5)
        AND NOT EXISTS (
          SELECT 1
          FROM signature AS other
          WHERE other.image_id = i.id AND other.fingerprint = $2 AND other.docker_reference = mine.docker_reference
        )
      ORDER BY i.site, i.folder, reference
      LIMIT $6`,
      [old, next, from.site, from.folder, after?.[5] ?? '', limit],
    );
    const last = rows.at(-1);
    return {
      work: rows.map((row) => {
        const image = imageOf(row);
        const digest = `${image.algorithm}:${image.hex}`;
        return { site: image.site, image: imageName(image), digest, reference: row.reference };
      }),
      next: last === undefined ? null : [...partsOf(imageOf(last)), last.reference],
    };
  }

  async #gaps(now: Date): Promise<readonly string[]> {
    const rows = await this.#query<{ site: string; count: number }>(
      `
      SELECT i.site, count(*) AS count
      FROM signature AS s
      JOIN image AS i ON i.id = s.image_id
      WHERE s.judge_at_ms <= $1
      GROUP BY i.site
      ORDER BY i.site`,
      [now.getTime()],
    );
    return rows.map(
      ({ site, count }) =>
        `${count} ${count === 1 ? 'signature' : 'signatures'} of the site ${site} not verified yet`,
    );
  }
}

type Parts = readonly [site: string, path: string, layout: string, algorithm: string, hex: string];

function partsOf({ site, path, layout, algorithm, hex }: ImageId): Parts {
  return [site, path, layout, algorithm, hex];
}

function placeOf([site, path, layout, algorithm, hex]: readonly string[]): Place {
  const image = { site, path, layout, algorithm, hex } as ImageId; // as partsOf() has taken it apart
  return { site: image.site, folder: imageFolder(image) };
}
