// An upload within a change: one question for all that decides about it, the event, and one statement that writes all else, so that a
// database that is far away costs few round trips.
import { createHash } from 'node:crypto';
import { LookasideError } from '../domain/errors.ts';
import { imageFull } from '../domain/full-image.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { requireNextNumber } from '../domain/next-number.ts';
import type { Appended, VerifiedUpload } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';
import type { Judgement } from '../domain/verdict.ts';
import type { Query } from './connect.ts';
import { changeOf, foldersOf, storable, VERDICT_COLUMNS, verdictValues } from './image-rows.ts';
import { dateOf, INDEXED_COLUMNS, type IndexedRow, indexedOf } from './indexed.ts';
import { CHANNEL, type Change } from './writer.ts';

export async function appendIn({ query, addEvent }: Change, upload: VerifiedUpload): Promise<Appended> {
  const { image, bytes, judgement, review, keyring = null, event } = upload;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const { tombstone, rows, uploadSeq, keyringNow } = await look(query, image, sha256);
  if (tombstone !== null) throw isWithdrawn(image, tombstone);
  const same = rows.find((row) => row.sha256.toString('hex') === sha256 && !row.filler);
  if (same !== undefined) return { outcome: 'exists', number: same.number, sha256, auditSeq: uploadSeq };
  const reviewed = review === null ? null : await review(rows.filter(({ filler }) => !filler).map(indexedOf));
  if (reviewed !== null && reviewed.standIn !== null) {
    const { servedNumber: number, sha256: other } = reviewed.standIn;
    return { outcome: reviewed.outcome, number, sha256: other, auditSeq: await seqOf(query, image, other) };
  }
  checkPlace(upload, rows.length, reviewed?.needless ?? null);
  const auditSeq = await addEvent(event);
  // a change of the keys has marked what was stored before it, and nothing would mark this one
  const isCurrent = keyring === null || keyring === keyringNow;
  const number = await write(query, upload, {
    ...{ sha256, auditSeq, isFirst: rows.length === 0 },
    judgement: isCurrent ? judgement : null,
  });
  return { outcome: 'created', number, sha256, auditSeq };
}

interface Buried {
  readonly number: number;
  readonly withdrawnAt: Date;
  readonly reason: string;
  readonly until: Date | null;
}

interface StandingRow extends IndexedRow {
  readonly filler: boolean;
}

type LookedUp = Omit<StandingRow, 'id'> & {
  /** Null in the one row of an image without signatures. */
  readonly id: number | null;
  readonly upload_seq: number | null;
  readonly keyring: number | null;
  readonly buried_number: number | null;
  readonly withdrawn_at_ms: number;
  readonly withdrawn_for: string;
  readonly until_ms: number | null;
};

async function look(query: Query, image: ImageId, sha256: string) {
  const rows = await query<LookedUp>(
    `
    SELECT ${INDEXED_COLUMNS}, s.filler, u.audit_seq AS upload_seq, k.number AS keyring,
      t.number AS buried_number, t.withdrawn_at_ms, t.reason AS withdrawn_for, t.until_ms
    FROM (VALUES ($1::text, $2::text, $3::bytea)) AS asked (site, folder, sha256)
    LEFT JOIN change AS k ON k.topic = 'keys'
    LEFT JOIN upload AS u ON u.site = asked.site AND u.image = asked.folder AND u.sha256 = asked.sha256
    LEFT JOIN tombstone AS t
      ON t.site = asked.site AND t.image = asked.folder AND t.sha256 = asked.sha256 AND t.lifted_at_ms IS NULL
    LEFT JOIN image AS i ON i.site = asked.site AND i.folder = asked.folder
    LEFT JOIN signature AS s ON s.image_id = i.id
    ORDER BY s.number`,
    [image.site, imageFolder(image), Buffer.from(sha256, 'hex')],
  );
  const [first] = rows;
  if (first === undefined) throw new Error('a LEFT JOIN has given no row');
  const { buried_number, withdrawn_at_ms, withdrawn_for, until_ms } = first;
  const tombstone: Buried | null =
    buried_number === null
      ? null
      : {
          number: buried_number,
          withdrawnAt: new Date(withdrawn_at_ms),
          reason: withdrawn_for,
          until: dateOf(until_ms),
        };
  return {
    tombstone,
    rows: rows.filter((row): row is LookedUp & StandingRow => row.id !== null),
    uploadSeq: first.upload_seq,
    keyringNow: first.keyring,
  };
}

