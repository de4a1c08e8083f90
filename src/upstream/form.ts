// Multipart forms of signatures, as RFC 7578 defines them and src/http/form.ts reads them.
import { randomBytes } from 'node:crypto';
import type { BatchPart } from '../domain/receipt.ts';

export interface Form {
  readonly contentType: string;
  readonly body: Buffer;
}

/** The form of these parts in their order. A part without a name gets one that names no image. */
export function writeForm(parts: readonly BatchPart[]): Form {
  const boundary = randomBytes(16).toString('hex'); // no signature contains these 128 random bits
  const pieces = parts.flatMap(({ bytes, fileName }) => [
    `--${boundary}\r\nContent-Disposition: form-data; name="signature"; filename="${escapeName(fileName ?? 'signature')}"\r\n` +
      'Content-Type: application/octet-stream\r\n\r\n',
    bytes,
    '\r\n',
  ]);
  const body = Buffer.concat(
    [...pieces, `--${boundary}--\r\n`].map((piece) =>
      typeof piece === 'string' ? Buffer.from(piece) : piece,
    ),
  );
  return { contentType: `multipart/form-data; boundary=${boundary}`, body };
}

// as browsers do: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
function escapeName(name: string): string {
  return name.replace(
    /["\r\n]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}
