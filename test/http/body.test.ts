// Bodies byte for byte: what is read, what is refused, and that the refusal arrives.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, afterEach, before, describe, test } from 'node:test';
import { createSharedRoom, createUndividedRoom, type Room } from '../../src/domain/room.ts';
import { ClientGone, createBodyReader, joinPieces } from '../../src/http/body.ts';
import { setPeer } from '../../src/http/client.ts';
import { renderError } from '../../src/http/errors.ts';
import { type Listener, listen } from '../../src/http/listener.ts';
import { sendReply, textReply } from '../../src/http/reply.ts';
import { eventually } from '../clients/eventually.ts';
import { createGate } from '../gate.ts';
import { parseAnswer, type RawAnswer, requestRaw, sendRaw } from './raw-request.ts';

const MAX_BYTES = 1000;
const MAX_MS = 150;
const IN_FLIGHT = 3000;

let room: Room;
let server: Listener;
/** Bodies that came whole, as the route got them. */
let got: Buffer[] = [];
/** Held back until the test lets go. */
let gate: Promise<void> = Promise.resolve();
let whenGone: (() => void) | null = null;

interface Limits {
  readonly maxBytes: number;
  readonly maxMs: number;
}

/** Whose part of the room a body takes is told by the headers X-Caller and X-Network; with X-Passed-On it came by a reader process. */
function serveBodies(over: Room, limits: Limits): Promise<Listener> {
  const bodies = createBodyReader(over);
  const use = async (pieces: Buffer[]) => {
    const bytes = joinPieces(pieces);
    got.push(bytes);
    await gate;
    return textReply(200, `${bytes.length} bytes`);
  };
  return listen({
    handler: (req, res) => {
      const { 'x-caller': caller = 'one', 'x-network': network = 'net' } = req.headers;
      const holder = { caller: String(caller), network: String(network) };
      if (req.headers['x-passed-on'] !== undefined) setPeer(req, { address: 'local', isEncrypted: false });
      bodies.read({ req, res, ...limits, holder }, use).then(
        (reply) => sendReply(req, res, reply),
        (error: unknown) => {
          if (error instanceof ClientGone) whenGone?.();
          else sendReply(req, res, renderError(error));
        },
      );
    },
    host: '127.0.0.1',
    port: 0,
    tls: null,
  });
}

before(async () => {
  room = createUndividedRoom(IN_FLIGHT);
  server = await serveBodies(room, { maxBytes: MAX_BYTES, maxMs: MAX_MS });
});

after(async () => {
  server.abort();
  await server.drain();
});

const HEAD = 'POST / HTTP/1.1\r\nHost: a\r\n';

const code = ({ body }: RawAnswer): string => JSON.parse(body.toString()).errors[0].code;

const chunked = (...sizes: readonly number[]) =>
  `${sizes.map((size) => `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`).join('')}0\r\n\r\n`;

async function open(text: string, { port } = server): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

/** All that comes until the other side ends. */
async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

