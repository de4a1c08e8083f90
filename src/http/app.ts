// The handler of every request, without a listener: guard, target, memory, then Express.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import express, { type Request, type RequestHandler, type Response } from 'express';
import helmet from 'helmet';
import type { Round } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import type { Target } from '../domain/lookaside-path.ts';
import { logAccess } from './access-line.ts';
import { refuseCrossSite } from './cross-site.ts';
import { renderError, renderSignatureError } from './errors.ts';
import { countRequest, type Exchange, isRead, openExchange } from './exchange.ts';
import { createFailureLog, type FailureLog } from './failure-log.ts';
import { refuse } from './guard.ts';
import { answerFromMemory, answerFromStore, type SignatureRequest, signatureAskedFor } from './hot-path.ts';
import { takePeer } from './passed-on.ts';
import { sendReply } from './reply.ts';
import { createRounds } from './rounds.ts';
import { adapt, NO_BODY, type RouteSpec } from './route.ts';
import { accessRules } from './routes/access-rules.ts';
import { administration } from './routes/administration.ts';
import { clientConfig } from './routes/client-config.ts';
import { directory } from './routes/directory.ts';
import { doctor } from './routes/doctor.ts';
import { events } from './routes/feed.ts';
import { healthz, livez, metrics, readyz } from './routes/health.ts';
import { importBatch } from './routes/import.ts';
import { keyLife } from './routes/key-life.ts';
import { keyServer } from './routes/key-server.ts';
import { keys } from './routes/keys.ts';
import { log } from './routes/log.ts';
import { nothing, signature } from './routes/lookaside.ts';
import { mirrors } from './routes/mirrors.ts';
import { pages } from './routes/pages.ts';
import { records } from './routes/records.ts';
import { releaseConfigMap } from './routes/releases.ts';
import { signatures } from './routes/signatures.ts';
import { signers } from './routes/signers.ts';
import { subjects } from './routes/subjects.ts';
import { appendSignature, misplaced, putSignature, uploadBatch } from './routes/uploads.ts';
import { withdrawSignature } from './routes/withdraw.ts';
import { witness } from './routes/witness.ts';
import type { Services } from './services.ts';
import { createSiteTargets } from './targets.ts';

export interface HandlerOptions {
  readonly services: Services;
  /** True on the Unix socket: whoever can open it is the administrator. */
  readonly isLocal: boolean;
  /** True where reader processes alone pass requests on. */
  readonly isForReaders?: boolean;
}

/** The routes with paths of their own. */
export const ROUTES: readonly RouteSpec[] = [
  livez,
  readyz,
  healthz,
  metrics,
  ...administration,
  ...keys,
  ...keyLife,
  ...keyServer,
  ...clientConfig,
  ...signers,
  ...subjects,
  ...accessRules,
  ...signatures,
  doctor,
  ...records,
  ...mirrors,
  events,
  releaseConfigMap,
  uploadBatch,
  importBatch,
  ...log,
  ...witness,
  ...pages,
];
/** The routes of the tree, by the kind of the parsed target. */
export const TREE_ROUTES = {
  signature: [signature, putSignature, withdrawSignature],
  'no-signature': [signature, misplaced],
  'image-page': [directory, appendSignature],
  image: [nothing, appendSignature],
  'folder-page': [directory, misplaced],
  nothing: [nothing, misplaced],
} as const satisfies Readonly<Record<string, readonly [RouteSpec, ...RouteSpec[]]>>;

