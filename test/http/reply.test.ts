import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type ServerOptions } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { setPeer } from '../../src/http/client.ts';
import { prepared, type Reply, sendReply } from '../../src/http/reply.ts';
import { sendRaw } from './raw-request.ts';

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

const HEADERS = { ETag: '"some"', 'Last-Modified': 'Fri, 02 Jan 2026 03:04:05 GMT' };
// bytes that are no UTF-8
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const toBytes = (): Reply => ({
  status: 200,
  headers: { 'Content-Length': 256, ...HEADERS },
  body: ALL_BYTES,
});
const toText = (): Reply => ({ status: 404, headers: { 'Content-Length': 9 }, body: 'not found' });

const USUAL = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const LAST = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
const REQUESTS: Readonly<Record<string, string>> = {
  'a usual request': USUAL,
  HEAD: 'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n',
  'a request that ends the connection': LAST,
  'a request in HTTP/1.0': 'GET / HTTP/1.0\r\n\r\n',
  'a request in HTTP/1.0 that keeps the connection': 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
  'a request that waits for 100 Continue': 'GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n',
  'a request during the end of the server': 'GET /draining HTTP/1.1\r\nHost: a\r\n\r\n',
};

describe('a reply that is prepared is the same, byte for byte,', () => {
  for (const [name, request] of Object.entries(REQUESTS)) {
    for (const make of [toBytes, toText]) {
      test(`to ${name}, with ${make === toBytes ? 'bytes' : 'a text'}`, async () => {
        const sent = [USUAL, request, USUAL, LAST].join('');
        const sentLater = [request, USUAL, request, LAST].join('');
        for (const text of [sent, sentLater]) {
          const reply = prepared(make());
          const plain = await answersTo(text, answering(make()));
          assert.equal(await answersTo(text, answering(reply)), plain);
          assert.equal(await answersTo(text, answering(reply)), plain);
          assert.match(plain, /^Date: now$/m);
        }
      });
    }
  }

  test('to what a reader process passes on, and to a client after that', async () => {
    const reply = prepared(toText());
    const passedOn = await answersTo(
      USUAL + LAST,
      (req, res) => {
        setPeer(req, { address: '192.0.2.1', isEncrypted: false });
        sendReply(req, res, reply);
      },
      { keepAliveTimeout: 0 }, // as our own socket for them has it
    );
    assert.doesNotMatch(passedOn, /^Keep-Alive/m);
    assert.match(await answersTo(USUAL + LAST, answering(reply)), /^Keep-Alive: timeout=5\r$/m);
  });
});

test('Node.js takes the head that is prepared for one of its own', async () => {
  const reply = prepared(toText());
  const written: number[] = [];
  await answersTo(USUAL + USUAL + LAST, (req, res) => {
    const { writeHead } = res;
    res.writeHead = (...args: [number]) => {
      written.push(args[0]);
      return writeHead.apply(res, args);
    };
    sendReply(req, res, reply);
  });
  assert.deepEqual(written, [404, 404]); // the first one, and the one that ends the connection
});

function answering(reply: Reply): RequestListener {
  return (req, res) => {
    if (req.url === '/draining') res.setHeader('Connection', 'close');
    sendReply(req, res, reply);
  };
}

/** All bytes of the answers, but for the date. */
async function answersTo(
  text: string,
  handle: RequestListener,
  options: ServerOptions = {},
): Promise<string> {
  const server = createServer(options, handle).on('checkContinue', handle); // as our listeners do
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo; // it listens on a port
    const answers = (await sendRaw(port, text)).toString('latin1');
    return answers.replaceAll(
      /^Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT(?=\r$)/gm,
      'Date: now',
    );
  } finally {
    server.close();
  }
}
