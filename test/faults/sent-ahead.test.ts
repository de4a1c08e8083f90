// Requests that are sent ahead of the answers to those before them: they wait, and what waits is bounded.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import path from 'node:path';
import { startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { openBystander, UNHARMED } from './bystander.ts';
import { count, promise } from './promise.ts';

const SECONDS = count(30, 4);
const CONNECTIONS = 8;

promise(
  {
    id: 'P14',
    what: 'clients that send requests without end ahead of the answers fill no memory, and others read as before',
    wanted: `${CONNECTIONS} connections for ${SECONDS} s: ${UNHARMED}`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    const one = signatureBytes('one', 3000);
    const folder = await layImage(path.join(data, 'sigstore'), 'team/app', one);
    await using server = await startServer({ data });
    await using bystander = openBystander(server, `/${folder}/signature-1`, one);
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
    see(`${cut} connections cut, ${await bystander.end()}`);
    assert.ok(cut > CONNECTIONS);
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
