// One verification thread. It takes one job at a time from pool.ts, which may end the thread at any moment.
import { parentPort } from 'node:worker_threads';
import { isLookasideError } from '../domain/errors.ts';
import { cleanCertificates } from './certificates.ts';
import type { Job, JobName, Jobs, Reply, Request } from './jobs.ts';
import { createKeyring } from './keyring.ts';
import { examineMessage } from './verifier.ts';
import { answerAtOnceInThisThread } from './web-crypto.ts';

const port = parentPort;
if (port === null) throw new Error('worker is started by pool.ts');

answerAtOnceInThisThread();
let keyring = createKeyring([]);

const handlers: {
  readonly [Name in JobName]: (
    bytes: Uint8Array,
    now: Date,
  ) => Jobs[Name]['output'] | Promise<Jobs[Name]['output']>;
} = {
  examine: (bytes, now) => examineMessage(bytes, keyring, now),
  'clean-certificates': (bytes, now) => cleanCertificates(bytes, keyring.certificates, now),
};

port.on('message', (request: Request) => {
  if (request.name === 'keyring') {
    keyring = createKeyring(request.certificates);
    return;
  }
  // the job uses the keyring that is in force now, even when another arrives meanwhile
  void outcomeOf(request).then(reply);
});

reply({ outcome: 'ready' });

async function outcomeOf({ name, bytes, now }: Job): Promise<Reply> {
  try {
    return { outcome: 'done', output: await handlers[name](bytes, now) };
  } catch (error) {
    return failure(error);
  }
}

function failure(error: unknown): Reply {
  const message = error instanceof Error ? error.message : String(error);
  if (!isLookasideError(error)) return { outcome: 'failed', code: null, message, detail: null };
  return { outcome: 'failed', code: error.code, message, detail: error.detail };
}

function reply(message: Reply): void {
  port?.postMessage(message);
}
