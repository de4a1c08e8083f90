// The sockets: plain or TLS, with time limits on heads, silence and slow readers, and an end that loses no request.
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import { systemCode } from '../domain/errors.ts';
import { answerPlainHttp, answerUnparsed } from './unparsed.ts';

export interface TlsFiles {
  /** PEM: certificate with its chain, and key. */
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface Listener {
  /** Where it listens, like `http://127.0.0.1:8000`; for all addresses `http://[::]:8000`. */
  readonly url: string;
  readonly port: number;
  /** The file descriptor of the socket, to be passed to another process. */
  readonly fd: number;
  /** New connections get the new certificate. @throws when the files do not fit together */
  setTls(tls: TlsFiles): void;
  /** All requests so far, and the connections that are open. */
  readonly traffic: { readonly requests: number; readonly connections: number };
  /**
   * So many of the connections that have asked much and ask again are ended with their next answer, which says so: their clients connect
   * anew. Where requests came ahead of answers, or a body comes, the connection stays: what was sent already would have no answer. It takes
   * the place of the number before.
   */
  letGo(connections: number): void;
  /** Accepts no more connections; resolves when the last one is closed. For a second, idle ones may send one more request. */
  drain(): Promise<void>;
  /** Closes what is still open. */
  abort(): void;
}

/** `url`: the path of the socket. */
export type SocketListener = Pick<Listener, 'url' | 'drain' | 'abort'>;

// A server that hangs is worse for clients than one that is down: they have no timeout of their own.
const LIMITS = {
  headersTimeout: 5000,
  requestTimeout: 0, // each route says how long its body may take
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
  requireHostHeader: false, // the guard says what is wrong; Node.js would answer without a word
} satisfies ServerOptions;
const IDLE_SOCKET_MS = 30_000;
const IDLE_GRACE_MS = 1000;

/** A client that has something to read, and reads less than SLOWEST_BYTES within SLOWEST_MS, is cut off. */
const SLOWEST_BYTES = 32 * 1024;
const SLOWEST_MS = 10_000;
const SLOW_READERS_CHECK_MS = 1000;

/**
 * How many requests may wait on one connection for earlier answers. Clients of signatures send one at a time. Node.js goes
 * on reading while requests wait, and each takes some kilobytes: one connection could fill the memory.
 */
const MOST_WAITING = 50;

/** A connection with so many requests is one that a client keeps. A pull has two. */
const ASKED_MUCH = 100;

/**
 * One request of so many may wait where the client sends none ahead of answers: over TLS the next one may come before this side
 * knows that the answer has gone out (17 of 6000 did). Where it sends requests ahead, at least every second one waits.
 */
const FEW_WAIT = 10;

/** How many connections may wait to be accepted, also while one process replaces another. */
const BACKLOG = 1024;
/**
 * The same for what reader processes pass on. A Unix socket without room refuses at once, where a TCP client tries again; the system has
 * a bound of its own (net.core.somaxconn, 4096).
 */
const READERS_BACKLOG = 65_535;

export interface ListenOptions {
  readonly handler: RequestListener;
  /** Null: all addresses, IPv6 and IPv4. */
  readonly host: string | null;
  readonly port: number;
  readonly tls: TlsFiles | null;
  /** A client spoke HTTP where TLS is wanted. */
  readonly onPlainHttp?: (address: string) => void;
  /** A connection with no byte either way for this long is closed, unless we owe an answer on it. Default 30 s. */
  readonly idleMs?: number;
  /** Within this time the head of a request has to come. Default 5 s. */
  readonly headMs?: number;
  /** Within this time a client has to read 32 KiB, or all that there is for it. Default 10 s. */
  readonly slowestMs?: number;
}

/**
 * A request that waits for 100 Continue (`Expect: 100-continue`) goes to the handler like any other: the code that reads
 * the body sends it. @throws the system's error: EADDRINUSE, EACCES, EADDRNOTAVAIL
 */
export async function listen({ host, port, ...options }: ListenOptions): Promise<Listener> {
  const { server, ...counted } = createServer(options);
  await (host === null ? listenEverywhere(server, port) : listenOn(server, { host, port }));
  const { family } = server.address() as AddressInfo; // a TCP server that listens has one
  return toListener(server, {
    host: host ?? (family === 'IPv6' ? '::' : '0.0.0.0'),
    tls: options.tls,
    ...counted,
  });
}

export interface AdoptOptions extends Omit<ListenOptions, 'host' | 'port'> {
  /** A socket that the process that started us has bound. It keeps its own when we close ours. */
  readonly fd: number;
}

/**
 * As listen(), on a socket that was passed to this process.
 * @throws the system's error; EINVAL when it is not a TCP socket to listen on
 */
export async function adopt({ fd, ...options }: AdoptOptions): Promise<Listener> {
  const { server, ...counted } = createServer(options);
  await settled(server, () => server.listen({ fd }, BACKLOG));
  const address = server.address();
  if (address === null || typeof address === 'string') {
    await drain(server);
    throw Object.assign(new Error(`file descriptor ${fd} is a Unix socket`), { code: 'EINVAL' });
  }
  return toListener(server, { host: address.address, tls: options.tls, ...counted });
}

function createServer({
  handler: handleAny,
  tls,
  onPlainHttp = () => {},
  idleMs = IDLE_SOCKET_MS,
  headMs = LIMITS.headersTimeout,
  slowestMs = SLOWEST_MS,
}: Omit<ListenOptions, 'host' | 'port'>): { readonly server: Server } & Counted {
  const turns = inTurn(handleAny);
  const { handler, begunOn, lastOn } = turns;
  const connectionsCheckingInterval = Math.min(headMs, LIMITS.connectionsCheckingInterval);
  const limits = { ...LIMITS, headersTimeout: headMs, connectionsCheckingInterval };
  const server =
    tls === null
      ? createHttpServer(limits, handler)
      : createHttpsServer({ ...limits, ...tls, minVersion: 'TLSv1.2' }, handler);
  answerThemAll(server, handler);
  answerUnparsed(server, { begunOn, lastOn });
  if (tls !== null) answerPlainHttp(server, onPlainHttp);
  closeIdle(server, idleMs, begunOn);
  const open = closeSlowReaders(server, slowestMs);
  return { server, turns, open };
}

/** What a listener tells its traffic by. */
interface Counted {
  readonly turns: InTurn;
  /** The open connections. */
  readonly open: { readonly size: number };
}

/**
 * Also the requests that Node.js would answer itself. RFC 9110 section 10.1.1 lets a server ignore an expectation that it does
 * not know, and a read of a signature is never answered with 417.
 */
function answerThemAll(server: Server, handler: RequestListener): void {
  server.on('checkContinue', handler);
  server.on('checkExpectation', handler);
}

/** The latest request of a connection that the handler has begun to handle, and its answer; null before the first. */
type BegunOn = (socket: Socket) => { readonly req: IncomingMessage; readonly res: ServerResponse } | null;
/** The answer to the last request that has come on a connection, begun or not; null before the first. */
type LastOn = (socket: Socket) => ServerResponse | null;

interface InTurn {
  readonly handler: RequestListener;
  readonly begunOn: BegunOn;
  readonly lastOn: LastOn;
  /** How many requests have come. */
  readonly requests: number;
  letGo(connections: number): void;
}

interface Queue {
  /** To the last request that has come. */
  latest: ServerResponse;
  /** To the last request that the handler has begun to handle. */
  begun: ServerResponse | null;
  waiting: number;
  /** How many have ever waited. */
  waited: number;
  /** How many have come. */
  requests: number;
}

/**
 * Handles one request of a connection at a time. Node.js hands over all requests of one packet at once, some hundreds, and
 * each would keep its answer in memory until those before it are read. A connection with too many waiting ones is cut.
 */
function inTurn(handle: RequestListener): InTurn {
  const queues = new WeakMap<Socket, Queue>();
  let requests = 0;
  let toLetGo = 0;

  function begin(queue: Queue, req: IncomingMessage, res: ServerResponse): void {
    queue.begun = res;
    if (toLetGo > 0 && queue.requests >= ASKED_MUCH && mayBeLast(req, queue)) {
      toLetGo -= 1;
      res.setHeader('Connection', 'close');
    }
    handle(req, res);
  }
  function wait(queue: Queue, req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req;
    const before = queue.latest;
    queue.waiting += 1;
    queue.waited += 1;
    if (queue.waiting > MOST_WAITING) {
      parseNoMore(socket);
      socket.destroy();
      return;
    }
    before.once('close', () => {
      queue.waiting -= 1;
      // after the last answer of a connection no more requests are handled: RFC 9112 section 9.6
      if (socket.writable) begin(queue, req, res);
    });
  }
  return {
    handler(req, res) {
      const { socket } = req;
      if (socket.destroyed) return; // the rest of a packet with too many requests
      requests += 1;
      const queue = queues.get(socket);
      if (queue === undefined) {
        const first: Queue = { latest: res, begun: null, waiting: 0, waited: 0, requests: 1 };
        queues.set(socket, first);
        begin(first, req, res);
      } else {
        queue.requests += 1;
        if (queue.latest.closed) begin(queue, req, res);
        else wait(queue, req, res);
        queue.latest = res;
      }
    },
    begunOn(socket) {
      const res = queues.get(socket)?.begun ?? null;
      return res === null ? null : { req: res.req, res };
    },
    lastOn: (socket) => queues.get(socket)?.latest ?? null,
    get requests() {
      return requests;
    },
    letGo(connections) {
      toLetGo = connections;
    },
  };
}

/** Whether nothing that the client has sent or is sending would be lost if its connection ended with the answer. */
function mayBeLast({ method, headers }: IncomingMessage, { waiting, waited, requests }: Queue): boolean {
  const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  return method === 'GET' && !hasBody && waiting === 0 && waited * FEW_WAIT < requests;
}

/** What a parser's listener returns for a connection that speaks another protocol from here on. */
const NO_MORE_REQUESTS = 2;

/**
 * Without this, Node.js makes a request, an answer and an error for each request in the same packet, some thousands. This
 * way is not documented; if it disappears, the connection is still cut, for seventy times the processor time.
 */
function parseNoMore(socket: Socket & { readonly parser?: { onIncoming: unknown } | null }): void {
  if (socket.parser) socket.parser.onIncoming = () => NO_MORE_REQUESTS;
}

interface Listening extends Counted {
  readonly host: string;
  readonly tls: TlsFiles | null;
}

function toListener(server: Server, { host, tls, turns, open }: Listening): Listener {
  const { port } = server.address() as AddressInfo; // a TCP server that listens has one
  const authority = host.includes(':') ? `[${host}]` : host;
  return {
    url: `${tls === null ? 'http' : 'https'}://${authority}:${port}`,
    port,
    fd: fdOf(server),
    get traffic() {
      return { requests: turns.requests, connections: open.size };
    },
    letGo: turns.letGo,
    setTls(next) {
      if (tls === null) throw new Error('this listener was not started with TLS');
      (server as HttpsServer).setSecureContext({ ...next, minVersion: 'TLSv1.2' });
    },
    drain: () => drain(server),
    abort: () => server.closeAllConnections(),
  };
}

/** Spares connections that wait for us: a batch of uploads, or the next piece of a stream, may take longer than that. */
function closeIdle(server: Server, idleMs: number, begunOn: BegunOn): void {
  const closeUnlessOwed = (socket: Socket) => {
    const begun = begunOn(socket);
    const isAnswerOwed =
      begun?.req.complete === true && !begun.res.writableEnded && socket.writableLength === 0;
    if (!isAnswerOwed) socket.destroy();
  };
  server.setTimeout(idleMs, (socket) => {
    const { bytesRead } = socket;
    // this process may have been stopped for that long: what has come meanwhile is read first
    setImmediate(() => {
      if (socket.bytesRead === bytesRead) closeUnlessOwed(socket);
    });
  });
}

interface Reading {
  readonly sinceMs: number;
  readonly takenBytes: number;
}

/**
 * A client that reads a few bytes now and then is never idle, and could keep a connection for ever. Returns the open connections: net.Server
 * counts them too, and tells it by a callback alone.
 */
function closeSlowReaders(server: Server, slowestMs: number): { readonly size: number } {
  const readings = new Map<Socket, Reading | null>();
  server.on('connection', (socket: Socket) => {
    readings.set(socket, null);
    socket.once('close', () => readings.delete(socket));
  });

  const everyMs = Math.min(slowestMs / 4, SLOW_READERS_CHECK_MS);
  let checkedMs = performance.now();
  const check = () => {
    const nowMs = performance.now();
    // while this process was stopped, or busy, nobody could read
    const stoppedMs = Math.max(0, nowMs - checkedMs - everyMs);
    checkedMs = nowMs;
    for (const [socket, reading] of readings) {
      const takenBytes = socket.bytesWritten - socket.writableLength;
      if (socket.writableLength === 0) readings.set(socket, null);
      else if (reading === null || takenBytes - reading.takenBytes >= SLOWEST_BYTES)
        readings.set(socket, { sinceMs: nowMs, takenBytes });
      else if (nowMs - reading.sinceMs - stoppedMs >= slowestMs) socket.destroy();
      else if (stoppedMs > 0) readings.set(socket, { ...reading, sinceMs: reading.sinceMs + stoppedMs });
    }
  };
  const timer = setInterval(check, everyMs).unref();
  server.once('close', () => clearInterval(timer));
  return readings;
}

/** node:net has no other way to the descriptor. */
function fdOf(server: Server & { readonly _handle?: { readonly fd: number } | null }): number {
  return server._handle?.fd ?? -1;
}

/** For the socket on which reader processes pass requests on, beyond LIMITS. */
const READERS_LIMITS = {
  // they keep idle connections, and must not meet one that is just being closed
  keepAliveTimeout: 0,
  // they add a line to a head that may be as large as a client's
  maxHeaderSize: 32 * 1024,
} satisfies ServerOptions;

/** The size of sun_path in unix(7). Node.js 20 cuts a longer path off, and listens where another server may. */
const MOST_PATH_BYTES = 107;

/**
 * Listens on a Unix socket that only its owner may open. `isForReaders`: reader processes alone use it.
 * @throws the system's error; ENAMETOOLONG when the path does not fit into the address of a socket
 */
export async function listenOnSocket(
  handleAny: RequestListener,
  path: string,
  isForReaders = false,
): Promise<SocketListener> {
  if (Buffer.byteLength(path) > MOST_PATH_BYTES) {
    throw Object.assign(new Error(`listen ENAMETOOLONG: ${path}`), { code: 'ENAMETOOLONG' });
  }
  const { handler, begunOn, lastOn } = inTurn(handleAny);
  const server = createHttpServer({ ...LIMITS, ...(isForReaders ? READERS_LIMITS : {}) }, handler);
  answerThemAll(server, handler);
  answerUnparsed(server, { begunOn, lastOn });
  // the socket is made within the call, so that this mask applies to no other file
  const mask = process.umask(0o177);
  let listening: Promise<void>;
  try {
    listening = listenOn(server, { path }, isForReaders ? READERS_BACKLOG : BACKLOG);
  } finally {
    process.umask(mask);
  }
  await listening;
  return {
    url: path,
    drain: () => drain(server),
    abort: () => server.closeAllConnections(),
  };
}

async function listenEverywhere(server: Server, port: number): Promise<void> {
  try {
    await listenOn(server, { host: '::', port, ipv6Only: false });
  } catch (error) {
    const code = systemCode(error);
    if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') throw error;
    await listenOn(server, { host: '0.0.0.0', port }); // a machine without IPv6
  }
}

function listenOn(
  server: Server,
  options: { host?: string; port?: number; ipv6Only?: boolean; path?: string },
  backlog = BACKLOG,
) {
  return settled(server, () => server.listen({ ...options, backlog }));
}

function settled(server: Server, begin: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    begin();
  });
}

/**
 * Since Node 19, http.Server.close() cuts idle keep-alive connections at once, and with them requests that are on their
 * way. Closing only the listener and letting "Connection: close" end each connection loses no request.
 */
async function drain(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    NetServer.prototype.close.call(server, () => resolve());
  });
  // behind one more look at the sockets: timers run first
  const grace = setTimeout(() => setImmediate(() => server.closeIdleConnections()), IDLE_GRACE_MS);
  await closed;
  clearTimeout(grace);
}
