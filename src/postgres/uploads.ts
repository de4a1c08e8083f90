// Table upload: what uploads brought. An upload to a node comes with its signature, in PostgresSignatures.append().
import type { NewAuditEvent } from '../domain/audit.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { NewUpload, Upload, UploadStore } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { storable } from './image-rows.ts';
import { imageOf } from './indexed.ts';
import type { PostgresWriter } from './writer.ts';

interface UploadRow {
  readonly audit_seq: number;
  readonly sha256: Buffer;
  readonly uploader: string;
  readonly stored_at_ms: number;
  readonly remap: string | null;
}

export class PostgresUploads implements UploadStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  /** Leaves out those of bytes that are withdrawn: such an upload is as if it had not been. */
  async inForceOf(image: ImageId): Promise<readonly Upload[]> {
    return this.#ofImage(
      image,
      `
      AND NOT EXISTS (
        SELECT 1
        FROM tombstone AS t
        WHERE t.site = u.site AND t.image = u.image AND t.sha256 = u.sha256 AND t.lifted_at_ms IS NULL
      )`,
    );
  }

  // an image has at most 127 signatures at one time, so no paging is needed
  async ofImage(image: ImageId): Promise<readonly Upload[]> {
    return this.#ofImage(image, '');
  }

  async #ofImage(image: ImageId, condition: string): Promise<readonly Upload[]> {
    const rows = await this.#query<UploadRow>(
      `
      SELECT audit_seq, sha256, uploader, stored_at_ms, remap
      FROM upload AS u
      WHERE site = $1 AND image = $2 ${condition}
      ORDER BY audit_seq`,
      [image.site, imageFolder(image)],
    );
    return rows.map(uploadOf);
  }

  async images(site: string, after: ImageId | null, limit: number): Promise<readonly ImageId[]> {
    const rows = await this.#query<{ site: string; folder: string }>(
      `
      SELECT DISTINCT site, image AS folder
      FROM upload
      WHERE site = $1 AND image > $2
      ORDER BY folder
      LIMIT $3`,
      [site, after === null ? '' : imageFolder(after), limit],
    );
    return rows.map(imageOf);
  }

  async bytesOf(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    const [row] = await this.#query<{ bytes: Buffer | null }>(
      'SELECT bytes FROM upload WHERE site = $1 AND image = $2 AND sha256 = $3',
      [image.site, imageFolder(image), Buffer.from(sha256, 'hex')],
    );
    return row?.bytes ?? null;
  }

  add(upload: NewUpload, event: NewAuditEvent): Promise<{ readonly auditSeq: number }> {
    const { image, sizeBytes, uploader, storedAt, bytes, remap } = upload;
    const key = [image.site, imageFolder(image), Buffer.from(upload.sha256, 'hex')];
    return this.#writer.run(
      async ({ query, addEvent }) => {
        const [known] = await query<{ audit_seq: number }>(
          'SELECT audit_seq FROM upload WHERE site = $1 AND image = $2 AND sha256 = $3',
          key,
        );
        if (known !== undefined) return { auditSeq: known.audit_seq };
        const auditSeq = await addEvent(event);
        await query(
          `
          INSERT INTO upload (site, image, sha256, audit_seq, size_bytes, uploader, stored_at_ms, bytes, remap)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
          [
            ...key,
            auditSeq,
            sizeBytes,
            storable(uploader),
            storedAt.getTime(),
            bytes === null ? null : Buffer.from(bytes),
            remap,
          ],
        );
        return { auditSeq };
      },
      1000 + (bytes?.length ?? 0),
    );
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
