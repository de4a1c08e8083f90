// A walk through a tree in a thread of its own, whose calls may block it. Through the pool of threads each call costs several times
// as much, and an image takes eight.
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import type { QuickWalk, WalkBatch, WalkRequest, WalkShare } from '../domain/tree-walk.ts';
import { unavailable } from './root.ts';
import { isStamped } from './stamps.ts';

/** What the thread is started with. */
export interface WalkOrder {
  readonly root: string;
  readonly site: string;
  readonly share: WalkShare;
  readonly mustLook: readonly string[];
  /** index.db */
  readonly index: string;
  /** How many batches were gone through. */
  readonly taken: Int32Array<SharedArrayBuffer>;
}

/** What the thread tells; `failure` and `end` are its last. */
export type WalkNews =
  | { readonly kind: 'batch'; readonly batch: WalkBatch }
  | { readonly kind: 'failure'; readonly code: ErrorCode | null; readonly message: string }
  | { readonly kind: 'end' };

export interface ThreadedWalkOptions {
  readonly root: string;
  /** index.db */
  readonly index: string;
  /** What the thread runs: it takes a WalkOrder, and sends WalkNews. */
  readonly script: URL;
  /** How long the end of a thread is waited for, which waits for its call to the disk. Five seconds unless told. */
  readonly endMs?: number;
}

/** Enough for the names of the folders above images that one folder has; those of images are not kept. */
const THREAD_HEAP_MIB = 1024;
/** Nearly all that the thread makes is garbage at once: more room for it makes nothing faster. */
const THREAD_YOUNG_MIB = 8;

const END_MS = 5000;

export function openThreadedWalk(options: ThreadedWalkOptions): QuickWalk {
  /** Threads that were to end, and are still in a call to the disk. */
  const stuck = new Set<Worker>();
  return {
    async walk(request) {
      // else each new try would leave one more
      if (stuck.size > 0) throw stuckError(options.root);
      return (await hasStamps(options.root)) ? walkInThread(options, request, stuck) : null;
    },
  };
}

function stuckError(root: string): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `the disk of ${root} has not answered a walk that was to end; the next one begins once it has: see whether the disk can be reached`,
  );
}

async function hasStamps(root: string): Promise<boolean> {
  try {
    return await isStamped(root);
  } catch (error) {
    throw unavailable(`the root ${root}`, error);
  }
}

async function* walkInThread(
  { root, index, script, endMs = END_MS }: ThreadedWalkOptions,
  { site, share, mustLook, signal }: WalkRequest,
  stuck: Set<Worker>,
): AsyncGenerator<WalkBatch> {
  const taken = new Int32Array(new SharedArrayBuffer(4));
  const order: WalkOrder = { root, site, share, mustLook, index, taken };
  const thread = new Worker(script, {
    name: 'tree-walk',
    execArgv: [], // the program's own options, such as an inspector or --eval, are not for the thread
    workerData: order,
    resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MIB, maxYoungGenerationSizeMb: THREAD_YOUNG_MIB },
  });
  const news = createInbox(thread, signal);
  try {
    for (;;) {
      const one = await news.next();
      signal?.throwIfAborted();
      if (one.kind === 'end') return;
      if (one.kind === 'failure') throw failureOf(one);
      yield one.batch;
      Atomics.add(taken, 0, 1);
      Atomics.notify(taken, 0);
    }
  } finally {
    news.close();
    await endOf(thread, stuck, endMs);
  }
}

/** Nothing but the kernel ends a call to a disk that does not answer, and whoever waits for both walks has to hear of the other. */
async function endOf(thread: Worker, stuck: Set<Worker>, mostMs: number): Promise<void> {
  const ended = thread.terminate();
  const stop = new AbortController();
  const late = wait(mostMs, true, { signal: stop.signal }).catch(() => false);
  const isStuck = await Promise.race([ended.then(() => false), late]);
  stop.abort();
  if (!isStuck) return;
  stuck.add(thread);
  void ended.finally(() => stuck.delete(thread));
}

interface Inbox {
  /** @throws LookasideError STORE_UNAVAILABLE when the thread has died; the signal's reason */
  next(): Promise<WalkNews>;
  close(): void;
}

function createInbox(thread: Worker, signal: AbortSignal | undefined): Inbox {
  const waiting: WalkNews[] = [];
  let death: unknown = null;
  let isGone = false;
  let wake = () => {};
  const onAbort = () => wake();
  signal?.addEventListener('abort', onAbort);
  thread.on('message', (news: WalkNews) => {
    waiting.push(news);
    wake();
  });
  thread.on('error', (error) => {
    death = error;
  });
  thread.on('exit', () => {
    isGone = true;
    wake();
  });
  return {
    async next() {
      for (;;) {
        signal?.throwIfAborted();
        const one = waiting.shift();
        if (one !== undefined) return one;
        if (isGone) {
          const message = 'the thread that walks through the tree died; the scan is tried again';
          throw new LookasideError('STORE_UNAVAILABLE', message, { cause: death });
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    close: () => signal?.removeEventListener('abort', onAbort),
  };
}

function failureOf({ code, message }: { readonly code: ErrorCode | null; readonly message: string }): Error {
  return code === null ? new Error(message) : new LookasideError(code, message);
}
