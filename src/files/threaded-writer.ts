// A tree that is written by a thread of its own. One upload makes some forty calls to the file system: through the pool of threads
// each is handed over and back, which costs more than the call. docs/decisions/joined-writes.md
import { Worker } from 'node:worker_threads';
import { LookasideError } from '../domain/errors.ts';
import { PlaceUnknown, type TreeWriter } from '../domain/tree.ts';
import { createEnded } from './new-images.ts';
import type { Answer, Job, JobName, Reply, Request } from './tree-jobs.ts';
import { openTreeWriter, type TreeWriterOptions } from './tree-writer.ts';

/** `close`: what was asked for is carried out, then the thread ends. */
export type ThreadedWriter = TreeWriter & { close(): Promise<void> };

export interface ThreadedWriterOptions extends TreeWriterOptions {
  /** The script of the thread, which exchanges the messages of tree-jobs.ts. Default tree-thread.js. */
  readonly script?: URL;
  /** After which a thread that has nothing to do ends, and the next job starts another; left out: it stays. */
  readonly idleMs?: number;
}

const THREAD_HEAP_MIB = 128;

const PLACING: ReadonlySet<JobName> = new Set(['place', 'addNew']);

interface Pending {
  readonly name: JobName;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The thread is started when first needed, and one that dies is replaced. What it had begun fails with STORE_UNAVAILABLE, and so does
 * every later write when it died while it wrote: an fsync may have failed, and nobody has heard of it.
 */
export function openThreadedWriter(options: ThreadedWriterOptions): ThreadedWriter {
  const here = openTreeWriter(options);
  const thread = createThread(options);
  // here, so that neither each of a group is a message, nor a thread that ends forgets which have ended
  const ended = createEnded();
  return {
    get fault() {
      return thread.fault;
    },
    freeBytes: here.freeBytes,
    leftOver: here.leftOver,
    prepare: (intent, bytes) => {
      const own = ownOf(bytes);
      return thread.run('prepare', [intent, own], [own.buffer]);
    },
    addNew: (folder, intent, bytes) => {
      const own = ownOf(bytes);
      return thread.run('addNew', [folder, intent, own], [own.buffer]);
    },
    place: (...of) => thread.run('place', of),
    placeRow: (folder, from, row) => thread.run('placeRow', [folder, from, row.map(ownOf)]),
    placeNew: (sets) => thread.run('placeNew', [sets.map((set) => ({ ...set, row: set.row.map(ownOf) }))]),
    takeAway: (...of) => thread.run('takeAway', of),
    makeDurable: (...of) => thread.run('makeDurable', of),
    restore: (folder, number, bytes) => thread.run('restore', [folder, number, ownOf(bytes)]),
    fill: (...of) => thread.run('fill', of),
    remove: (...of) => thread.run('remove', of),
    // what is left is found at the next start
    discard: async (one) => {
      const prepared = ended(one);
      if (prepared !== null) await thread.run('discard', [prepared]).catch(() => undefined);
    },
    close: thread.close,
  };
}

/** A view would be sent with all of the memory behind it. */
function ownOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

interface Thread {
  readonly fault: string | null;
  run<Name extends JobName>(
    name: Name,
    args: Parameters<TreeWriter[Name]>,
    transfer?: readonly ArrayBuffer[],
  ): ReturnType<TreeWriter[Name]>;
  close(): Promise<void>;
}

function createThread(options: ThreadedWriterOptions): Thread {
  const { root } = options;
  const pending = new Map<number, Pending>();
  let worker: Worker | null = null;
  let waiting: Job[] = [];
  let transfers: ArrayBuffer[] = [];
  let count = 0;
  let fault: string | null = null;
  let isClosed = false;
  let onIdle: (() => void) | null = null;
  let idle: NodeJS.Timeout | undefined;

  function run(name: JobName, args: readonly unknown[], transfer: readonly ArrayBuffer[] = []) {
    return new Promise<unknown>((resolve, reject) => {
      if (isClosed) return reject(unavailable(`the writer of ${root} is closed`));
      // a new thread does not know it
      if (fault !== null && name !== 'discard') return reject(unavailable(fault));
      count += 1;
      pending.set(count, { name, resolve, reject });
      waiting.push({ id: count, name, args });
      transfers.push(...transfer);
      // those that are asked for in the same turn of the event loop go together
      if (waiting.length === 1) setImmediate(send);
    });
  }

  function send(): void {
    const [asked, moved]: [Request, ArrayBuffer[]] = [waiting, transfers];
    [waiting, transfers] = [[], []];
    // it may have come since they were asked for, and a new thread does not know it
    const jobs = fault === null ? asked : asked.filter(({ name }) => name === 'discard');
    if (fault !== null)
      refuse(
        asked.filter(({ name }) => name !== 'discard'),
        unavailable(fault),
      );
    if (jobs.length === 0) return;
    try {
      worker ??= start();
    } catch (error) {
      // no more threads are allowed, for one; the next job tries again
      const message = `no thread could be started that writes ${root}, and nothing was stored; allow the server more threads (pids limit) or memory, then try again`;
      refuse(jobs, unavailable(message, error));
      return;
    }
    clearTimeout(idle);
    worker.ref();
    worker.postMessage(jobs, moved);
  }

  /** Nothing of them was begun. */
  function refuse(jobs: Request, error: LookasideError): void {
    for (const { id } of jobs) {
      pending.get(id)?.reject(error);
      pending.delete(id);
    }
    if (pending.size === 0) rest();
  }

  function start(): Worker {
    const started = new Worker(options.script ?? new URL('./tree-thread.js', import.meta.url), {
      name: 'tree-writer',
      execArgv: [], // the program's own options, such as an inspector or --eval, are not for the thread
      workerData: { root },
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MIB },
    });
    let death: unknown = null;
    started.on('message', (reply: Reply) => {
      for (const answer of reply) settle(answer);
      if (pending.size === 0) rest();
    });
    started.on('error', (error) => {
      death = error;
    });
    started.on('exit', () => {
      if (worker !== started) return; // it was ended, as it had nothing to do
      worker = null;
      lose(death);
    });
    return started;
  }

