// A thread that is started for one answer. It commits what it writes, so that it may be ended at any moment.
import { Worker } from 'node:worker_threads';

export interface AnsweringThread {
  readonly name: string;
  readonly script: URL;
  readonly data: object;
}

/** Ends the thread when aborted, and throws once it has ended. @throws the signal's reason; an error when it ends without an answer */
export function answerOf<Answer>(
  { name, script, data }: AnsweringThread,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const worker = new Worker(script, { name, workerData: data });
    const end = () => void worker.terminate();
    signal.addEventListener('abort', end);
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => {
      signal.removeEventListener('abort', end);
      reject(signal.aborted ? signal.reason : new Error(`the thread ${name} ended without an answer`));
    });
  });
}
