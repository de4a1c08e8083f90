// A flood of requests for what is not there: neither disk nor memory nor other readers suffer.
import assert from 'node:assert/strict';
import { readdir, readFile, stat } from 'node:fs/promises';
import { Agent } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { ask } from './ask.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';

const REQUESTS = count(1_000_000, 4000);
const CONNECTIONS = 16;
/** Sent in one write, and answered before the next ones are. */
const AT_ONCE = 20;
const READ_PAUSE_MS = 20;

const MIB = 1024 * 1024;
const DISK_BYTES = 64 * MIB;
const MEMORY_BYTES = 512 * MIB;
const READ_MS = 100;

promise(
  {
    id: 'P26',
    what: 'a flood of 404s fills neither disk nor memory, and others read as before',
    wanted: `${REQUESTS} requests: disk ≤ +64 MiB, memory ≤ 512 MiB, reads of others p99 ≤ ${READ_MS} ms`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const one = signatureBytes('one', 3000);
    const folder = await layImage(path.join(temp.path, 'sigstore'), 'team/app', one);
    await using server = await startServer({ data: temp.path });
    const agent = new Agent({ keepAlive: true });
    const beforeBytes = await sizeOf(temp.path);

    let isOver = false;
    const readMs: number[] = [];
    let mostBytes = 0;
    const reading = (async () => {
      while (!isOver) {
        const askedMs = performance.now();
        const { status, body } = await ask(server.port, `/${folder}/signature-1`, agent);
        readMs.push(performance.now() - askedMs);
        assert.equal(status, 200);
        assert.ok(body.equals(one));
        mostBytes = Math.max(mostBytes, await memoryOf(server.pid));
        await pause(READ_PAUSE_MS);
      }
    })();
    reading.catch(() => undefined); // met below
    const floods = Array.from({ length: CONNECTIONS }, (_, connection) => flood(server.port, connection));
    const statuses = (await Promise.all(floods)).reduce((all, { found }) => all + found, 0);
    isOver = true;
    await reading;
    agent.destroy();
    assert.equal(statuses, Math.ceil(REQUESTS / CONNECTIONS / AT_ONCE) * AT_ONCE * CONNECTIONS);

    // what it has to write about them is written when it ends
    await server.stop();
    const grownBytes = (await sizeOf(temp.path)) - beforeBytes;
    const p99Ms = percentile(readMs, 99);
    see(
      `${statuses} answered with 404, disk +${toMib(grownBytes)} MiB, memory ${toMib(mostBytes)} MiB, p99 ${Math.round(p99Ms)} ms of ${readMs.length} reads`,
    );
    assert.ok(grownBytes <= DISK_BYTES);
    assert.ok(mostBytes > 0 && mostBytes <= MEMORY_BYTES);
    if (isFull) assert.ok(p99Ms <= READ_MS);
  },
);

/** Asks for an image of its own each time: nothing that is remembered of one helps with the next. */
function flood(port: number, connection: number): Promise<{ readonly found: number }> {
  const rounds = Math.ceil(REQUESTS / CONNECTIONS / AT_ONCE);
  return new Promise((resolve, reject) => {
    let [round, found, inRound, rest] = [0, 0, 0, ''];
    const socket = connect({ host: '127.0.0.1', port });
    const send = () => {
      inRound = 0;
      const requests = Array.from({ length: AT_ONCE }, (_, position) => {
        const name = `${connection}-${round}-${position}`;
        const end = `Host: a\r\nUser-Agent: ${name}\r\n\r\n`;
        return `GET /flood/${name}@sha256=${sha256Hex(Buffer.from(name))}/signature-1 HTTP/1.1\r\n${end}`;
      });
      socket.write(requests.join(''));
    };
    socket.setEncoding('latin1');
    socket.on('connect', send);
    socket.on('data', (text: unknown) => {
      const all = rest + String(text);
      inRound += all.match(/HTTP\/1\.1 404 /g)?.length ?? 0;
      const last = all.lastIndexOf('HTTP/1.1 404 ');
      // the beginning of an answer may be cut in two
      rest = all.slice(Math.max(all.length - 12, last === -1 ? 0 : last + 13));
      if (inRound < AT_ONCE) return;
      found += inRound;
      round += 1;
      if (round < rounds) return send();
      socket.destroy();
      resolve({ found });
    });
    socket.on('error', reject);
    socket.on('end', () => reject(new Error('the server closed the connection')));
  });
}

async function memoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Of all files, as the disk counts them. */
async function sizeOf(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const sizes = names.map(
    (name) =>
      stat(path.join(folder, name)).then(
        ({ blocks }) => blocks * 512,
        () => 0,
      ), // gone meanwhile
  );
  return (await Promise.all(sizes)).reduce((all, one) => all + one, 0);
}

function toMib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}
