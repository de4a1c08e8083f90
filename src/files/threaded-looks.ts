// Looks at images through a thread of its own, many in one message. Through the pool of threads each look makes eight calls that are handed
// over and back one by one. The pool stays the way that always leads there: it looks when the thread does not run, is late, or is not sure.
// docs/decisions/first-looks.md
import { Worker } from 'node:worker_threads';
import type { ReadImage } from './image-reader.ts';
import type { LookOrder, LookQuestion, LookReply } from './look-questions.ts';

export interface ThreadedLooksOptions extends LookOrder {
  /** The script of the thread. Default look-thread.js. */
  readonly script?: URL;
  /** The thread ends when nothing was asked for so long. Ten seconds unless told. */
  readonly idleMs?: number;
}

export interface ThreadedLooks {
  /** As ImageReader.readImage(), of a moment since the call. Undefined, or a promise of it: the caller has to look. */
  read(folder: string, numbers: readonly number[]): Promise<ReadImage | null | undefined> | undefined;
  /** Starts the thread ahead of the first look, where many are about to come. */
  begin(): void;
}

/** Asked in one turn of the event loop, so many start the thread. A few cost less than the thread does. */
const MANY = 16;
/** What is asked while so much is ahead of it goes to the pool, so that a slow disk answers several at once, as it does without the thread. */
const MOST_AHEAD_MS = 50;
/** Of one look, until the first answers. */
const USUAL_MS = 0.1;
/** A thread that has answered nothing for so long may hang with its disk: the pool looks, also at what was asked of the thread. */
const LATE_MS = 100;
/** What waits for answers that come later than this goes to the pool. */
const FAR_OFF_MS = 500;
const IDLE_MS = 10_000;
const THREAD_HEAP_MIB = 64;
const THREAD_YOUNG_MIB = 4;

type Resolve = (read: ReadImage | null | undefined) => void;

export function openThreadedLooks(options: ThreadedLooksOptions): ThreadedLooks {
  const pending = new Map<number, Resolve>();
  let worker: Worker | null = null;
  let isReady = false;
  /** No thread could be started, or one has died: another would hardly fare better. */
  let hasFailed = false;
  let waiting: LookQuestion[] = [];
  let lastId = 0;
  /** Questions that the thread has not answered. While nobody waits for it any more, it is late. */
  let owed = 0;
  let replies = 0;
  let usualMs = USUAL_MS;
  let inThisTurn = 0;
  let late: NodeJS.Timeout | undefined;
  let idle: NodeJS.Timeout | undefined;

  function read(folder: string, numbers: readonly number[]) {
    if (worker === null) count();
    if (!isReady || isLate() || (owed + waiting.length) * usualMs > MOST_AHEAD_MS) return undefined;
    lastId += 1;
    const id = lastId;
    waiting.push({ id, folder, numbers });
    // those that are asked for in the same turn of the event loop go together
    if (waiting.length === 1) setImmediate(send);
    return new Promise<ReadImage | null | undefined>((resolve) => void pending.set(id, resolve));
  }

  function isLate(): boolean {
    return owed > 0 && pending.size === waiting.length;
  }

  function count(): void {
    inThisTurn += 1;
    if (inThisTurn === 1)
      setImmediate(() => {
        inThisTurn = 0;
      });
    if (inThisTurn >= MANY) begin();
  }

  function send(): void {
    const questions = waiting;
    waiting = [];
    if (worker === null || questions.length === 0) return;
    owed += questions.length;
    clearTimeout(idle);
    worker.ref();
    worker.postMessage(questions);
    late ??= setTimeout(whenLate, LATE_MS).unref();
  }

  function begin(): void {
    if (worker !== null || hasFailed) return;
    const { root, beingWrittenMs } = options;
    try {
      worker = new Worker(options.script ?? new URL('./look-thread.js', import.meta.url), {
        name: 'tree-looks',
        execArgv: [], // the program's own options, such as an inspector or --eval, are not for the thread
        workerData: { root, beingWrittenMs } satisfies LookOrder,
        resourceLimits: {
          maxOldGenerationSizeMb: THREAD_HEAP_MIB,
          maxYoungGenerationSizeMb: THREAD_YOUNG_MIB,
        },
      });
    } catch {
      hasFailed = true; // no more threads are allowed, for one: the pool looks
      return;
    }
    const started = worker;
    started.unref();
    started.on('message', settle);
    started.on('error', () => undefined); // its exit follows
    started.on('exit', () => {
      if (worker !== started) return; // it was ended, as it had nothing to do
      hasFailed = true;
      lose();
    });
  }

  function settle({ answers, tookMs }: LookReply): void {
    isReady = true;
    replies += 1;
    owed -= answers.length;
    if (answers.length > 0) usualMs += (tookMs / answers.length - usualMs) / 8;
    for (const { id, read } of answers) {
      pending.get(id)?.(read);
      pending.delete(id);
    }
    clearTimeout(late);
    late = owed > 0 && pending.size > 0 ? setTimeout(whenLate, LATE_MS).unref() : undefined;
    // the first answers tell how slow the disk is, when much may have been asked already
    if (owed * usualMs > FAR_OFF_MS) letAllLook();
    if (owed === 0) rest();
  }

  function rest(): void {
    worker?.unref();
    clearTimeout(idle);
    idle = setTimeout(endIdle, options.idleMs ?? IDLE_MS).unref();
  }

  function endIdle(): void {
    if (owed > 0 || waiting.length > 0) return;
    const ending = worker;
    [worker, isReady] = [null, false];
    void ending?.terminate();
  }

  function whenLate(): void {
    late = undefined;
    const before = replies;
    // when this thread itself was held, the answers may be there, and come before this
    setImmediate(() => {
      if (replies === before) letAllLook();
    });
  }

  function letAllLook(): void {
    worker?.unref();
    waiting = [];
    const all = [...pending.values()];
    pending.clear();
    for (const resolve of all) resolve(undefined);
  }

  function lose(): void {
    [worker, isReady, owed] = [null, false, 0];
    clearTimeout(late);
    late = undefined;
    letAllLook();
  }

  return { read, begin };
}
