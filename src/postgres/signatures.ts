// The signatures of all sites, in tables that all nodes share: reads by generation, uploads and withdrawals as one transaction each.
import { createHash } from 'node:crypto';
import type { NewAuditEvent } from '../domain/audit.ts';
import { createSharedRuns } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { imageFull } from '../domain/full-image.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { naturalKey } from '../domain/natural-order.ts';
import type {
  Appended,
  FolderPage,
  OrderedWithdrawal,
  Published,
  SetPublisher,
  SignatureAppender,
  SignatureSet,
  SignatureStore,
  VerifiedUpload,
  Withdrawal,
} from '../domain/ports.ts';
import { type Tombstone, withdrawnOf, withFillers } from '../domain/tombstone.ts';
import { appendIn } from './append.ts';
import { numbersOf } from './changes.ts';
import type { Connections, Query } from './connect.ts';
import { HeldSets } from './held-sets.ts';
import {
  addSignature,
  changeOf,
  countImage,
  imageIdOf,
  type NewSignature,
  raiseGeneration,
  type SignatureRow,
  signaturesOf,
  storable,
  VERDICT_COLUMNS,
} from './image-rows.ts';
import { inTime, LONGEST_MS } from './in-time.ts';
import { createSetQuestions } from './set-questions.ts';
import { tombstonesOf } from './tombstone-rows.ts';
import type { Change, PostgresWriter } from './writer.ts';

export interface SignaturesOptions {
  readonly connections: Connections;
  readonly writer: PostgresWriter;
  readonly monotonicMs: () => number;
  /** How long a set that was confirmed is served while the database cannot be asked. */
  readonly staleMs: number;
  /** It is known that the database cannot be asked: what may be served without it does not wait for it. */
  readonly isLost?: () => boolean;
  /** This node has changed the image. */
  readonly onChanged: (image: ImageId) => void;
  /** The audit event of a withdrawal that has ended. */
  readonly makeLiftEvent: (tombstone: Tombstone) => NewAuditEvent;
}

/** Who has waited for longer for a look that failed does not wait for another one: no request may take twice what one look may. */
const FAILED_WAIT_MS = 500;

export class PostgresSignatures implements SignatureStore, SignatureAppender, SetPublisher {
  readonly #options: SignaturesOptions;
  readonly #query: Query;
  readonly #writer: PostgresWriter;
  /** One look at each image at a time, however slow the database is, and one that waits for its end. */
  readonly #shareLook = createSharedRuns<SignatureSet>();
  /** When the database last said that a set holds. */
  readonly held = new HeldSets();
  readonly #askSet: ReturnType<typeof createSetQuestions>;

  constructor(options: SignaturesOptions) {
    this.#options = options;
    this.#query = options.connections.query;
    this.#writer = options.writer;
    this.#askSet = createSetQuestions({ query: this.#query, late: hasFailed, check: checked });
  }

  async readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet> {
    if (known !== undefined && this.#options.isLost?.() === true && this.#mayServe(known)) return known;
    const askedAtMs = this.#options.monotonicMs();
    try {
      // never a look that has begun before: readers count the age of its answer from their own question
      const looking = this.#shareLook(imageKey(image), async (before) => {
        const waitedMs = this.#options.monotonicMs() - askedAtMs;
        if (before === undefined && waitedMs > FAILED_WAIT_MS) throw hasFailed(image);
        return this.#look(image, before ?? known);
      });
      const set = await inTime(looking, () => hasFailed(image));
      if (known === undefined || set.generation !== known.generation) return set;
      this.held.noteAs(known, set);
      return known;
    } catch (error) {
      if (known !== undefined && isLookasideError(error, 'STORE_UNAVAILABLE') && this.#mayServe(known))
        return known;
      throw error;
    }
  }

  peekHeldAtMs(_: ImageId, known: SignatureSet): number | null {
    return this.held.heldAtMs(known);
  }

