import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, statSync } from 'node:fs';
import { Agent, get, type IncomingMessage, type RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { setImmediate as immediate, setTimeout as pause } from 'node:timers/promises';
import { listen, listenOnSocket } from '../../src/http/listener.ts';
import { eventually } from '../clients/eventually.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { createGate } from '../gate.ts';
import { sendRaw } from './raw-request.ts';

const handler = (_: unknown, res: import('node:http').ServerResponse) => void res.end('ok');

function status(options: { host: string; port: number } | { socketPath: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ ...options, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    }).once('error', reject);
  });
}

describe('a listener', () => {
  test('without a host is reached by every address of the machine', async () => {
    const server = await listen({ handler, host: null, port: 0, tls: null });
    try {
      const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
      const own = addresses.filter(({ internal }) => internal).map(({ address }) => address);
      assert.ok(own.includes('127.0.0.1'));
      for (const host of own) assert.equal(await status({ host, port: server.port }), 200, host);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('with a host is reached by that alone', async () => {
    const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
    try {
      assert.equal(server.url, `http://127.0.0.1:${server.port}`);
      assert.equal(await status({ host: '127.0.0.1', port: server.port }), 200);
      await assert.rejects(status({ host: '127.0.0.2', port: server.port }), { code: 'ECONNREFUSED' });
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('hands over also what Node.js would answer itself: an unknown expectation, and a request without Host', async () => {
    const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
    try {
      for (const lines of ['Host: a\r\nExpect: x\r\n', '']) {
        const request = `GET / HTTP/1.1\r\nConnection: close\r\n${lines}\r\n`;
        const answer = (await sendRaw(server.port, request)).toString();
        assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/, lines);
      }
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('ends as many connections as it is to let go, of those that have asked much, and says so in their answers', async () => {
    const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const others = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = async (by: Agent) => {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        get({ host: '127.0.0.1', port: server.port, agent: by }, resolve).once('error', reject);
      });
      answer.resume();
      await once(answer, 'end');
      return answer.headers.connection;
    };
    try {
      server.letGo(2);
      for (let number = 1; number < 100; number += 1) assert.equal(await ask(agent), 'keep-alive');
      assert.equal(await ask(others), 'keep-alive');
      assert.deepEqual(server.traffic, { requests: 100, connections: 2 });
      assert.equal(await ask(agent), 'close');
      assert.equal(await ask(agent), 'keep-alive'); // on another connection
      await eventually(() => assert.deepEqual(server.traffic, { requests: 102, connections: 2 }));
      server.letGo(0);
      for (let number = 2; number < 102; number += 1) assert.equal(await ask(others), 'keep-alive');
    } finally {
      agent.destroy();
      others.destroy();
      server.abort();
      await server.drain();
    }
  });

  for (const [what, next, answers] of [
    ['sends requests ahead of answers', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(34), 34],
    ['sends a body', 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n12', 1],
  ] as const) {
    test(`lets no connection go whose client ${what}, which would have no answer`, async () => {
      const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
      const client = connect({ host: '127.0.0.1', port: server.port }).setEncoding('latin1');
      let text = '';
      client.on('data', (piece) => {
        text += piece;
      });
      const ask = async (wanted: number) => {
        client.write(next);
        while (text.split('HTTP/1.1 200').length - 1 < wanted) {
          assert.ok(!client.readableEnded, `it was ended: ${text.slice(-200)}`);
          await Promise.race([once(client, 'data'), once(client, 'end')]);
        }
      };
      try {
        for (let before = 0; before < 102; before += answers) await ask(before + answers);
        server.letGo(1);
        await ask(102 + answers);
        assert.doesNotMatch(text, /Connection: close/);
      } finally {
        client.destroy();
        server.abort();
        await server.drain();
      }
    });
  }

  test('closes a connection on which nothing happens, but none on which it owes an answer', async () => {
    const isAnswered = createGate();
    const isAsked = createGate();
    const slow: typeof handler = (_, res) => {
      isAsked.open();
      void isAnswered.promise.then(() => res.end('at last'));
    };
    const server = await listen({ handler: slow, host: '127.0.0.1', port: 0, tls: null, idleMs: 100 });
    try {
      const request = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody';
      const waiting = sendRaw(server.port, request);
      await isAsked.promise;
      // both begin to be idle after the request did
      for (const head of ['', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nb']) {
        const idle = connect({ host: '127.0.0.1', port: server.port });
        idle.write(head);
        await once(idle.resume(), 'close');
      }
      isAnswered.open();
      assert.match((await waiting).toString(), /at last$/);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('lets a client go that reads next to nothing', async () => {
    const isClosed = createGate();
    const large: typeof handler = (_, res) => {
      res.once('close', isClosed.open);
      res.end(Buffer.alloc(32 * 1024 * 1024));
    };
    const server = await listen({ handler: large, host: '127.0.0.1', port: 0, tls: null, slowestMs: 100 });
    const slow = connect({ host: '127.0.0.1', port: server.port });
    try {
      slow.on('error', () => undefined); // it is cut
      slow.pause().write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await isClosed.promise;
    } finally {
      slow.destroy();
      server.abort();
      await server.drain();
    }
  });

  test('begins with a request once the one before it on its connection is answered', async () => {
    let underWay = 0;
    let most = 0;
    const counting: typeof handler = (_, res) => {
      underWay += 1;
      most = Math.max(most, underWay);
      setImmediate(() => {
        underWay -= 1;
        res.end('ok');
      });
    };
    const server = await listen({ handler: counting, host: '127.0.0.1', port: 0, tls: null });
    try {
      const requests = Array.from({ length: 51 }, (_, position) => {
        const last = position === 50 ? 'Connection: close\r\n' : '';
        return `GET / HTTP/1.1\r\nHost: a\r\n${last}\r\n`;
      });
      const answers = (await sendRaw(server.port, requests.join(''))).toString();
      assert.equal(answers.match(/HTTP\/1.1 200 OK/g)?.length, 51);
      assert.equal(most, 1);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('cuts a connection on which more requests wait than a client would send', async () => {
    let begun = 0;
    const never: typeof handler = () => {
      begun += 1;
    };
    const server = await listen({ handler: never, host: '127.0.0.1', port: 0, tls: null });
    const client = connect({ host: '127.0.0.1', port: server.port });
    try {
      client.resume().on('error', () => undefined); // it is cut
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(52));
      await once(client, 'close');
      assert.equal(begun, 1);
    } finally {
      client.destroy();
      server.abort();
      await server.drain();
    }
  });

  test('begins with none of those that wait behind an answer to a client who is gone', async () => {
    let begun = 0;
    const isClosed = createGate();
    const large: typeof handler = (_, res) => {
      begun += 1;
      res.once('close', isClosed.open);
      res.end(Buffer.alloc(32 * 1024 * 1024));
    };
    const server = await listen({ handler: large, host: '127.0.0.1', port: 0, tls: null });
    const client = connect({ host: '127.0.0.1', port: server.port });
    try {
      client.pause().write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(20));
      await once(client, 'readable');
      client.destroy();
      await isClosed.promise;
    } finally {
      server.abort();
      await server.drain();
    }
    assert.equal(begun, 1);
  });

  test('ends an answer that is under way rather than put another into it', async () => {
    const isBegun = createGate();
    const streaming: typeof handler = (_, res) => {
      res.writeHead(200, { 'Content-Length': 100 }).write('begun');
      isBegun.open();
    };
    const server = await listen({ handler: streaming, host: '127.0.0.1', port: 0, tls: null });
    const client = connect({ host: '127.0.0.1', port: server.port });
    try {
      const chunks: Buffer[] = [];
      client.on('data', (chunk) => chunks.push(chunk));
      client.on('error', () => undefined); // it is cut
      const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
      client.write(request + request); // the second has to wait
      await isBegun.promise;
      client.write('no request\r\n\r\n');
      await once(client, 'close');
      assert.equal(Buffer.concat(chunks).toString().split('\r\n\r\n')[1], 'begun');
    } finally {
      client.destroy();
      server.abort();
      await server.drain();
    }
  });

  test('answers a request that asks to close, and nothing that comes behind it', async () => {
    const begun: string[] = [];
    const isBegun = createGate<Socket>();
    const isAnswered = createGate();
    const slow: RequestListener = ({ url = '', socket }, res) => {
      begun.push(url);
      isBegun.open(socket);
      void isAnswered.promise.then(() => res.end(url));
    };
    const server = await listen({ handler: slow, host: '127.0.0.1', port: 0, tls: null });
    const bodies: string[] = [];
    const ask = (target: string, lines = '', version = '1.1') =>
      `POST ${target} HTTP/${version}\r\nHost: a\r\n${lines}Content-Length: 1\r\n\r\nx`;
    const client = connect({ host: '127.0.0.1', port: server.port });
    try {
      client.on('data', (piece) => bodies.push(piece.toString()));
      const closed = once(client, 'close');
      client.write(ask('/late', 'Connection: close\r\n') + ask('/in-one-packet'));
      const socket = await isBegun.promise;
      client.write(ask('/in-another-packet'));
      await eventually(() => assert.equal(socket.bytesRead, client.bytesWritten));
      isAnswered.open();
      await closed;
      assert.match(bodies.join(''), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n\/late$/);
      for (const first of [ask('/first', 'Connection: close\r\n'), ask('/first', '', '1.0')]) {
        const answers = (await sendRaw(server.port, ask('/ahead') + first + ask('/behind'))).toString();
        assert.deepEqual(answers.match(/HTTP\/1\.1 .*/g), ['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK']);
      }
      assert.deepEqual(begun, ['/late', '/ahead', '/first', '/ahead', '/first']);
    } finally {
      client.destroy();
      server.abort();
      await server.drain();
    }
  });

  test('does nothing behind an answer that says that it is the last', async () => {
    let begun = 0;
    const last: typeof handler = (_, res) => {
      begun += 1;
      res.setHeader('Connection', 'close');
      res.end('ok');
    };
    const server = await listen({ handler: last, host: '127.0.0.1', port: 0, tls: null });
    try {
      const answers = await sendRaw(server.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3));
      assert.equal(answers.toString().match(/HTTP\/1\.1 200/g)?.length, 1);
      assert.equal(begun, 1);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('waits for no client whose request did not come in time', async () => {
    const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null, headMs: 100 });
    try {
      const answer = (await sendRaw(server.port, 'GET / HTTP/1.1\r\nHost: ')).toString();
      assert.match(answer, /^HTTP\/1\.1 408 [\s\S]*"TOO_SLOW"/);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('answers a request that came in time to a process that had none to read it', async () => {
    const headMs = 400;
    const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null, headMs });
    const ask = async () => {
      const startMs = performance.now();
      const client = connect({ host: '127.0.0.1', port: server.port });
      try {
        await once(client, 'connect');
        assert.equal(await status({ host: '127.0.0.1', port: server.port }), 200); // so the one before it is accepted too
        client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
        assert.ok(performance.now() - startMs < headMs / 2, 'it came in time');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1.5 * headMs); // as when the process is stopped
        return (await once(client, 'data')).toString();
      } finally {
        client.destroy();
      }
    };
    try {
      assert.match(await eventually(ask), /^HTTP\/1\.1 200 /);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('does not cut off as idle who has sent something to a process that had no time to read it', async () => {
    const idleMs = 400;
    const isBegun = createGate();
    const reading: RequestListener = (req, res) => {
      req.on('data', () => isBegun.open()).on('end', () => res.end('ok'));
    };
    const server = await listen({ handler: reading, host: '127.0.0.1', port: 0, tls: null, idleMs });
    const client = connect({ host: '127.0.0.1', port: server.port });
    try {
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1');
      await isBegun.promise;
      client.write('2');
      await immediate(); // behind it come the timers, and behind them the sockets
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1.5 * idleMs); // as when the process is stopped
      assert.match((await once(client, 'data')).toString(), /^HTTP\/1\.1 200 /);
    } finally {
      client.destroy();
      server.abort();
      await server.drain();
    }
  });

  test('does not cut off as too slow who could read nothing from a process that was stopped', async () => {
    const slowestMs = 400;
    const pieces = Array.from({ length: 512 }, () => Buffer.alloc(64 * 1024)); // more than the system takes at once
    const large: RequestListener = (_, res) => void Readable.from(pieces).pipe(res);
    const server = await listen({ handler: large, host: '127.0.0.1', port: 0, tls: null, slowestMs });
    const client = connect({ host: '127.0.0.1', port: server.port });
    try {
      let length = 0;
      client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      await once(client, 'readable');
      await pause(slowestMs / 2); // a check has seen what is not read yet
      await immediate();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * slowestMs); // as when the process is stopped
      client.on('data', (piece) => {
        length += piece.length;
      });
      await once(client, 'close');
      assert.ok(length > 512 * 64 * 1024);
    } finally {
      client.destroy();
      server.abort();
      await server.drain();
    }
  });

  describe('when this process was stopped until an answer and the time of half a request were due,', () => {
    const headMs = 100;
    const HALF = 'GET /half HTTP/1.1\r\nHost: ';

    /** What a client gets that sends `text` and half a request; `answer` ends the first answer in the same turn in which the half is late. */
    async function receive(text: string, answer: RequestListener): Promise<string> {
      const slow: RequestListener = (req, res) => {
        if (req.url !== '/slow') {
          res.end('ok');
          return;
        }
        setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4 * headMs), 1);
        setTimeout(answer, 2 * headMs, req, res); // due behind the check of heads, which is every headMs
      };
      const server = await listen({ handler: slow, host: '127.0.0.1', port: 0, tls: null, headMs });
      try {
        return (await sendRaw(server.port, text + HALF)).toString();
      } finally {
        server.abort();
        await server.drain();
      }
    }

    test('half a request ends in time, although another that waited is begun meanwhile', async () => {
      const slow = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n';
      const text = await receive(slow + slow.replace('slow', 'next'), (_, res) => res.end('ok'));
      assert.match(text, /^HTTP\/1\.1 200 [\s\S]+HTTP\/1\.1 200 [\s\S]+HTTP\/1\.1 408 /);
    });

    test('the refusal is not written into an answer that has begun meanwhile', async () => {
      const text = await receive('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n', (_, res) => {
        res.writeHead(200, { 'Content-Length': 10 });
        res.write('first');
      });
      assert.match(text, /\r\n\r\nfirst$/);
    });
  });

  test('on a Unix socket lets in its owner alone', async () => {
    await using folder = await openTempFolder();
    const socketPath = join(folder.path, 'lookaside.sock');
    const server = await listenOnSocket(handler, socketPath);
    try {
      assert.equal(statSync(socketPath).mode & 0o777, 0o600);
      assert.equal(await status({ socketPath }), 200);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('on the socket of reader processes refuses none of them while this process has no time to accept', async () => {
    await using folder = await openTempFolder();
    const socketPath = join(folder.path, 'readers.sock');
    const server = await listenOnSocket(handler, socketPath, true);
    const codes: unknown[] = [];
    // all within one turn of the event loop
    const sockets = Array.from({ length: 1100 }, () =>
      connect(socketPath).on('error', (error: NodeJS.ErrnoException) => codes.push(error.code)),
    );
    try {
      await Promise.all(
        sockets.map((socket) => Promise.race([once(socket, 'connect'), once(socket, 'close')])),
      );
      assert.deepEqual(codes, []);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.abort();
      await server.drain();
    }
  });

  test('on a Unix socket refuses a path that does not fit, and listens at no part of it', async () => {
    await using folder = await openTempFolder();
    const socketPath = join(folder.path, 'x'.repeat(108));
    await assert.rejects(listenOnSocket(handler, socketPath), { code: 'ENAMETOOLONG' });
    assert.deepEqual(readdirSync(folder.path), []);
  });
});
