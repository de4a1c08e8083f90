// The way to one server: over the network, through the proxies that the environment names, or through a Unix socket.
import { percentDecode } from '../domain/url.ts';
import { isLoopback, nameOfServer } from './address.ts';
import { openDirect, openSocket } from './direct.ts';
import { type HttpStream, LONG_PATIENCE, PATIENCE, type Transport } from './transport.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the server's own path, with the query: `/api/v1/keys`. */
  readonly path: string;
  readonly contentType?: string;
  readonly body?: Buffer;
  /** The answer may be that there is no such thing; for other requests NOT_FOUND means that the server has no such route. */
  readonly mayFindNothing?: boolean;
  /** The work behind the answer may take hours: only silence ends the wait. */
  readonly isLong?: boolean;
  /** A hint for people when no answer came but the server may have done the work. Such a request is not sent again. */
  readonly ifUnanswered?: string;
}

export interface Connection {
  /** For people: the URL without user and password, or the socket's path. */
  readonly name: string;
  readonly kind: 'network' | 'socket';
  /** Whether a server is known to be at the socket, because it holds the data directory. */
  readonly isHeld: boolean;
  /** Whether a token or a password goes with each request. */
  readonly sendsToken: boolean;
  /** One try. @throws as Transport, and LookasideError CONFIG_INVALID when the environment names a proxy that is not valid */
  open(request: HttpRequest): Promise<HttpStream>;
  /** Ends at once what is under way. */
  close(): Promise<void>;
}

/** A token that is renewed while it is used. */
export interface TokenSource {
  /** One that is of use now. @throws LookasideError */
  get(): Promise<string>;
}

export interface NetworkOptions {
  /** Perhaps with user, password and a path. */
  readonly url: string;
  readonly token: string | null;
  /** Asked before each request, in place of `token`; null or left out: the token stays the same. */
  readonly tokens?: TokenSource | null;
  /** Certificates in PEM that are trusted in addition to those of Node.js; null: only those of Node.js. */
  readonly ca: string | null;
  /** The environment names proxies. */
  readonly hasProxies: boolean;
}

export function connectNetwork({ url, token, tokens = null, ca, hasProxies }: NetworkOptions): Connection {
  const { origin, pathname, username, password, hostname } = new URL(url);
  const path = pathname.replace(/\/+$/, '');
  const basic = `${percentDecode(username)}:${percentDecode(password)}`;
  const authorization = token === null ? `Basic ${Buffer.from(basic).toString('base64')}` : `Bearer ${token}`;
  const transport =
    hasProxies && !isLoopback(hostname) ? proxied(origin, ca) : async () => openDirect(origin, ca);
  return connection({
    kind: 'network',
    isHeld: false,
    name: nameOfServer({ url }),
    transport: once(transport),
    path,
    headers: token === null && basic === ':' ? {} : { authorization },
    tokens,
  });
}

function proxied(origin: string, ca: string | null): () => Promise<Transport> {
  return async () => {
    const { openProxied } = await import('./proxied.ts');
    return openProxied(origin, ca);
  };
}

export interface SocketOptions {
  readonly socketPath: string;
  /** A server is known to be there, because it holds the data directory. Default false. */
  readonly isHeld?: boolean;
}

/** Whoever may open the socket is the administrator. */
export function connectSocket({ socketPath, isHeld = false }: SocketOptions): Connection {
  return connection({
    kind: 'socket',
    isHeld,
    name: nameOfServer({ socketPath }),
    transport: once(async () => openSocket(socketPath)),
    path: '',
    headers: { host: 'localhost' },
    tokens: null,
  });
}

interface Way extends Pick<Connection, 'kind' | 'name' | 'isHeld'> {
  readonly transport: Once<Promise<Transport>>;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly tokens: TokenSource | null;
}

function connection({ transport, path, headers, tokens, ...about }: Way): Connection {
  return {
    ...about,
    sendsToken: tokens !== null || headers.authorization !== undefined,
    async open({ method, path: below, contentType, body = null, isLong = false }) {
      const { open } = await transport.get();
      const renewed = tokens === null ? {} : { authorization: `Bearer ${await tokens.get()}` };
      return open({
        method,
        path: path + below,
        headers: {
          ...headers,
          ...renewed,
          accept: 'application/json',
          'user-agent': 'lookaside',
          ...(contentType === undefined ? {} : { 'content-type': contentType }),
        },
        body,
        patience: isLong ? LONG_PATIENCE : PATIENCE,
      });
    },
    async close() {
      const opened = await transport.made?.catch(() => null); // whoever asked has got this error
      await opened?.close();
    },
  };
}

interface Once<T> {
  /** Null before the first get(). */
  readonly made: T | null;
  get(): T;
}

function once<T>(make: () => T): Once<T> {
  let made: T | null = null;
  return {
    get made() {
      return made;
    },
    get() {
      made ??= make();
      return made;
    },
  };
}
