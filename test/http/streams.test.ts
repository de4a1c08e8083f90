// Bodies and answers that pass through piece by piece, over real sockets.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ClientGone } from '../../src/http/body.ts';
import { streamBody } from '../../src/http/body-stream.ts';
import { renderError } from '../../src/http/errors.ts';
import { type Listener, listen } from '../../src/http/listener.ts';
import { type Reply, sendReply, textReply } from '../../src/http/reply.ts';
import { eventually } from '../clients/eventually.ts';
import { createGate } from '../gate.ts';
import { createLog } from '../service/hand-driven.ts';
import { parseAnswer, requestRaw, sendRaw } from './raw-request.ts';
import { serveOver } from './served.ts';

const LIMITS = { maxBytes: 128 * 1024 * 1024, maxMs: 20_000 };
const HEAD = 'POST / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = `${HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;

const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const each of open.splice(0)) await each[Symbol.asyncDispose]();
});

async function serve(
  handler: RequestListener,
  options: { readonly idleMs?: number } = {},
): Promise<Listener> {
  const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null, ...options });
  open.push({
    async [Symbol.asyncDispose]() {
      server.abort();
      await server.drain();
    },
  });
  return server;
}

async function connectTo({ port }: Listener): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined); // some are cut
  await once(socket, 'connect');
  open.push({ [Symbol.asyncDispose]: async () => void socket.destroy() });
  return socket;
}

/** What `use` makes of the pieces is the answer. `failed` is told what was thrown instead. */
const streaming =
  (
    use: (pieces: AsyncIterable<Uint8Array>, req: IncomingMessage) => Promise<Reply>,
    { limits = LIMITS, failed = (_: unknown): void => undefined } = {},
  ): RequestListener =>
  (req: IncomingMessage, res: ServerResponse) => {
    use(streamBody({ req, res, ...limits }), req).then(
      (reply) => sendReply(req, res, reply),
      (error: unknown) => {
        failed(error);
        if (!(error instanceof ClientGone)) sendReply(req, res, renderError(error));
      },
    );
  };

const streamed = (body: AsyncIterable<Uint8Array | string>, headers: Reply['headers'] = {}): Reply => ({
  status: 200,
  headers,
  body,
});

const total = async (pieces: AsyncIterable<Uint8Array>) => {
  let length = 0;
  for await (const piece of pieces) length += piece.length;
  return textReply(200, `${length} bytes`);
};

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

describe('a streamed body', () => {
  test('goes on, and back, ahead of its end', async () => {
    const server = await serve(streaming(async (pieces) => streamed(pieces)));
    const socket = await connectTo(server);
    let got = '';
    socket.on('data', (piece) => {
      got += piece.toString('latin1');
    });
    const has = async (text: string) => {
      while (!got.includes(text)) await once(socket, 'data');
    };
    socket.write(CHUNKED + chunk('first'));
    await has('first');
    socket.write(chunk('second'));
    await has('second');
    socket.write('0\r\n\r\n');
    await once(socket, 'end');
    assert.equal(parseAnswer(Buffer.from(got, 'latin1')).body.toString(), 'firstsecond');
  });

  test('is sent no faster than it is taken, and comes whole', async () => {
    const isTaken = createGate();
    const sizeBytes = 64 * 1024 * 1024;
    let readAheadBytes = Number.NaN;
    const server = await serve(
      streaming(async (pieces, req) => {
        let length = 0;
        for await (const piece of pieces) {
          if (length === 0) {
            await isTaken.promise;
            readAheadBytes = req.socket.bytesRead;
          }
          length += piece.length;
        }
        return textReply(200, `${length} bytes`);
      }),
    );
    const answer = requestRaw(server.port, 'POST /', [], Buffer.alloc(sizeBytes));
    await pause(300); // without a bound all would have come long before
    isTaken.open();
    assert.equal((await answer).body.toString(), `${sizeBytes} bytes`);
    assert.ok(readAheadBytes < 1024 * 1024, `${readAheadBytes} bytes were read ahead`);
  });

  for (const [what, lines, body] of [
    ['by its length', 'Content-Length: 11\r\n', 'x'.repeat(11)],
    [
      'in chunks',
      'Transfer-Encoding: chunked\r\n',
      `${chunk('x'.repeat(6))}${chunk('x'.repeat(5))}0\r\n\r\n`,
    ],
  ] as const) {
    test(`that is too large ${what} is refused`, async () => {
      const limits = { ...LIMITS, maxBytes: 10 };
      const server = await serve(streaming(total, { limits }));
      const answer = parseAnswer(
        await sendRaw(server.port, `${HEAD}Connection: close\r\n${lines}\r\n${body}`),
      );
      assert.equal(answer.status, 413);
    });
  }

  test('that is compressed is refused', async () => {
    const server = await serve(streaming(total));
    const answer = await requestRaw(server.port, 'POST /', ['Content-Encoding: gzip'], Buffer.from('x'));
    assert.equal(answer.status, 400);
  });

  test('that stands still is answered with 408', async () => {
    const server = await serve(streaming(total, { limits: { ...LIMITS, maxMs: 100 } }));
    const socket = await connectTo(server);
    socket.write(`${HEAD}Content-Length: 5\r\n\r\nhel`);
    const [answer] = await once(socket, 'data');
    assert.match(
      answer.toString(),
      /^HTTP\/1\.1 408 [\s\S]*3 of 5 bytes of the body came within 0\.1 seconds/,
    );
  });

  for (const [what, isTaken] of [
    ['while it waited for the client', true],
    ['while the route had something else to do', false],
  ] as const) {
    test(`that had come in time to a process that was stopped ${what} is taken whole`, async () => {
      const maxMs = 150;
      const stop = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * maxMs);
      const sizeBytes = 200 * 1024;
      await eventually(async () => {
        const { promise: isFirst, open: first } = createGate();
        const { promise: goOn, open: go } = createGate();
        const slow = async (pieces: AsyncIterable<Uint8Array>) => {
          let length = 0;
          for await (const piece of pieces) {
            length += piece.length;
            first();
            if (length < 100) await goOn;
          }
          return textReply(200, `${length} bytes`);
        };
        const server = await serve(streaming(slow, { limits: { maxBytes: 2 * sizeBytes, maxMs } }));
        const startMs = performance.now();
        const socket = await connectTo(server);
        socket.write(`${HEAD}Connection: close\r\nContent-Length: ${sizeBytes + 5}\r\n\r\nfirst`);
        await isFirst;
        if (isTaken) go();
        socket.write(Buffer.alloc(sizeBytes));
        assert.equal(socket.writableLength, 0, 'the system has all of it');
        assert.ok(performance.now() - startMs < maxMs, 'it came in time');
        stop();
        go();
        const [answer] = await once(socket, 'data');
        assert.match(answer.toString(), new RegExp(`^HTTP/1\\.1 200 [\\s\\S]*${sizeBytes + 5} bytes`));
      });
    });
  }

  test('whose client goes away ends as that', async () => {
    const { promise: isOver, open: end } = createGate();
    const errors: unknown[] = [];
    const failed = (error: unknown) => {
      errors.push(error);
      end();
    };
    const server = await serve(streaming(total, { failed }));
    const socket = await connectTo(server);
    socket.write(`${CHUNKED}${chunk('first')}`);
    socket.destroy();
    await isOver;
    assert.ok(errors[0] instanceof ClientGone, String(errors[0]));
  });

  test('that its route leaves early is answered all the same, and waits to be asked for', async () => {
    const first = async (pieces: AsyncIterable<Uint8Array>) => {
      for await (const piece of pieces) return textReply(422, `left at ${piece.length}`);
      return textReply(200, 'nothing came');
    };
    const server = await serve(streaming(first));
    const socket = await connectTo(server);
    socket.write(`${HEAD}Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n`);
    const [asked] = await once(socket, 'data');
    assert.equal(asked.toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('hello');
    const chunks: Buffer[] = [];
    socket.on('data', (piece) => chunks.push(piece));
    await once(socket, 'end');
    const answer = parseAnswer(Buffer.concat(chunks));
    assert.deepEqual([answer.status, answer.headers.get('connection')], [422, 'close']);
    assert.equal(answer.body.toString(), 'left at 5');
  });
});

