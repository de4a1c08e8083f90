// Multipart forms of signatures. The body is whole before multer sees it, so the body reader deals with dropped and slow
// uploads, and a form is accepted as a whole or not at all.
import type { Readable, Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { Request, Response } from 'express';
import multer from 'multer';
import { createTurns } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_PARTS, MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import type { BatchPart } from '../domain/receipt.ts';

const PART_NAME = 'signature';

const CLOSING = Buffer.from('--');

// The service, not multer, refuses a part that is too large for a signature: it must not stop the others.
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
  const match = /;\s*boundary=(?:"([^"]*)"|([^\s;"]*))/i.exec(contentType ?? '');
  const boundary = match?.[1] ?? match?.[2] ?? '';
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
  /** The whole body. The list is emptied on the way: the parts are copies. */
  readonly pieces: Buffer[];
}

/** The parts in their order: all of them, or none. @throws LookasideError REQUEST_INVALID, TOO_LARGE */
export type ParseForm = (request: FormRequest) => Promise<readonly BatchPart[]>;

/** As multer's memoryStorage, but it drops the rest of a part that is too large under any settings: nobody needs that. */
function createStorage() {
  const open = new Set<Readable>();

  const storage: multer.StorageEngine = {
    _handleFile(_req, { stream }, done) {
      const pieces: Buffer[] = [];
      let room = MAX_SIGNATURE_BYTES + 1;
      open.add(stream);
      stream.on('data', (piece: Buffer) => {
        if (room > 0) pieces.push(piece.subarray(0, room));
        room -= piece.length;
      });
      stream.once('end', () => {
        open.delete(stream);
        done(null, { buffer: Buffer.concat(pieces) });
      });
    },
    _removeFile(_req, _file, done) {
      done(null);
    },
  };

  return {
    storage,
    /** Ends each file that is not whole, with this error. */
    giveUp(error: Error): void {
      for (const stream of open) stream.destroy(error);
    },
  };
}

/** Parses one form at a time: meanwhile most of it is in memory twice. */
export function createFormParser(): ParseForm {
  const turns = createTurns();
  return (request) => turns.take('form', () => parseForm(request));
}

async function parseForm({ req, res, boundary, pieces }: FormRequest): Promise<readonly BatchPart[]> {
  const delimiters = createDelimiterCounter(boundary);
  await runMulter(req, res, drain(pieces, delimiters.pass));
  const files = Array.isArray(req.files) ? req.files : [];
  const sent = delimiters.count;
  if (sent === 0) throw invalid(`the form has no parts; wanted up to ${MAX_BATCH_PARTS} named ${PART_NAME}`);
  // the parser silently skips parts that it cannot use
  if (files.length !== sent) {
    throw invalid(
      `${sent - files.length} of the form's ${sent} parts are not files; each needs Content-Disposition: form-data; name="${PART_NAME}"; filename="…"`,
    );
  }
  return files.map(({ buffer, originalname }) => ({ bytes: buffer, fileName: originalname }));
}

function runMulter(req: Request, res: Response, pieces: Iterable<Buffer>): Promise<void> {
  return new Promise((resolve, reject) => {
    let isSettled = false;
    const { storage, giveUp } = createStorage();
    const options: multer.Options & { readonly streamHandler: (req: unknown, parser: Writable) => void } = {
      storage,
      preservePath: true,
      defParamCharset: 'utf8',
      limits: LIMITS,
      streamHandler: (_, parser) => void feed(parser, pieces, { isSettled: () => isSettled, giveUp }),
    };
    multer(options).array(PART_NAME)(req, res, (error?: unknown) => {
      isSettled = true;
      if (error === undefined || error === null) resolve();
      else reject(refusalOf(error));
    });
  });
}

/** Takes the pieces off the list one after the other, and shows each to `see`. */
function* drain(pieces: Buffer[], see: (piece: Buffer) => void): Generator<Buffer> {
  pieces.reverse(); // to take from the end, which costs nothing
  for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
    see(piece);
    yield piece;
  }
}

interface Reading {
  readonly isSettled: () => boolean;
  readonly giveUp: (error: Error) => void;
}

/** Piece by piece, so that other requests are served in between. Never rejects: the parser tells multer what went wrong. */
async function feed(
  parser: Writable,
  pieces: Iterable<Buffer>,
  { isSettled, giveUp }: Reading,
): Promise<void> {
  try {
    for (const piece of pieces) {
      if (isSettled() || parser.destroyed) break;
      parser.write(piece);
      await setImmediate();
    }
    if (!parser.destroyed) parser.end();
  } catch (error) {
    parser.destroy(error instanceof Error ? error : new Error(String(error)));
  }
  // Whatever the parser has to do with bytes in memory it has done by then. But a delimiter right after a header leaves a file
  // open in it, for which the parser and multer would wait for ever, and every later form with them.
  await setImmediate();
  await setImmediate();
  if (isSettled()) return;
  const error = new Error('Unexpected end of form');
  parser.destroy(error);
  giveUp(error);
}

/** Counts the delimiters before the closing one. Like the parser, it accepts any that begins a line. */
function createDelimiterCounter(boundary: string) {
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  let isClosed = false;
  let count = 0;
  // the end of what has passed: a delimiter, or the two bytes after it, may go on in the next piece
  let rest: Buffer = Buffer.from('\r\n');

  return {
    pass(piece: Buffer): void {
      if (isClosed) return;
      const text = Buffer.concat([rest, piece]);
      let from = 0;
      for (;;) {
        const at = text.indexOf(delimiter, from);
        const end = at + delimiter.length;
        if (at === -1 || end + 2 > text.length) break;
        isClosed = text.subarray(end, end + 2).equals(CLOSING);
        if (isClosed) return;
        count += 1;
        from = end;
      }
      rest = text.subarray(Math.max(from, text.length - delimiter.length - 1));
    },
    get count() {
      return count;
    },
  };
}

function refusalOf(error: unknown): LookasideError {
  if (error instanceof multer.MulterError) {
    // multer's types lack some of its codes
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
          `the form has a field that is not a file; wanted files named ${PART_NAME} alone, as curl -F ${PART_NAME}=@FILE sends them`,
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
