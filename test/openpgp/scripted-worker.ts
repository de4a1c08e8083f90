// A verification thread that does what a job's bytes tell it: what a hostile signature might bring a real one to.
import { parentPort, threadId } from 'node:worker_threads';
import type { Reply, Request } from '../../src/openpgp/jobs.ts';

const port = parentPort;
if (port === null) throw new Error('scripted-worker is started by the pool');

/** Longer than other uploads wait for it. */
const LONG_MS = 400;

let hasDoneLong = false;

let keyring: readonly Uint8Array[] = [];

let last: Promise<void> = Promise.resolve();

port.on('message', (request: Request) => {
  if (request.name === 'keyring') {
    keyring = request.certificates;
    return;
  }
  for (const { bytes } of request.jobs)
    last = last.then(async () => reply(await answerTo(Buffer.from(bytes).toString())));
});

function answerTo(order: string): Reply | Promise<never> {
  switch (order) {
    case 'hang':
      for (;;);
    case 'wait':
      return new Promise(() => undefined); // never answered
    case 'throw':
      throw new Error('thrown in the thread');
    case 'exit':
      return process.exit(1);
    case 'hoard':
      return hoard();
    case 'long':
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LONG_MS);
      hasDoneLong = true;
      break;
    case 'behind long':
      if (!hasDoneLong) return new Promise(() => undefined); // any other thread never answers
      break;
    case 'which':
      return { outcome: 'done', output: threadId };
    case 'refuse':
      return { outcome: 'failed', code: 'TOO_LARGE', message: 'too many', detail: { most: 64 } };
    case 'fail':
      return { outcome: 'failed', code: null, message: 'a bug', detail: null };
    default:
  }
  return { outcome: 'done', output: `${order} with ${keyring.length} certificates` };
}

reply({ outcome: 'ready' });

function hoard(): never {
  const held: number[][] = [];
  for (;;) held.push(new Array(1_000_000).fill(held.length + 0.5));
}

function reply(message: Reply): void {
  port?.postMessage(message);
}
