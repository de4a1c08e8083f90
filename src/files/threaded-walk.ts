// A walk through a tree in a thread of its own, whose calls may block it: through the pool of threads each costs more than it does by
// itself, and an image takes eight of them.
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
  /** Of the thread: it takes a WalkOrder, and tells WalkNews. */
  readonly script: URL;
}

/** Enough for the names of the folders above images that one folder has; those of images are not kept. */
const THREAD_HEAP_MIB = 1024;
/** Nearly all that the thread makes is garbage at once: more room for it makes nothing faster. */
const THREAD_YOUNG_MIB = 8;

export function openThreadedWalk(options: ThreadedWalkOptions): QuickWalk {
  return {
    async walk(request) {
      return (await hasStamps(options.root)) ? walkInThread(options, request) : null;
    },
  };
}

async function hasStamps(root: string): Promise<boolean> {
  try {
    return await isStamped(root);
  } catch (error) {
    throw unavailable(`the root ${root}`, error);
  }
}

async function* walkInThread(
  { root, index, script }: ThreadedWalkOptions,
  { site, share, mustLook, signal }: WalkRequest,
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
    await thread.terminate();
  }
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
