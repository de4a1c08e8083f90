// The running server on this machine, through its Unix socket: how a CLI command has it do what only one may do.
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { BatchPart } from '../domain/receipt.ts';
import { writeForm } from './form.ts';
import { readRefusal } from './refusal.ts';

export interface LocalServer {
  /** The answer's JSON. @throws LookasideError SERVER_UNREACHABLE, or what the server refused with */
  call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown>;
  /** As call, with bytes of no stated type. */
  send(method: 'POST', path: string, bytes: Uint8Array): Promise<unknown>;
  /** As call, with the parts as a form of files named `signature`. */
  sendForm(path: string, parts: readonly BatchPart[]): Promise<unknown>;
  /** Hands on each line until the last, which it returns. @throws as call */
  follow(path: string, body: object, onLine: (line: unknown) => void): Promise<unknown>;
}

export function connectLocalServer(socketPath: string): LocalServer {
  async function* lines(method: string, path: string, content: Content): AsyncGenerator<unknown> {
    const response = await send(socketPath, method, path, content);
    for await (const line of createInterface({ input: response })) {
      const value: unknown = JSON.parse(line);
      throwRefusal(value);
      yield value;
    }
  }

  async function follow(path: string, body: object, onLine: (line: unknown) => void): Promise<unknown> {
    let last: unknown = null;
    for await (const value of lines('POST', path, jsonOf(body))) {
      if (last !== null) onLine(last);
      last = value;
    }
    return last;
  }

  async function answer(method: string, path: string, content: Content): Promise<unknown> {
    for await (const value of lines(method, path, content)) return value;
    return null;
  }

  return {
    call: (method, path, body) => answer(method, path, jsonOf(body)),
    send: (method, path, bytes) => answer(method, path, { bytes, headers: {} }),
    sendForm(path, parts) {
      const { contentType, body } = writeForm(parts);
      return answer('POST', path, { bytes: body, headers: { 'Content-Type': contentType } });
    },
    follow,
  };
}

interface Content {
  readonly bytes: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

function send(socketPath: string, method: string, path: string, { bytes, headers: own }: Content) {
  return new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const headers = { ...own, Host: 'localhost', 'Content-Length': bytes.length };
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

function jsonOf(body: object | undefined): Content {
  if (body === undefined) return { bytes: Buffer.alloc(0), headers: {} };
  return { bytes: Buffer.from(JSON.stringify(body)), headers: { 'Content-Type': 'application/json' } };
}

function throwRefusal(value: unknown): void {
  const refusal = readRefusal(value);
  if (refusal !== null) throw refusal;
}
