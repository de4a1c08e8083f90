// What a client gets for signature-N: the exact bytes, or a 404 that no cache keeps.
import type { IncomingMessage } from 'node:http';
import type { SetEntry } from '../domain/ports.ts';
import { type Reply, textReply } from './reply.ts';

/** Past the end of a set, and for every other thing that is not there. Clients read only the status. */
export const NOT_THERE: Reply = textReply(404, 'not found: no signature has this name\n');

interface Made {
  readonly bytes: Uint8Array;
  readonly full: Reply;
  readonly unchanged: Reply;
}

// an entry never changes, so its answers are made once
const made = new WeakMap<SetEntry, Made>();

/** 200 with the bytes, or 304 when the client already has them. Range is ignored, as RFC 9110 allows. */
export function signatureReply(req: IncomingMessage, entry: SetEntry, bytes: Uint8Array): Reply {
  const { full, unchanged } = repliesOf(entry, bytes);
  return isUnchanged(req, entry) ? unchanged : full;
}

function repliesOf(entry: SetEntry, bytes: Uint8Array): Made {
  const known = made.get(entry);
  if (known?.bytes === bytes) return known;
  const unchanged: Reply['headers'] = {
    ETag: `"${entry.sha256}"`,
    'Last-Modified': entry.storedAt.toUTCString(),
    'Cache-Control': 'no-cache',
  };
  const full: Reply['headers'] = {
    'Content-Type': 'application/octet-stream',
    'Content-Length': entry.sizeBytes,
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'none'; sandbox",
    ...unchanged,
  };
  const replies: Made = {
    bytes,
    full: { status: 200, headers: full, body: bytes },
    unchanged: { status: 304, headers: unchanged, body: null },
  };
  // the bytes of an entry that holds none itself are too many to be kept beside it
  if (entry.bytes === bytes) made.set(entry, replies);
  return replies;
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
