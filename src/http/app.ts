// The handler of every request, without a listener: guard, target, memory, then Express.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import express from 'express';
import helmet from 'helmet';
import { LookasideError } from '../domain/errors.ts';
import { parseTarget, type Target } from '../domain/lookaside-path.ts';
import { createLru } from '../domain/lru.ts';
import { formatAccessLine } from './access-line.ts';
import { renderError, renderSignatureError } from './errors.ts';
import { type Exchange, openExchange } from './exchange.ts';
import { createFailureLog } from './failure-log.ts';
import { refuse } from './guard.ts';
import { answerFromMemory } from './hot-path.ts';
import { announcedBytes, sendReply } from './reply.ts';
import { adapt, type RouteSpec } from './route.ts';
import { administration } from './routes/administration.ts';
import { directory } from './routes/directory.ts';
import { healthz, livez, metrics, readyz } from './routes/health.ts';
import { nothing, signature } from './routes/lookaside.ts';
import { signatures } from './routes/signatures.ts';
import type { Services } from './services.ts';

export interface HandlerOptions {
  readonly services: Services;
  /** True on the Unix socket: whoever can open it is the administrator. */
  readonly isLocal: boolean;
}

const ROUTES: readonly RouteSpec[] = [livez, readyz, healthz, metrics, ...administration, ...signatures];
const TARGET_CACHE_BYTES = 16 * 1024 * 1024;
const TARGET_OVERHEAD_BYTES = 300;

export function createHandler({ services, isLocal }: HandlerOptions): RequestListener {
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  // a pure function of the raw target and the prefix, which stays for the process' life
  const targets = createLru<string, Target>(
    TARGET_CACHE_BYTES,
    (_, raw) => raw.length + TARGET_OVERHEAD_BYTES,
  );
  const app = createApp(services, (req) => {
    const exchange = exchanges.get(req);
    if (exchange === undefined) throw new Error('a request reached a route past the handler');
    return exchange;
  });

  function targetOf(raw: string): Target {
    const known = targets.get(raw);
    if (known !== undefined) return known;
    const target = parseTarget(services.site, isLocal ? '' : services.settings().prefix, raw);
    targets.set(raw, target);
    return target;
  }

  function handle(req: IncomingMessage, res: ServerResponse): void {
    const raw = req.url ?? '/';
    if (services.isDraining()) res.setHeader('Connection', 'close');
    const refusal = refuse(req);
    if (refusal !== null) {
      const reply = renderError(refusal);
      services.metrics.request('refused', req.method, reply.status);
      sendReply(req, res, reply);
      return;
    }
    const exchange = openExchange(services, req, targetOf(raw), isLocal);
    if (services.settings().accessLog !== 'off') logAccess(services, req, res, exchange, raw);
    if (answerFromMemory(services, req, res, exchange)) return;
    exchanges.set(req, exchange);
    const query = raw.indexOf('?');
    const path = exchange.target.kind === 'own' ? encodeURI(exchange.target.path) : '/';
    req.url = query === -1 ? path : path + raw.slice(query);
    app(req, res);
  }

  return (req, res) => {
    try {
      handle(req, res);
    } catch (error) {
      // one request must not take the others down
      services.log.error({ err: error }, 'a request failed ahead of its route');
      sendReply(req, res, renderSignatureError(error));
    }
  };
}

type ExchangeOf = (req: IncomingMessage) => Exchange;

function createApp(services: Services, exchangeOf: ExchangeOf): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.enable('strict routing');
  app.enable('case sensitive routing');

  const options = {
    services,
    exchangeOf,
    tellFailure: createFailureLog(services.log, () => performance.now()),
  };
  const byTarget = {
    signature: adapt(signature, options),
    'image-page': adapt(directory, options),
    'folder-page': adapt(directory, options),
    nothing: adapt(nothing, options),
  };
  app.use((req, res, next) => {
    const { kind } = exchangeOf(req).target;
    if (kind === 'own') next();
    else byTarget[kind](req, res, next);
  });
  app.use(
    helmet({
      contentSecurityPolicy: { directives: { defaultSrc: ["'none'"] }, useDefaults: false },
      strictTransportSecurity: false, // whether this host and its neighbours are https only is the operator's to say
    }),
  );
  for (const spec of ROUTES) {
    if (spec.path !== null) app.all(spec.path, adapt(spec, options));
  }
  app.use(adapt(unknownRoute, options));
  return app;
}

const unknownRoute: RouteSpec = {
  name: 'unknown',
  path: null,
  methods: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS'],
  roles: 'open',
  bodyBytes: 0,
  bodyMs: 0,
  route: async (_, { exchange }) => {
    const path = exchange.target.kind === 'own' ? exchange.target.path : '';
    throw new LookasideError('NOT_FOUND', `${path} is not a page of this server`);
  },
};

function logAccess(
  services: Services,
  req: IncomingMessage,
  res: ServerResponse,
  exchange: Exchange,
  target: string,
) {
  const at = new Date();
  const startedMs = performance.now();
  res.once('close', () => {
    const { accessLog } = services.settings();
    if (accessLog === 'off') return;
    const line = formatAccessLine(accessLog, {
      req,
      target,
      at,
      address: exchange.address,
      token: exchange.caller.kind === 'token' ? exchange.caller.token.name : null,
      status: res.statusCode,
      bytes: req.method === 'HEAD' ? 0 : announcedBytes(res),
      durationMs: Math.round((performance.now() - startedMs) * 10) / 10,
    });
    services.writeAccessLine(line);
  });
}
