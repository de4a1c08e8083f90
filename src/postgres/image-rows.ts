// Rows of an image: which it has, their verdicts, and the folders on the way to it. Called within a change.
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { naturalKey } from '../domain/natural-order.ts';
import { tagOf } from '../domain/reference.ts';
import type { Judgement } from '../domain/verdict.ts';
import type { Query } from './connect.ts';

export interface SignatureRow {
  readonly id: number;
  readonly number: number;
  readonly sha256: string;
  readonly isFiller: boolean;
}

/** In the order of VERDICT_COLUMNS. */
export const VERDICT_COLUMNS = [
  'verdict',
  'reason',
  'form',
  'issuer',
  'fingerprint',
  'signing_fingerprint',
  'signed_at_ms',
  'expires_at_ms',
  'claimed_algorithm',
  'claimed_digest',
  'docker_reference',
  'creator',
  'signed_sha256',
  'digest_bits',
  'obstacles',
  'tag',
  'judge_at_ms',
] as const;

const NO_VERDICT = ['unverified', ...Array.from({ length: VERDICT_COLUMNS.length - 2 }, () => null), 0];

/** Null: it is to be judged. */
export function verdictValues(judgement: Judgement | null): readonly unknown[] {
  if (judgement === null) return NO_VERDICT;
  const { verdict, refusal, form, issuer, signedAt, expiresAt, claim, traits, judgeAgainAt } = judgement;
  const judgeAtMs = judgeAgainAt?.getTime() ?? (verdict === 'unverified' ? 0 : null);
  return [
    verdict,
    refusal?.code ?? null,
    form,
    issuer,
    judgement.fingerprint,
    judgement.signingFingerprint,
    signedAt?.getTime() ?? null,
    expiresAt?.getTime() ?? null,
    claim?.algorithm ?? null,
    claim === null ? null : Buffer.from(claim.hex, 'hex'),
    textOrNull(claim?.dockerReference),
    textOrNull(claim?.creator),
    traits === null ? null : Buffer.from(traits.signedSha256, 'hex'),
    traits?.digestBits ?? null,
    traits?.obstacles.join(' ') ?? null,
    textOrNull(claim === null ? null : tagOf(claim.dockerReference)),
    judgeAtMs,
  ];
}

function textOrNull(text: string | null | undefined): string | null {
  return text == null ? null : storable(text);
}

/** PostgreSQL has no NUL in a text. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\ufffd');
}

/** The id of the image's row, which is made when there is none. */
export async function imageIdOf(query: Query, image: ImageId): Promise<number> {
  const key = [image.site, imageFolder(image)];
  const find = 'SELECT id FROM image WHERE site = $1 AND folder = $2';
  const [row] = await query<{ id: number }>(find, key);
  if (row !== undefined) return row.id;
  const [made] = await query<{ id: number }>(
    `
    INSERT INTO image (site, folder, generation)
    VALUES ($1, $2, nextval('set_generation'))
    RETURNING id`,
    key,
  );
  if (made === undefined) throw new Error('an INSERT has returned no row');
  return made.id;
}

/** In the order of their numbers. */
export async function signaturesOf(query: Query, imageId: number): Promise<readonly SignatureRow[]> {
  return query<SignatureRow>(
    `
    SELECT id, number, encode(sha256, 'hex') AS sha256, filler AS "isFiller"
    FROM signature
    WHERE image_id = $1
    ORDER BY number`,
    [imageId],
  );
}

export interface NewSignature {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly storedAt: Date;
  readonly judgement: Judgement | null;
  readonly isFiller?: boolean;
}

/** Adds it under the next number, which is the result: the database decides it in the statement that inserts the row. */
export async function addSignature(query: Query, imageId: number, signature: NewSignature): Promise<number> {
  const sha256 = Buffer.from(signature.sha256, 'hex');
  const bytes = Buffer.from(signature.bytes);
  await query(
    `
    INSERT INTO blob (image_id, sha256, bytes)
    VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING`,
    [imageId, sha256, bytes],
  );
  const places = VERDICT_COLUMNS.map((_, position) => `$${position + 6}`);
  const [added] = await query<{ number: number }>(
    `
    INSERT INTO signature (image_id, number, sha256, size_bytes, stored_at_ms, filler, ${VERDICT_COLUMNS.join(', ')})
    SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, ${places.join(', ')}
    FROM signature
    WHERE image_id = $1
    RETURNING number`,
    [
      imageId,
      sha256,
      bytes.length,
      signature.storedAt.getTime(),
      signature.isFiller === true,
      ...verdictValues(signature.judgement),
    ],
  );
  if (added === undefined) throw new Error('an INSERT has returned no row');
  return added.number;
}

/** Readers see from now on that the set is another one. */
export async function raiseGeneration(query: Query, imageId: number): Promise<void> {
  await query("UPDATE image SET generation = nextval('set_generation') WHERE id = $1", [imageId]);
}

/** Adds the image (1) or takes it away (-1) in its own folder and each above. */
export async function countImage(query: Query, image: ImageId, by: 1 | -1): Promise<void> {
  for (const { folder, name, sortKey } of foldersOf(image)) {
    const key = [image.site, folder, sortKey, name];
    if (by === 1) {
      await query(
        `
        INSERT INTO folder_entry (site, folder, sort_key, name, images)
        VALUES ($1, $2, $3, $4, 1)
        ON CONFLICT (site, folder, sort_key, name) DO UPDATE SET images = folder_entry.images + 1`,
        key,
      );
    } else {
      const its = 'site = $1 AND folder = $2 AND sort_key = $3 AND name = $4';
      await query(`UPDATE folder_entry SET images = images - 1 WHERE ${its}`, key);
      await query(`DELETE FROM folder_entry WHERE ${its} AND images = 0`, key);
    }
  }
}

/** Folders of the image and above, each with the name below it, as countImage() counts in them. */
export function foldersOf(image: ImageId) {
  const names = imageFolder(image).split('/');
  return names.map((name, depth) => ({
    folder: names.slice(0, depth).join('/'),
    name,
    sortKey: naturalKey(name),
  }));
}

/** What the other nodes hear. NOTIFY takes less than 8,000 bytes, and an upload must not fail by that. */
export function changeOf(image: ImageId): string {
  const key = imageKey(image);
  return key.length < 7900 ? `image ${key}` : 'image';
}
