// A signature site in this process that a test can make do anything: for each request one answer, written by hand.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export type Answering = (req: IncomingMessage, res: ServerResponse) => void;

export interface HostileSite extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  /** The targets that were asked for, in order. */
  readonly asked: string[];
  /** The headers of each of these requests. */
  readonly headers: IncomingMessage['headers'][];
  /** The client's port of each: another port is another connection. */
  readonly ports: number[];
  answer: Answering;
}

export async function openHostileSite(answer: Answering = missing): Promise<HostileSite> {
  const asked: string[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const sockets = new Set<Socket>();
  const ports: number[] = [];
  const server = createServer((req, res) => {
    asked.push(req.url ?? '');
    headers.push(req.headers);
    ports.push(req.socket.remotePort ?? 0);
    site.answer(req, res);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const site: HostileSite = {
    url: `http://127.0.0.1:${port}`,
    host: `127.0.0.1:${port}`,
    asked,
    headers,
    ports,
    answer,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
  return site;
}

export function missing(_: IncomingMessage, res: ServerResponse): void {
  res.writeHead(404, { 'Content-Type': 'text/html' }).end('<html>not here</html>');
}

/** Serves these files by their path, and 404 for the rest. */
export function serving(files: ReadonlyMap<string, Uint8Array>): Answering {
  return (req, res) => {
    const bytes = files.get((req.url ?? '').split('?', 1)[0] ?? '');
    if (bytes === undefined) missing(req, res);
    else res.writeHead(200, { 'Content-Type': 'text/plain' }).end(bytes);
  };
}
