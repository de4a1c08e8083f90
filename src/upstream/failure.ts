// What went wrong with a request, in words for people, and whether another try may go better.
import { isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import { parseJson } from './answers.ts';
import type { Connection, HttpRequest } from './connection.ts';
import { NOT_CONNECTED } from './direct.ts';
import { readRefusal } from './refusal.ts';
import { AnswerTooLarge, type HttpAnswer } from './transport.ts';

export interface Failure {
  readonly error: LookasideError;
  readonly isWorthAnotherTry: boolean;
  /** The request cannot have reached a server. */
  readonly isUnsent: boolean;
  /** The wait that the other side asked for, at most a minute; null when it asked for none. */
  readonly retryAfterMs: number | null;
  /** The server is there, tells us to slow down, and says for how long. */
  readonly isSlowedDown: boolean;
}

const MAX_RETRY_AFTER_MS = 60_000;

/** Codes of the system and of undici for connections that others cut, and machines and names that are away for a moment. */
const PASSING: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'EAI_AGAIN',
  NOT_CONNECTED,
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_SOCKET',
]);

/** The codes among these that mean that no request was sent. */
const UNSENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'EAI_AGAIN',
  NOT_CONNECTED,
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** OpenSSL's codes for a certificate that nobody we trust vouches for. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** The failure of an attempt that brought no answer. `hasAnswered`: the server has answered before. */
export function failureOfAttempt(
  thrown: unknown,
  { connection, hasAnswered }: { readonly connection: Connection; readonly hasAnswered: boolean },
): Failure {
  if (isLookasideError(thrown)) return lasting(thrown); // about the settings here
  const { name, kind, isHeld } = connection;
  const code = codeOf(thrown);
  if (kind === 'socket' && !hasAnswered) return isHeld ? silent(thrown, name) : nothingHere(thrown, name);
  if (code === 'TIMEOUT') return passing(unreachable(`${name} does not answer in time`, thrown));
  const isAwayForNow = PASSING.has(code) || (kind === 'socket' && code === 'ENOENT');
  if (isAwayForNow) {
    return passing(unreachable(`${name} cannot be reached: ${said(thrown)}`, thrown), UNSENT.has(code));
  }
  const tunnel = /^Proxy response \((\d+)\)/.exec(said(thrown))?.[1];
  if (tunnel !== undefined) {
    const message = `the proxy that the environment names answers ${tunnel} when asked for ${name}; see HTTPS_PROXY and NO_PROXY`;
    return { ...lasting(unreachable(message, thrown)), isWorthAnotherTry: isPassing(Number(tunnel)) };
  }
  return lasting(unreachable(`${name} cannot be reached: ${explain(thrown, code)}`, thrown));
}

/** The server that holds the data directory may be starting; then it answers in a moment. */
function silent(thrown: unknown, socketPath: string): Failure {
  const code = codeOf(thrown);
  const message = `a server holds the data directory, but ${socketPath} does not answer (${code || said(thrown)}); restart it, or stop it and try again`;
  const error = unreachable(message, thrown);
  return PASSING.has(code) || code === 'ENOENT' ? passing(error, UNSENT.has(code)) : lasting(error);
}

/** The error for an answer that broke off after it had begun. The work may have been done all the same. */
export function failureWithin(thrown: unknown, { name }: Connection): LookasideError {
  const why = thrown instanceof AnswerTooLarge ? `a line has ${thrown.message}` : said(thrown);
  const message = `${name} went away before it was done (${why}); see the server's log, and run this again`;
  return unreachable(message, thrown);
}

/** The failure when no server was there at all: waiting would only hide what has to be done. */
function nothingHere(thrown: unknown, socketPath: string): Failure {
  const code = codeOf(thrown);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const message = `no server is named, and there is none at ${socketPath}: give --server URL or set LOOKASIDE_URL; on the server's machine, name its data directory with --data, and start the server if it does not run`;
    return lasting(new LookasideError('CONFIG_INVALID', message, { cause: thrown }));
  }
  const todo: Record<string, string> = {
    ECONNREFUSED: 'the server that was there has ended; start it, or name another by --server URL',
    EACCES: 'you may not open it; become the user that the server runs as, or give --server URL',
  };
  const message = `no server answers at ${socketPath}: ${todo[code] ?? said(thrown)}`;
  return lasting(unreachable(message, thrown));
}

function explain(thrown: unknown, code: string): string {
  if (UNTRUSTED.has(code)) {
    return `its certificate is by an authority that is not trusted here (${said(thrown)}); give that authority's certificate with --ca FILE or LOOKASIDE_CA`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `its certificate is for other names (${said(thrown)}); use one of those, or have the certificate made for this one`;
  }
  if (code.startsWith('CERT_')) return `its certificate cannot be used: ${said(thrown)}`;
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO') {
    return `what answers there speaks no TLS that we know (${code}); is it http:// instead of https://?`;
  }
  if (code.startsWith('HPE_') || (thrown instanceof Error && thrown.name === 'HTTPParserError')) {
    return 'what answers there speaks no HTTP; is the port right, or is it https:// instead of http://?';
  }
  if (code === 'ENOTFOUND')
    return `${said(thrown)}: no machine has that name; see --server and LOOKASIDE_URL`;
  if (thrown instanceof AnswerTooLarge)
    return `it answers with ${thrown.message}, which no lookaside server does`;
  return said(thrown);
}

