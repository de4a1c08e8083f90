// Requests that are sent ahead of the answers to those before them: they wait, and what waits is bounded.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import path from 'node:path';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { startAsking } from './asking.ts';
import { memoryOf } from './memory.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';

const SECONDS = count(30, 4);
const CONNECTIONS = 8;
const READ_PAUSE_MS = 20;
const READ_MS = 100;
const MIB = 1024 * 1024;
const MEMORY_BYTES = 512 * MIB;

promise(
  {
    id: 'P14',
    what: 'clients that send requests without end ahead of the answers fill no memory, and others read as before',
    wanted: `${CONNECTIONS} connections for ${SECONDS} s: memory ≤ 512 MiB, others read right, p99 ≤ ${READ_MS} ms`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    const one = signatureBytes('one', 3000);
    const folder = await layImage(path.join(data, 'sigstore'), 'team/app', one);
    await using server = await startServer({ data });
    await using asking = startAsking({
      port: server.port,
      target: `/${folder}/signature-1`,
      pauseMs: READ_PAUSE_MS,
    });
    const endMs = performance.now() + SECONDS * 1000;
    // what is answered at once, what has to look at the disk, and what nobody has
    const targets = [
      '/livez',
      '/readyz',
      `/${folder}/signature-2`,
      `/none@${folder.split('@')[1]}/signature-1`,
    ];
    const senders = Array.from({ length: CONNECTIONS }, (_, k) =>
      sendAhead(server.port, targets[k % targets.length] ?? '/', endMs),
    );
    const cut = (await Promise.all(senders)).reduce((all, connections) => all + connections, 0);
    const reads = await asking.end();
    for (const { status, sha256 } of reads) assert.deepEqual([status, sha256], [200, sha256Hex(one)]);

    const { peakBytes } = await memoryOf(server.pid);
    const tookMs = reads.map((read) => read.tookMs);
    const p99Ms = percentile(tookMs, 99);
    see(
      `${cut} connections cut, memory ${Math.round(peakBytes / MIB)} MiB, p99 ${Math.round(p99Ms)} ms of ${reads.length} reads`,
    );
    assert.ok(cut > CONNECTIONS && reads.length > 0);
    assert.ok(peakBytes <= MEMORY_BYTES);
    if (isFull) assert.ok(p99Ms <= READ_MS);
    await server.stop();
  },
);

/** Sends this request as fast as it is taken, reads what comes, and begins again where it is cut. How many connections that took. */
async function sendAhead(port: number, target: string, endMs: number): Promise<number> {
  const request = `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const many = Buffer.from(request.repeat(Math.ceil((64 * 1024) / request.length)));
  let connections = 0;
  for (let leftMs = endMs - performance.now(); leftMs > 0; leftMs = endMs - performance.now()) {
    const signal = AbortSignal.timeout(Math.ceil(leftMs));
    connections += 1;
    await new Promise<void>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, signal });
      const send = () => {
        while (!socket.destroyed && socket.write(many));
      };
      socket.on('connect', send).on('drain', send).resume();
      socket.on('error', () => undefined); // it is cut
      socket.on('close', () => resolve());
    });
  }
  return connections;
}
