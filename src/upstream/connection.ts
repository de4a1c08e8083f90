// The way to one server: over the network, past the proxies that the environment names, or through a Unix socket.
import { BlockList, isIP } from 'node:net';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { LookasideError } from '../domain/errors.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the server's own path, with the query: `/api/v1/keys`. */
  readonly path: string;
  readonly contentType?: string;
  readonly body?: Buffer;
  /** The answer may be that there is no such thing; for other requests NOT_FOUND means that the server has no such route. */
  readonly mayFindNothing?: boolean;
  /** The work behind the answer may take hours: only silence ends it. */
  readonly isLong?: boolean;
  /** What people are told when no answer came though the server may have done it. Such a request is not sent a second time. */
  readonly ifUnanswered?: string;
}

interface HttpHead {
  readonly status: number;
  /** The value of a header line, the first of several; null without one. */
  header(name: string): string | null;
}

export interface HttpAnswer extends HttpHead {
  readonly body: Buffer;
}

export interface HttpStream extends HttpHead {
  readonly body: AsyncIterable<Uint8Array>;
}

export interface Connection {
  /** For people: the URL without user and password, or the socket's path. */
  readonly name: string;
  readonly kind: 'network' | 'socket';
  /** Whether a server is known to be at the socket, as it holds the data directory. */
  readonly isHeld: boolean;
  /** Whether a token or a password goes with each request. */
  readonly sendsToken: boolean;
  /** One try; the answer's body is read by readWhole() or readLines(). @throws whatever undici and Node.js throw */
  open(request: HttpRequest): Promise<HttpStream>;
  /** Ends at once what is under way. */
  close(): Promise<void>;
}

export class AnswerTooLarge extends Error {}

const CONNECT_MS = 10_000;
/** For the head of an answer, and between the pieces of its body. */
const SILENCE_MS = 60_000;
/** From the first byte sent to the last received: against answers that drip. */
const TOTAL_MS = 180_000;
/** Between the lines of a long answer, which come every half second: proxies may hold some of them back. */
const LONG_SILENCE_MS = 300_000;
/** A page of a thousand signatures has some 2 MB; a list of keys 30 KB a key at most. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const LINE_FEED = 0x0a;

export interface NetworkOptions {
  /** Perhaps with user, password and a path. */
  readonly url: string;
  readonly token: string | null;
  /** Certificates in PEM, trusted beside those that Node.js brings; null: those alone. */
  readonly ca: string | null;
}

/** @throws LookasideError CONFIG_INVALID when the environment names a proxy that is none */
export function connectNetwork({ url, token, ca }: NetworkOptions): Connection {
  const { origin, pathname, username, password, hostname } = new URL(url);
  const path = pathname.replace(/\/+$/, '');
  const basic = `${percentDecode(username)}:${percentDecode(password)}`;
  const authorization = token === null ? `Basic ${Buffer.from(basic).toString('base64')}` : `Bearer ${token}`;
  return connection({
    kind: 'network',
    isHeld: false,
    name: origin + path,
    dispatcher: isLoopback(hostname) ? new Agent({ connect: tlsOptions(ca) }) : openProxied(ca),
    origin,
    path,
    headers: token === null && basic === ':' ? {} : { authorization },
  });
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // only URIError: a percent sign that is meant as one
  }
}

export interface SocketOptions {
  readonly socketPath: string;
  /** A server is known to be there, as it holds the data directory; false unless told. */
  readonly isHeld?: boolean;
}

/** Whoever may open the socket is the administrator. */
export function connectSocket({ socketPath, isHeld = false }: SocketOptions): Connection {
  return connection({
    kind: 'socket',
    isHeld,
    name: socketPath,
    dispatcher: new Agent({ connect: { socketPath, timeout: CONNECT_MS } }),
    origin: 'http://localhost',
    path: '',
    headers: {},
  });
}

/** Naming an authority takes the place of Node.js' own, so that those are named too. */
function tlsOptions(ca: string | null) {
  return { timeout: CONNECT_MS, ...(ca === null ? {} : { ca: [...rootCertificates, ca] }) };
}

function openProxied(ca: string | null): Dispatcher {
  const tls = tlsOptions(ca);
  try {
    return new EnvHttpProxyAgent({
      connect: tls,
      requestTls: tls,
      proxyTls: tls,
      proxyTunnel: false, // proxies commonly refuse tunnels to other ports than 443; https has one all the same
    });
  } catch (error) {
    const message =
      'the environment names a proxy that is no URL; wanted HTTP_PROXY and HTTPS_PROXY like http://proxy.example.com:3128';
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** Whether nothing that is sent there leaves this machine; such hosts are asked without a proxy, as Go's clients do. */
export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const family = isIP(host);
  return family !== 0 && LOOPBACK.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

interface Way extends Pick<Connection, 'kind' | 'name' | 'isHeld'> {
  readonly dispatcher: Dispatcher;
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

function connection({ dispatcher, origin, path, headers, ...about }: Way): Connection {
  return {
    ...about,
    sendsToken: headers.authorization !== undefined,
    async open({ method, path: below, contentType, body = null, isLong = false }) {
      const silenceMs = isLong ? LONG_SILENCE_MS : SILENCE_MS;
      const answer = await dispatcher.request({
        origin,
        path: path + below,
        method,
        headers: {
          ...headers,
          accept: 'application/json',
          'user-agent': 'lookaside',
          ...(contentType === undefined ? {} : { 'content-type': contentType }),
        },
        body,
        headersTimeout: silenceMs,
        bodyTimeout: silenceMs,
        signal: isLong ? null : AbortSignal.timeout(TOTAL_MS),
      });
      return {
        status: answer.statusCode,
        header: (named) => [answer.headers[named] ?? null].flat()[0] ?? null,
        body: answer.body,
      };
    },
    close: () => dispatcher.destroy(),
  };
}

/** @throws AnswerTooLarge; whatever undici and Node.js throw */
export async function readWhole({ body, ...head }: HttpStream): Promise<HttpAnswer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    refuseLonger(length);
    pieces.push(piece);
  }
  return { ...head, body: Buffer.concat(pieces) };
}

/** What ends by a line feed, and what stands behind the last one. @throws as readWhole(), for a line that is too large */
export async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  // not node:readline, to which U+2028 ends a line too: JSON may hold it
  let begun: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    let from = 0;
    for (let end = piece.indexOf(LINE_FEED); end !== -1; end = piece.indexOf(LINE_FEED, from)) {
      yield Buffer.concat([...begun, piece.subarray(from, end)]);
      [begun, length, from] = [[], 0, end + 1];
    }
    begun.push(piece.subarray(from));
    length += piece.length - from;
    refuseLonger(length);
  }
  if (length > 0) yield Buffer.concat(begun);
}

function refuseLonger(length: number): void {
  if (length > MAX_ANSWER_BYTES) throw new AnswerTooLarge(`more than ${MAX_ANSWER_BYTES} bytes`);
}
