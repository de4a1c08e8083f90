// A route as data: who may call it, with what, how much and how long; adapt() enforces that and writes the answer.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Request, RequestHandler, Response } from 'express';
import { z } from 'zod';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { ENDLESS, type Patience } from '../domain/patience.ts';
import type { Role } from '../domain/ports.ts';
import type { BatchPart } from '../domain/receipt.ts';
import { quoted } from '../domain/text.ts';
import { announcedLength, type BodyReader, ClientGone, joinPieces } from './body.ts';
import { streamBody } from './body-stream.ts';
import { requireRole, type WorthlessToken } from './client.ts';
import { renderError } from './errors.ts';
import { countRequest, type Exchange, holderOf, identifyAgain, isRead, requireReader } from './exchange.ts';
import type { FailureLog } from './failure-log.ts';
import { type ParseForm, requireForm } from './form.ts';
import type { RefusedUploads } from './refused-uploads.ts';
import { CLIENT_GONE_STATUS, endLate, isWhole, type Reply, writeReply } from './reply.ts';
import type { HttpSettings, Services } from './services.ts';
import type { WrongTokens } from './wrong-tokens.ts';

export interface RouteRequest {
  readonly req: IncomingMessage;
  readonly exchange: Exchange;
  readonly patience: Patience;
  readonly query: URLSearchParams;
  readonly params: Readonly<Record<string, string>>;
  /** A `json` body (application/json), parsed; null when none was sent. */
  readonly body: unknown;
  /** A `bytes` body; empty when none was sent. */
  readonly bytes: Uint8Array;
  /** All parts of a `multipart` body, at least one. */
  readonly parts: readonly BatchPart[];
  /** The pieces of a `stream` body as they come, to be iterated once. Empty for every other body. */
  readonly stream: AsyncIterable<Uint8Array>;
}

export type Route = (services: Services, request: RouteRequest) => Promise<Reply>;

export interface RouteSpec {
  /** The label in metrics. */
  readonly name: string;
  /** For Express; null for routes that are chosen by the parsed target. */
  readonly path: string | null;
  readonly methods: readonly string[];
  /** The methods that a refusal names instead of the sent one. Default `methods`. */
  readonly allow?: readonly string[];
  /** `open`: anyone. `reader`: anyone; on a closed site, any token. A list: a token of one of these roles. */
  readonly roles: 'open' | 'reader' | readonly Role[];
  readonly body: 'none' | 'json' | 'bytes' | 'multipart' | 'stream';
  /** The largest body. */
  readonly bodyBytes: number | ((settings: HttpSettings) => number);
  /** The most time from the request's head to the last byte of its body. */
  readonly bodyMs: number;
  /** A caller with too many refused uploads is told to slow down before the body is read. */
  readonly isUpload?: true;
  /**
   * `long`: it works, asks others or waits for news for longer than a request may wait for the store alone. `own`: it asks the
   * request's patience by itself.
   */
  readonly waits?: 'long' | 'own';
  /** What else must be so before the body is read. */
  readonly admit?: (services: Services, request: Pick<RouteRequest, 'req' | 'exchange'>) => Promise<void>;
  readonly route: Route;
  /** How a failure is written. Default JSON; the clients of some routes need another form. */
  readonly renderError?: (error: unknown) => Reply;
}

export const NO_BODY = { body: 'none', bodyBytes: 0, bodyMs: 0 } as const;

export interface AdaptOptions {
  readonly services: Services;
  readonly exchangeOf: (req: IncomingMessage) => Exchange;
  readonly failures: FailureLog;
  readonly bodies: BodyReader;
  readonly parseForm: ParseForm;
  readonly wrongTokens: WrongTokens;
  readonly refusedUploads: RefusedUploads;
}

/** The Express handler of one path: the first of `specs` that takes the method answers. */
export function adapt(specs: readonly [RouteSpec, ...RouteSpec[]], options: AdaptOptions): RequestHandler {
  const { services, failures } = options;
  const allowed = [...new Set(specs.flatMap(({ methods, allow = methods }) => allow))];

  /** Null when the client is gone. */
  async function answer(req: Request, res: Response, spec: RouteSpec): Promise<Reply | null> {
    try {
      return await take({ req, res, spec, allowed }, options);
    } catch (error) {
      if (error instanceof ClientGone) return null;
      failures.failed(error, spec.name);
      if (isLookasideError(error, 'METHOD_NOT_ALLOWED')) return notAllowed(error, allowed);
      return (spec.renderError ?? renderError)(error);
    }
  }

  return async (req, res) => {
    const spec = specs.find(({ methods }) => methods.includes(req.method)) ?? specs[0];
    const reply = await answer(req, res, spec);
    const status = reply?.status ?? CLIENT_GONE_STATUS;
    countRequest(services, req, options.exchangeOf(req), { route: spec.name, status });
    // what is acknowledged here is seen on every connection from then on
    if (!isRead(req)) await services.untilSeen();
    try {
      if (reply !== null && services.isDraining()) endConnection(res, reply);
      if (reply === null) res.destroy();
      else await writeReply(req, res, isRead(req) ? reply : seenByPiece(reply, services));
    } catch (error) {
      // the answer has begun: it can only be cut short, so that nobody takes it for whole
      if (!(error instanceof ClientGone)) failures.broke(error, spec.name, 'answers were cut short');
      res.destroy();
    }
  };
}

