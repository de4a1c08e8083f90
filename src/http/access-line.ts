// One line of the access log for each request, in the form that log tools know or as JSON.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { escapeJson, escapeLine } from '../domain/text.ts';
import { maskTokens } from '../service/tokens.ts';
import type { Exchange } from './exchange.ts';
import { announcedBytes, CLIENT_GONE_STATUS } from './reply.ts';
import type { ReadServices } from './services.ts';

export interface AccessLine {
  readonly req: IncomingMessage;
  /** As it came: routing rewrites req.url. */
  readonly target: string;
  readonly at: Date;
  readonly address: string;
  readonly token: string | null;
  readonly status: number;
  readonly bytes: number;
  readonly durationMs: number;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/**
 * Without the line feed. Text of others is escaped, so a request cannot make a second line. Tokens are masked: the query may
 * hold one, and so may the query of the referring page.
 */
export function formatAccessLine(format: 'combined' | 'json', line: AccessLine): string {
  const masked = { ...line, target: maskWayBack(line.target) };
  return maskTokens(format === 'json' ? toJson(masked) : toCombined(masked));
}

/** The address of the way back from an OpenID provider, without its query, which has the code of a log-in. */
function maskWayBack(address: string): string {
  return address.replace(/^([^?]*\/ui\/log-in\/[^?]*\?).+$/s, '$1…');
}

function toJson({ req, target, at, address, token, status, bytes, durationMs }: AccessLine): string {
  const agent = req.headers['user-agent'] ?? null;
  const { method } = req;
  return escapeJson(
    JSON.stringify({ time: at, address, token, method, target, status, bytes, durationMs, agent }),
  );
}

// Apache's "combined": https://httpd.apache.org/docs/2.4/logs.html
function toCombined({ req, target, at, address, token, status, bytes }: AccessLine): string {
  const request = escapeLine(`${req.method} ${target} HTTP/${req.httpVersion}`);
  const referer = escapeLine(maskWayBack(req.headers.referer ?? '-'));
  const agent = escapeLine(req.headers['user-agent'] ?? '-');
  // the name of an OIDC subject has blanks, which end a field here
  const user = token === null ? '-' : escapeLine(token).replaceAll(' ', '+');
  return `${address} - ${user} [${toClfTime(at)}] "${request}" ${status} ${bytes} "${referer}" "${agent}"`;
}

function toClfTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}`;
  return `${day}:${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

export interface LoggedRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly exchange: Pick<Exchange, 'address' | 'caller' | 'startedMs'>;
  /** As it came: routing rewrites req.url. */
  readonly target: string;
}

/** Writes the request's line once its answer has gone. */
export function logAccess(
  services: Pick<ReadServices, 'clock' | 'settings' | 'writeAccessLine'>,
  { req, res, exchange, target }: LoggedRequest,
): void {
  const at = new Date();
  res.once('close', () => {
    const { accessLog } = services.settings();
    if (accessLog === 'off') return;
    const line = formatAccessLine(accessLog, {
      req,
      target,
      at,
      address: exchange.address,
      token: exchange.caller.kind === 'token' ? exchange.caller.token.name : null,
      status: res.headersSent ? res.statusCode : CLIENT_GONE_STATUS,
      bytes: req.method === 'HEAD' ? 0 : announcedBytes(res),
      durationMs: Math.round((services.clock.monotonicMs() - exchange.startedMs) * 10) / 10,
    });
    services.writeAccessLine(line);
  });
}
