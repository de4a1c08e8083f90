// The only ordinary writer to a response. Routes return a Reply; nothing else touches `res`.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { escapeJson } from '../domain/text.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  /** Null: no body at all. An iterable is streamed as it comes. */
  readonly body: Uint8Array | string | AsyncIterable<string> | null;
}

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

/** Control and format characters of other people's text are escaped: answers are read on terminals too. */
export function jsonReply(status: number, value: unknown, headers: Reply['headers'] = {}): Reply {
  return textReply(status, `${escapeJson(JSON.stringify(value))}\n`, {
    'Content-Type': 'application/json',
    ...headers,
  });
}

/** Values as they come, one JSON text a line. */
export function jsonLinesReply(values: AsyncIterable<unknown>): Reply {
  return {
    status: 200,
    headers: {
      'Content-Type': 'application/jsonl',
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
    },
    body: toLines(values),
  };
}

async function* toLines(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const value of values) yield `${JSON.stringify(value)}\n`;
}

// Node does not tell the headers that were handed to writeHead
const announced = new WeakMap<ServerResponse, number>();

/** The length of the body as the answer announced it; 0 without one and for a stream. */
export function announcedBytes(res: ServerResponse): number {
  return announced.get(res) ?? 0;
}

/** Writes the reply. The body of a HEAD request is left out by node:http; its headers are those of GET. */
export async function writeReply(req: IncomingMessage, res: ServerResponse, reply: Reply): Promise<void> {
  // an unread body would have to be drained before the connection could serve again
  if (!req.complete && hasBody(req)) res.setHeader('Connection', 'close');
  announced.set(res, Number(reply.headers['Content-Length'] ?? 0));
  res.writeHead(reply.status, reply.headers);
  if (reply.body === null) res.end();
  else if (typeof reply.body === 'string' || reply.body instanceof Uint8Array) res.end(reply.body);
  else await pipeline(Readable.from(reply.body), res);
}

/** As writeReply, for callers that have nobody to tell: a reply that cannot be written ends the connection. */
export function sendReply(req: IncomingMessage, res: ServerResponse, reply: Reply): void {
  writeReply(req, res, reply).catch(() => res.destroy());
}

function hasBody(req: IncomingMessage): boolean {
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;
}