  /** The set as it is, for any caller: the known one stands for what has not changed since. */
  async #look(image: ImageId, known: SignatureSet | undefined): Promise<SignatureSet> {
    const askedAtMs = this.#options.monotonicMs();
    const { set, newest } = await this.#askSet(image, known);
    this.held.note(set, newest, askedAtMs);
    return set;
  }

  #mayServe(known: SignatureSet): boolean {
    // another node may have taken a first signature since: its absence is not to be told
    if (known.entries.length === 0) return false;
    const heldAtMs = this.held.heldAtMs(known);
    return heldAtMs !== null && this.#options.monotonicMs() - heldAtMs <= this.#options.staleMs;
  }

  async areStored(images: readonly ImageId[]): Promise<readonly boolean[]> {
    const folders = images.map(imageFolder);
    const rows = await this.#query<{ folder: string }>(
      `
      SELECT i.folder
      FROM image AS i
      WHERE i.site = $1 AND i.folder = ANY($2) AND EXISTS (SELECT 1 FROM signature AS s WHERE s.image_id = i.id)`,
      [images[0]?.site ?? '', folders],
    );
    const stored = new Set(rows.map(({ folder }) => folder));
    return folders.map((folder) => stored.has(folder));
  }

  async readBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    const [row] = await this.#query<{ bytes: Buffer }>(
      `
      SELECT b.bytes
      FROM image AS i
      JOIN blob AS b ON b.image_id = i.id
      WHERE i.site = $1 AND i.folder = $2 AND b.sha256 = $3
        AND EXISTS (SELECT 1 FROM signature AS s WHERE s.image_id = b.image_id AND s.sha256 = b.sha256)`,
      [image.site, imageFolder(image), Buffer.from(sha256, 'hex')],
    );
    return row === undefined ? null : checked(row.bytes, sha256);
  }

  async listFolder(site: string, folder: string, after: string | null, limit: number): Promise<FolderPage> {
    const cursor = after ?? '';
    const rows = await this.#query<{ name: string }>(
      `
      SELECT name
      FROM folder_entry
      WHERE site = $1 AND folder = $2 AND (sort_key, name) > ($3, $4)
      ORDER BY sort_key, name
      LIMIT $5`,
      [site, folder, naturalKey(cursor), cursor, limit + 1],
    );
    const names = rows.map(({ name }) => name).slice(0, limit);
    return { names, next: rows.length > limit ? (names.at(-1) ?? null) : null };
  }

  append(upload: VerifiedUpload): Promise<Appended> {
    const nowMs = this.#options.monotonicMs();
    const lastMs = Math.min(upload.beginByMs ?? Number.POSITIVE_INFINITY, nowMs + LONGEST_MS);
    const appending = this.#change(upload.image, upload.bytes.length, async (change) => {
      // the lock of all changes has come after who asked was answered with 503
      if (this.#options.monotonicMs() > lastMs) throw isLate(upload.image);
      return appendIn(change, upload);
    });
    return inTime(appending, () => isLate(upload.image), lastMs - nowMs);
  }

  /** `keyring`: as VerifiedUpload has it. */
  async publish(
    image: ImageId,
    blobs: Parameters<SetPublisher['publish']>[1],
    keyring: number | null = null,
  ): Promise<Published> {
    const sizeBytes = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const counts = await this.#change(image, sizeBytes, (change) =>
      publishIn(change, image, { blobs, keyring }),
    );
    return { ...counts, entries: (await this.readSet(image)).entries };
  }

  /**
   * Gives an image that has none these signatures, in their order, as another store had them.
   * @throws NAME_TAKEN when the image has signatures
   */
  adopt(image: ImageId, signatures: readonly Omit<NewSignature, 'sha256'>[]): Promise<void> {
    const sizeBytes = signatures.reduce((sum, { bytes }) => sum + bytes.length, 0);
    return this.#change(image, sizeBytes, async ({ query, notify }) => {
      const id = await imageIdOf(query, image);
      if ((await signaturesOf(query, id)).length > 0) {
        throw new LookasideError('NAME_TAKEN', `${imageFolder(image)} has signatures already`);
      }
      for (const one of signatures) await addSignature(query, id, { ...one, sha256: sha256Hex(one.bytes) });
      if (signatures.length > 0) await countImage(query, image, 1);
      await raiseGeneration(query, id);
      await notify(changeOf(image));
    });
  }

  withdraw(withdrawal: Withdrawal): Promise<Tombstone> {
    return this.#change(withdrawal.image, 1000, (change) => withdrawIn(change, withdrawal));
  }

  withdrawOrdered(order: OrderedWithdrawal): Promise<number> {
    return this.#change(order.image, 1000, (change) => withdrawOrderedIn(change, order));
  }

  lift(tombstone: Tombstone): Promise<number | null> {
    return this.#change(tombstone.image, 1000, (change) =>
      liftIn(change, tombstone, this.#options.makeLiftEvent(tombstone)),
    );
  }

  /**
   * Takes the set of a mirror out, with what is known of it; whether it is gone. It stays when something of the set is withdrawn,
   * when a sync has asked for it, or when the upstream no longer has all of it.
   */
  letGo(image: ImageId): Promise<boolean> {
    return this.#change(image, 1000, (change) => letGoIn(change, image));
  }

  /** A transaction is whole or absent. */
  async recover(): Promise<void> {}

  async #change<T>(image: ImageId, sizeBytes: number, act: (change: Change) => Promise<T>): Promise<T> {
    try {
      return await this.#writer.run(act, sizeBytes + 1000);
    } finally {
      // also after a failure: it may have been committed all the same
      this.#options.onChanged(image);
    }
  }
}

