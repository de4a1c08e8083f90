// A request as node:http hands it over, without a connection: for code that only reads it.
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';

export interface Incoming {
  readonly method?: string;
  /** Names and values in turn, as they came. */
  readonly headers?: readonly string[];
  /** The address of the peer; undefined for a Unix socket. */
  readonly remoteAddress?: string;
  readonly isEncrypted?: boolean;
}

export function incoming({
  method = 'GET',
  headers = [],
  remoteAddress,
  isEncrypted = false,
}: Incoming = {}): IncomingMessage {
  const socket = new Socket();
  Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress });
  if (isEncrypted) Object.defineProperty(socket, 'encrypted', { value: true });
  const req = new IncomingMessage(socket);
  req.method = method;
  req.httpVersion = '1.1';
  req.rawHeaders = [...headers];
  for (let line = 0; line < headers.length; line += 2) {
    const name = headers[line]?.toLowerCase() ?? '';
    const value = headers[line + 1] ?? '';
    const before = req.headers[name];
    // node:http joins lines of one name, but keeps the first of these
    const isSingle = ['authorization', 'user-agent', 'referer', 'host', 'if-modified-since'].includes(name);
    if (before === undefined) req.headers[name] = value;
    else if (!isSingle) req.headers[name] = `${before}, ${value}`;
  }
  return req;
}
