// Keys: adding and removing certificates, and what is registered.
import { z } from 'zod';
import { durationMs } from '../../domain/duration.ts';
import { LookasideError } from '../../domain/errors.ts';
import { KEY_READERS } from '../../domain/key-readers.ts';
import { MAX_CERTIFICATES_BYTES } from '../../domain/limits.ts';
import { ROLES } from '../../domain/ports.ts';
import { quoted } from '../../domain/text.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor } from './administration.ts';

const anyToken = { ...NO_BODY, roles: ROLES, methods: ['GET', 'HEAD'] } as const;

export const keys: readonly RouteSpec[] = [
  { ...anyToken, name: 'keys', path: '/api/v1/keys', route: listKeys },
  {
    name: 'keys',
    path: '/api/v1/keys',
    waits: 'long',
    methods: ['POST'],
    roles: ['admin'],
    body: 'bytes', // whatever Content-Type the client sends
    bodyBytes: MAX_CERTIFICATES_BYTES,
    bodyMs: 25_000,
    route: addKeys,
  },
  {
    name: 'keys',
    path: '/api/v1/keys/refresh',
    waits: 'long',
    methods: ['POST'],
    roles: ['admin'],
    body: 'bytes',
    bodyBytes: MAX_CERTIFICATES_BYTES,
    bodyMs: 25_000,
    route: refreshKeys,
  },
  {
    // a POST, because the names may be too many for a target; it changes nothing
    name: 'keys',
    path: '/api/v1/keys/export',
    methods: ['POST'],
    roles: ROLES,
    body: 'json',
    bodyBytes: 64 * 1024,
    bodyMs: 5000,
    route: exportKeys,
  },
  { ...anyToken, name: 'keys', path: '/api/v1/keys/:fingerprint', route: showOne },
  {
    ...NO_BODY,
    name: 'keys',
    path: '/api/v1/keys/:fingerprint',
    waits: 'long',
    methods: ['DELETE'],
    roles: ['admin'],
    route: removeOne,
  },
];

/** 200 also when some or all were refused: each result says so for itself. */
async function addKeys(services: Services, { bytes, exchange }: RouteRequest): Promise<Reply> {
  return jsonReply(200, { results: await administrationFor(services, exchange).keys.add(bytes) });
}

const refreshQuery = z.object({
  key: z
    .union([z.string(), z.array(z.string())], expected('a fingerprint or key ID; repeatable'))
    .transform((named) => (typeof named === 'string' ? [named] : named))
    .default([]),
});

/** `?key=…`, repeatable: of these keys alone. */
async function refreshKeys(services: Services, { bytes, exchange, query }: RouteRequest): Promise<Reply> {
  const { key } = parseQuery(refreshQuery, query);
  return jsonReply(200, await administrationFor(services, exchange).keys.refresh(bytes, key));
}

const listQuery = z.object({ expiring: z.string(expected('a time like 30d')).optional() });

/** `?expiring=30d`: those that expire within that time. */
async function listKeys(services: Services, { exchange, query }: RouteRequest): Promise<Reply> {
  const { expiring = null } = parseQuery(listQuery, query);
  const withinMs = expiring === null ? null : parseTime(expiring);
  return jsonReply(200, { keys: await administrationFor(services, exchange).keys.list(withinMs) });
}

/** @throws LookasideError REQUEST_INVALID */
function parseTime(expiring: string): number {
  const ms = durationMs(expiring);
  if (ms !== null) return ms;
  const message = `expiring is ${quoted(expiring)}, expected a time like 30d, 12h or 90m`;
  throw new LookasideError('REQUEST_INVALID', message);
}

async function showOne(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).keys.show(params.fingerprint ?? ''));
}

const exportRequest = z.strictObject(
  {
    names: z.array(z.string(expected('a string')), expected('an array of fingerprints and key IDs')),
    for: z.enum(KEY_READERS, expected(KEY_READERS.join(', '))),
  },
  expected('{"names":[…],"for":…}'),
);

async function exportKeys(services: Services, { body, exchange }: RouteRequest): Promise<Reply> {
  const { names, for: reader } = parseBody(exportRequest, body);
  return jsonReply(200, await administrationFor(services, exchange).keys.export(names, reader));
}

async function removeOne(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).keys.remove(params.fingerprint ?? ''));
}