/** The failure for an answer whose status was not wanted. */
export function failureOfAnswer(answer: HttpAnswer, request: HttpRequest, connection: Connection): Failure {
  const { status } = answer;
  const error = errorOf(answer, request, connection);
  const waitMs = retryAfterMs(answer.header('retry-after'));
  // a token that has ended does not come back by waiting
  if (error.code === 'UNAUTHORIZED') return lasting(error);
  return {
    error,
    isWorthAnotherTry: isPassing(status),
    isUnsent: false,
    retryAfterMs: waitMs,
    isSlowedDown: status === 429 && waitMs !== null,
  };
}

function errorOf(answer: HttpAnswer, request: HttpRequest, connection: Connection): LookasideError {
  const { status } = answer;
  const { name } = connection;
  const location = answer.header('location');
  if (status >= 300 && status < 400 && location !== null) return redirected(location, request, name);
  const refusal = readRefusal(parseJson(answer.body));
  if (refusal === null || isOfUnknownRoute(refusal, request)) return stranger(answer, request, name);
  if (refusal.code === 'UNAUTHORIZED') return unauthorized(connection, refusal);
  if (refusal.code === 'SLOW_DOWN' && refusal.detail?.isTokenEnded === true) {
    return new LookasideError('UNAUTHORIZED', `${name}: ${refusal.message}`, { cause: refusal });
  }
  return refusal;
}

/** An older server lacks some routes. Below a wrong prefix, a server takes what is sent for an upload to a place of that name. */
function isOfUnknownRoute(
  { code }: LookasideError,
  { method, path, mayFindNothing = false }: HttpRequest,
): boolean {
  if (code === 'PATH_INVALID') return method !== 'GET' && path.startsWith('/api/');
  return code === 'NOT_FOUND' && !mayFindNothing;
}

function redirected(location: string, { path }: HttpRequest, name: string): LookasideError {
  const target = URL.canParse(location, name) ? new URL(location, name).href : location;
  const base = target.endsWith(path) ? target.slice(0, -path.length) : target;
  return unreachable(
    `${name} redirects to ${base.slice(0, 500)}, and a token is not sent to another address unasked; if that is the server you mean, name it by --server`,
  );
}

function stranger(answer: HttpAnswer, { method, path }: HttpRequest, name: string): LookasideError {
  const type = answer.header('content-type')?.split(';', 1)[0]?.slice(0, 80) ?? 'no type';
  const what = `${name} is not the API of a lookaside server: it answers ${method} ${path.split('?', 1)[0]} with ${answer.status} and ${type}`;
  if (answer.status === 413) {
    const message = `${what}; a proxy in front of the server has to let bodies of 16 MiB through`;
    return new LookasideError('TOO_LARGE', message);
  }
  return unreachable(`${what}; ${pathAdvice(name)}`);
}

/** A wrong prefix is the likeliest reason of all, and looks the same as a server of another make. */
function pathAdvice(name: string): string {
  const path = URL.canParse(name) ? new URL(name).pathname.replace(/\/$/, '') : '';
  return path === ''
    ? 'give as --server the URL under which the server is reached, with its path: the LOOKASIDE_PREFIX of the server, or what its proxy puts there'
    : `is the path ${path} right? It has to be the LOOKASIDE_PREFIX of the server, or what its proxy puts there; give the URL as --server`;
}

function unauthorized({ name, sendsToken }: Connection, cause: LookasideError): LookasideError {
  if (cause.detail?.oidc === true) {
    return new LookasideError('UNAUTHORIZED', `${name}: ${cause.message}`, { cause, detail: cause.detail });
  }
  if (typeof cause.detail?.disabledSigner === 'string') {
    return new LookasideError('UNAUTHORIZED', `${name}: ${cause.message}`, { cause });
  }
  const refusal = sendsToken ? `${name} ${whyRefused(cause)}` : `${name} wants a token, and none was sent`;
  const message = `${refusal}; give one with --token-file FILE or LOOKASIDE_TOKEN, as this prints it on the server's machine: lookaside token create --name NAME`;
  return new LookasideError('UNAUTHORIZED', message, { cause });
}

function whyRefused({ detail }: LookasideError): string {
  const expiredAt = detail?.expiredAt;
  return typeof expiredAt === 'string'
    ? `no longer takes the token that was sent: it expired at ${expiredAt.slice(0, 40)}`
    : 'does not know the token that was sent, or it was revoked';
}

/** 408: our upload was too slow. 502 to 504 may also come from a proxy in front of the server. */
function isPassing(status: number): boolean {
  return [408, 429, 502, 503, 504].includes(status);
}

/** RFC 9110 section 10.2.3: seconds, or a date. */
function retryAfterMs(header: string | null): number | null {
  if (header === null) return null;
  const ms = /^[0-9]+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}

function codeOf(thrown: unknown): string {
  if (thrown instanceof DOMException && thrown.name === 'TimeoutError') return 'TIMEOUT';
  // undici wraps the error of a proxy's TLS
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  const code = systemCode(thrown) ?? '';
  return code === 'UND_ERR_PRX_TLS' ? (systemCode(cause) ?? code) : code;
}

function said(thrown: unknown): string {
  return thrown instanceof Error && thrown.message !== '' ? thrown.message : codeOf(thrown) || String(thrown);
}

function passing(error: LookasideError, isUnsent = false): Failure {
  return { error, isWorthAnotherTry: true, isUnsent, retryAfterMs: null, isSlowedDown: false };
}

function lasting(error: LookasideError): Failure {
  return { error, isWorthAnotherTry: false, isUnsent: false, retryAfterMs: null, isSlowedDown: false };
}

function unreachable(message: string, cause?: unknown): LookasideError {
  return new LookasideError('SERVER_UNREACHABLE', message, { cause });
}
