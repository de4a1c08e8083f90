// The server behind a listening socket that another process has bound and keeps: socket activation as systemd does it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { systemCode } from '../../src/domain/errors.ts';
import { startBackground } from './command.ts';
import { eventually } from './eventually.ts';
import { lookaside } from './server.ts';

export interface ActivatedServer extends AsyncDisposable {
  readonly port: number;
  /** The process of the server that runs now. */
  readonly pid: number;
  /** The output of all servers so far. */
  output(): string;
  /** Has the server end by SIGTERM; resolves when the next one is ready. It must end with 0. */
  restart(): Promise<void>;
}

/** What systemd does with Restart=always: a new process whenever one has ended well, each with the same socket. */
const KEEPER = `
trap 'isOver=1; kill -TERM $child' TERM
while [ -z "$isOver" ]; do
  sh -c 'echo "server $$"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$@"' sh "$@" & child=$!
  wait $child || isOver=1
done
wait $child; exit $?`;

/** A server that owns the tree of `data`, once it says that it listens. */
export async function startActivated(
  data: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<ActivatedServer> {
  await using socket = await bind();
  const keeper = await startBackground(
    ['sh', '-c', KEEPER, 'sh', ...lookaside('serve', '--data', data)],
    { env: { PATH: process.env.PATH ?? '', ...settings }, passed: [socket.fd] },
    /server [0-9]+\n.*listening on /s,
  );
  const pids = () => [...keeper.output().matchAll(/^server ([0-9]+)$/gm)].map(([, pid]) => Number(pid));
  const starts = () => keeper.output().match(/listening on http/g)?.length ?? 0;
  const pid = () => {
    const last = pids().at(-1);
    assert.ok(last !== undefined);
    return last;
  };
  // the keeper's end by SIGKILL would leave the server
  const killWithUs = () => signal(pid(), 'SIGKILL');
  process.prependOnceListener('exit', killWithUs);
  return {
    port: socket.port,
    get pid() {
      return pid();
    },
    output: keeper.output,
    async restart() {
      const before = starts();
      process.kill(pid(), 'SIGTERM');
      await Promise.race([
        eventually(() => assert.ok(starts() > before, keeper.output())),
        keeper.ended.then((status) => assert.fail(`the server ended with ${status}\n${keeper.output()}`)),
      ]);
    },
    async [Symbol.asyncDispose]() {
      await keeper.stop();
      process.off('exit', killWithUs);
    },
  };
}

interface BoundSocket extends AsyncDisposable {
  readonly fd: number;
  readonly port: number;
}

/** A socket that listens on a free port of 127.0.0.1. Disposed of, it stays with the process that it was passed to. */
async function bind(): Promise<BoundSocket> {
  const server = createServer();
  server.listen({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server that listens has one
  // node:net has no other way to the descriptor
  const { fd } = (server as unknown as { readonly _handle: { readonly fd: number } })._handle;
  return {
    fd,
    port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error; // it has ended
  }
}
