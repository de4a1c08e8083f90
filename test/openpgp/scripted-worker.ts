// A verification thread that does what a job's bytes tell it: what a hostile signature might bring a real one to.
import { parentPort } from 'node:worker_threads';
import type { Reply, Request } from '../../src/openpgp/jobs.ts';

const port = parentPort;
if (port === null) throw new Error('scripted-worker is started by the pool');

let keyring: readonly Uint8Array[] = [];

port.on('message', (request: Request) => {
  if (request.name === 'keyring') {
    keyring = request.certificates;
    return;
  }
  const order = Buffer.from(request.bytes).toString();
  switch (order) {
    case 'hang':
      for (;;);
    case 'wait':
      return; // never answered
    case 'throw':
      throw new Error('thrown in the thread');
    case 'exit':
      return process.exit(1);
    case 'hoard':
      return hoard();
    case 'refuse':
      return reply({ outcome: 'failed', code: 'TOO_LARGE', message: 'too many', detail: { most: 64 } });
    case 'fail':
      return reply({ outcome: 'failed', code: null, message: 'a bug', detail: null });
    default:
      reply({ outcome: 'done', output: `${order} with ${keyring.length} certificates` });
  }
});

reply({ outcome: 'ready' });

function hoard(): void {
  const held: number[][] = [];
  for (;;) held.push(new Array(1_000_000).fill(held.length + 0.5));
}

function reply(message: Reply): void {
  port?.postMessage(message);
}
