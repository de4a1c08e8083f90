// The only ordinary writer to a response. Routes return a Reply; nothing else touches `res`.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { escapeJson } from '../domain/text.ts';
import { ClientGone } from './body.ts';
import { isPassedOn } from './client.ts';
import { isRead } from './exchange.ts';
import { linger } from './linger.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number | string[]>>;
  /** Null: no body at all. An iterable is streamed as it comes, no faster than the client reads. */
  readonly body: Uint8Array | string | AsyncIterable<Uint8Array | string> | null;
  /** What it has in common with others. Then it has a length, and its body is bytes or ASCII. */
  readonly form?: ReplyForm;
}

/** Replies with the same status and headers, of which some have other values in each: Node.js makes the head of the first one. */
export interface ReplyForm {
  /** The names of these headers, in their order. */
  readonly varying: readonly string[];
  /** The head as Node.js wrote it, without the values of these headers and of Date behind them; null before there was one. */
  pieces: readonly string[] | null;
}

export function createForm(...varying: readonly string[]): ReplyForm {
  return { varying, pieces: null };
}

/** The status under which nginx counts and logs a request whose client went away before the answer. */
export const CLIENT_GONE_STATUS = 499;

export function textReply(status: number, text: string, headers: Reply['headers'] = {}): Reply {
  return {
    status,
    headers: {
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': Buffer.byteLength(text),
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      ...headers,
    },
    body: text,
  };
}

/** Escapes control and format characters, which text by others may hold: answers are read on terminals too. */
export function jsonReply(status: number, value: unknown, headers: Reply['headers'] = {}): Reply {
  return textReply(status, `${escapeJson(JSON.stringify(value))}\n`, {
    'Content-Type': 'application/json',
    ...headers,
  });
}

/** Values as they come, one JSON text a line, escaped as by jsonReply. */
export function jsonLinesReply(values: AsyncIterable<unknown>): Reply {
  return {
    status: 200,
    headers: {
      'Content-Type': 'application/jsonl',
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no', // else nginx keeps lines back until it has a page of them
    },
    body: toLines(values),
  };
}

async function* toLines(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const value of values) yield `${escapeJson(JSON.stringify(value))}\n`;
}

// Node.js gives no access to the headers that were passed to writeHead
const ANNOUNCED = Symbol('announced bytes');

interface Announcing extends ServerResponse {
  [ANNOUNCED]?: number;
}

/** The length of the body as the answer announced it; 0 without one and for a stream. */
export function announcedBytes(res: Announcing): number {
  return res[ANNOUNCED] ?? 0;
}

function writeHead(res: Announcing, { status, headers }: Reply): void {
  res[ANNOUNCED] = Number(headers['Content-Length'] ?? 0);
  res.writeHead(status, headers);
}

/**
 * Writes the reply. For a HEAD request node:http leaves out the body; the headers are those of GET.
 * @throws ClientGone; whatever the body fails with
 */
export async function writeReply(req: IncomingMessage, res: ServerResponse, reply: Reply): Promise<void> {
  // a short body came with its head and is parsed in this turn of the event loop; for a read nobody waits for a body
  if (hasUnread(req) && !isRead(req)) await setImmediate();
  // an unread body would have to be drained before the connection could serve again
  const isUnread = hasUnread(req);
  if (isUnread) res.setHeader('Connection', 'close');
  writeHead(res, reply);
  const { body } = reply;
  if (body === null) res.end();
  else if (!isWhole(body)) await pour(announcedBody(reply, body), res);
  else if (isUnread && !isRead(req)) res.write(body, () => linger(req.socket, req));
  else if (body.length <= PIECE_BYTES) res.end(body);
  else await pour(inPieces(body), res);
}

/** A client may end what has no end of its own, as a page that shows live rows does: then nothing has failed. */
async function pour(body: Iterable<Uint8Array> | AsyncIterable<Uint8Array | string>, res: ServerResponse) {
  let hasFailed = false;
  async function* watched() {
    try {
      yield* body;
    } catch (error) {
      // what is given up because the client has gone is no failure either
      hasFailed = !res.destroyed;
      throw error;
    }
  }
  try {
    await pipeline(Readable.from(watched()), res);
  } catch (error) {
    if (hasFailed) throw error;
    throw new ClientGone('the client went away before the end of its answer', { cause: error });
  }
}

/** A body that is shorter or longer than announced fails, so that its connection is cut. */
function announcedBody({ headers }: Reply, body: AsyncIterable<Uint8Array | string>) {
  const length = headers['Content-Length'];
  return length === undefined ? body : ofLength(Number(length), body);
}

