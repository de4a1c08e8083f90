// The way to one server: over the network, past the proxies that the environment names, or through a Unix socket.
import { BlockList, isIP } from 'node:net';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { LookasideError } from '../domain/errors.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  /** Below the server's own path, with the query: `/api/v1/keys`. */
  readonly path: string;
  readonly contentType?: string;
  readonly body?: Buffer;
}

export interface HttpAnswer {
  readonly status: number;
  /** Of a header line, or null; of several the first. */
  header(name: string): string | null;
  readonly body: Buffer;
}

export interface Connection {
  /** For people: the URL without user and password, or the socket's path. */
  readonly name: string;
  readonly kind: 'network' | 'socket';
  /** Whether a token or a password goes with each request. */
  readonly sendsToken: boolean;
  /** One try. @throws whatever undici and Node.js throw, and AnswerTooLarge */
  send(request: HttpRequest): Promise<HttpAnswer>;
  /** Ends at once what is under way. */
  close(): Promise<void>;
}

export class AnswerTooLarge extends Error {}

const CONNECT_MS = 10_000;
/** For the head of an answer, and between the pieces of its body. */
const SILENCE_MS = 60_000;
/** From the first byte sent to the last received: against answers that drip. */
const TOTAL_MS = 180_000;
/** A page of a thousand signatures has some 2 MB; a list of keys 30 KB a key at most. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

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

/** Whoever may open the socket is the administrator. */
export function connectSocket(socketPath: string): Connection {
  return connection({
    kind: 'socket',
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

interface Way extends Pick<Connection, 'kind' | 'name'> {
  readonly dispatcher: Dispatcher;
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

function connection({ kind, name, dispatcher, origin, path, headers }: Way): Connection {
  return {
    kind,
    name,
    sendsToken: headers.authorization !== undefined,
    async send(request) {
      const answer = await dispatcher.request({
        origin,
        path: path + request.path,
        method: request.method,
        headers: {
          ...headers,
          accept: 'application/json',
          'user-agent': 'lookaside',
          ...(request.contentType === undefined ? {} : { 'content-type': request.contentType }),
        },
        body: request.body ?? null,
        headersTimeout: SILENCE_MS,
        bodyTimeout: SILENCE_MS,
        signal: AbortSignal.timeout(TOTAL_MS),
      });
      return {
        status: answer.statusCode,
        header: (named) => [answer.headers[named] ?? null].flat()[0] ?? null,
        body: await readBounded(answer.body),
      };
    },
    close: () => dispatcher.destroy(),
  };
}

async function readBounded(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    if (length > MAX_ANSWER_BYTES) throw new AnswerTooLarge(`more than ${MAX_ANSWER_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
