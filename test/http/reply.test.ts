import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type ServerOptions } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { setPeer } from '../../src/http/client.ts';
import { createForm, type Reply, type ReplyForm, sendReply } from '../../src/http/reply.ts';
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

// bytes that are no UTF-8
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);
/** Another one for each number, as different signatures have. */
const toBytes = (at: number): Reply => {
  const headers = {
    'Content-Type': 'application/octet-stream',
    'Content-Length': 256 - at,
    ETag: `"${at}"`,
    'Last-Modified': new Date(1e12 * at).toUTCString(),
    'Cache-Control': 'no-cache',
  };
  return { status: 200, headers, body: ALL_BYTES.subarray(at) };
};
const bytesForm = () => createForm('Content-Length', 'ETag', 'Last-Modified');
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

describe('a reply of a form is the same as without, byte for byte,', () => {
  for (const [name, request] of Object.entries(REQUESTS)) {
    for (const [make, createIts] of [
      [toBytes, bytesForm],
      [toText, createForm],
    ] as const) {
      test(`to ${name}, with ${make === toBytes ? 'bytes' : 'a text'}`, async () => {
        const sent = [USUAL, request, USUAL, LAST].join('');
        const sentLater = [request, USUAL, request, LAST].join('');
        for (const text of [sent, sentLater]) {
          const form = createIts();
          const plain = await answersTo(text, answering(make));
          assert.equal(await answersTo(text, answering(make, form)), plain);
          assert.equal(await answersTo(text, answering(make, form)), plain);
          assert.match(plain, /^Date: now$/m);
        }
      });
    }
  }

  test('to what a reader process passes on, and to a client after that', async () => {
    const form = createForm();
    const passedOn = await answersTo(
      USUAL + LAST,
      (req, res) => {
        setPeer(req, { address: '192.0.2.1', isEncrypted: false });
        sendReply(req, res, { ...toText(), form });
      },
      { keepAliveTimeout: 0 }, // as our own socket for them has it
    );
    assert.doesNotMatch(passedOn, /^Keep-Alive/m);
    assert.match(await answersTo(USUAL + LAST, answering(toText, form)), /^Keep-Alive: timeout=5\r$/m);
  });

  test('also where a header of the form is missing', async () => {
    const form = createForm('Content-Length', 'ETag');
    const plain = await answersTo(USUAL + USUAL + LAST, answering(toText));
    assert.equal(await answersTo(USUAL + USUAL + LAST, answering(toText, form)), plain);
  });
});

test('Node.js makes the head of the first reply of a form, and of none that follows', async () => {
  const form = bytesForm();
  const written: number[] = [];
  const answer = answering(toBytes, form);
  await answersTo(USUAL + USUAL + LAST, (req, res) => {
    const { writeHead } = res;
    res.writeHead = (...args: [number]) => {
      written.push(args[0]);
      return writeHead.apply(res, args);
    };
    answer(req, res);
  });
  assert.deepEqual(written, [200, 200]); // the first one, and the one that ends the connection
});

/** Each request is answered with the next reply. */
function answering(make: (at: number) => Reply, form?: ReplyForm): RequestListener {
  let at = 0;
  return (req, res) => {
    if (req.url === '/draining') res.setHeader('Connection', 'close');
    at += 1;
    sendReply(req, res, form === undefined ? make(at) : { ...make(at), form });
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
