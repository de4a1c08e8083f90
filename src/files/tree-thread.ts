// The thread that writes one tree: started by threaded-writer.ts, which says what to write. It does nothing else, so that its calls
// to the file system may block it.
import { parentPort, workerData } from 'node:worker_threads';
import { isLookasideError } from '../domain/errors.ts';
import { blockInThisThread } from './calls.ts';
import type { Answer, Failure, Job, Reply, Request } from './tree-jobs.ts';
import { openTreeWriter } from './tree-writer.ts';

const port = parentPort;
if (port === null) throw new Error('tree-thread is started by threaded-writer.ts');

blockInThisThread();
// only threaded-writer.ts sets it
const { root } = workerData as { readonly root: string };
const writer = openTreeWriter({ root, nowMs: Date.now });

let answers: Answer[] = [];

port.on('message', (jobs: Request) => {
  for (const job of jobs) void carryOut(job);
});

async function carryOut({ id, name, args }: Job): Promise<void> {
  // the cast is right because threaded-writer.ts pairs each name with its own arguments
  const act = writer[name] as (...given: readonly unknown[]) => Promise<unknown>;
  try {
    answer({ id, output: await act(...args), failure: null });
  } catch (error) {
    answer({ id, output: null, failure: failureOf(error) });
    tell(); // before anything else may end this thread: a failed fsync must not be forgotten
  }
}

/** Jobs that end at the same time are answered together. */
function answer(one: Answer): void {
  answers.push(one);
  if (answers.length === 1) setImmediate(tell);
}

function tell(): void {
  if (answers.length === 0) return;
  port?.postMessage(answers satisfies Reply);
  answers = [];
}

function failureOf(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  const { fault } = writer;
  if (!isLookasideError(error)) return { code: null, message, detail: null, fault };
  return { code: error.code, message, detail: error.detail, fault };
}
