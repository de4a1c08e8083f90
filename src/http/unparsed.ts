// Answers what node:http could not parse as a request: like any other refusal, and so that the client gets to read it.
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import { quoted } from '../domain/text.ts';
import { renderError } from './errors.ts';
import { linger } from './linger.ts';

const REQUEST_LATE = 'ERR_HTTP_REQUEST_TIMEOUT';

export interface AnswersOn {
  /** The latest answer of a connection whose request the handler has begun to handle. */
  readonly begunOn: (socket: Socket) => { readonly res: ServerResponse } | null;
  /** The answer to the last request that has come on it. */
  readonly lastOn: (socket: Socket) => ServerResponse | null;
}

/** Replaces Node's own answers, which have no text, and which a client that is still sending loses. */
export function answerUnparsed(server: Server, { begunOn, lastOn }: AnswersOn): void {
  const refused = new WeakSet<Socket>();

  function isMidAnswer(socket: Socket): boolean {
    const before = begunOn(socket)?.res;
    return before?.headersSent === true && !before.writableFinished;
  }

  function refuse(socket: Socket, error: Error): boolean {
    if (!socket.writable || isMidAnswer(socket)) {
      socket.destroy(error);
      return false;
    }
    refused.add(socket);
    socket.write(answerText(refusalOf(error)));
    return true;
  }

  // without this, Node.js closes the connection without a word, and whoever took this server for a proxy does not learn why
  server.on('connect', ({ url = '' }: IncomingMessage, stream) => {
    const socket = stream as Socket; // of an HTTP server over TCP, TLS or a Unix socket
    socket.on('error', () => socket.destroy()); // Node.js has taken its own listener away, and nobody is left to hear of it
    const error = new LookasideError(
      'METHOD_NOT_ALLOWED',
      `CONNECT ${quoted(url)} asks a proxy for a tunnel, and this is a signature server; name another proxy, or none`,
    );
    // the answer to an earlier request has to come first
    if (lastOn(socket)?.closed === false) socket.destroy();
    else if (refuse(socket, error)) linger(socket, socket);
  });
  server.on('clientError', (error: Error, stream) => {
    const socket = stream as Socket; // of an HTTP server over TCP, TLS or a Unix socket
    if (refused.has(socket)) return; // an error of the parser about what follows
    // after a request that asked to close, nothing more is a request, and the answer that is owed must not be replaced
    // (RFC 9112 section 9.6)
    if (systemCode(error) === 'HPE_CLOSED_CONNECTION') return;
    if (systemCode(error) === REQUEST_LATE && socket.writable) {
      const last = lastOn(socket);
      // this process may have been stopped, or busy, for that long: what has come meanwhile is read before the client is blamed
      setImmediate(() => {
        if (!socket.writable || refused.has(socket) || lastOn(socket) !== last) return;
        if (refuse(socket, error)) socket.destroySoon(); // we have already waited for this client
      });
      return;
    }
    if (!refuse(socket, error)) return;
    socket.removeAllListeners('data'); // the parser's
    linger(socket, socket);
  });
}

/** The socket below a TLS socket. Undocumented: if it disappears, the connection is cut as Node.js cuts it. */
interface Wrapping {
  readonly _parent?: Socket | null;
}

/** Answers instead of a reset connection, which does not say that only the `s` of https is missing. */
export function answerPlainHttp(server: Server, onPlainHttp: (address: string) => void): void {
  server.on('tlsClientError', (error: Error, stream: Socket & Wrapping) => {
    if (systemCode(error) !== 'ERR_SSL_HTTP_REQUEST') return;
    onPlainHttp(stream.remoteAddress ?? 'an address that is gone');
    stream._parent?.end(
      answerText(
        new LookasideError(
          'REQUEST_INVALID',
          'this port expects TLS, and the request came without it; write https:// instead of http://',
        ),
      ),
    );
  });
}

function refusalOf(error: Error): LookasideError {
  if (isLookasideError(error)) return error;
  switch (systemCode(error)) {
    case REQUEST_LATE:
      return new LookasideError('TOO_SLOW', 'the request took too long to arrive; send it again, faster');
    case 'HPE_HEADER_OVERFLOW':
      return new LookasideError(
        'HEADERS_TOO_LARGE',
        'the request line and header lines are over 16 KiB; send less',
      );
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new LookasideError('TOO_LARGE', 'the chunk extensions are over 16 KiB; send none');
    default:
      return new LookasideError(
        'REQUEST_INVALID',
        `the request is not HTTP/1.1 (${error.message}); send it as RFC 9112 says`,
      );
  }
}

function answerText(refusal: LookasideError): string {
  const { status, headers, body } = renderError(refusal);
  const allow = refusal.code === 'METHOD_NOT_ALLOWED' ? { Allow: 'GET, HEAD' } : {};
  const always = { Date: new Date().toUTCString(), Connection: 'close' };
  const lines = Object.entries({ ...headers, ...allow, ...always }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, '', body].join('\r\n');
}