/**
 * For a request that came before the stop: the connection would hold the stop up for as long as it is kept. Not for a stream: some clients
 * take one that is cut short for whole if its connection was to end.
 */
function endConnection(res: Response, { body }: Reply): void {
  if (body === null || isWhole(body)) res.setHeader('Connection', 'close');
}

/** A stream is waited for piece by piece; one whose first piece does not come has not begun, so that its client is told why. */
async function piecewise(answering: Promise<Reply>, patience: Patience): Promise<Reply> {
  const reply = await patience.waitLong(answering).catch((error: unknown) => {
    endLate(answering);
    throw error;
  });
  const { body } = reply;
  if (body === null || isWhole(body)) return reply;
  const pieces = body[Symbol.asyncIterator]();
  const first = await nextPiece(pieces, patience);
  return { ...reply, body: first.done === true ? '' : piecesFrom(first.value, pieces, patience) };
}

async function nextPiece<Piece>(pieces: AsyncIterator<Piece>, patience: Patience) {
  try {
    return await patience.waitLong(pieces.next());
  } catch (error) {
    // it ends after what it waits for, which nobody else does
    pieces.return?.().catch(() => undefined);
    throw error;
  }
}

async function* piecesFrom<Piece>(first: Piece, pieces: AsyncIterator<Piece>, patience: Patience) {
  let isWaiting = false;
  try {
    yield first;
    for (;;) {
      isWaiting = true;
      const next = await nextPiece(pieces, patience);
      isWaiting = false;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    if (!isWaiting) await pieces.return?.();
  }
}

/** What a piece of an answer says has been done is seen on every connection, as it is with whole answers. */
function seenByPiece(reply: Reply, { untilSeen }: Pick<Services, 'untilSeen'>): Reply {
  const { body } = reply;
  return body === null || isWhole(body) ? reply : { ...reply, body: onceSeen(body, untilSeen) };
}

async function* onceSeen(pieces: AsyncIterable<Uint8Array | string>, untilSeen: Services['untilSeen']) {
  for await (const piece of pieces) {
    await untilSeen();
    yield piece;
  }
}

/** All behind the first `?`: a value may have others. */
function queryOf(target: string): URLSearchParams {
  const at = target.indexOf('?');
  return new URLSearchParams(at === -1 ? '' : target.slice(at + 1));
}

interface Taken {
  readonly req: Request;
  readonly res: Response;
  readonly spec: RouteSpec;
  readonly allowed: readonly string[];
}

async function take({ req, res, spec, allowed }: Taken, options: AdaptOptions): Promise<Reply> {
  const { services, exchangeOf, wrongTokens, refusedUploads } = options;
  const exchange = exchangeOf(req);
  requireMethod(req, spec, allowed);
  const patience = services.patience?.() ?? ENDLESS;
  if (needsToken(services, spec))
    exchange.caller = await identifyAgain(services, req, { caller: exchange.caller, patience });
  if (isRefusedWrite(req, spec, exchange)) noteWrong(wrongTokens, exchange);
  authorize(services, spec, exchange);
  if (spec.isUpload === true) refusedUploads.check(exchange.caller);
  if (spec.admit !== undefined) await patience.wait(spec.admit(services, { req, exchange }));
  const query = queryOf(req.originalUrl);
  const request = { req, exchange, patience, query, params: parseParams(req.params), ...NO_CONTENT };
  return withContent({ req, res, spec, exchange }, options, (content) => {
    const answering = spec.route(services, { ...request, ...content });
    // each upload has a time of its own, which its answer tells
    if (spec.waits === 'own' || spec.isUpload === true) return answering;
    if (spec.waits !== 'long') return patience.wait(answering);
    return services.patience === undefined ? answering : piecewise(answering, patience);
  });
}

type Content = Pick<RouteRequest, 'body' | 'bytes' | 'parts' | 'stream'>;

const NOTHING: AsyncIterable<Uint8Array> = { async *[Symbol.asyncIterator]() {} };

const NO_CONTENT: Content = { body: null, bytes: new Uint8Array(0), parts: [], stream: NOTHING };

/** What `act` returns for the request's body, which is read as the route wants it. */
async function withContent(
  { req, res, spec, exchange }: Omit<Taken, 'allowed'> & Pick<RouteRequest, 'exchange'>,
  { services, bodies, parseForm }: AdaptOptions,
  act: (content: Partial<Content>) => Promise<Reply>,
): Promise<Reply> {
  const { bodyBytes, bodyMs } = spec;
  const maxBytes = typeof bodyBytes === 'number' ? bodyBytes : bodyBytes(services.settings());
  const holder = holderOf(exchange);
  const limits = { req, res: res as ServerResponse, maxBytes, maxMs: bodyMs, holder };
  switch (spec.body) {
    case 'none':
      return act({});
    case 'json':
      requireJson(req);
      return bodies.read(limits, async (pieces) => act({ body: parseJson(joinPieces(pieces)) }));
    case 'bytes':
      return bodies.read(limits, (pieces) => act({ bytes: joinPieces(pieces) }));
    case 'stream':
      return act({ stream: streamBody(limits) });
    case 'multipart': {
      const boundary = requireForm(req.headers['content-type']);
      return bodies.read(limits, async (pieces) =>
        act({ parts: await parseForm({ req, res, boundary, pieces }) }),
      );
    }
  }
}

function requireMethod({ method }: IncomingMessage, spec: RouteSpec, allowed: readonly string[]): void {
  if (method !== undefined && spec.methods.includes(method)) return;
  throw new LookasideError(
    'METHOD_NOT_ALLOWED',
    `${method} is not possible here; wanted ${allowed.join(' or ')}`,
  );
}

function notAllowed(error: LookasideError, allowed: readonly string[]): Reply {
  const reply = renderError(error);
  return { ...reply, headers: { ...reply.headers, Allow: allowed.join(', ') } };
}

function isRefusedWrite(req: IncomingMessage, { roles }: RouteSpec, { caller }: Exchange): boolean {
  return !isRead(req) && roles !== 'open' && caller.kind === 'anonymous';
}

/** @throws LookasideError SLOW_DOWN */
function noteWrong(wrongTokens: WrongTokens, { caller, address }: Exchange): void {
  if (caller.kind !== 'anonymous') return;
  if (isGuess(caller.sent)) wrongTokens.note(address);
  const signer = endedSigner(caller.sent);
  if (signer !== null) wrongTokens.noteEnded(signer);
}

/** The signer of a token that has ended; null for one that no signer is known of. */
function endedSigner(sent: WorthlessToken | null): string | null {
  if (sent?.kind === 'expired' || sent?.kind === 'disabled') return sent.token.signer;
  const signer = sent?.kind === 'refused' ? sent.error.detail?.signer : null;
  return typeof signer === 'string' ? signer : null;
}

/** An expired token is not a guess: its holder is told that it expired, however often it is sent. */
function isGuess(sent: WorthlessToken | null): boolean {
  if (sent?.kind !== 'refused') return sent?.kind === 'unknown';
  return sent.error.code === 'UNAUTHORIZED' && sent.error.detail?.isExpired !== true;
}

/** A read of an open site must not depend on the tokens' store. */
function needsToken(services: Services, { roles }: RouteSpec): boolean {
  return roles === 'reader' ? services.settings().read === 'token' : roles !== 'open';
}

function authorize(services: Services, { roles }: RouteSpec, { caller }: Exchange): void {
  if (roles === 'open') return;
  if (roles === 'reader') requireReader(services, withoutOutage(caller));
  else requireRole(caller, roles);
}

/** An issuer that is away must not look like a store that failed to whoever reads: to them its tokens are worth nothing. */
function withoutOutage(caller: Exchange['caller']): Exchange['caller'] {
  const isOutage =
    caller.kind === 'anonymous' &&
    caller.sent?.kind === 'refused' &&
    caller.sent.error.code === 'ISSUER_UNAVAILABLE';
  return isOutage ? { kind: 'anonymous', sent: { kind: 'unknown' } } : caller;
}

// Express gives a wildcard's segments one by one
const params = z.record(
  z.string(),
  z.union([z.string(), z.array(z.string()).transform((segments) => segments.join('/'))]),
);

function parseParams(raw: unknown): Readonly<Record<string, string>> {
  return params.parse(raw);
}

/**
 * A form on another site can send JSON as text/plain, but not as application/json.
 * @throws LookasideError CONTENT_TYPE_UNSUPPORTED
 */
function requireJson(req: IncomingMessage): void {
  const type = req.headers['content-type'];
  if (type === undefined ? announcedLength(req) === 0 : /^application\/json\s*(?:;|$)/i.test(type)) return;
  throw new LookasideError(
    'CONTENT_TYPE_UNSUPPORTED',
    `the body is ${type === undefined ? 'of no type' : quoted(type)}; wanted JSON that says so: send the header Content-Type: application/json`,
  );
}

function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) return null;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new LookasideError('REQUEST_INVALID', 'the body is not JSON; send a JSON object');
  }
}
