// GET /api/v1/events: audit events as JSON Lines and as server-sent events.
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { LookasideError } from '../../domain/errors.ts';
import type { FedEvent } from '../../domain/records.ts';
import { escapeJson, quoted } from '../../domain/text.ts';
import { sentToken } from '../client.ts';
import { actorOf } from '../exchange.ts';
import { expected, parseQuery } from '../parameters.ts';
import type { Reply } from '../reply.ts';
import type { RouteRequest, RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { AUDITORS } from './records.ts';

export const events: RouteSpec = { ...AUDITORS, name: 'events', path: '/api/v1/events', route: feed };

const parameters = z.strictObject({
  after: z.string().optional(),
  follow: z.enum(['1'], expected('1')).optional(),
});

async function feed(services: Services, { req, exchange, query }: RouteRequest): Promise<Reply> {
  const { after = '0', follow } = parseQuery(parameters, query);
  const isStream = /\btext\/event-stream\b/.test(req.headers.accept ?? '');
  // what a client of server-sent events says when it comes back wins over where it once began
  const lastId = isStream ? req.headers['last-event-id'] : undefined;
  const wanted = {
    after: parseSeq(typeof lastId === 'string' && lastId !== '' ? lastId : after),
    isFollowed: isStream || follow !== undefined,
    actor: actorOf(exchange),
    isWanted: () => !services.isDraining() && isStillAllowed(services, req, exchange.caller.kind === 'token'),
  };
  await requireEvent(services, wanted.after);
  const pages = services.feed.events(wanted);
  return {
    status: 200,
    headers: {
      'Content-Type': isStream ? 'text/event-stream' : 'application/jsonl',
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no', // else nginx keeps lines back until it has a page of them
    },
    body: isStream ? asStream(pages) : asLines(pages),
  };
}

/** @throws LookasideError REQUEST_INVALID */
function parseSeq(text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new LookasideError(
    'REQUEST_INVALID',
    `after is ${quoted(text)}, expected the number of the last event that you have, or 0`,
  );
}

/**
 * Else the feed stays empty until the log has grown past that number, and the reader misses what came meanwhile.
 * @throws LookasideError REQUEST_INVALID
 */
async function requireEvent({ feed }: Services, after: number): Promise<void> {
  if (after === 0 || (await feed.has(after))) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `after is ${after}, and the log has no event of that number: it may have been set back to an older state. lookaside audit verify checks the log; to read on, begin again with after=0 or the last number that fits`,
  );
}

/** A feed lasts for days, in which its token may be revoked or expire. */
function isStillAllowed({ tokens }: Services, req: IncomingMessage, isByToken: boolean): boolean {
  const text = sentToken(req);
  if (!isByToken || text === null) return !isByToken;
  const known = tokens.peek(text);
  return (
    known !== null &&
    known.state === 'valid' &&
    (AUDITORS.roles as readonly string[]).includes(known.token.role)
  );
}

type Pages = AsyncGenerator<readonly FedEvent[] | null>;

async function* asLines(pages: Pages): AsyncGenerator<string> {
  for await (const page of pages) yield page === null ? '\n' : page.map((one) => `${json(one)}\n`).join('');
}

async function* asStream(pages: Pages): AsyncGenerator<string> {
  yield ': the feed begins\n\n'; // else a proxy or a client may wait for the first bytes
  for await (const page of pages) {
    yield page === null
      ? ': nothing new\n\n'
      : page.map((one) => `id: ${one.seq}\nevent: audit\ndata: ${json(one)}\n\n`).join('');
  }
}

function json(event: FedEvent): string {
  return escapeJson(JSON.stringify(event));
}
