// The log of audit events in the layout of C2SP tlog-tiles. Heads and hashes are open to everybody, on a closed site too: who
// has a proof must be able to verify it. Entries name images, so who may read those may read them.
import { parseTilePath, type TilePlace } from '../../domain/checkpoint.ts';
import { LookasideError } from '../../domain/errors.ts';
import { quoted } from '../../domain/text.ts';
import { type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const open = { ...NO_BODY, methods: ['GET', 'HEAD'], roles: 'open' } as const;

/** The routes of entries come ahead of those of tiles, which would take them too. */
export const log: readonly RouteSpec[] = [
  { ...open, name: 'log-checkpoint', path: '/log/checkpoint', route: checkpoint },
  { ...open, name: 'log-key', path: '/log/key', route: key },
  { ...open, name: 'log-entries', path: '/log/tile/entries/*path', roles: 'reader', route: entries },
  { ...open, name: 'log-tile', path: '/log/tile/*path', route: tile },
];

async function checkpoint({ auditLog }: Services): Promise<Reply> {
  const newest = await auditLog.checkpoint();
  if (newest === null)
    throw new LookasideError('NOT_FOUND', 'the log has no checkpoint yet; ask again in a second');
  return textReply(200, newest.note, { 'Cache-Control': 'no-cache' });
}

async function key({ auditLog }: Services): Promise<Reply> {
  return textReply(200, `${auditLog.identity.vkey}\n`, { 'Cache-Control': 'no-cache' });
}

function entries(services: Services, { params }: RouteRequest): Promise<Reply> {
  return part(services, `entries/${params.path ?? ''}`);
}

function tile(services: Services, { params }: RouteRequest): Promise<Reply> {
  return part(services, params.path ?? '');
}

async function part({ auditLog, settings }: Services, path: string): Promise<Reply> {
  const place = parseTilePath(path);
  const body = place === null ? null : await auditLog.tile(place);
  if (place === null || body === null) {
    throw new LookasideError(
      'NOT_FOUND',
      `the log has no tile ${quoted(path)}; wanted one within the newest checkpoint, named as C2SP tlog-tiles names it, like 0/000.p/7 or entries/000.p/7`,
    );
  }
  return {
    status: 200,
    headers: {
      'Content-Type': 'application/octet-stream',
      'Content-Length': body.length,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': `${cachedBy(place, settings().read)}, max-age=31536000, immutable`,
    },
    body,
  };
}

/** A shared cache must not show entries to who has no token. */
function cachedBy({ level }: TilePlace, read: 'anonymous' | 'token'): 'public' | 'private' {
  return level === null && read === 'token' ? 'private' : 'public';
}
