// What the two ways to a server have in common: what they carry, for how long they wait, and how an answer is read.

/** A request with all that is sent. */
export interface Outgoing {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With the server's own path and the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  readonly patience: Patience;
}

interface HttpHead {
  readonly status: number;
  /** The value of a header line, the first of several; null without one. */
  header(name: string): string | null;
}

export interface HttpAnswer extends HttpHead {
  readonly body: Buffer;
}

export interface HttpStream extends HttpHead {
  readonly body: AsyncIterable<Uint8Array>;
}

export interface Transport {
  /** One try; the answer's body is read by readWhole() or readLines(). @throws whatever Node.js and undici throw */
  open(request: Outgoing): Promise<HttpStream>;
  /** Ends at once what is under way. */
  close(): Promise<void>;
}

export class AnswerTooLarge extends Error {}

export interface Patience {
  /** How long to wait for the head of an answer, and then for each piece of its body. */
  readonly silenceMs: number;
  /** From the beginning to the last byte received: this ends answers that drip. Null: for ever. */
  readonly totalMs: number | null;
}

/** How long a connection may take to be made, including TLS. */
export const CONNECT_MS = 10_000;
export const PATIENCE: Patience = { silenceMs: 60_000, totalMs: 180_000 };
/** For an answer whose lines come every half second, for hours: proxies may hold some of them back. */
export const LONG_PATIENCE: Patience = { silenceMs: 300_000, totalMs: null };
/** A page of a thousand signatures has some 2 MB; a list of keys 30 KB a key at most. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const LINE_FEED = 0x0a;

/** @throws AnswerTooLarge; whatever Node.js and undici throw */
export async function readWhole({ body, ...head }: HttpStream): Promise<HttpAnswer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    refuseLonger(length);
    pieces.push(piece);
  }
  return { ...head, body: Buffer.concat(pieces) };
}

/** Each line without its line feed, and what follows the last line feed. @throws as readWhole(), for a line that is too large */
export async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  // not node:readline: it ends a line at U+2028 too, which JSON may hold
  let begun: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    let from = 0;
    for (let end = piece.indexOf(LINE_FEED); end !== -1; end = piece.indexOf(LINE_FEED, from)) {
      yield Buffer.concat([...begun, piece.subarray(from, end)]);
      [begun, length, from] = [[], 0, end + 1];
    }
    begun.push(piece.subarray(from));
    length += piece.length - from;
    refuseLonger(length);
  }
  if (length > 0) yield Buffer.concat(begun);
}

function refuseLonger(length: number): void {
  if (length > MAX_ANSWER_BYTES) throw new AnswerTooLarge(`more than ${MAX_ANSWER_BYTES} bytes`);
}

export function streamOf(
  status: number,
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  body: AsyncIterable<Uint8Array>,
): HttpStream {
  return { status, header: (name) => [headers[name] ?? null].flat()[0] ?? null, body };
}