// node:http's own check throws where nobody can catch it
async function* ofLength(wanted: number, body: AsyncIterable<Uint8Array | string>) {
  let length = 0;
  for await (const piece of body) {
    length += Buffer.byteLength(piece);
    if (length > wanted) break;
    yield piece;
  }
  if (length !== wanted) throw new Error(`the answer has ${length} bytes where ${wanted} were announced`);
}

// only an answer in pieces shows how much of it a client has taken
const PIECE_BYTES = 16 * 1024;

function* inPieces(body: string | Uint8Array): Generator<Uint8Array> {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** Not a stream. */
export function isWhole(body: NonNullable<Reply['body']>): body is string | Uint8Array {
  return typeof body === 'string' || body instanceof Uint8Array;
}

/** Ends the stream of a reply whose request was given up before it came: it may hold a connection, and a place among few. */
export function endLate(answering: Promise<Reply>): void {
  answering
    .then(({ body }) => (body === null || isWhole(body) ? null : body[Symbol.asyncIterator]().return?.()))
    .catch(() => undefined);
}

/** As writeReply, for callers that can do nothing about a failure: a reply that cannot be written ends the connection. */
export function sendReply(req: IncomingMessage, res: ServerResponse, reply: Reply): void {
  const { body } = reply;
  // most answers: at once, without a promise
  if (body === null || !isWhole(body) || body.length > PIECE_BYTES || hasUnread(req)) {
    writeReply(req, res, reply).catch(() => res.destroy());
    return;
  }
  try {
    const { form } = reply;
    const text = typeof body === 'string' ? body : latin1(body);
    if (form !== undefined && isOrdinary(req, res)) {
      endAtOnce(res, { reply, form, text });
      return;
    }
    writeHead(res, reply);
    // as text of one byte a character: node:http then writes it together with the head, in one call instead of two parts
    res.end(text, typeof body === 'string' ? 'utf8' : 'latin1');
  } catch {
    res.destroy(); // another answer has begun
  }
}

function latin1(bytes: Uint8Array): string {
  // what a database gave is a Buffer already
  const buffer = Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString('latin1');
}

/** What node:http keeps of an answer's head until it is sent: null before there is one. It is not documented. */
interface Headed extends Announcing {
  _header?: string | null;
}

/** The answers to such requests on one kind of listener have the same head, but for the date. */
function isOrdinary(req: IncomingMessage, res: Headed): boolean {
  if (req.method !== 'GET' || !res.shouldKeepAlive || res._header !== null) return false;
  // node:http ends the connection of a client that still waits for 100 Continue, and says so in the head
  if (req.headers.expect !== undefined) return false;
  return !res.hasHeader('Connection') && !isPassedOn(req);
}

/**
 * Gives node:http head and body as one text, which it writes in one call. Checking and joining the headers, and a second piece, take
 * a fifth of what node:http takes for an answer.
 */
function endAtOnce(
  res: Headed,
  { reply, form, text }: { readonly reply: Reply; readonly form: ReplyForm; readonly text: string },
): void {
  if (form.pieces === null) {
    writeHead(res, reply);
    form.pieces = piecesOf(res._header ?? '', form.varying);
    res._header += text;
  } else {
    res.statusCode = reply.status;
    res[ANNOUNCED] = text.length;
    res._header = headWith(form.varying, form.pieces, reply) + text;
  }
  res.end();
}

function headWith(varying: readonly string[], pieces: readonly string[], { headers }: Reply): string {
  let head = pieces[0] ?? '';
  let at = 1;
  for (const name of varying) {
    head += String(headers[name]) + pieces[at];
    at += 1;
  }
  return head + dateNow() + pieces[at];
}

/** What stands around the values; null when one of the headers is not there. */
function piecesOf(header: string, varying: readonly string[]): readonly string[] | null {
  const pieces: string[] = [];
  let from = 0;
  for (const name of [...varying, 'Date']) {
    const before = `\r\n${name}: `;
    const at = header.indexOf(before, from);
    if (at === -1) return null;
    pieces.push(header.slice(from, at + before.length));
    from = header.indexOf('\r\n', at + before.length);
  }
  return [...pieces, header.slice(from)];
}

let date = { second: 0, text: '' };

function dateNow(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== date.second) date = { second, text: new Date(1000 * second).toUTCString() };
  return date.text;
}

function hasUnread({ complete, headers }: IncomingMessage): boolean {
  if (complete) return false;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