describe('a streamed answer', () => {
  const answering =
    (reply: () => Reply): RequestListener =>
    (req, res) =>
      sendReply(req, res, reply());

  test('may wait for its next piece longer than an idle connection may', async () => {
    async function* slowly() {
      yield 'at ';
      await pause(400);
      yield 'last';
    }
    const server = await serve(
      answering(() => streamed(slowly())),
      { idleMs: 100 },
    );
    const answer = await requestRaw(server.port, 'GET /');
    assert.equal(answer.body.toString(), 'at last');
  });

  test('that fails, or is shorter than it said, is cut off and never taken for whole', async () => {
    async function* short() {
      yield 'four';
    }
    async function* failing() {
      yield 'four';
      throw new Error('the disk is gone');
    }
    for (const body of [short, failing]) {
      const server = await serve(answering(() => streamed(body(), { 'Content-Length': 8 })));
      const bytes = await sendRaw(server.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'); // resolves by the end of the connection
      assert.ok(!bytes.toString().endsWith('fourfour'));
    }
  });

  /** What the log says once `read` has read of a feed of events. */
  async function logOf(
    events: () => AsyncGenerator<null>,
    read: (answer: Response, leave: () => void) => Promise<unknown>,
  ) {
    const log = createLog();
    const server = await serveOver({ log, feed: { has: async () => true, events } });
    open.push(server);
    const leaving = new AbortController();
    const ask = { headers: { Authorization: `Bearer ${server.tokens.auditor}` } };
    const url = `${server.url}/api/v1/events?follow=1`;
    await read(await fetch(url, { ...ask, signal: leaving.signal }), () => leaving.abort());
    return log.lines.map(({ message }) => message);
  }

  test('that its client leaves has not failed', async () => {
    const isLeft = createGate();
    async function* endless() {
      try {
        for (;;) {
          yield null;
          await pause(10);
        }
      } finally {
        isLeft.open();
      }
    }
    const lines = await logOf(endless, async (answer, leave) => {
      await answer.body?.getReader().read();
      leave();
      await isLeft.promise;
      await pause(50); // time enough for a line in the log
    });
    assert.deepEqual(lines, []);
  });

  test('that fails while its client waits is in the log', async () => {
    async function* failing() {
      yield null;
      throw new Error('the disk is gone');
    }
    const lines = await logOf(failing, (answer) => assert.rejects(answer.text()));
    assert.deepEqual(lines, ['answers were cut short']);
  });
});

test('an answer that was being made when the server began to stop ends its connection', async () => {
  let isDraining = false;
  const server = await serveOver({
    isDraining: () => isDraining,
    auditLog: {
      identity: { origin: 'log.example', vkey: 'none' },
      async checkpoint() {
        isDraining = true;
        return null;
      },
      tile: async () => null,
    },
  });
  open.push(server);
  const { status, headers } = await fetch(`${server.url}/log/checkpoint`);
  assert.deepEqual([status, headers.get('connection')], [404, 'close']);
});
