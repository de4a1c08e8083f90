// Servers that answer as they are told, one request after the other, and clients that never really wait.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { isLookasideError, type LookasideError } from '../../src/domain/errors.ts';
import type { KeyNames, SignatureServer } from '../../src/domain/remote.ts';
import { connectAdministration, type RemoteAdministration } from '../../src/upstream/administration.ts';
import type { AskerOptions } from '../../src/upstream/asker.ts';
import { connectSignatureServer } from '../../src/upstream/signature-server.ts';

/** How one request is answered. */
export type Act = (res: ServerResponse, req: IncomingMessage, body: Buffer) => void;

export interface SeenRequest {
  /** Method and target. */
  readonly line: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

export interface ScriptedServer extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
  /** What has come so far. */
  readonly seen: readonly SeenRequest[];
}

/** Answers each request by the next act, and the last one again and again. Listens on 127.0.0.1 unless told. */
export async function serveActs(acts: readonly Act[], socketPath?: string): Promise<ScriptedServer> {
  const seen: SeenRequest[] = [];
  const server = createServer(async (req, res) => {
    const act = acts[Math.min(seen.length, acts.length - 1)];
    const pieces: Buffer[] = [];
    for await (const piece of req) pieces.push(piece);
    const body = Buffer.concat(pieces);
    seen.push({ line: `${req.method} ${req.url}`, headers: req.headers, body });
    act?.(res, req, body);
  });
  server.on('clientError', (_, socket) => socket.destroy());
  return { ...(await listening(server, socketPath)), seen };
}

/** Does with each connection, at its first bytes, what it is told. */
export function serveBytes(act: (socket: Socket) => void): Promise<Omit<ScriptedServer, 'seen'>> {
  const server = createNetServer((socket) => {
    socket.on('error', () => undefined); // the client may go first
    socket.once('data', () => act(socket));
  });
  return listening(server);
}

async function listening(server: Server, socketPath?: string) {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  if (socketPath === undefined) server.listen(0, '127.0.0.1');
  else server.listen(socketPath);
  await once(server, 'listening');
  const { port } = (socketPath === undefined ? server.address() : { port: 0 }) as AddressInfo; // it listens on a port
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Act {
  return (res) =>
    void res.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
}

/** As a lookaside server refuses. */
export function refusal(status: number, code: string, more: object = {}): Act {
  return json({ errors: [{ code, message: `the message of ${code}`, ...more }] }, status);
}

export function html(status: number, headers: Record<string, string> = {}): Act {
  return (res) =>
    void res
      .writeHead(status, { 'Content-Type': 'text/html; charset=utf-8', ...headers })
      .end('<h1>Hello</h1>');
}

export const cut: Act = (res) => void res.socket?.resetAndDestroy();

type Retry = { readonly message: string; readonly waitMs: number };
type Place =
  | string
  | Partial<Extract<AskerOptions['at'], { url: string }>>
  | { readonly socketPath: string; readonly isHeld?: boolean };

export interface TestClient extends AsyncDisposable {
  readonly server: SignatureServer & KeyNames;
  /** What was told before each wait. */
  readonly retries: readonly Retry[];
}

/** Waits are over at once, and half as long as they may be. */
export function clientOf(at: Place, options: Partial<AskerOptions> = {}): TestClient {
  const retries: Retry[] = [];
  const server = connectSignatureServer(askingOf(at, retries, options));
  return { server, retries, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

export interface TestAdministrator extends AsyncDisposable {
  readonly administration: RemoteAdministration;
  readonly retries: readonly Retry[];
}

/** As clientOf(). */
export function administratorOf(at: Place, options: Partial<AskerOptions> = {}): TestAdministrator {
  const retries: Retry[] = [];
  const administration = connectAdministration(askingOf(at, retries, options));
  return { administration, retries, [Symbol.asyncDispose]: () => administration[Symbol.asyncDispose]() };
}

function askingOf(at: Place, retries: Retry[], options: Partial<AskerOptions>): AskerOptions {
  const network = { url: '', token: 'lookaside_1', ca: null, hasProxies: false };
  const place =
    typeof at === 'string' ? { ...network, url: at } : 'socketPath' in at ? at : { ...network, ...at };
  return {
    at: place,
    onRetry: (about) => retries.push(about),
    patienceMs: 60_000,
    wait: async () => undefined,
    random: () => 0.5,
    ...options,
  };
}

/** What that fails with. */
export async function failure(doing: Promise<unknown>): Promise<LookasideError> {
  const error = await doing.then(
    () => assert.fail('it did not fail'),
    (thrown: unknown) => thrown,
  );
  if (!isLookasideError(error)) throw error;
  return error;
}

/** The proxy that the environment names until the test ends. */
export function nameProxy(t: TestContext, variable: string, url: string): void {
  const before = process.env[variable];
  t.after(() => {
    if (before === undefined) delete process.env[variable];
    else process.env[variable] = before;
  });
  process.env[variable] = url;
}