export function createHandler({ services, isLocal, isForReaders = false }: HandlerOptions): RequestListener {
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  const targetOf = createSiteTargets(services.places, () => (isLocal ? '' : services.settings().prefix));
  const exchangeOf: ExchangeOf = (req) => {
    const exchange = exchanges.get(req);
    if (exchange === undefined) throw new Error('a request reached a route past the handler');
    return exchange;
  };
  const failures = createFailureLog(services.log, services.clock.monotonicMs);
  const { app, treeHandlers } = createApp({ services, isLocal, exchangeOf, failures });

  function sendRefusal(
    req: IncomingMessage,
    res: ServerResponse,
    refusal: LookasideError,
    startedMs: number,
  ) {
    const reply = renderError(refusal);
    countRequest(services, req, { startedMs }, { route: 'refused', status: reply.status });
    sendReply(req, res, reply);
  }

  function handle(req: IncomingMessage, res: ServerResponse): void {
    const startedMs = services.clock.monotonicMs();
    const raw = req.url ?? '/';
    if (isForReaders) takePeer(req);
    if (services.isDraining()) res.setHeader('Connection', 'close');
    const malformed = refuse(req);
    if (malformed !== null) {
      res.setHeader('Connection', 'close'); // a proxy in front may see another request in it, and another one behind it
      sendRefusal(req, res, malformed, startedMs);
      return;
    }
    const exchange = openExchange(services, req, { at: targetOf(raw), isLocal, startedMs });
    if (exchange.requestId !== null) res.setHeader('X-Request-Id', exchange.requestId);
    if (services.settings().accessLog !== 'off') logAccess(services, { req, res, exchange, target: raw });
    // before all routes, so that no route can lack it
    const crossSite = refuseCrossSite(req, services.settings());
    if (crossSite !== null) {
      sendRefusal(req, res, crossSite, startedMs);
      return;
    }
    const target = signatureAskedFor(services, req, exchange);
    if (target === null) {
      passOn(req, res, exchange);
      return;
    }
    const asked = { req, res, exchange, target };
    if (services.reader.isForRound(target.image)) answerInRound(asked);
    else answerRead(asked);
  }

  function answerRead(asked: SignatureRequest, round?: Round): void {
    const { req, res, exchange } = asked;
    if (answerFromMemory(services, asked, round)) return;
    answerFromStore(services, asked)
      .then((isAnswered) => isAnswered || passOn(req, res, exchange))
      .catch((error: unknown) => breakOff(req, res, error));
  }

  const answerInRound = createRounds<SignatureRequest>((asked, round) => {
    try {
      answerRead(asked, round);
    } catch (error) {
      breakOff(asked.req, asked.res, error);
    }
  });

  function passOn(req: IncomingMessage, res: ServerResponse, exchange: Exchange): void {
    exchanges.set(req, exchange);
    const raw = req.url ?? '/';
    const resource = isRead(req) ? null : resourceOf(exchange.target, req);
    if (resource !== null) {
      // a write: its target has chosen the route, which Express would only do once more
      const asked = Object.assign(req, { originalUrl: raw, params: {} }) as Request;
      void answerWrite(treeHandlers[resource], asked, res);
      return;
    }
    const query = raw.indexOf('?');
    const path = exchange.target.kind === 'own' ? encodeURI(exchange.target.path) : '/';
    // Express takes the first address that it is given for the original one
    Object.assign(req, { originalUrl: raw, url: query === -1 ? path : path + raw.slice(query) });
    app(req, res);
  }

  /** adapt() asks only `originalUrl` and `params` of what Express adds to a request. */
  async function answerWrite(handler: RequestHandler, req: Request, res: ServerResponse): Promise<void> {
    try {
      await handler(req, res as Response, unasked);
    } catch (error) {
      breakOff(req, res, error);
    }
  }

  /** One request must not take the others down. */
  function breakOff(req: IncomingMessage, res: ServerResponse, error: unknown): void {
    failures.broke(error, 'none', 'requests failed ahead of their route');
    sendReply(req, res, renderSignatureError(error));
  }

  return (req, res) => {
    try {
      handle(req, res);
    } catch (error) {
      breakOff(req, res, error);
    }
  };
}

type ExchangeOf = (req: IncomingMessage) => Exchange;

interface AppParts extends HandlerOptions {
  readonly exchangeOf: ExchangeOf;
  readonly failures: FailureLog;
}

function unasked(): never {
  throw new Error('a route of the tree passed a request on');
}

type TreeHandlers = Readonly<Record<keyof typeof TREE_ROUTES, RequestHandler>>;

interface App {
  readonly app: express.Express;
  readonly treeHandlers: TreeHandlers;
}

function createApp({ services, isLocal, exchangeOf, failures }: AppParts): App {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.enable('strict routing');
  app.enable('case sensitive routing');

  const { bodies, localBodies, parseForm, wrongTokens, refusedUploads } = services.intake;
  const options = {
    services,
    exchangeOf,
    failures,
    bodies: isLocal ? localBodies : bodies,
    parseForm,
    wrongTokens,
    refusedUploads,
  };
  const treeHandlers = Object.fromEntries(
    Object.entries(TREE_ROUTES).map(([resource, specs]) => [resource, adapt(specs, options)]),
  ) as TreeHandlers; // one entry for each
  app.use((req, res, next) => {
    const resource = resourceOf(exchangeOf(req).target, req);
    if (resource === null) next();
    else treeHandlers[resource](req, res, next);
  });
  app.use(
    helmet({
      contentSecurityPolicy: { directives: { defaultSrc: ["'none'"] }, useDefaults: false },
      strictTransportSecurity: false, // the operator decides whether this host and its neighbours are https only
    }),
  );
  for (const [path, specs] of byPath(ROUTES)) app.all(path, adapt(specs, options));
  app.use(adapt([unknownRoute], options));
  return { app, treeHandlers };
}

/** Null for the server's own routes, which have paths of their own. */
function resourceOf(target: Target, req: IncomingMessage): keyof typeof TREE_ROUTES | null {
  switch (target.kind) {
    case 'signature':
      return target.number === null ? 'no-signature' : 'signature';
    case 'own':
      return target.image !== null && req.method === 'POST' ? 'image' : null;
    default:
      return target.kind;
  }
}

function byPath(specs: readonly RouteSpec[]): ReadonlyMap<string, [RouteSpec, ...RouteSpec[]]> {
  const routesByPath = new Map<string, [RouteSpec, ...RouteSpec[]]>();
  for (const spec of specs) {
    if (spec.path === null) continue;
    const others = routesByPath.get(spec.path);
    if (others === undefined) routesByPath.set(spec.path, [spec]);
    else others.push(spec);
  }
  return routesByPath;
}

const unknownRoute: RouteSpec = {
  ...NO_BODY,
  name: 'unknown',
  path: null,
  methods: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS'],
  roles: 'open',
  route: async (_, { exchange }) => {
    const path = exchange.target.kind === 'own' ? exchange.target.path : '';
    throw new LookasideError('NOT_FOUND', `${path} is not a page of this server`);
  },
};