interface Decided {
  /** Null: it is to be judged. */
  readonly judgement: Judgement | null;
  readonly sha256: string;
  readonly auditSeq: number;
  /** The image has no signature yet. */
  readonly isFirst: boolean;
}

/** The number, which the database decides in the statement that inserts the row. */
async function write(
  query: Query,
  { image, bytes, uploader, remap, event }: VerifiedUpload,
  { sha256, auditSeq, isFirst, judgement }: Decided,
): Promise<number> {
  const folders = isFirst ? foldersOf(image) : [];
  const values: unknown[] = [
    image.site,
    imageFolder(image),
    Buffer.from(sha256, 'hex'),
    Buffer.from(bytes),
    bytes.length,
    event.at.getTime(),
    auditSeq,
    storable(uploader),
    remap,
    folders.map(({ folder }) => folder),
    folders.map(({ sortKey }) => sortKey),
    folders.map(({ name }) => name),
    CHANNEL,
    changeOf(image),
  ];
  const places = VERDICT_COLUMNS.map((_, position) => `$${values.length + position + 1}`);
  // bytes that were uploaded before, and are gone, keep their first upload
  const [added] = await query<{ number: number }>(
    `
    WITH its_image AS (
      INSERT INTO image (site, folder, generation)
      VALUES ($1, $2, nextval('set_generation'))
      ON CONFLICT (site, folder) DO UPDATE SET generation = excluded.generation
      RETURNING id
    ), its_blob AS (
      INSERT INTO blob (image_id, sha256, bytes)
      SELECT id, $3, $4
      FROM its_image
      ON CONFLICT DO NOTHING
    ), its_upload AS (
      INSERT INTO upload (audit_seq, site, image, sha256, size_bytes, uploader, stored_at_ms, remap)
      VALUES ($7, $1, $2, $3, $5, $8, $6, $9)
      ON CONFLICT (site, image, sha256) DO NOTHING
    ), its_folders AS (
      INSERT INTO folder_entry (site, folder, sort_key, name, images)
      SELECT $1, folder, sort_key, name, 1
      FROM unnest($10::text[], $11::text[], $12::text[]) AS above (folder, sort_key, name)
      ON CONFLICT (site, folder, sort_key, name) DO UPDATE SET images = folder_entry.images + 1
    ), added AS (
      INSERT INTO signature (image_id, number, sha256, size_bytes, stored_at_ms, ${VERDICT_COLUMNS.join(', ')})
      SELECT i.id, coalesce((SELECT max(number) FROM signature WHERE image_id = i.id), 0) + 1, $3, $5, $6,
        ${places.join(', ')}
      FROM its_image AS i
      RETURNING number
    )
    SELECT number, pg_notify($13, $14)
    FROM added`,
    [...values, ...verdictValues(judgement)],
  );
  if (added === undefined) throw new Error('an INSERT has returned no row');
  return added.number;
}

function isWithdrawn(image: ImageId, { number, withdrawnAt, reason, until }: Buried): LookasideError {
  const back = until === null ? '' : `, until ${until.toISOString()}`;
  return new LookasideError(
    'WITHDRAWN',
    `this was signature-${number} of ${imageFolder(image)}, and was withdrawn at ${withdrawnAt.toISOString()}${back}: ${quoted(reason)}; the same bytes are taken no more. Sign the image again if it should be signed`,
    { detail: { number, withdrawnAt, reason, until } },
  );
}

async function seqOf(query: Query, image: ImageId, sha256: string): Promise<number | null> {
  const [row] = await query<{ audit_seq: number }>(
    'SELECT audit_seq FROM upload WHERE site = $1 AND image = $2 AND sha256 = $3',
    [image.site, imageFolder(image), Buffer.from(sha256, 'hex')],
  );
  return row?.audit_seq ?? null;
}

function checkPlace(
  { image, number }: VerifiedUpload,
  count: number,
  needless: readonly number[] | null,
): void {
  const folder = imageFolder(image);
  if (count >= MAX_SIGNATURES_PER_IMAGE) throw imageFull(folder, count, needless);
  requireNextNumber(folder, count, number);
}