  function settle({ id, output, failure }: Answer): void {
    const job = pending.get(id);
    pending.delete(id);
    if (failure === null) {
      job?.resolve(output);
      return;
    }
    fault ??= failure.fault;
    const { code, message, detail } = failure;
    job?.reject(
      code === null
        ? new Error(message)
        : new LookasideError(code, message, detail === null ? {} : { detail }),
    );
  }

  function rest(): void {
    worker?.unref();
    onIdle?.();
    clearTimeout(idle);
    if (options.idleMs !== undefined && worker !== null) idle = setTimeout(endIdle, options.idleMs).unref();
  }

  function endIdle(): void {
    if (pending.size > 0) return;
    const ending = worker;
    worker = null;
    void ending?.terminate();
  }

  /** Those that it was not yet told of go to the next one, unless nothing is written any more. */
  function lose(death: unknown): void {
    const unsent = new Set(waiting.map(({ id }) => id));
    const begun = [...pending].filter(([id]) => !unsent.has(id));
    // what it waited for goes on without it, and nobody hears of its failure
    if (begun.some(([, { name }]) => name !== 'discard')) {
      fault ??= `the thread that writes ${root} died while it wrote, so it is not known whether the disk has taken all of it; restart the server, which finds out what is there, before anything else is written`;
    }
    const message = fault ?? `the thread that writes ${root} died and is replaced; try again`;
    for (const [id, { name, reject }] of begun) {
      pending.delete(id);
      reject(PLACING.has(name) ? new PlaceUnknown(message, { cause: death }) : unavailable(message, death));
    }
    if (pending.size === 0) rest();
  }

  return {
    get fault() {
      return fault;
    },
    // the cast: the thread answers each job with its own output
    run: run as Thread['run'],
    async close() {
      isClosed = true;
      if (pending.size > 0) {
        await new Promise<void>((resolve) => {
          onIdle = resolve;
        });
      }
      await worker?.terminate();
    },
  };
}

function unavailable(message: string, cause?: unknown): LookasideError {
  return new LookasideError('STORE_UNAVAILABLE', message, { cause });
}
