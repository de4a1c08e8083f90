// Multipart forms of signatures. The body is whole before multer sees it, so that a dropped or slow upload is the body
// reader's affair, and a form is taken as a whole or not at all.
import type { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { Request, Response } from 'express';
import multer from 'multer';
import { LookasideError } from '../domain/errors.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_PARTS } from '../domain/limits.ts';
import type { BatchPart } from '../service/upload.ts';

const PART_NAME = 'signature';
const SLICE_BYTES = 64 * 1024;

// A part over the size of a signature is the service's to refuse: it must not stop the others.
const LIMITS = {
  fileSize: MAX_BATCH_BYTES,
  files: MAX_BATCH_PARTS,
  parts: MAX_BATCH_PARTS,
  fields: 0,
  fieldSize: 0,
  fieldNameSize: 64,
  fieldNestingDepth: 0,
  fieldArrayIndexLimit: 0,
  headerPairs: 16,
} satisfies multer.Options['limits'];

/** The delimiter of the form's parts. @throws LookasideError REQUEST_INVALID when the request announces no form */
export function requireForm(contentType: string | undefined): string {
  if (!/^multipart\/form-data(?:;|\s|$)/i.test(contentType ?? '')) {
    throw invalid(
      `the body is ${contentType === undefined ? 'of no type' : `"${contentType.slice(0, 80)}"`}; wanted multipart/form-data, as curl -F ${PART_NAME}=@FILE sends it`,
    );
  }
  const found = /;\s*boundary=(?:"([^"]*)"|([^\s;"]*))/i.exec(contentType ?? '');
  const boundary = found?.[1] ?? found?.[2] ?? '';
  // RFC 2046 section 5.1.1
  if (!/^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$/.test(boundary)) {
    throw invalid('the form names no boundary that RFC 2046 allows; let the client make the Content-Type');
  }
  return boundary;
}

export interface FormRequest {
  readonly req: Request;
  readonly res: Response;
  readonly boundary: string;
  /** The whole body. */
  readonly bytes: Buffer;
}

/** The parts in their order: all of them, or none. @throws LookasideError REQUEST_INVALID, TOO_LARGE */
export async function parseForm({ req, res, boundary, bytes }: FormRequest): Promise<readonly BatchPart[]> {
  await runMulter(req, res, bytes);
  const files = Array.isArray(req.files) ? req.files : [];
  const sent = countParts(bytes, boundary);
  if (sent === 0) throw invalid(`the form has no parts; wanted up to ${MAX_BATCH_PARTS} named ${PART_NAME}`);
  // the parser passes over in silence what it makes nothing of
  if (files.length !== sent) {
    throw invalid(
      `${sent - files.length} of the form's ${sent} parts are no files; each needs Content-Disposition: form-data; name="${PART_NAME}"; filename="…"`,
    );
  }
  return files.map(({ buffer, originalname }) => ({ bytes: buffer, fileName: originalname }));
}

function runMulter(req: Request, res: Response, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let isSettled = false;
    const options: multer.Options & { readonly streamHandler: (req: unknown, parser: Writable) => void } = {
      storage: multer.memoryStorage(),
      preservePath: true,
      defParamCharset: 'utf8',
      limits: LIMITS,
      streamHandler: (_, parser) => void feed(parser, bytes, () => isSettled),
    };
    multer(options).array(PART_NAME)(req, res, (error?: unknown) => {
      isSettled = true;
      if (error === undefined || error === null) resolve();
      else reject(refusalOf(error));
    });
  });
}

/** In slices, so that other requests are served in between. Never rejects: the parser tells multer what went wrong. */
async function feed(parser: Writable, bytes: Buffer, isSettled: () => boolean): Promise<void> {
  try {
    for (let at = 0; at < bytes.length && !isSettled() && !parser.destroyed; at += SLICE_BYTES) {
      parser.write(bytes.subarray(at, at + SLICE_BYTES));
      await setImmediate();
    }
    if (!parser.destroyed) parser.end();
  } catch (error) {
    parser.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

/** Delimiters ahead of the closing one. The parser takes any that begins a line, and so does this. */
function countParts(bytes: Buffer, boundary: string): number {
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  const isAtStart = bytes.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2));
  let count = 0;
  let at = isAtStart ? -2 : bytes.indexOf(delimiter);
  while (at !== -1) {
    const end = at + delimiter.length;
    if (bytes.subarray(end, end + 2).toString('latin1') === '--') break;
    count += 1;
    at = bytes.indexOf(delimiter, end);
  }
  return count;
}

function refusalOf(error: unknown): LookasideError {
  if (error instanceof multer.MulterError) {
    // its types do not know all of its codes
    switch (error.code as string) {
      case 'LIMIT_FILE_COUNT':
      case 'LIMIT_PART_COUNT':
        return new LookasideError(
          'TOO_LARGE',
          `the form has more than ${MAX_BATCH_PARTS} parts; send the others in a form of their own`,
          { detail: { maxParts: MAX_BATCH_PARTS } },
        );
      case 'LIMIT_UNEXPECTED_FILE':
        return invalid(
          `the form has a part named ${JSON.stringify((error.field ?? '').slice(0, 64))}; wanted parts named ${PART_NAME} alone`,
        );
      case 'LIMIT_FIELD_COUNT':
        return invalid(
          `the form has a field that is no file; wanted files named ${PART_NAME} alone, as curl -F ${PART_NAME}=@FILE sends them`,
        );
    }
  }
  const reason = error instanceof Error ? error.message : String(error);
  return invalid(
    `the form cannot be read: ${reason}; wanted multipart/form-data as RFC 7578 has it, closed by its last boundary`,
  );
}

function invalid(message: string): LookasideError {
  return new LookasideError('REQUEST_INVALID', message);
}
