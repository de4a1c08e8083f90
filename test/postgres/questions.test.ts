// Connections of questions whose askers leave, against a server that speaks as little of PostgreSQL's protocol as they need.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { MAX_QUESTIONS_AT_ONCE } from '../../src/domain/limits.ts';
import { PostgresQuestions } from '../../src/postgres/questions.ts';

const READY = message('Z', 'I');
const ADMITTED = Buffer.concat([message('R', '\0\0\0\0'), READY]);
const DONE = Buffer.concat([message('C', 'SET\0'), READY]);

function message(type: string, body: string): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, Buffer.from(body, 'latin1')]);
}

/** `onStart` is called for each connection before it is admitted. */
async function startFake({ onStart = () => undefined as unknown, isSilent = (): boolean => false } = {}) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.once('data', () => {
      onStart();
      socket.write(ADMITTED);
      socket.on('data', (data) => {
        if (data.toString('latin1', 0, 1) === 'Q' && !isSilent()) socket.write(DONE);
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `postgres://someone:secret@127.0.0.1:${port}/any`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

test('askers who leave while their connection is made take none with them', async () => {
  const leaving = new AbortController();
  await using fake = await startFake({ onStart: () => leaving.abort(new Error('has left')) });
  const questions = new PostgresQuestions(fake.url);
  const opened = Array.from({ length: MAX_QUESTIONS_AT_ONCE }, () => questions.open(leaving.signal));
  for (const one of opened) await assert.rejects(one, { message: 'has left' });
  const { signal } = new AbortController();
  const sessions = await Promise.all(
    Array.from({ length: MAX_QUESTIONS_AT_ONCE }, () => questions.open(signal)),
  );
  await assert.rejects(questions.open(signal), (error) => isLookasideError(error, 'BUSY'));
  for (const session of sessions) await session[Symbol.asyncDispose]();
  await questions.close();
});

test('a database that does not answer at all ends the question, and its connection', async () => {
  let isSilent = true;
  await using fake = await startFake({ isSilent: () => isSilent });
  const questions = new PostgresQuestions(fake.url, { questionMs: 1, graceMs: 1 });
  const { signal } = new AbortController();
  for (let count = 0; count <= MAX_QUESTIONS_AT_ONCE; count += 1) {
    await assert.rejects(questions.open(signal), (error) => isLookasideError(error, 'STORE_UNAVAILABLE'));
  }
  isSilent = false;
  const answering = new PostgresQuestions(fake.url);
  await (await answering.open(signal))[Symbol.asyncDispose]();
  await answering.close();
  await questions.close();
});
