// A route as data: who may call it, with what, how much and how long; adapt() enforces that and writes the answer.
import type { IncomingMessage } from 'node:http';
import type { Request, RequestHandler } from 'express';
import { z } from 'zod';
import { LookasideError } from '../domain/errors.ts';
import type { Role } from '../domain/ports.ts';
import { requireRole } from './client.ts';
import { renderError } from './errors.ts';
import { type Exchange, requireMethod, requireReader } from './exchange.ts';
import type { TellFailure } from './failure-log.ts';
import { type Reply, writeReply } from './reply.ts';
import type { Services } from './services.ts';

export interface RouteRequest {
  readonly req: IncomingMessage;
  readonly exchange: Exchange;
  readonly query: URLSearchParams;
  readonly params: Readonly<Record<string, string>>;
  /** Parsed JSON; null when the route takes no body or none was sent. */
  readonly body: unknown;
  /** Of a `bytes` body; empty when none was sent. */
  readonly bytes: Uint8Array;
}

export type Route = (services: Services, request: RouteRequest) => Promise<Reply>;

export interface RouteSpec {
  /** The label in metrics. */
  readonly name: string;
  /** For Express; null for routes that are chosen by the parsed target. */
  readonly path: string | null;
  readonly methods: readonly string[];
  /** `open`: anyone. `reader`: anyone, on a closed site any token. Else a token of one of these roles. */
  readonly roles: 'open' | 'reader' | readonly Role[];
  /** `json` when left out. */
  readonly body?: 'none' | 'json' | 'bytes';
  /** 0: the route takes no body. */
  readonly bodyBytes: number;
  readonly bodyMs: number;
  readonly route: Route;
  /** How a failure is told; JSON unless the route's clients know better. */
  readonly renderError?: (error: unknown) => Reply;
}

export const NO_BODY = { body: 'none', bodyBytes: 0, bodyMs: 0 } as const;

export interface AdaptOptions {
  readonly services: Services;
  readonly exchangeOf: (req: IncomingMessage) => Exchange;
  readonly tellFailure: TellFailure;
}

/** The Express handler of a route. */
export function adapt(spec: RouteSpec, { services, exchangeOf, tellFailure }: AdaptOptions): RequestHandler {
  const render = spec.renderError ?? renderError;

  async function answer(req: Request): Promise<Reply> {
    try {
      const exchange = exchangeOf(req);
      requireMethod(req, spec.methods);
      authorize(services, spec, exchange);
      const query = new URLSearchParams(req.originalUrl.split('?', 2)[1] ?? '');
      const bytes = spec.bodyBytes === 0 ? Buffer.alloc(0) : await readBody(req, spec);
      const body = spec.body === 'bytes' ? null : parseJson(bytes);
      const params = parseParams(req.params);
      return await spec.route(services, { req, exchange, query, params, body, bytes });
    } catch (error) {
      tellFailure(error, spec.name);
      const reply =
        error instanceof LookasideError && error.code === 'METHOD_NOT_ALLOWED'
          ? renderError(error)
          : render(error);
      return reply.status === 405
        ? { ...reply, headers: { ...reply.headers, Allow: spec.methods.join(', ') } }
        : reply;
    }
  }

  return async (req, res) => {
    const reply = await answer(req);
    services.metrics.request(spec.name, req.method, reply.status);
    try {
      await writeReply(req, res, reply);
    } catch (error) {
      // the answer is under way: all that is left is to cut it short, so that nobody takes it for whole
      services.log.warn({ err: error, route: spec.name }, 'an answer was cut short');
      res.destroy();
    }
  };
}

function authorize(services: Services, { roles }: RouteSpec, { caller }: Exchange): void {
  if (roles === 'open') return;
  if (roles === 'reader') requireReader(services, caller);
  else requireRole(caller, roles);
}

const params = z.record(z.string(), z.string());

function parseParams(raw: unknown): Readonly<Record<string, string>> {
  return params.parse(raw);
}

async function readBody(req: IncomingMessage, { bodyBytes, bodyMs }: RouteSpec): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const deadline = setTimeout(() => req.destroy(), bodyMs);
  try {
    for await (const chunk of req) {
      length += chunk.length;
      if (length > bodyBytes) {
        throw new LookasideError('TOO_LARGE', `the body is over ${bodyBytes} bytes; send less`);
      }
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(deadline);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) return null;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new LookasideError('REQUEST_INVALID', 'the body is no JSON; send a JSON object');
  }
}
