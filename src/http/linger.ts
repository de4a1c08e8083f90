// Ends a connection whose client may still be sending: closing it with unread bytes would reset it, and the client could
// lose the answer (RFC 9112 section 9.6).
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';

// enough for a client that sends a whole batch before it reads the answer
const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 4000;

/**
 * Ends our side of the connection and drops what still comes from `rest`: the socket, or a request that is read from it.
 * Closes the connection when `rest` ends, or after 64 MiB or 4 s.
 */
export function linger(socket: Socket, rest: Readable): void {
  if (socket.destroyed) return;
  let left = LINGER_BYTES;
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
  rest.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) socket.destroy();
  });
  rest.once('end', () => socket.destroySoon());
  rest.resume();
  socket.end();
}
