// What the CLI asks of a running server, and an administrator's token may too.
import { z } from 'zod';
import { isLookasideError, LookasideError } from '../../domain/errors.ts';
import { ROLES, type Token } from '../../domain/ports.ts';
import type { OnProgress, TreeCounts } from '../../service/upkeep.ts';
import { actorOf } from '../exchange.ts';
import { jsonLinesReply, jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const administrator = { roles: ['admin'], body: 'json', bodyMs: 5000 } as const;
/** What is in force here is no secret to those who hold a token. */
const anyToken = { ...NO_BODY, roles: ROLES, methods: ['GET', 'HEAD'] } as const;

export const administration: readonly RouteSpec[] = [
  { ...anyToken, name: 'server', path: '/api/v1/server', route: showServer },
  { ...administrator, name: 'fsck', path: '/api/v1/fsck', methods: ['POST'], bodyBytes: 1024, route: fsck },
  {
    ...administrator,
    name: 'reindex',
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
];

async function showServer({ about }: Services): Promise<Reply> {
  return jsonReply(200, about);
}

const fsckRequest = z.strictObject({ repair: z.boolean() });
const reindexRequest = z.strictObject({ acceptDamage: z.boolean() });
const tokenRequest = z.strictObject({ name: z.string(), role: z.enum(ROLES) });

async function fsck({ upkeep }: Services, { body }: RouteRequest): Promise<Reply> {
  const { repair } = parse(fsckRequest, body);
  return jsonLinesReply(withProgress((onProgress) => upkeep.fsck({ repair, onProgress })));
}

async function reindex({ upkeep }: Services, { body }: RouteRequest): Promise<Reply> {
  const { acceptDamage } = parse(reindexRequest, body);
  return jsonLinesReply(withProgress((onProgress) => upkeep.reindex({ acceptDamage, onProgress })));
}

async function listTokens({ tokens }: Services): Promise<Reply> {
  return jsonReply(200, { tokens: (await tokens.list()).map(shownToken) });
}

async function createToken(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const { name, role } = parse(tokenRequest, body);
  const token = await services.tokens.create(name, role, actorOf(exchange));
  return jsonReply(201, { name, role, token });
}

async function revokeToken(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, shownToken(await services.tokens.revoke(params.name ?? '', actorOf(exchange))));
}

function shownToken({ name, role, createdAt, revokedAt }: Token) {
  return { name, role, createdAt, revokedAt };
}

const PROGRESS_EVERY_MS = 500;

/** Lines `{"progress":…}` while it works, then one `{"result":…}` or `{"errors":[…]}`: the status is long sent. */
async function* withProgress<T>(work: (onProgress: OnProgress) => Promise<T>): AsyncGenerator<unknown> {
  let latest: TreeCounts | null = null;
  const done = work((counts) => {
    latest = { ...counts };
  }).then(
    (result) => ({ result }),
    (error: unknown) => ({ errors: [shownError(error)] }),
  );
  for (;;) {
    const outcome = await Promise.race([done, tick()]);
    if (outcome !== null) {
      yield outcome;
      return;
    }
    if (latest !== null) yield { progress: latest };
  }
}

function tick(): Promise<null> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(null), PROGRESS_EVERY_MS).unref();
  });
}

function shownError(error: unknown) {
  if (isLookasideError(error)) return { code: error.code, message: error.message };
  return { code: 'INTERNAL', message: 'the server failed at this; its log says why' };
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const wanted = result.error.issues
    .map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`)
    .join('; ');
  throw new LookasideError('REQUEST_INVALID', wanted);
}
