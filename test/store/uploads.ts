// Uploads, events and verdicts without a database. With a file they outlive the process, though no power cut.
import { existsSync, readFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { type ImageId, imageFolder, imageKey, parseImageFolder } from '../../src/domain/image.ts';
import type { AuditLog, NewUpload, Upload, UploadStore } from '../../src/domain/ports.ts';

export interface KeptUploads extends UploadStore, AuditLog {
  /** Every event, by number from 1 on. */
  readonly events: readonly NewAuditEvent[];
}

interface Kept extends Upload {
  readonly key: string;
  readonly bytes: Uint8Array | null;
}

/** One line of the file: an upload with its event, or an event alone. */
interface Line {
  readonly upload: Pick<Kept, 'key' | 'sha256' | 'uploader' | 'remap'> | null;
  readonly storedAt: string | null;
  readonly bytes: string | null;
  readonly event: NewAuditEvent;
}

export function createUploads(file: string | null = null): KeptUploads {
  const kept: Kept[] = [];
  const events: NewAuditEvent[] = [];
  if (file !== null && existsSync(file)) {
    // a line that was cut short was never answered
    for (const text of readFileSync(file, 'utf8').split('\n').slice(0, -1)) take(JSON.parse(text) as Line);
  }

  function take({ upload, storedAt, bytes, event }: Line): number {
    events.push({ ...event, at: new Date(event.at) });
    const auditSeq = events.length;
    if (upload !== null) {
      const content = bytes === null ? null : Buffer.from(bytes, 'base64');
      kept.push({ ...upload, storedAt: new Date(storedAt ?? 0), auditSeq, bytes: content });
    }
    return auditSeq;
  }

  async function write(line: Line): Promise<number> {
    if (file !== null) await appendFile(file, `${JSON.stringify(line)}\n`);
    return take(line);
  }

  const of = (image: ImageId) => kept.filter(({ key }) => key === imageKey(image));

  return {
    events,
    ofImage: async (image) => of(image),
    images: async (site, after, limit) => {
      const from = after === null ? '' : imageFolder(after);
      const keys = new Set(kept.map(({ key }) => key).filter((key) => key.startsWith(`${site}/`)));
      const folders = [...keys].map((key) => key.slice(site.length + 1)).filter((folder) => folder > from);
      const page = folders.sort().slice(0, limit);
      return page.flatMap((folder) => parseImageFolder(site, folder) ?? []);
    },
    bytesOf: async (image, sha256) => of(image).find((upload) => upload.sha256 === sha256)?.bytes ?? null,
    async add({ image, sha256, uploader, storedAt, bytes, remap }: NewUpload, event) {
      const before = of(image).find((upload) => upload.sha256 === sha256);
      if (before !== undefined) return { auditSeq: before.auditSeq };
      const content = bytes === null ? null : Buffer.from(bytes).toString('base64');
      const upload = { key: imageKey(image), sha256, uploader, remap };
      return {
        auditSeq: await write({ upload, storedAt: storedAt.toISOString(), bytes: content, event }),
      };
    },
    append: (event) => write({ upload: null, storedAt: null, bytes: null, event }),
  };
}
