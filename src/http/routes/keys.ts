// Keys: adding certificates, and what is registered.
import { MAX_CERTIFICATES_BYTES } from '../../domain/limits.ts';
import { ROLES } from '../../domain/ports.ts';
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
    methods: ['POST'],
    roles: ['admin'],
    body: 'bytes', // of whatever type the client calls it
    bodyBytes: MAX_CERTIFICATES_BYTES,
    bodyMs: 25_000,
    route: addKeys,
  },
  { ...anyToken, name: 'keys', path: '/api/v1/keys/:fingerprint', route: showOne },
];

/** 200 also when some or all were refused: each result says so for itself. */
async function addKeys(services: Services, { bytes, exchange }: RouteRequest): Promise<Reply> {
  return jsonReply(200, { results: await administrationFor(services, exchange).keys.add(bytes) });
}

async function listKeys(services: Services, { exchange }: RouteRequest): Promise<Reply> {
  return jsonReply(200, { keys: await administrationFor(services, exchange).keys.list() });
}

async function showOne(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).keys.show(params.fingerprint ?? ''));
}
