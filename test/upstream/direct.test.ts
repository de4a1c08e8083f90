// How long a server is waited for, and what of it is taken, without a proxy in between.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connectNetwork } from '../../src/upstream/connection.ts';
import { openDirect } from '../../src/upstream/direct.ts';
import { failureOfAttempt } from '../../src/upstream/failure.ts';
import { type Patience, readWhole, type Transport } from '../../src/upstream/transport.ts';
import { createGate } from '../gate.ts';
import { type Act, json, serveActs, serveBytes } from './scripted-server.ts';

const MINUTE_MS = 60_000;
const LONG: Patience = { silenceMs: MINUTE_MS, totalMs: MINUTE_MS };

function open(transport: Transport, body: Buffer | null = null, patience = LONG) {
  const method = body === null ? 'GET' : 'POST';
  return transport.open({ method, path: '/x?y', headers: { a: 'b' }, body, patience });
}

async function ask(transport: Transport, body: Buffer | null = null, patience = LONG) {
  return readWhole(await open(transport, body, patience));
}

async function assertTimesOut(url: string, patience: Partial<Patience>, message: RegExp): Promise<void> {
  const transport = openDirect(url, null);
  try {
    await assert.rejects(ask(transport, null, { ...LONG, ...patience }), { code: 'ETIMEDOUT', message });
  } finally {
    await transport.close();
  }
}

const nothing: Act = () => undefined;

/** A byte now and then, without end. */
const dripping: Act = (res) => {
  res.writeHead(200);
  const timer = setInterval(() => res.write(' '), 10);
  res.once('close', () => clearInterval(timer));
};

describe('a server that is asked directly', () => {
  test('is given up when it says nothing, before its answer or within one', async () => {
    const begun: Act = (res) => void res.writeHead(200, { 'Content-Length': 10 }).write('x');
    await using scripted = await serveActs([nothing, begun]);
    for (const _ of 'ab') await assertTimesOut(scripted.url, { silenceMs: 500 }, /nothing comes for 500 ms/);
    assert.equal(scripted.seen.length, 2);
  });

  test('is given up when its answer drips', async () => {
    await using scripted = await serveActs([dripping]);
    await assertTimesOut(scripted.url, { totalMs: 500 }, /longer than 500 ms/);
  });

  test('is given up when its TLS never comes to be, and has not been sent the request', async () => {
    await using silent = await serveBytes(() => undefined);
    const url = silent.url.replace('http:', 'https:');
    const transport = openDirect(url, null, 100);
    const thrown: unknown = await ask(transport).catch((error) => error);
    assert.match(String(thrown), /no connection for 100 ms/);
    const connection = connectNetwork({ url, token: null, ca: null, hasProxies: false });
    const { isUnsent, isWorthAnotherTry } = failureOfAttempt(thrown, { connection, hasAnswered: false });
    assert.deepEqual([isUnsent, isWorthAnotherTry], [true, true]);
    await transport.close();
  });

  test('gets the request as it is, and over one connection one after the other', async () => {
    const ports = new Set<unknown>();
    const answer: Act = (res, req, body) => {
      ports.add(req.socket.remotePort);
      json({}, 201, { 'X-Two': 'first' })(res, req, body);
    };
    await using scripted = await serveActs([answer]);
    const transport = openDirect(scripted.url, null);
    for (const body of [Buffer.from('text'), null]) {
      const { status, header, body: got } = await ask(transport, body);
      assert.deepEqual(
        [status, header('x-two'), header('x-none'), got.toString()],
        [201, 'first', null, '{}'],
      );
    }
    await transport.close();
    assert.deepEqual(
      scripted.seen.map(({ line, headers, body }) => [
        line,
        headers.a,
        headers['content-length'],
        body.toString(),
      ]),
      [
        ['POST /x?y', 'b', '4', 'text'],
        ['GET /x?y', 'b', undefined, ''],
      ],
    );
    assert.equal(ports.size, 1);
  });

  test('is let go by who has read enough', async () => {
    const gone = createGate();
    const act: Act = (res, ...rest) => {
      res.once('close', gone.open);
      dripping(res, ...rest);
    };
    await using scripted = await serveActs([act]);
    const transport = openDirect(scripted.url, null);
    const { body } = await open(transport);
    for await (const _ of body) break;
    await gone.promise;
    await transport.close();
  });

  test('has its connections ended at once when it is no longer wanted', async () => {
    await using scripted = await serveActs([nothing]);
    const transport = openDirect(scripted.url, null);
    const asked = assert.rejects(ask(transport), { code: 'ECONNRESET' });
    while (scripted.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await transport.close();
    await asked;
  });
});
