// The way to a server with nothing in between, by node:http, which Node.js brings. Loading undici and making its parser takes
// a short command ten times as long as all else that it does.
import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { rootCertificates, TLSSocket } from 'node:tls';
import { CONNECT_MS, type HttpStream, type Outgoing, streamOf, type Transport } from './transport.ts';

/** The error code when no connection was made in time, so that no request was sent. */
export const NOT_CONNECTED = 'CONNECT_TIMEOUT';

/** `ca`: certificates in PEM that are trusted in addition to those of Node.js; null: only those of Node.js. */
export function openDirect(origin: string, ca: string | null, connectMs = CONNECT_MS): Transport {
  const { protocol, hostname, port } = new URL(origin);
  const at = { hostname: hostname.replace(/^\[|\]$/g, ''), port };
  if (protocol === 'http:') return over(new HttpAgent(KEPT), httpRequest, { at, connectMs });
  return over(new HttpsAgent({ ...KEPT, ...trusting(ca) }), httpsRequest, { at, connectMs });
}

/** The way to the server that listens on the Unix socket. */
export function openSocket(socketPath: string): Transport {
  return over(new HttpAgent(KEPT), httpRequest, { at: { socketPath }, connectMs: CONNECT_MS });
}

/** Named authorities replace those of Node.js, so those are named too. */
export function trusting(ca: string | null): { readonly ca?: string[] } {
  return ca === null ? {} : { ca: [...rootCertificates, ca] };
}

const KEPT = { keepAlive: true };

type Request = ReturnType<typeof httpRequest>;

interface Way {
  readonly at: Pick<RequestOptions, 'hostname' | 'port' | 'socketPath'>;
  readonly connectMs: number;
}

function over(agent: HttpAgent, request: typeof httpRequest, { at, connectMs }: Way): Transport {
  return {
    open: (outgoing) => open(outgoing, (options) => request({ ...options, ...at, agent }), connectMs),
    close: async () => agent.destroy(),
  };
}

function open(
  { method, path, headers, body, patience: { silenceMs, totalMs } }: Outgoing,
  make: (options: RequestOptions) => Request,
  connectMs: number,
): Promise<HttpStream> {
  return new Promise((resolve, reject) => {
    const length = body === null ? {} : { 'content-length': String(body.length) };
    const request = make({ method, path, headers: { ...headers, ...length } });
    let answer: IncomingMessage | null = null;
    const fail = (error: Error) => {
      reject(error); // first, before the destroyed connection reports another error
      answer?.destroy(error); // whoever reads the answer gets the reason too
      request.destroy();
    };
    const tooLong = () => fail(timedOut(`it takes longer than ${totalMs} ms`));
    const total = totalMs === null ? undefined : setTimeout(tooLong, totalMs);
    request
      .on('error', fail)
      .on('close', () => clearTimeout(total))
      .on('timeout', () => fail(timedOut(`nothing comes for ${silenceMs} ms`)))
      .on('response', (response: IncomingMessage) => {
        answer = response;
        resolve(streamOf(response.statusCode ?? 0, response.headers, response));
      });
    request.setTimeout(silenceMs);
    const notConnected = timedOut(`no connection for ${connectMs} ms`, NOT_CONNECTED);
    whenNotConnected(request, connectMs, () => fail(notConnected));
    request.end(body ?? undefined);
  });
}

/** Does nothing on a kept connection, which is already there. */
function whenNotConnected(request: Request, afterMs: number, act: () => void): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(act, afterMs);
    const connected = socket instanceof TLSSocket ? 'secureConnect' : 'connect';
    for (const event of [connected, 'close']) socket.once(event, () => clearTimeout(timer));
  });
}

function timedOut(message: string, code = 'ETIMEDOUT'): Error {
  return Object.assign(new Error(message), { code });
}
