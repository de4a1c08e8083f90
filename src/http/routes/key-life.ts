// The life of keys: from one key to the next.
import { z } from 'zod';
import type { Administration } from '../../domain/administration.ts';
import { ROLES } from '../../domain/ports.ts';
import type { RevocationProgress, RevokedKey } from '../../domain/revocation.ts';
import { createAdministration } from '../../service/administration.ts';
import { showKey } from '../../service/keys.ts';
import { describeError } from '../errors.ts';
import { actorOf, type Exchange } from '../exchange.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonLinesReply, jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor, withProgress } from './administration.ts';

const toChange = { ...NO_BODY, name: 'keys', methods: ['POST'], roles: ['admin'] } as const;

export const keyLife: readonly RouteSpec[] = [
  {
    ...NO_BODY,
    name: 'key-rotation',
    waits: 'long',
    path: '/api/v1/keys/:fingerprint/rotation',
    methods: ['GET'],
    roles: ROLES,
    route: showRotation,
  },
  {
    ...NO_BODY,
    name: 'key-signatures',
    waits: 'long',
    path: '/api/v1/keys/:fingerprint/signatures',
    methods: ['GET'],
    roles: ROLES,
    route: countSignatures,
  },
  {
    ...NO_BODY,
    name: 'key-revocation',
    waits: 'long',
    path: '/api/v1/keys/:fingerprint/revocation',
    methods: ['GET'],
    roles: ROLES,
    route: showRevocation,
  },
  {
    ...toChange,
    path: '/api/v1/keys/:fingerprint/revoke',
    waits: 'long',
    body: 'json',
    bodyBytes: 256 * 1024,
    bodyMs: 5000,
    route: revoke,
  },
  { ...toChange, path: '/api/v1/keys/:fingerprint/retire', route: retire },
  { ...toChange, path: '/api/v1/keys/:fingerprint/unretire', route: unretire },
];

async function retire(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).keys.retire(params.fingerprint ?? ''));
}

async function unretire(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).keys.unretire(params.fingerprint ?? ''));
}

const revokeRequest = z.strictObject(
  {
    reason: z.string(expected('why')),
    withdraw: z.boolean(expected('true or false')).default(false),
    certificate: z.base64(expected('a file in base64')).nullable().default(null),
  },
  expected('{"reason":…,"withdraw":…,"certificate":…}'),
);

const NOTHING_YET: RevocationProgress = { images: 0, signatures: 0 };

/** What is refused has its status. Then the answer is lines of JSON, because a withdrawal may take long. */
async function revoke(services: Services, { exchange, params, body }: RouteRequest): Promise<Reply> {
  const { reason, withdraw, certificate } = parseBody(revokeRequest, body);
  const { revocations, clock } = services;
  const file = certificate === null ? null : Buffer.from(certificate, 'base64');
  const wanted = { reason, withdraw, certificate: file };
  const { key, changed } = await revocations.mark(params.fingerprint ?? '', wanted, actorOf(exchange));
  const marked = { key: showKey(key, clock.now()), changed };
  const act = async (onProgress: (progress: RevocationProgress) => void): Promise<RevokedKey> => {
    if (!withdraw) return { ...marked, withdrawn: null, left: [] };
    const { withdrawn, left } = await revocations.carryOut(key.fingerprint, onProgress);
    return { ...marked, withdrawn, left };
  };
  return withProgress(services.log, 'key-revoke', act, NOTHING_YET);
}

const rotationQuery = z.strictObject({
  to: z.string(expected('the fingerprint of the key that takes its place')),
});

/** A line for each part. The first one is awaited, so that what is refused has its status. */
async function showRotation(services: Services, { exchange, params, query }: RouteRequest): Promise<Reply> {
  const { to } = parseQuery(rotationQuery, query);
  return partsReply(services, exchange, ({ keys }) => keys.rotation(params.fingerprint ?? '', to));
}

async function countSignatures(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  const { keys } = administrationFor(services, exchange);
  return jsonReply(200, { parts: await keys.signatures(params.fingerprint ?? '') });
}

async function showRevocation(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return partsReply(services, exchange, ({ keys }) => keys.revocation(params.fingerprint ?? ''));
}

async function partsReply<Part extends object>(
  services: Services,
  exchange: Exchange,
  ask: (administration: Administration) => AsyncIterable<Part>,
): Promise<Reply> {
  const leaving = new AbortController();
  const parts = ask(createAdministration(services, actorOf(exchange), leaving.signal))[
    Symbol.asyncIterator
  ]();
  const first = await parts.next();
  async function* lines(): AsyncGenerator<Part | { readonly errors: readonly object[] }> {
    try {
      for (let part = first; part.done !== true; part = await parts.next()) yield part.value;
    } catch (error) {
      yield { errors: [describeError(error)] };
    } finally {
      leaving.abort(new Error('the client left before the end'));
      await parts.return?.();
    }
  }
  return jsonLinesReply(lines());
}
