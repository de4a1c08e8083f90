import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type Reply, sendReply } from '../../src/http/reply.ts';

test('a second answer to one request ends its connection, and throws nothing', async () => {
  const reply: Reply = { status: 200, headers: { 'Content-Length': 5 }, body: 'first' };
  const thrown: unknown[] = [];
  const server = createServer((req, res) => {
    try {
      sendReply(req, res, reply);
      sendReply(req, res, reply);
    } catch (error) {
      thrown.push(error);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo; // it listens on a port
    await fetch(`http://127.0.0.1:${port}/`).then(
      (answer) => answer.text(),
      () => 'the connection was ended',
    );
  } finally {
    server.close();
  }
  assert.deepEqual(thrown, []);
});
