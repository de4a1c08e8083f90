// The web pages: what src/ui needs to know of a request, and its answer. What they say is no business of this folder.
import type { IncomingMessage } from 'node:http';
import { LookasideError } from '../../domain/errors.ts';
import { MAX_BATCH_BYTES, MAX_CERTIFICATES_BYTES } from '../../domain/limits.ts';
import type { PageSession, Role } from '../../domain/ports.ts';
import { showSession } from '../../domain/session.ts';
import { LOG_IN_COOKIE, type PageRequest, SESSION_COOKIE, type Viewer } from '../../domain/web-page.ts';
import { forwarded, isEncrypted } from '../client.ts';
import { compressed } from '../compressed.ts';
import { describeError, statusOf } from '../errors.ts';
import { endLate, type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { uploadParts } from './uploads.ts';

/** The largest body of a form without files. */
const FORM_BYTES = 64 * 1024;
/** The largest body of the log-in, which anybody may send. */
const LOG_IN_BYTES = 4096;

const read = { ...NO_BODY, name: 'ui', waits: 'own', methods: ['GET', 'HEAD'], roles: 'open' } as const;
/** Who may send it is for the page to say. */
const form = {
  name: 'ui',
  waits: 'own',
  methods: ['POST'],
  roles: 'open',
  body: 'bytes',
  bodyBytes: FORM_BYTES,
  bodyMs: 10_000,
  renderError: renderRefusal,
} as const;
/** A form with files. Only people who are logged in with the role that `admit` wants may send its body. */
const files = { ...form, body: 'multipart', bodyMs: 25_000 } as const;
export const pages: readonly RouteSpec[] = [
  { ...read, path: '/ui', route: toFirstPage },
  { ...read, path: '/ui/', route: servePage },
  { ...read, path: '/ui/log-in', route: servePage },
  { ...form, path: '/ui/log-in', bodyBytes: LOG_IN_BYTES, route: servePage },
  { ...read, path: '/ui/upload', route: servePage },
  { ...files, path: '/ui/upload', bodyBytes: MAX_BATCH_BYTES, admit: admitUpload, route: servePage },
  { ...read, path: '/ui/keys/add-file', route: servePage },
  {
    ...files,
    path: '/ui/keys/add-file',
    bodyBytes: MAX_CERTIFICATES_BYTES,
    admit: admitKeys,
    route: servePage,
  },
  { ...read, path: '/ui/*page', route: servePage },
  { ...form, path: '/ui/*page', route: servePage },
];

type Admitted = Pick<RouteRequest, 'req' | 'exchange'>;

async function admitUpload(services: Services, admitted: Admitted): Promise<void> {
  await requireSession(services, admitted, ['admin', 'uploader']);
  services.intake.refusedUploads.check(admitted.exchange.caller);
}

async function admitKeys(services: Services, admitted: Admitted): Promise<void> {
  await requireSession(services, admitted, ['admin']);
}

/** @throws LookasideError UNAUTHORIZED, DENIED */
async function requireSession(services: Services, { req, exchange }: Admitted, roles: readonly Role[]) {
  const cookie = cookieOf(req, SESSION_COOKIE);
  const session = cookie === null ? null : await services.sessions.find(cookie);
  if (session === null) {
    const message =
      'your session is over, and nothing was sent; go back, log in again, and send the files once more';
    throw new LookasideError('UNAUTHORIZED', message);
  }
  const { role } = session.token;
  if (!roles.includes(role)) {
    const message = `you are logged in with the role ${role}, and files are taken here from ${roles.join(' or ')}; log in with such a token`;
    throw new LookasideError('DENIED', message);
  }
  exchange.caller = { kind: 'token', token: session.token }; // the room for its body is that of its token
}

/** For people, where no page can be made: the form could not be read. */
function renderRefusal(error: unknown): Reply {
  const { message } = describeError(error);
  return textReply(statusOf(error), `${message}\n`);
}

async function toFirstPage(services: Services): Promise<Reply> {
  requirePages(services);
  return {
    status: 303,
    headers: { Location: 'ui/', 'Content-Length': 0, 'Cache-Control': 'no-store' },
    body: null,
  };
}

/** @throws LookasideError NOT_FOUND where there are none */
function requirePages({ pages: served, settings }: Services) {
  if (served !== null && settings().ui) return served;
  throw new LookasideError('NOT_FOUND', 'this server has no web pages: LOOKASIDE_UI is off');
}

async function servePage(services: Services, request: RouteRequest): Promise<Reply> {
  const served = requirePages(services);
  const leaving = new AbortController();
  let asked = pageRequest(services, request, leaving.signal);
  const leave = () => leaving.abort(new Error('the browser left before its answer'));
  request.req.socket.once('close', leave);
  async function answer(): Promise<Reply> {
    const session = await sessionOf(services, asked);
    if (session !== null) {
      request.exchange.caller = { kind: 'token', token: session.token }; // who it is in the access log
      asked = { ...asked, viewer: viewerOf(services, session, asked) };
    }
    return compressed(request.req, await served.answer(asked));
  }
  const answering = answer();
  try {
    return await request.patience.waitLong(answering);
  } catch (error) {
    endLate(answering);
    const status = statusOf(error);
    if (status >= 500 && !leaving.signal.aborted)
      services.log.warn({ err: error, page: asked.path }, 'a web page failed');
    return served.failed(asked, error, status);
  } finally {
    request.req.socket.off('close', leave);
  }
}

/** Null for assets too, which are the same for everybody. @throws LookasideError STORE_UNAVAILABLE */
async function sessionOf({ sessions }: Services, { cookie, path }: PageRequest): Promise<PageSession | null> {
  return cookie === null || path.startsWith('assets/') ? null : await sessions.find(cookie);
}

function viewerOf({ sessions }: Services, session: PageSession, { cookie }: PageRequest): Viewer {
  const { id, token, identity } = session;
  return {
    kind: 'session',
    name: token.name,
    shownName: identity?.shownName ?? token.name,
    role: token.role,
    signer: token.signer,
    session: id,
    formToken: sessions.formToken(cookie ?? ''),
    isFormToken: (sent) => sessions.isFormToken(cookie ?? '', sent),
    expiresAt: showSession(session).expiresAt,
  };
}

function pageRequest(
  services: Services,
  { req, exchange, query, bytes, parts }: RouteRequest,
  signal: AbortSignal,
): PageRequest {
  const { target, address, requestId } = exchange;
  const { read: readers, listing, trustedProxies, publicUrl, prefix } = services.settings();
  const path = target.kind === 'own' ? target.path.replace(/^\/ui\/?/, '') : '';
  const cookie = cookieOf(req, SESSION_COOKIE);
  // a browser says itself by what it came, and cross-site.ts has held that against the names of this server
  const isSecure =
    isEncrypted(req) ||
    forwarded(req, 'x-forwarded-proto', trustedProxies).includes('https') ||
    (req.headers.origin ?? '').startsWith('https://');
  return {
    method: req.method === 'POST' || req.method === 'HEAD' ? req.method : 'GET',
    path,
    base: baseOf(req, exchange.prefix, path),
    url: publicUrl ?? `${isSecure ? 'https' : 'http'}://${req.headers.host ?? 'localhost'}${prefix}`,
    query,
    form: isForm(req) ? new URLSearchParams(Buffer.from(bytes).toString('utf8')) : new URLSearchParams(),
    files: parts,
    viewer: { kind: 'anonymous' },
    cookie,
    logInCookie: cookieOf(req, LOG_IN_COOKIE),
    isClosed: readers === 'token',
    isListed: listing,
    isSecure,
    isFromElsewhere: req.headers['sec-fetch-site'] === 'cross-site',
    address,
    agent: req.headers['user-agent'] ?? '',
    requestId,
    signal,
    upload(parts) {
      services.intake.refusedUploads.check(exchange.caller);
      return uploadParts(services, { exchange }, parts, { force: false, signedFor: [] });
    },
    beginLogIn: () => services.intake.logIns.begin(address),
    noteWrongToken: () => services.intake.wrongTokens.note(address),
  };
}

/** Relative, unless the path is written with more slashes than it has: a browser counts them as they were sent. */
function baseOf(req: IncomingMessage, prefix: string, path: string): string {
  const sent = ((req as { originalUrl?: string }).originalUrl ?? req.url ?? '').split('?', 1)[0] ?? '';
  const isAsWritten = slashesOf(sent) === slashesOf(`${prefix}/ui/${path}`);
  return isAsWritten ? '../'.repeat(slashesOf(path)) || './' : `${prefix}/ui/`;
}

function slashesOf(text: string): number {
  return text.split('/').length - 1;
}

function isForm(req: IncomingMessage): boolean {
  return /^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(req.headers['content-type'] ?? '');
}

/** RFC 6265, section 5.4. The first of two with one name is meant. */
function cookieOf({ headers }: IncomingMessage, name: string): string | null {
  for (const pair of (headers.cookie ?? '').split(';')) {
    const at = pair.indexOf('=');
    if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
  }
  return null;
}
