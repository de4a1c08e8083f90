// One GET as a client with a pool of connections sends it, and how it fails when the connection does.
import { type Agent, get as httpGet, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** @throws Lost when the connection fails ahead of the whole answer */
export function ask(
  port: number,
  target: string,
  agent: Agent,
  headers: OutgoingHttpHeaders = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: target, agent, headers };
    const request = httpGet(options, (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', (error) => reject(new Lost(request.reusedSocket, error)));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
    });
    request.on('error', (error) => reject(new Lost(request.reusedSocket, error)));
  });
}

export class Lost extends Error {
  readonly isReused: boolean;
  readonly code: string | undefined;

  constructor(isReused: boolean, cause: NodeJS.ErrnoException) {
    super(`${cause.message} on a ${isReused ? 'kept' : 'new'} connection`, { cause });
    this.isReused = isReused;
    this.code = cause.code;
  }
}
