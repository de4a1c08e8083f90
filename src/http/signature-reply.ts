// What a client gets for signature-N: the exact bytes, or a 404 that no cache keeps.
import type { IncomingMessage } from 'node:http';
import type { SetEntry } from '../domain/ports.ts';
import { httpDate } from './http-date.ts';
import { createForm, type Reply, textReply } from './reply.ts';

/** Past the end of a set, and for every other thing that is not there. Clients read only the status. */
export const NOT_THERE: Reply = {
  ...textReply(404, 'not found: no signature has this name\n'),
  form: createForm(),
};

const WHOLE = createForm('Content-Length', 'ETag', 'Last-Modified');

/** 200 with the bytes, or 304 when the client already has them. Range is ignored, as RFC 9110 allows. */
export function signatureReply(req: IncomingMessage, entry: SetEntry, bytes: Uint8Array): Reply {
  if (isUnchanged(req, entry)) return { status: 304, headers: validators(entry), body: null };
  const headers = {
    'Content-Type': 'application/octet-stream',
    'Content-Length': entry.sizeBytes,
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'none'; sandbox",
    ...validators(entry),
  };
  return { status: 200, headers, body: bytes, form: WHOLE };
}

function validators({ sha256, storedAt }: SetEntry): Reply['headers'] {
  return { ETag: `"${sha256}"`, 'Last-Modified': httpDate(storedAt), 'Cache-Control': 'no-cache' };
}

// RFC 9110 section 13.2.2: If-None-Match, when sent, decides alone
function isUnchanged({ headers }: IncomingMessage, entry: SetEntry): boolean {
  const tags = headers['if-none-match'];
  if (tags !== undefined) return matches(tags, entry.sha256);
  const since = headers['if-modified-since'];
  if (since === undefined) return false;
  const sinceMs = Date.parse(since);
  // HTTP dates have whole seconds
  return !Number.isNaN(sinceMs) && Math.floor(entry.storedAt.getTime() / 1000) * 1000 <= sinceMs;
}

function matches(tags: string, sha256: string): boolean {
  if (tags.trim() === '*') return true;
  return tags.split(',').some((tag) => tag.trim().replace(/^W\//, '') === `"${sha256}"`);
}
