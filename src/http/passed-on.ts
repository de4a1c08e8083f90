// What a reader process passes on: every request that it does not answer itself, over a Unix socket to the process that owns the
// data directory. One header line of ours says who the client is; it is believed on that socket alone.
import { Agent, type ClientRequest, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { isEncrypted, peerOf, setPeer } from './client.ts';
import { isRead } from './exchange.ts';
import { linger } from './linger.ts';

const PEER_HEADER = 'x-lookaside-peer';
const NO_HOST = '-';
const IDLE_MS = 5000;

/** Each is about one connection, and never passed on (RFC 9110 section 7.6.1); ours is a client's in vain. */
const OF_ONE_CONNECTION: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade'],
  PEER_HEADER,
]);

/** Takes what a reader process says of the client out of the request, which is then as it came to that process. */
export function takePeer(req: IncomingMessage): void {
  const value = req.headers[PEER_HEADER];
  if (typeof value !== 'string') throw new Error('a request came from no reader process');
  const [version = '1.1', scheme, host, address = 'local'] = value.split(' ');
  setPeer(req, { address, isEncrypted: scheme === 'https' });
  req.httpVersion = version;
  removeHeader(req, PEER_HEADER);
  removeHeader(req, 'connection'); // of the connection between the two
  if (host === NO_HOST) removeHeader(req, 'host'); // made up, because HTTP/1.1 wants one
}

function removeHeader({ headers, rawHeaders }: IncomingMessage, wanted: string): void {
  delete headers[wanted];
  for (let line = rawHeaders.length - 2; line >= 0; line -= 2) {
    if (rawHeaders[line]?.toLowerCase() === wanted) rawHeaders.splice(line, 2);
  }
}

function passedHeaders(req: IncomingMessage): string[] {
  const { rawHeaders, headers, method } = req;
  const passed: string[] = [];
  for (let line = 0; line < rawHeaders.length; line += 2) {
    const [name = '', value = ''] = rawHeaders.slice(line, line + 2);
    if (!OF_ONE_CONNECTION.has(name.toLowerCase())) passed.push(name, value);
  }
  if (headers.host === undefined) passed.push('Host', 'localhost');
  // else node:http announces a body in chunks
  const hasLength = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  if (!hasLength && method !== 'GET' && method !== 'HEAD') passed.push('Content-Length', '0');
  const scheme = isEncrypted(req) ? 'https' : 'http';
  const host = headers.host === undefined ? NO_HOST : 'host';
  passed.push(PEER_HEADER, `${req.httpVersion} ${scheme} ${host} ${peerOf(req)}`);
  return passed;
}

/** Has the process behind `socketPath` answer, and streams both bodies, each no faster than its reader takes it. */
export function createPassOn(socketPath: string): (req: IncomingMessage, res: ServerResponse) => void {
  // this side alone closes idle connections, so that no request meets one that is just being closed
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 64, timeout: IDLE_MS });

  return (req, res) => {
    const onwards = request({
      agent,
      socketPath,
      method: req.method ?? 'GET',
      path: req.url ?? '/',
      headers: passedHeaders(req),
    });
    let answered: IncomingMessage | null = null;
    onwards.on('continue', () => res.writeContinue());
    onwards.on('response', (answer) => {
      answered = answer;
      relay(answer, { req, res, onwards });
    });
    // the other process has ended: as if this one had. When it did not want the body, its answer has said enough
    onwards.on('error', () => {
      if (answered?.complete !== true) res.destroy();
    });
    res.once('close', () => {
      if (!res.writableFinished) onwards.destroy();
    });
    req.pipe(onwards);
  };
}

interface Passed {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly onwards: ClientRequest;
}

function relay(answer: IncomingMessage, { req, res, onwards }: Passed): void {
  const { rawHeaders, headers, statusCode = 500, statusMessage = '' } = answer;
  const isLast = headers.connection === 'close';
  const isUnread = isLast && !req.complete && !isRead(req);
  if (isUnread) req.unpipe(onwards);
  const relayed: string[] = [];
  for (let line = 0; line < rawHeaders.length; line += 2) {
    const [name = '', value = ''] = rawHeaders.slice(line, line + 2);
    const lower = name.toLowerCase();
    if (!OF_ONE_CONNECTION.has(lower) && lower !== 'transfer-encoding') relayed.push(name, value);
  }
  if (isLast) relayed.push('Connection', 'close');
  res.sendDate = false; // it has one
  res.writeHead(statusCode, statusMessage, relayed);
  answer.pipe(res, { end: false });
  answer.once('end', () => {
    // the client is still sending what nobody reads: it is to read the answer all the same
    if (isUnread) {
      onwards.destroy();
      linger(req.socket, req);
    } else res.end();
  });
  // cut short, so that nobody takes it for whole
  answer.once('error', () => res.destroy());
  answer.once('aborted', () => res.destroy());
}
