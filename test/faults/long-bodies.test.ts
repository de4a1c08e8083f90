// No limit of the listener cuts a body whose route has time for it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { streamBody } from '../../src/http/body-stream.ts';
import { listen } from '../../src/http/listener.ts';
import { count } from './promise.ts';

/** Longer than Node.js' own limits would be, 300 s aside, and than the 30 s of an idle connection. */
const FOR_MS = count(45_000, 1_000);

test(`a body that comes for ${FOR_MS / 1000} s is taken whole`, async () => {
  const server = await listen({
    handler: async (req, res) => {
      let length = 0;
      for await (const piece of streamBody({ req, res, maxBytes: 1000, maxMs: 2 * FOR_MS }))
        length += piece.length;
      res.end(`${length} bytes`);
    },
    host: '127.0.0.1',
    port: 0,
    tls: null,
  });
  try {
    const socket = connect({ host: '127.0.0.1', port: server.port });
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n');
    for (let sent = 0; sent < 100; sent += 1) {
      socket.write('x');
      await pause(FOR_MS / 100);
    }
    const [answer] = await once(socket, 'data');
    assert.match(answer.toString(), /100 bytes$/);
    socket.destroy();
  } finally {
    server.abort();
    await server.drain();
  }
});
