// Sockets that are passed to `lookaside serve`, and what it makes of others.
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { test } from 'node:test';
import { startActivated } from '../clients/activated.ts';
import { run } from '../clients/command.ts';
import { lookaside } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';

const PATH = process.env.PATH ?? '';
const PASS = 'export LISTEN_PID=$$ LISTEN_FDS=$0; exec "$@"';

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
