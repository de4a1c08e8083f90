// One verification thread. It does one job at a time of those that pool.ts sends, which may end the thread at any moment.
import { parentPort, workerData } from 'node:worker_threads';
import { isLookasideError } from '../domain/errors.ts';
import { giveWay } from '../low-priority.ts';
import { cleanCertificates } from './certificates.ts';
import type { Job, JobName, Jobs, Reply, Request, ThreadData } from './jobs.ts';
import { createKeyring, type Keyring } from './keyring.ts';
import { examineMessage } from './verifier.ts';
import { answerAtOnceInThisThread } from './web-crypto.ts';

const port = parentPort;
if (port === null) throw new Error('worker is started by pool.ts');

// only pool.ts sets it
if ((workerData as ThreadData).givesWay) giveWay();
answerAtOnceInThisThread();
let keyring = createKeyring([]);

let last: Promise<void> = Promise.resolve();

const handlers: {
  readonly [Name in JobName]: (
    job: Omit<Job, 'name'>,
    keyring: Keyring,
  ) => Jobs[Name]['output'] | Promise<Jobs[Name]['output']>;
} = {
  examine: ({ bytes, now }, among) => examineMessage(bytes, among, now),
  'clean-certificates': ({ bytes, now }, { certificates }) => cleanCertificates(bytes, certificates, now),
};

port.on('message', (request: Request) => {
  if (request.name === 'keyring') {
    keyring = createKeyring(request.certificates);
    return;
  }
  // the jobs use the keyring that is in force now, even when another arrives meanwhile
  const among = keyring;
  for (const job of request.jobs) last = last.then(async () => reply(await outcomeOf(job, among)));
});

reply({ outcome: 'ready' });

async function outcomeOf({ name, ...job }: Job, among: Keyring): Promise<Reply> {
  try {
    return { outcome: 'done', output: await handlers[name](job, among) };
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
