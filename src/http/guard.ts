// Refuses malformed requests before anything else looks at them.
import type { IncomingMessage } from 'node:http';
import { LookasideError } from '../domain/errors.ts';
import { MAX_HEADER_LINES } from '../domain/limits.ts';

/** Null when the request may go on. A target that is too long names nothing and becomes a 404 later. */
export function refuse(req: IncomingMessage): LookasideError | null {
  const { rawHeaders } = req; // names and values in turn
  if (rawHeaders.length > 2 * MAX_HEADER_LINES) {
    return new LookasideError(
      'HEADERS_TOO_LARGE',
      `the request has more than ${MAX_HEADER_LINES} header lines; send fewer`,
    );
  }
  // the parser accepts 0.9 and 2.0 as well, which are other protocols
  if (req.httpVersion !== '1.1' && req.httpVersion !== '1.0') {
    return new LookasideError(
      'REQUEST_INVALID',
      `the request line says HTTP/${req.httpVersion}; wanted HTTP/1.1 or HTTP/1.0`,
    );
  }
  let hosts = 0;
  for (let line = 0; line < rawHeaders.length; line += 2) {
    const name = rawHeaders[line];
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  // Node.js silently keeps the first of two Host lines; a proxy in front of us may keep the last
  if (hosts > 1) return new LookasideError('REQUEST_INVALID', 'the request has several Host lines; send one');
  if (hosts === 0 && req.httpVersion === '1.1') {
    return new LookasideError(
      'REQUEST_INVALID',
      'the request has no Host line, which HTTP/1.1 demands; send one',
    );
  }
  return null;
}
