// The running server on this machine, through its Unix socket: how a CLI command has it do what only one may do.
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { readRefusal } from './refusal.ts';

export interface LocalServer {
  /** The answer's JSON. @throws LookasideError SERVER_UNREACHABLE, or what the server refused with */
  call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown>;
  /** As call, with bytes of no stated type. */
  send(method: 'POST', path: string, bytes: Uint8Array): Promise<unknown>;
  /** Hands on each line until the last, which it returns. @throws as call */
  follow(path: string, body: object, onLine: (line: unknown) => void): Promise<unknown>;
}

export function connectLocalServer(socketPath: string): LocalServer {
  async function* lines(method: string, path: string, body: Body): AsyncGenerator<unknown> {
    const response = await send(socketPath, method, path, body);
    for await (const line of createInterface({ input: response })) {
      const value: unknown = JSON.parse(line);
      throwRefusal(value);
      yield value;
    }
  }

  async function follow(path: string, body: object, onLine: (line: unknown) => void): Promise<unknown> {
    let last: unknown = null;
    for await (const value of lines('POST', path, body)) {
      if (last !== null) onLine(last);
      last = value;
    }
    return last;
  }

  async function call(method: string, path: string, body: Body): Promise<unknown> {
    for await (const value of lines(method, path, body)) return value;
    return null;
  }

  return { call, send: call, follow };
}

/** An object goes as JSON. */
type Body = Uint8Array | object | undefined;

function send(socketPath: string, method: string, path: string, body: Body) {
  return new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const bytes = toBytes(body);
    const headers = { Host: 'localhost', 'Content-Length': bytes.length };
    const outgoing = request({ socketPath, method, path, headers }, resolve);
    outgoing.once('error', (error) => {
      const code = systemCode(error) ?? 'unknown error';
      reject(
        new LookasideError(
          'SERVER_UNREACHABLE',
          `a server holds the data directory, but ${socketPath} does not answer (${code}); restart it, or stop it and try again`,
          { cause: error },
        ),
      );
    });
    outgoing.end(bytes);
  });
}

function toBytes(body: Body): Uint8Array {
  if (body instanceof Uint8Array) return body;
  return Buffer.from(body === undefined ? '' : JSON.stringify(body));
}

function throwRefusal(value: unknown): void {
  const refusal = readRefusal(value);
  if (refusal !== null) throw refusal;
}