describe('a body', () => {
  for (const [what, lines, body, length] of [
    ['with its length told', 'Content-Length: 5\r\n', 'hello', 5],
    ['of the most bytes there may be', `Content-Length: ${MAX_BYTES}\r\n`, 'x'.repeat(MAX_BYTES), MAX_BYTES],
    ['in chunks', 'Transfer-Encoding: chunked\r\n', chunked(3, 2), 5],
    ['in chunks, of the most bytes', 'Transfer-Encoding: chunked\r\n', chunked(MAX_BYTES - 1, 1), MAX_BYTES],
    ['that says it is itself', 'Content-Encoding: Identity\r\nContent-Length: 5\r\n', 'hello', 5],
    ['that is empty', 'Content-Length: 0\r\n', '', 0],
    ['that was not sent', '', '', 0],
  ] as const) {
    test(`${what} is read whole`, async () => {
      got = [];
      const answer = parseAnswer(
        await sendRaw(server.port, `${HEAD}Connection: close\r\n${lines}\r\n${body}`),
      );
      assert.equal(answer.status, 200);
      assert.equal(answer.body.toString(), `${length} bytes`);
      assert.equal(got.length, 1);
    });
  }

  for (const [what, lines, body, status] of [
    ['over the most bytes', `Content-Length: ${MAX_BYTES + 1}\r\n`, 'x'.repeat(MAX_BYTES + 1), 413],
    ['over the most bytes by its length alone', `Content-Length: ${MAX_BYTES + 1}\r\n`, '', 413],
    ['over the most bytes in chunks', 'Transfer-Encoding: chunked\r\n', chunked(MAX_BYTES, 1), 413],
    ['of a length beyond counting', 'Content-Length: 99999999999999999\r\n', '', 413],
    ['that was compressed', 'Content-Encoding: gzip\r\nContent-Length: 5\r\n', 'hello', 400],
    ['that was encoded twice', 'Content-Encoding: identity, br\r\nContent-Length: 5\r\n', 'hello', 400],
  ] as const) {
    test(`${what} is refused with ${status}, and nothing of it is used`, async () => {
      got = [];
      const answer = parseAnswer(
        await sendRaw(server.port, `${HEAD}Connection: close\r\n${lines}\r\n${body}`),
      );
      assert.equal(answer.status, status);
      assert.equal(code(answer), status === 413 ? 'TOO_LARGE' : 'REQUEST_INVALID');
      assert.deepEqual(got, []);
    });
  }

  test('that stands still is answered with 408 and a closed connection', async () => {
    got = [];
    for (const lines of ['Content-Length: 10\r\n\r\nhel', 'Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n']) {
      const answer = parseAnswer(await readAll(await open(HEAD + lines)));
      assert.equal(answer.status, 408);
      assert.equal(code(answer), 'TOO_SLOW');
      assert.equal(answer.headers.get('connection'), 'close');
      assert.match(answer.body.toString(), /3( of 10)? bytes of the body came within 0\.15 seconds/);
    }
    assert.deepEqual(got, []);
  });

  describe('that had come in time to a process that was stopped', () => {
    /** As when this process is stopped until the time of the body is over. */
    const stop = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * MAX_MS);

    for (const [what, first, rest] of [
      ['with its length told', 'Content-Length: 5\r\n\r\nhe', 'llo'],
      ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n', '3\r\nllo\r\n0\r\n\r\n'],
      ['but for its end', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', '0\r\n\r\n'],
    ] as const) {
      test(`${what} is read whole`, async () => {
        await eventually(async () => {
          got = [];
          const socket = await open(`${HEAD}Connection: close\r\n${first}`);
          const startMs = performance.now();
          const answer = readAll(socket);
          // another request shows that the beginning was read
          assert.equal((await requestRaw(server.port, 'POST /', [])).status, 200);
          socket.write(rest);
          assert.ok(performance.now() - startMs < MAX_MS / 2, 'it came in time');
          stop();
          assert.equal(parseAnswer(await answer).status, 200);
          assert.equal(got.at(-1)?.toString(), 'hello');
        });
      });
    }

    test('is read whole also when a reader process, which was stopped too, passes it on a little later', async () => {
      await eventually(async () => {
        got = [];
        const startMs = performance.now();
        const lines = 'Connection: close\r\nX-Passed-On: yes\r\nContent-Length: 5\r\n\r\n';
        const socket = await open(`${HEAD}${lines}he`);
        const answer = readAll(socket);
        assert.equal((await requestRaw(server.port, 'POST /', [])).status, 200);
        assert.ok(performance.now() - startMs < MAX_MS / 2, 'the time is not over yet');
        stop();
        setTimeout(() => socket.write('llo'), 20);
        assert.equal(parseAnswer(await answer).status, 200);
        assert.equal(got.at(-1)?.toString(), 'hello');
      }, 5000);
    });

    test('by half is refused', async () => {
      await eventually(async () => {
        got = [];
        const socket = await open(`${HEAD}Content-Length: 5\r\n\r\nhe`);
        const answer = readAll(socket);
        assert.equal((await requestRaw(server.port, 'POST /', [])).status, 200);
        socket.write('l');
        stop();
        assert.match(parseAnswer(await answer).body.toString(), /3 of 5 bytes of the body came/);
      }, 5000);
    });
  });

  test('that drips is as late as one that stands still', async () => {
    got = [];
    const socket = await open(`${HEAD}Content-Length: 1000\r\n\r\n`);
    socket.on('error', () => undefined); // it drips on after the end
    const drip = setInterval(() => socket.write('x'), 10);
    try {
      assert.equal(parseAnswer(await readAll(socket)).status, 408);
    } finally {
      clearInterval(drip);
      socket.destroy();
    }
    assert.deepEqual(got, []);
  });

  test('whose client goes away is no body', async () => {
    got = [];
    for (const lines of ['Content-Length: 10\r\n\r\nhel', 'Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n']) {
      const gone = new Promise<void>((resolve) => {
        whenGone = resolve;
      });
      const socket = await open(HEAD + lines);
      socket.destroy();
      await gone;
    }
    assert.deepEqual(got, []);
  });

  test('that waits to be asked for is asked for, unless it would be refused', async () => {
    const asked = await open(`${HEAD}Connection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    const [first] = await once(asked, 'data');
    assert.equal(first.toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
    asked.write('hello');
    assert.equal(parseAnswer(await readAll(asked)).body.toString(), '5 bytes');

    const refused = await open(`${HEAD}Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n`);
    const answer = parseAnswer(await readAll(refused));
    assert.equal(answer.status, 413);
    assert.equal(answer.headers.get('connection'), 'close');
  });
});

describe('a refusal', () => {
  test('reaches a client that sends a mebibyte before it reads', async () => {
    for (const head of ['Content-Length: 1048576\r\n\r\n', 'Transfer-Encoding: chunked\r\n\r\n100000\r\n']) {
      const socket = await open(HEAD + head);
      const rest = Buffer.alloc(1024 * 1024, 'x');
      await new Promise((resolve) => socket.write(rest, resolve));
      socket.write(head.includes('chunked') ? '\r\n0\r\n\r\n' : '');
      const answer = parseAnswer(await readAll(socket));
      assert.equal(answer.status, 413);
      assert.equal(answer.headers.get('connection'), 'close');
    }
  });

  test('ends the connection at once for a client that waits for the end, sent its body or not', async () => {
    const socket = await open(`${HEAD}Content-Length: 1048576\r\n\r\n`);
    assert.equal(parseAnswer(await readAll(socket)).status, 413);
  });

  test('is followed by the next answer on the same connection when the body came with it', async () => {
    const first = `${HEAD}Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello`;
    const second = `${HEAD}Connection: close\r\nContent-Length: 3\r\n\r\nabc`;
    const answers = (await sendRaw(server.port, first + second)).toString();
    assert.deepEqual(
      [...answers.matchAll(/^HTTP\/1\.1 ([0-9]{3})/gm)].map(([, status]) => status),
      ['400', '200'],
    );
    assert.match(answers, /3 bytes$/);
  });

  test('never makes a request of what was left of a body', async () => {
    const inner = `${HEAD}Connection: close\r\nContent-Length: 0\r\n\r\n`;
    got = [];
    const outer = `${HEAD}Content-Length: ${5000 + inner.length}\r\n\r\n${'x'.repeat(5000)}`;
    const answers = (await sendRaw(server.port, outer + inner)).toString();
    assert.equal([...answers.matchAll(/^HTTP\/1\.1 /gm)].length, 1);
    assert.deepEqual(got, []);
  });
});

describe('bodies under way', () => {
  test('are refused beyond what may be in flight, and taken again once others are done', async () => {
    let letGo = () => {};
    gate = new Promise((resolve) => {
      letGo = resolve;
    });
    got = [];
    const full = Buffer.alloc(MAX_BYTES, 'x');
    const held = [1, 2, 3].map(() => requestRaw(server.port, 'POST /', [], full));
    while (got.length < 3) await new Promise(setImmediate);

    const refused = await requestRaw(server.port, 'POST /', [], Buffer.from('x'));
    assert.equal(refused.status, 503);
    assert.equal(code(refused), 'BUSY');
    assert.equal(refused.headers.get('retry-after'), '5');
    const empty = requestRaw(server.port, 'POST /', [], Buffer.alloc(0));

    letGo();
    for (const { status } of await Promise.all([...held, empty])) assert.equal(status, 200);
    assert.equal((await requestRaw(server.port, 'POST /', [], full)).status, 200);
  });

  test('give back what they held when they were refused, late or gone', async () => {
    for (let k = 0; k < 20; k += 1) {
      const gone = new Promise<void>((resolve) => {
        whenGone = resolve;
      });
      const socket = await open(`${HEAD}Content-Length: ${MAX_BYTES}\r\n\r\nx`);
      socket.destroy();
      await gone;
      const chunks = `${HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
      assert.equal(parseAnswer(await sendRaw(server.port, chunks + chunked(MAX_BYTES, 1))).status, 413);
    }
    const full = Buffer.alloc(MAX_BYTES, 'x');
    const answers = await Promise.all([1, 2, 3].map(() => requestRaw(server.port, 'POST /', [], full)));
    for (const { status } of answers) assert.equal(status, 200);
    assert.equal(heldOf(room), 0);
  });
});

const heldOf = (of: Room) => {
  const { ownBytes, networkBytes, othersBytes } = of.open({ caller: 'nobody', network: 'none' }).held();
  return ownBytes + networkBytes + othersBytes;
};

describe('room for bodies', () => {
  const LARGEST = 64 * 1024;
  const ROOM = 8 * LARGEST;
  let shared: Room;
  let over: Listener;
  const holding: Socket[] = [];

  before(async () => {
    shared = createSharedRoom(ROOM);
    over = await serveBodies(shared, { maxBytes: LARGEST, maxMs: 60_000 });
  });
  afterEach(async () => {
    for (const socket of holding.splice(0)) socket.destroy();
    while (heldOf(shared) > 0) await new Promise(setImmediate);
  });
  after(async () => {
    over.abort();
    await over.drain();
  });

  const from = (caller: string, network: string) => [`X-Caller: ${caller}`, `X-Network: ${network}`];
  const send = (caller: string, network: string, sizeBytes = LARGEST) =>
    requestRaw(over.port, 'POST /', from(caller, network), Buffer.alloc(sizeBytes, 'x'));

  const statusOf = ([data]: readonly unknown[]) => Number(/^HTTP\/1\.1 ([0-9]+)/.exec(String(data))?.[1]);

  /** Connections of one caller that send what is given and then nothing. */
  async function hold(connections: number, text: string): Promise<void> {
    const head = `${HEAD}${from('slow', 'net').join('\r\n')}\r\n`;
    for (let k = 0; k < connections; k += 1) {
      const socket = await open(head + text, over);
      socket.on('error', () => undefined); // refused, and cut
      holding.push(socket);
    }
  }

  const KINDS: readonly (readonly [what: string, text: string, heldBytes: number])[] = [
    ['announce nothing', 'Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n', 1024],
    ['announce the most there may be', `Content-Length: ${LARGEST}\r\n\r\nx`, 1024],
    ['announce no more than they send but one', 'Content-Length: 3\r\n\r\nxx', 3],
  ];
  for (const [what, text, heldBytes] of KINDS) {
    test(`is held as far as bytes came by bodies that ${what}`, async () => {
      for (const count of [12, 60]) {
        await hold(count - holding.length, text);
        while (heldOf(shared) < count * heldBytes) await new Promise(setImmediate);
        assert.equal(heldOf(shared), count * heldBytes);
        assert.equal((await send('other', 'net')).status, 200);
        assert.equal((await send('other', 'elsewhere')).status, 200);
      }
      assert.equal((await send('slow', 'net', 1024)).status, 200);
    });
  }

  test('that one caller fills is his own: another of his network has room for the largest body', async () => {
    await hold(40, `Content-Length: ${LARGEST}\r\n\r\n${'x'.repeat(LARGEST - 1)}`);
    while (heldOf(shared) < ROOM / 4 - LARGEST) await new Promise(setImmediate);
    const refused = await send('slow', 'net');
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get('retry-after'), '5');
    assert.equal(code(refused), 'BUSY');
    assert.match(
      refused.body.toString(),
      /: 0\.5 MiB are shared, and nobody may hold all of it; your own uploads under way hold 0\.1 MiB, .* wait for your own to end/,
    );
    assert.ok(heldOf(shared) <= ROOM / 4);
    assert.equal((await send('other', 'net')).status, 200);
    assert.equal((await send('other', 'elsewhere')).status, 200);
  });

  test('ends within a body: it is refused, what it held is free, and those that have theirs go on', async () => {
    const text = `Content-Length: ${LARGEST}\r\n\r\n${'x'.repeat(LARGEST / 2)}`;
    await hold(3, text); // half of each fits, and not all of each
    while (heldOf(shared) < (3 * LARGEST) / 2) await new Promise(setImmediate);
    const use = createGate();
    gate = use.promise;
    const answers = holding.map(async (socket) => {
      socket.write('x'.repeat(LARGEST / 2));
      return statusOf(await once(socket, 'data'));
    });
    assert.equal(await Promise.race(answers), 503);
    use.open();
    assert.deepEqual((await Promise.all(answers)).sort(), [200, 200, 503]);
    assert.equal(heldOf(shared), 0);
  });

  test('is not taken up by how small the chunks are', async () => {
    got = [];
    const chunks = '1\r\nx\r\n'.repeat(LARGEST);
    await hold(1, `Transfer-Encoding: chunked\r\n\r\n${chunks}`);
    while (heldOf(shared) < LARGEST) await new Promise(setImmediate);
    assert.equal(heldOf(shared), LARGEST);
    holding[0]?.write('0\r\n\r\n');
    assert.equal(statusOf(await once(holding[0] as Socket, 'data')), 200);
    assert.deepEqual(
      got.map(({ length }) => length),
      [LARGEST],
    );
  });

  test('that is missing is told ahead of a body that waits to be asked for', async () => {
    await hold(40, `Content-Length: ${LARGEST}\r\n\r\n${'x'.repeat(LARGEST - 1)}`);
    while (heldOf(shared) < ROOM / 4 - LARGEST) await new Promise(setImmediate);
    const head = `${HEAD}${from('slow', 'net').join('\r\n')}\r\n`;
    const socket = await open(`${head}Expect: 100-continue\r\nContent-Length: ${LARGEST}\r\n\r\n`, over);
    assert.equal(parseAnswer(await readAll(socket)).status, 503);
  });
});
