// One uploader with as many connections as he likes holds no room of others, whatever his bodies announce and send.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { MAX_BATCH_BYTES, MAX_BODY_BYTES_IN_FLIGHT } from '../../src/domain/limits.ts';
import { eventually } from '../clients/eventually.ts';
import { createToken, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';
import { memoryOf } from './memory.ts';
import { count, isFull, promise } from './promise.ts';

const COUNTS = isFull ? [12, 200] : [40];
const MIB = 1024 * 1024;
/** The most that one uploader may hold. */
const OWN_BYTES = (MAX_BODY_BYTES_IN_FLIGHT - MAX_BATCH_BYTES) / 4;
const MEMORY_BYTES = 512 * MIB;
/** How many chunks all connections send together. */
const ONE_BYTE_CHUNKS = 2_000_000;
const UPLOADS = count(5, 1);

/** What follows the head of a request: how long the body is said to be, and what comes of it. */
interface Kind {
  readonly what: string;
  readonly length: string;
  readonly sent: (connections: number) => string;
  /** Whether it is more than one may hold. */
  readonly isTooMuch: (connections: number) => boolean;
}

const CHUNKED = 'Transfer-Encoding: chunked';
const never = () => false;

const ALL_KINDS: readonly Kind[] = [
  { what: 'a byte, unannounced', length: CHUNKED, sent: () => '1\r\nx\r\n', isTooMuch: never },
  {
    what: 'a byte of 16 MiB announced',
    length: `Content-Length: ${MAX_BATCH_BYTES}`,
    sent: () => 'x',
    isTooMuch: never,
  },
  {
    what: 'chunks of one byte',
    length: CHUNKED,
    sent: (connections) => '1\r\nx\r\n'.repeat(ONE_BYTE_CHUNKS / connections),
    isTooMuch: never,
  },
  {
    what: 'a mebibyte, unannounced',
    length: CHUNKED,
    sent: () => `100000\r\n${'x'.repeat(MIB)}\r\n`,
    isTooMuch: (connections) => connections * MIB > OWN_BYTES,
  },
];
// the others: test/http/body.test.ts
const KINDS = isFull ? ALL_KINDS : ALL_KINDS.filter((_, k) => k === 0 || k === ALL_KINDS.length - 1);

promise(
  {
    id: 'P14',
    what: 'one uploader with many connections that do not end their bodies holds no room of others, in his network or another',
    wanted: `${COUNTS.join(' and ')} connections that each send ${KINDS.map(({ what }) => what).join('; ')}: all uploads of others 201, their forms of 16 MiB 200; memory ≤ ${MEMORY_BYTES / MIB} MiB`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const others: Uploader[] = [
      { from: '127.0.0.1', token: await enrol(temp.path, signer), name: 'beside' },
      { from: '127.0.0.2', token: await createToken(temp.path, 'bob', 'uploader'), name: 'elsewhere' },
    ];
    const slow = await createToken(temp.path, 'slow', 'uploader');
    await using server = await startServer({ data: temp.path });
    const { port } = server;
    const form = largestForm();
    let taken = 0;
    let refused = 0;

    for (const kind of KINDS) {
      for (const connections of COUNTS) {
        const sockets = await hold(port, slow, kind, connections);
        const own = { from: '127.0.0.1', token: slow, name: 'own' };
        const sendOwn = () => sendForm(port, own, form);
        if (kind.isTooMuch(connections)) await eventually(async () => assert.equal(await sendOwn(), 503));
        for (const other of others) {
          const name = `${other.name}-${KINDS.indexOf(kind)}-${connections}`;
          for (let k = 0; k < UPLOADS; k += 1) {
            assert.equal(await upload(port, other, signer, `${name}/app-${k}`), 201, `${kind.what}: ${name}`);
            taken += 1;
          }
          assert.equal(await sendForm(port, other, form), 200, `${kind.what}: form of ${name}`);
          taken += 1;
        }
        if (kind.isTooMuch(connections)) refused += 1;
        for (const socket of sockets) socket.destroy();
        // what they held is free
        await eventually(async () => assert.equal(await sendOwn(), 200));
      }
    }
    const { peakBytes } = await memoryOf(server.pid);
    see(
      `${taken} uploads and forms of others taken, his own refused once he held all he may (in ${refused} of ${KINDS.length * COUNTS.length} rounds), memory ${Math.round(peakBytes / MIB)} MiB at its peak`,
    );
    assert.ok(peakBytes <= MEMORY_BYTES);
  },
);

interface Uploader {
  /** The address that he comes from. */
  readonly from: string;
  readonly token: string;
  readonly name: string;
}

/** As many connections whose bodies do not end, once the server has taken up what they sent. */
async function hold(port: number, token: string, kind: Kind, connections: number): Promise<Socket[]> {
  const head = `POST /api/v1/signatures HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: multipart/form-data; boundary=b\r\n${kind.length}\r\n\r\n`;
  const text = Buffer.from(head + kind.sent(connections));
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('error', () => undefined); // refused, and cut
      await once(socket, 'connect');
      await new Promise((resolve) => socket.write(text, resolve));
      return socket;
    }),
  );
  assert.equal(await send(port, { from: '127.0.0.1', method: 'GET', path: '/livez' }), 200);
  return sockets;
}

function upload(port: number, { from, token }: Uploader, signer: Signer, repository: string) {
  const body = signer.sign({ repository, tag: 'v1' });
  const headers = { Authorization: `Bearer ${token}` };
  return send(port, { from, method: 'POST', path: `/${folderOf(repository)}`, headers, body });
}

function sendForm(port: number, { from, token }: Uploader, body: Buffer): Promise<number> {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'multipart/form-data; boundary=b' };
  return send(port, { from, method: 'POST', path: '/api/v1/signatures', headers, body });
}

/** A form of one part, which is refused for its size. */
function largestForm(): Buffer {
  const head = '--b\r\nContent-Disposition: form-data; name="signature"; filename="x"\r\n\r\n';
  const end = '\r\n--b--\r\n';
  const filling = 'x'.repeat(MAX_BATCH_BYTES - head.length - end.length);
  return Buffer.from(head + filling + end);
}

interface Sent {
  readonly from: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

/** The status of the answer. */
function send(port: number, { from, body, ...sent }: Sent): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, localAddress: from, agent: false, ...sent });
    outgoing.on('response', (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
