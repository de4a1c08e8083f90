// Table upload of state.db as the main thread sees it: look-ups on a read-only connection, changes through the
// writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, parseLongImageFolder } from '../domain/image.ts';
import type { NewUpload, Upload, UploadStore } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { checkKept } from './kept-bytes.ts';
import { messageOf } from './open.ts';
import type { Writer } from './writer.ts';

const UPLOAD_BYTES = 1000;

interface UploadRow {
  readonly audit_seq: number;
  readonly sha256: Buffer;
  readonly uploader: string;
  readonly stored_at_ms: number;
  readonly remap: string | null;
}

/** The look-ups on one connection. */
export class UploadTable {
  readonly #ofImage: Statement<[string, string], UploadRow>;
  readonly #images: Statement<[string, string, number], string>;

  constructor(db: Database) {
    // an image has at most 127 signatures at one time, so no paging is needed
    this.#ofImage = db.prepare(`
      SELECT audit_seq, sha256, uploader, stored_at_ms, remap
      FROM upload
      WHERE site = ? AND image = ?
      ORDER BY audit_seq`);
    this.#images = db
      .prepare<[string, string, number], string>(`
        SELECT DISTINCT image
        FROM upload
        WHERE site = ? AND image > ?
        ORDER BY image
        LIMIT ?`)
      .pluck();
  }

  ofImage(image: ImageId): readonly Upload[] {
    return asLookUp(() => this.#ofImage.all(image.site, imageFolder(image)).map(uploadOf));
  }

  images(site: string, after: ImageId | null, limit: number): readonly ImageId[] {
    const from = after === null ? '' : imageFolder(after);
    return asLookUp(() => this.#images.all(site, from, limit).map((folder) => imageOf(site, folder)));
  }
}

export class SqliteUploadStore implements UploadStore {
  readonly #writer: Writer;
  readonly #table: UploadTable;
  readonly #bytes: Statement<[string, string, Uint8Array], Buffer | null>;

  /** `db`: a read-only connection to state.db. */
  constructor(db: Database, writer: Writer) {
    this.#writer = writer;
    this.#table = new UploadTable(db);
    this.#bytes = db
      .prepare<[string, string, Uint8Array], Buffer | null>(`
        SELECT bytes
        FROM upload
        WHERE site = ? AND image = ? AND sha256 = ?`)
      .pluck();
  }

  async ofImage(image: ImageId): Promise<readonly Upload[]> {
    return this.#table.ofImage(image);
  }

  async images(site: string, after: ImageId | null, limit: number): Promise<readonly ImageId[]> {
    return this.#table.images(site, after, limit);
  }

  async bytesOf(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    return asLookUp(() => {
      const key = Buffer.from(sha256, 'hex');
      return checkKept(this.#bytes.get(image.site, imageFolder(image), key), sha256);
    });
  }

  async add(upload: NewUpload, event: NewAuditEvent): Promise<{ readonly auditSeq: number }> {
    // cloning a view to the thread would copy the whole buffer beneath it
    const bytes = upload.bytes === null ? null : new Uint8Array(upload.bytes);
    const sizeBytes = EVENT_BYTES + UPLOAD_BYTES + (bytes?.length ?? 0);
    const own = { upload: { ...upload, bytes }, event };
    return { auditSeq: await this.#writer.run('state.add-upload', own, sizeBytes) };
  }
}

function uploadOf(row: UploadRow): Upload {
  return {
    sha256: row.sha256.toString('hex'),
    uploader: row.uploader,
    storedAt: new Date(row.stored_at_ms),
    auditSeq: row.audit_seq,
    remap: row.remap,
  };
}

function imageOf(site: string, folder: string): ImageId {
  const image = parseLongImageFolder(site, folder);
  if (image === null) throw new Error(`${JSON.stringify(folder)} is not the folder of an image`);
  return image;
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `uploads cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
