// One reader among many: in a thread of its own, so that what holds up the test is not taken for the server's.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface Question {
  readonly port: number;
  readonly target: string;
  /** Between an answer and the next request. */
  readonly pauseMs: number;
}

export interface Asked {
  readonly status: number;
  /** The hash of the body. */
  readonly sha256: string;
  readonly tookMs: number;
}

export interface Asking extends AsyncDisposable {
  /** All that was asked. @throws the error of the first request that was not answered */
  end(): Promise<readonly Asked[]>;
}

/** Asks the server on that port of 127.0.0.1 until it is told to end, on one connection while that lasts. */
export function startAsking(question: Question): Asking {
  const thread = new Worker(new URL('./asking-thread.js', import.meta.url), { workerData: question });
  const said: Promise<readonly [readonly Asked[]]> = once(thread, 'message') as Promise<[Asked[]]>; // all it ever says
  said.catch(() => undefined); // thrown by end()
  return {
    async end() {
      thread.postMessage('end');
      const [all] = await said;
      return all;
    },
    async [Symbol.asyncDispose]() {
      await thread.terminate();
    },
  };
}