async function publishIn(
  { query, notify }: Change,
  image: ImageId,
  {
    blobs,
    keyring,
  }: { readonly blobs: Parameters<SetPublisher['publish']>[1]; readonly keyring: number | null },
): Promise<{ readonly before: number; readonly added: number }> {
  const id = await imageIdOf(query, image);
  const rows = await signaturesOf(query, id);
  const known = new Set([
    ...withdrawnOf(await tombstonesOf(query, image)),
    ...rows.map(({ sha256 }) => sha256),
  ]);
  const fresh = blobs.flatMap((blob) => {
    const sha256 = sha256Hex(blob.bytes);
    if (known.has(sha256)) return [];
    known.add(sha256);
    return [{ ...blob, sha256 }];
  });
  const row = fresh.slice(0, Math.max(0, MAX_SIGNATURES_PER_IMAGE - rows.length));
  const [{ at = new Date() } = {}] = await query<{ at: Date }>('SELECT now() AS at');
  // a change of the keys has marked what was stored before it, and nothing would mark these
  const isCurrent = keyring === null || row.length === 0 || keyring === (await numbersOf(query)).keys;
  for (const { judgement, ...one } of row)
    await addSignature(query, id, { ...one, judgement: isCurrent ? judgement : null, storedAt: at });
  if (row.length > 0) {
    if (rows.length === 0) await countImage(query, image, 1);
    await raiseGeneration(query, id);
    await notify(changeOf(image));
  }
  return { before: rows.length, added: row.length };
}

async function letGoIn({ query, notify }: Change, image: ImageId): Promise<boolean> {
  const key = [image.site, imageFolder(image)];
  if ((await tombstonesOf(query, image)).length > 0) return false;
  const forgotten = await query(
    `
    DELETE FROM mirror_set
    WHERE site = $1 AND image = $2 AND synced_at_ms IS NULL AND failing_since_ms IS NULL AND gone = '[]'
    RETURNING image`,
    key,
  );
  if (forgotten.length === 0) return false;
  const id = await imageIdOf(query, image);
  const taken = await query('DELETE FROM signature WHERE image_id = $1 RETURNING id', [id]);
  await query('DELETE FROM blob WHERE image_id = $1', [id]);
  // what is known of a set may outlive it, where another node has walked meanwhile
  if (taken.length > 0) await countImage(query, image, -1);
  await raiseGeneration(query, id);
  await notify(changeOf(image));
  return true;
}

