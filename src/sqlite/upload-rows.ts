// Table upload, to which the writer thread adds rows; each row comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { imageFolder } from '../domain/image.ts';
import type { NewUpload } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export class UploadRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #find: Statement<[string, string, Uint8Array], number>;
  readonly #insert: Statement<
    [number, string, string, Uint8Array, number, string, number, Uint8Array | null, string | null]
  >;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#find = db
      .prepare<[string, string, Uint8Array], number>(`
        SELECT audit_seq
        FROM upload
        WHERE site = ? AND image = ? AND sha256 = ?`)
      .pluck();
    this.#insert = db.prepare(`
      INSERT INTO upload (audit_seq, site, image, sha256, size_bytes, uploader, stored_at_ms, bytes, remap)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  }

  /**
   * Returns the number of the upload's event. When the image already has an upload of the same bytes, it changes nothing and
   * returns the number of that one's event.
   */
  add(upload: NewUpload, event: NewAuditEvent): number {
    const { image, sizeBytes, uploader, storedAt, bytes, remap } = upload;
    const folder = imageFolder(image);
    const sha256 = Buffer.from(upload.sha256, 'hex');
    const first = this.#find.get(image.site, folder, sha256);
    if (first !== undefined) return first;
    return inTransaction(this.#db, () => {
      const seq = this.#audit.add(event);
      this.#insert.run(
        seq,
        image.site,
        folder,
        sha256,
        sizeBytes,
        uploader,
        storedAt.getTime(),
        bytes,
        remap,
      );
      return seq;
    });
  }
}
