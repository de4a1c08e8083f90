// What the CLI asks of a running server. Whoever has an administrator's token may ask it too.
import { z } from 'zod';
import type { Administration } from '../../domain/administration.ts';
import { isLookasideError } from '../../domain/errors.ts';
import { type Log, ROLES } from '../../domain/ports.ts';
import type { TreeCounts } from '../../domain/upkeep.ts';
import { createAdministration } from '../../service/administration.ts';
import { describeError } from '../errors.ts';
import { actorOf, type Exchange } from '../exchange.ts';
import { expected, parseBody } from '../parameters.ts';
import { jsonLinesReply, jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const administrator = { roles: ['admin'], body: 'json', bodyMs: 5000 } as const;
/** What is in force here is no secret to those who hold a token. */
const anyToken = { ...NO_BODY, roles: ROLES, methods: ['GET', 'HEAD'] } as const;

export const administration: readonly RouteSpec[] = [
  { ...anyToken, name: 'server', path: '/api/v1/server', route: showServer },
  {
    ...administrator,
    name: 'fsck',
    waits: 'long',
    path: '/api/v1/fsck',
    methods: ['POST'],
    bodyBytes: 1024,
    route: fsck,
  },
  {
    ...administrator,
    name: 'reindex',
    waits: 'long',
    path: '/api/v1/reindex',
    methods: ['POST'],
    bodyBytes: 1024,
    route: reindex,
  },
  { ...anyToken, name: 'tokens', path: '/api/v1/tokens', route: listTokens },
  {
    ...administrator,
    name: 'tokens',
    path: '/api/v1/tokens',
    methods: ['POST'],
    bodyBytes: 4096,
    route: createToken,
  },
  {
    ...administrator,
    ...NO_BODY,
    name: 'tokens',
    path: '/api/v1/tokens/:name',
    methods: ['DELETE'],
    route: revokeToken,
  },
  {
    ...administrator,
    ...NO_BODY,
    name: 'tokens',
    path: '/api/v1/sessions/:id',
    methods: ['DELETE'],
    route: endSession,
  },
];

async function showServer({ about }: Services): Promise<Reply> {
  return jsonReply(200, about);
}

const trueOrFalse = z.boolean(expected('true or false'));
const fsckRequest = z.strictObject({ repair: trueOrFalse }, expected('{"repair":…}'));
const reindexRequest = z.strictObject({ acceptDamage: trueOrFalse }, expected('{"acceptDamage":…}'));
const tokenRequest = z.strictObject(
  {
    name: z.string(expected('a string')),
    role: z.enum(ROLES, expected(ROLES.join(', '))),
    lifeMs: z.int(expected('a whole number of milliseconds')).nullable().default(null),
    signer: z.string(expected('the name of a signer')).nullable().default(null),
  },
  expected('{"name":…,"role":…,"lifeMs":…,"signer":…}'),
);

/** The administration that these routes and those of keys and imports ask, in the caller's name. */
export function administrationFor(services: Services, exchange: Exchange): Administration {
  return createAdministration(services, actorOf(exchange));
}

async function fsck(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const { repair } = parseBody(fsckRequest, body);
  const administration = administrationFor(services, exchange);
  return withProgress(
    services.log,
    'fsck',
    (onProgress) => administration.fsck({ repair, onProgress }),
    NOTHING_YET,
  );
}

async function reindex(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const { acceptDamage } = parseBody(reindexRequest, body);
  const administration = administrationFor(services, exchange);
  return withProgress(
    services.log,
    'reindex',
    (onProgress) => administration.reindex({ acceptDamage, onProgress }),
    NOTHING_YET,
  );
}

async function listTokens(services: Services, { exchange }: RouteRequest): Promise<Reply> {
  const { tokens } = administrationFor(services, exchange);
  const { name, isAdministrator } = actorOf(exchange);
  const sessions = (await tokens.sessions()).filter(({ token }) => isAdministrator || token === name);
  return jsonReply(200, { tokens: await tokens.list(), sessions });
}

async function endSession(
  services: Services,
  { exchange, params: { id = '' } }: RouteRequest,
): Promise<Reply> {
  const number = /^[0-9]{1,15}$/.test(id) ? Number(id) : Number.NaN;
  return jsonReply(200, await administrationFor(services, exchange).tokens.endSession(number));
}

async function createToken(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const wanted = parseBody(tokenRequest, body);
  const { text: token, expiresAt } = await administrationFor(services, exchange).tokens.create(wanted);
  const { name, role, signer } = wanted;
  return jsonReply(201, { name, role, signer, expiresAt, token });
}

async function revokeToken(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).tokens.revoke(params.name ?? ''));
}

const PROGRESS_EVERY_MS = 500;
const NOTHING_YET: TreeCounts = { images: 0, signatures: 0, problems: 0 };

/**
 * Lines `{"progress":…}` while it works or waits for its turn, then one `{"result":…}` or `{"errors":[…]}`: by then the status
 * was sent long ago. The lines come steadily, so that neither the client nor a proxy gives up.
 */
export function withProgress<T, Counts extends object>(
  log: Log,
  route: string,
  work: (onProgress: (counts: Counts) => void) => Promise<T>,
  nothingYet: Counts,
): Reply {
  return jsonLinesReply(linesOf(log, route, work, nothingYet));
}

async function* linesOf<T, Counts extends object>(
  log: Log,
  route: string,
  work: (onProgress: (counts: Counts) => void) => Promise<T>,
  nothingYet: Counts,
): AsyncGenerator<unknown> {
  let latest = nothingYet;
  const done = work((counts) => {
    latest = { ...counts };
  }).then(
    (result) => ({ result }),
    (error: unknown) => {
      // as for answers with a status: a refusal without a cause is the caller's affair
      const isRefusal = isLookasideError(error) && error.cause === undefined;
      if (!isRefusal) log.error({ err: error, route }, 'a request failed after its answer had begun');
      return { errors: [describeError(error)] };
    },
  );
  for (;;) {
    const outcome = await Promise.race([done, tick()]);
    yield outcome ?? { progress: latest };
    if (outcome !== null) return;
  }
}

function tick(): Promise<null> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(null), PROGRESS_EVERY_MS).unref();
  });
}
