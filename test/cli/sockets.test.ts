// Sockets that are passed to `lookaside serve`, and what it makes of others.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { startActivated } from '../clients/activated.ts';
import { needs } from '../clients/available.ts';
import { run, startBackground } from '../clients/command.ts';
import { lookaside } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';

const PATH = process.env.PATH ?? '';
const PASS = 'export LISTEN_PID=$$ LISTEN_FDS=$0; exec "$@"';

/** A free port of 127.0.0.1, as far as anybody can know. */
async function freePort(): Promise<number> {
  const server = createServer().listen({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server that listens has one
  server.close();
  await once(server, 'close');
  return port;
}

test('a passed socket is listened on instead of the address in the settings, and the log says so', async () => {
  await using temp = await openTempFolder();
  await using server = await startActivated(temp.path, { LOOKASIDE_LISTEN: ':1' });
  assert.equal((await requestRaw(server.port, 'GET /livez')).status, 200);
  assert.match(server.output(), new RegExp(`listening on http://127.0.0.1:${server.port} \\(passed by`));
  assert.match(server.output(), /"listen":":1".*and not on LOOKASIDE_LISTEN/);
});

test('what is passed and is no socket to listen on ends the server with a sentence', async () => {
  await using temp = await openTempFolder();
  await using file = await open('/dev/null');
  for (const [passed, count, said, status] of [
    [[file.fd], '1', /^lookaside: cannot listen on file descriptor 3, .*EINVAL; wanted a TCP socket/m, 1],
    [[], 'one', /^lookaside: LISTEN_FDS is "one": wanted how many/m, 2],
  ] as const) {
    const argv = ['sh', '-c', PASS, count, ...lookaside('serve', '--data', temp.path)] as const;
    const outcome = await run(argv, { env: { PATH }, passed });
    assert.match(outcome.stderr, said);
    assert.equal(outcome.status, status);
  }
});

test('systemd starts the server at the first connection', needs('systemd-socket-activate'), async () => {
  await using temp = await openTempFolder();
  const [first, second] = [await freePort(), await freePort()];
  await using _ = await startBackground(
    [
      'systemd-socket-activate',
      ...['-l', `127.0.0.1:${first}`, '-l', `127.0.0.1:${second}`],
      ...lookaside('serve', '--data', temp.path),
    ],
    { env: { PATH } },
    /Listening on 127\.0\.0\.1:[0-9]+.*Listening on 127\.0\.0\.1:[0-9]+/s,
  );
  for (const port of [first, second]) assert.equal((await requestRaw(port, 'GET /livez')).status, 200);
});