async function withdrawIn({ query, addEvent, notify }: Change, withdrawal: Withdrawal): Promise<Tombstone> {
  const { image, number, until } = withdrawal;
  const id = await imageIdOf(query, image);
  const rows = await signaturesOf(query, id);
  const row = rows[number - 1];
  if (row === undefined || row.isFiller) throw notThere(image, number, row);
  const { sha256 } = row;
  const event = withdrawal.event(sha256);
  const auditSeq = await addEvent(event);
  const { by: withdrawnBy, reason } = withdrawal;
  const details = { image, sha256, number, auditSeq, withdrawnAt: event.at, withdrawnBy, reason, until };
  const tombstone: Tombstone = { ...details, reason: storable(reason), fillers: [], isInForce: true };
  await buryIn(query, id, tombstone);
  await clearPlaces({ query, notify }, { image, id, rows, gone: [sha256] });
  return tombstone;
}

async function withdrawOrderedIn(
  { query, notify }: Change,
  { image, sha256s, by: withdrawnBy, reason, at: withdrawnAt, auditSeq }: OrderedWithdrawal,
): Promise<number> {
  const id = await imageIdOf(query, image);
  const rows = await signaturesOf(query, id);
  const numbers = new Map<string, number>();
  for (const [position, { sha256, isFiller }] of rows.entries()) {
    if (!isFiller && sha256s.has(sha256) && !numbers.has(sha256)) numbers.set(sha256, position + 1);
  }
  if (numbers.size === 0) return 0;
  const details = { image, auditSeq, withdrawnAt, withdrawnBy, reason: storable(reason), until: null };
  for (const [sha256, number] of numbers) {
    await buryIn(query, id, { ...details, sha256, number, fillers: [], isInForce: true });
  }
  await clearPlaces({ query, notify }, { image, id, rows, gone: [...numbers.keys()] });
  return numbers.size;
}

async function buryIn(query: Query, id: number, tombstone: Tombstone): Promise<void> {
  const { image, sha256, number, auditSeq, withdrawnAt, withdrawnBy, reason, until } = tombstone;
  const key = [image.site, imageFolder(image), Buffer.from(sha256, 'hex')];
  const kept = until === null ? 'NULL' : `(SELECT bytes FROM blob WHERE image_id = ${id} AND sha256 = $3)`;
  await query(
    `
    INSERT INTO tombstone (site, image, sha256, number, audit_seq, withdrawn_at_ms, withdrawn_by, reason, until_ms, bytes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ${kept})
    ON CONFLICT (site, image, sha256) DO UPDATE SET
      number = excluded.number,
      audit_seq = excluded.audit_seq,
      withdrawn_at_ms = excluded.withdrawn_at_ms,
      withdrawn_by = excluded.withdrawn_by,
      reason = excluded.reason,
      until_ms = excluded.until_ms,
      bytes = excluded.bytes,
      lifted_at_ms = NULL`,
    [...key, number, auditSeq, withdrawnAt.getTime(), withdrawnBy, reason, until?.getTime() ?? null],
  );
}

async function clearPlaces(
  { query, notify }: Pick<Change, 'query' | 'notify'>,
  {
    image,
    id,
    rows,
    gone,
  }: {
    readonly image: ImageId;
    readonly id: number;
    readonly rows: readonly SignatureRow[];
    readonly gone: readonly string[];
  },
): Promise<void> {
  await fillPlaces(query, id, rows, await tombstonesOf(query, image));
  for (const sha256 of gone) {
    await query('DELETE FROM blob WHERE image_id = $1 AND sha256 = $2', [id, Buffer.from(sha256, 'hex')]);
  }
  if ((await signaturesOf(query, id)).length === 0) await countImage(query, image, -1);
  await raiseGeneration(query, id);
  await notify(changeOf(image));
}

