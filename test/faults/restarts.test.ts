// Restarts behind a socket that is kept open, and stopping in the middle of uploads: who was being served is served.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startActivated } from '../clients/activated.ts';
import { eventually } from '../clients/eventually.ts';
import { startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { parseAnswer, requestRaw } from '../http/raw-request.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { ask } from './ask.ts';
import { count, isFull, promise } from './promise.ts';

const ONE = signatureBytes('one', 3000);
const IMAGES = 20;
const CLIENTS = 16;

const RESTARTS = count(5, 2);
const REQUESTS = count(20_000, 1000);

promise(
  {
    id: 'P10',
    what: 'restarts behind a passed socket lose no request, and SIGHUP none either',
    wanted: `0 failed of ${REQUESTS} by ${CLIENTS} clients, ${RESTARTS} restarts`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const folders: string[] = [];
    for (let image = 0; image < IMAGES; image += 1) {
      folders.push(await layImage(path.join(temp.path, 'sigstore'), `team/app-${image}`, ONE));
    }
    await using server = await startActivated(temp.path);
    const kept = new Agent({ keepAlive: true, maxSockets: CLIENTS });
    const fresh = new Agent({ keepAlive: false });
    const failed: string[] = [];
    let answered = 0;
    let isOver = false;
    const client = async (agent: Agent) => {
      for (let round = 0; !isOver; round += 1) {
        const [number, wanted] = round % 2 === 0 ? [1, 200] : [2, 404];
        try {
          const { status, body } = await ask(
            server.port,
            `/${folders[round % IMAGES]}/signature-${number}`,
            agent,
          );
          if (status !== wanted || (status === 200 && !body.equals(ONE))) failed.push(`answered ${status}`);
          else answered += 1;
        } catch (error) {
          failed.push(String(error));
        }
        // so few that their number says nothing end it as well
        if (failed.length > 100) isOver = true;
      }
    };
    const clients = Promise.all(
      Array.from({ length: CLIENTS }, (_, position) => client(position % 2 === 0 ? kept : fresh)),
    );
    const until = (wanted: number) => eventually(() => assert.ok(isOver || answered >= wanted));
    for (let restart = 1; restart <= RESTARTS; restart += 1) {
      await until(((restart - 0.5) * REQUESTS) / (RESTARTS + 1));
      process.kill(server.pid, 'SIGHUP');
      await until((restart * REQUESTS) / (RESTARTS + 1));
      await server.restart();
    }
    await until(REQUESTS);
    isOver = true;
    await clients;
    kept.destroy();
    fresh.destroy();
    see(`${failed.length} failed of ${answered + failed.length}, ${RESTARTS} restarts`);
    assert.deepEqual(failed, []);
    assert.equal(server.output().match(/the configuration was read again/g)?.length, RESTARTS);
  },
);

const UPLOADS = count(100, 24);
const PIECE_PAUSE_MS = 100;
const EXIT_MS = 10_000;

promise(
  {
    id: 'P11',
    what: 'SIGTERM in the middle of slow uploads has each stored and answered, or not answered at all',
    wanted: `0 of ${UPLOADS} otherwise, exit status 0 in ≤ ${EXIT_MS / 1000} s`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    await using server = await startServer({ data: temp.path });
    const uploads = Array.from({ length: UPLOADS }, (_, position) => {
      const repository = `slow/app-${position}`;
      const bytes = signer.sign({ repository, tag: 'v1' });
      return { folder: folderOf(repository), bytes, isEnded: position % 3 !== 0 };
    });
    const sent = await Promise.all(uploads.map((upload) => begin(server.port, token, upload)));
    await requestRaw(server.port, 'GET /livez'); // connections are taken in turn: by now all before it are the server's
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    await eventually(() => assert.match(server.output(), /stopping/));
    const answers = await Promise.all(sent.map((upload) => upload.end()));
    assert.equal(await server.ended, 0, server.output());
    const tookMs = performance.now() - startedMs;

    const wrong: string[] = [];
    let stored = 0;
    for (const [position, { folder, bytes, isEnded }] of uploads.entries()) {
      const answer = answers[position] ?? Buffer.alloc(0);
      const file = path.join(temp.path, 'sigstore', folder, 'signature-1');
      const onDisk = await readFile(file).catch(() => null);
      if (onDisk?.equals(bytes) === false) wrong.push(`${folder} is stored torn`);
      if (answer.length === 0) {
        if (isEnded) wrong.push(`${folder} came whole and was not answered`);
        continue;
      }
      if (parseAnswer(answer).status !== 201) wrong.push(`${folder} was answered ${answer}`);
      else if (onDisk === null) wrong.push(`${folder} was acknowledged and is lost`);
      else stored += 1;
    }
    see(
      `${wrong.length} of ${UPLOADS} otherwise, ${stored} stored, exit status 0 in ${(tookMs / 1000).toFixed(1)} s`,
    );
    assert.deepEqual(wrong, []);
    assert.equal(stored, uploads.filter(({ isEnded }) => isEnded).length);
    if (isFull) assert.ok(tookMs <= EXIT_MS);
  },
);

interface SlowUpload {
  readonly folder: string;
  readonly bytes: Buffer;
  /** False: its last byte is never sent. */
  readonly isEnded: boolean;
}

/** Sends head and half of the body; end() sends the rest in pieces, and gives all that was answered. */
async function begin(port: number, token: string, { folder, bytes, isEnded }: SlowUpload) {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined); // a reset is one of the ways to be closed
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const head = `POST /${folder} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
  const half = Math.floor(bytes.length / 2);
  socket.write(Buffer.concat([Buffer.from(head), bytes.subarray(0, half)]));
  return {
    async end(): Promise<Buffer> {
      const rest = bytes.subarray(half, isEnded ? bytes.length : bytes.length - 1);
      for (let at = 0; at < rest.length && !socket.destroyed; at += 30) {
        socket.write(rest.subarray(at, at + 30));
        await pause(PIECE_PAUSE_MS);
      }
      await closed;
      return Buffer.concat(chunks);
    },
  };
}
