// The running server on this machine, through its Unix socket: how a CLI command has it do what only one may do.
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { BatchPart } from '../domain/receipt.ts';

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
  async function* lines(method: string, path: string, body: Body): AsyncGenerator<unknown> {
    const response = await send(socketPath, method, path, await toContent(body));
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

  return { call, send: call, follow, sendForm: (path, parts) => call('POST', path, formOf(parts)) };
}

/** An object goes as JSON. */
type Body = Uint8Array | FormData | object | undefined;

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

async function toContent(body: Body): Promise<Content> {
  if (body instanceof Uint8Array) return { bytes: body, headers: {} };
  if (!(body instanceof FormData)) {
    return { bytes: Buffer.from(body === undefined ? '' : JSON.stringify(body)), headers: {} };
  }
  const encoded = new Response(body);
  const type = encoded.headers.get('Content-Type') ?? '';
  return { bytes: new Uint8Array(await encoded.arrayBuffer()), headers: { 'Content-Type': type } };
}

function formOf(parts: readonly BatchPart[]): FormData {
  const form = new FormData();
  for (const { bytes, fileName } of parts) {
    form.append('signature', new Blob([Uint8Array.from(bytes)]), fileName ?? 'signature');
  }
  return form;
}

function throwRefusal(value: unknown): void {
  if (typeof value !== 'object' || value === null || !('errors' in value) || !Array.isArray(value.errors))
    return;
  const [first] = value.errors;
  // the server's codes are ours: both come of one build, or of builds of one major version
  throw new LookasideError(first?.code ?? 'REQUEST_INVALID', first?.message ?? 'the server refused', {
    detail: first?.detail,
  });
}