/** Numbers never move: another signature stands in the place of a withdrawn one, unless nothing stands behind it. */
async function fillPlaces(
  query: Query,
  imageId: number,
  rows: readonly SignatureRow[],
  tombstones: readonly Tombstone[],
): Promise<void> {
  const stay = new Map(withFillers(rows, tombstones).map((row) => [row.number, row]));
  for (const row of rows) {
    const now = stay.get(row.number);
    if (now === undefined) await query('DELETE FROM signature WHERE id = $1', [row.id]);
    else if (now.sha256 !== row.sha256) await makeFiller(query, { imageId, row, sha256: now.sha256 });
  }
}

interface FilledPlace {
  readonly imageId: number;
  readonly row: SignatureRow;
  /** The hash of the signature that stands there from now on. */
  readonly sha256: string;
}

async function makeFiller(query: Query, { imageId, row, sha256 }: FilledPlace): Promise<void> {
  const columns = ['sha256', 'size_bytes', 'stored_at_ms', ...VERDICT_COLUMNS].join(', ');
  await query(
    `
    UPDATE signature
    SET filler = true, (${columns}) = (
      SELECT ${columns}
      FROM signature AS source
      WHERE source.image_id = $1 AND source.sha256 = $2
      ORDER BY source.number
      LIMIT 1)
    WHERE id = $3`,
    [imageId, Buffer.from(sha256, 'hex'), row.id],
  );
}

function hasFailed(image: ImageId): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `PostgreSQL did not say what ${imageFolder(image)} has when another request asked it; try again when the database works`,
  );
}

export function isLate(image: ImageId): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `PostgreSQL has not said in time whether it has the signature of ${imageFolder(image)}, and may have it all the same; upload it again, which is answered with 200 then`,
  );
}

function notThere(image: ImageId, number: number, row: SignatureRow | undefined): LookasideError {
  const path = `${imageFolder(image)}/signature-${number}`;
  return new LookasideError(
    'NOT_FOUND',
    row === undefined
      ? `there is no ${path}; lookaside show names the signatures of an image`
      : `${path} was withdrawn already, and a copy of another signature stands there`,
  );
}

async function liftIn(
  { query, addEvent, notify }: Change,
  { image, sha256, auditSeq }: Tombstone,
  event: NewAuditEvent,
): Promise<number | null> {
  const key = [image.site, imageFolder(image), Buffer.from(sha256, 'hex')];
  const [buried] = await query<{ bytes: Buffer | null }>(
    `
    SELECT bytes
    FROM tombstone
    WHERE site = $1 AND image = $2 AND sha256 = $3 AND lifted_at_ms IS NULL AND until_ms <= $4
      AND audit_seq = $5`,
    [...key, event.at.getTime(), auditSeq],
  );
  if (buried === undefined) return null;
  await query(
    'UPDATE tombstone SET lifted_at_ms = $4, bytes = NULL WHERE site = $1 AND image = $2 AND sha256 = $3',
    [...key, event.at.getTime()],
  );
  await addEvent(event);
  if (buried.bytes === null) return null; // nothing is kept that could come back
  const id = await imageIdOf(query, image);
  const count = (await signaturesOf(query, id)).length;
  if (count >= MAX_SIGNATURES_PER_IMAGE) throw imageFull(imageFolder(image), count, null);
  const bytes = checked(buried.bytes, sha256);
  const number = await addSignature(query, id, { bytes, sha256, storedAt: event.at, judgement: null });
  if (count === 0) await countImage(query, image, 1);
  await raiseGeneration(query, id);
  await notify(changeOf(image));
  return number;
}

/** @throws STORE_UNAVAILABLE when they are other bytes: a missing signature would be worse than none */
function checked(bytes: Uint8Array, sha256: string): Uint8Array {
  if (sha256Hex(bytes) === sha256) return bytes;
  const message = `bytes in the database are no longer those of SHA-256 ${sha256}; restore the row of table blob from a backup`;
  throw new LookasideError('STORE_UNAVAILABLE', message);
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
