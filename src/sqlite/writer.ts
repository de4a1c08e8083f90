// The main thread's side of the writer thread: bounded queues, waiting for locks without blocking, and a new
// thread for a dead one. One command is under way at a time, so that what a dying thread takes with it is known.
import { Worker } from 'node:worker_threads';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import type { CommandName, Commands, LaneName, Reply } from './commands.ts';

const LANES: readonly LaneName[] = ['state', 'index', 'access'];

const MAX_QUEUED = { state: 1000, index: 1000, access: 16 } as const;
const MAX_QUEUED_BYTES = {
  state: 64 * 1024 * 1024, // an upload may bring 4 MiB
  index: 64 * 1024 * 1024,
  access: 64 * 1024 * 1024,
} as const;

// Between two tries of a command that met a foreign lock.
const LOCKED_PAUSE_MS = 25;
const LOCKED_LIMIT_MS = 30_000;
const CLOSE_LIMIT_MS = 5000;
const THREAD_HEAP_MIB = 256;

export interface WriterOptions {
  readonly dataDir: string;
  /** How long a command waits for a lock that another process holds, from when it was queued. Default 30 s. */
  readonly lockedLimitMs?: number;
  /** Heap of the thread; beyond it the thread dies and is replaced. Default 256 MiB. */
  readonly threadHeapMib?: number;
}

export interface LaneHealth {
  /** Null before the first write. */
  readonly lastWriteSucceeded: boolean | null;
  /** Why the last write failed; null when it did not. */
  readonly lastError: string | null;
  readonly queued: number;
  /** Tries of the command at the head that met a foreign lock; 0 when none is waiting. */
  readonly lockedTries: number;
}

export type WriterHealth = { readonly [Name in LaneName]: LaneHealth };

interface Job {
  readonly name: CommandName;
  readonly input: unknown;
  readonly sizeBytes: number;
  readonly lockedUntilMs: number;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

class Lane {
  readonly name: LaneName;
  readonly jobs: Job[] = [];
  sizeBytes = 0;
  lockedTries = 0;
  pause: NodeJS.Timeout | null = null;
  lastWriteSucceeded: boolean | null = null;
  lastError: string | null = null;

  constructor(name: LaneName) {
    this.name = name;
  }
}

export class Writer {
  readonly #options: WriterOptions;
  readonly #lanes = { state: new Lane('state'), index: new Lane('index'), access: new Lane('access') };
  #worker: Worker | null = null;
  #current: { readonly lane: Lane; readonly job: Job } | null = null;
  #lastServed: LaneName = 'access';
  #closeUntilMs: number | null = null;
  #drained: Promise<void> | null = null;
  #closed: Promise<void> | null = null;
  #onIdle: (() => void) | null = null;
  #stateFailure: string | null = null;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * Queues a command; resolves when the thread has committed it. `sizeBytes` is what it weighs in memory.
   * @throws LookasideError BUSY when the queue is full or a foreign lock outlasts the limit; STORE_UNAVAILABLE
   * when the disk refuses, the thread died over it or the writer is closed; DISK_FULL and READ_ONLY of state.db;
   * INDEX_UNUSABLE; STATE_UNUSABLE
   */
  run<Name extends CommandName>(
    name: Name,
    input: Commands[Name]['input'],
    sizeBytes: number,
  ): Promise<Commands[Name]['output']> {
    return new Promise((resolve, reject) => {
      const lane = this.#lanes[laneOf(name)];
      const refusal = this.#refusal(lane, sizeBytes);
      if (refusal !== null) return reject(refusal);
      lane.jobs.push({
        name,
        input,
        sizeBytes,
        lockedUntilMs: performance.now() + (this.#options.lockedLimitMs ?? LOCKED_LIMIT_MS),
        // the cast: the thread answers each command with its own output
        resolve: (output) => resolve(output as Commands[Name]['output']),
        reject,
      });
      lane.sizeBytes += sizeBytes;
      this.#next();
    });
  }

  health(): WriterHealth {
    const { state, index, access } = this.#lanes;
    return { state: healthOf(state), index: healthOf(index), access: healthOf(access) };
  }

  /** Takes no more commands and resolves when the queued ones are carried out; foreign locks are waited for 5 s at most. */
  drain(): Promise<void> {
    this.#closeUntilMs ??= performance.now() + CLOSE_LIMIT_MS;
    this.#drained ??= new Promise((resolve) => {
      this.#onIdle = resolve;
      this.#next();
    });
    return this.#drained;
  }

  /** Drains, then ends the thread. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.drain();
    const worker = this.#worker;
    if (worker === null) return;
    worker.ref();
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage({ name: 'close' });
    await exited;
  }

  #refusal(lane: Lane, sizeBytes: number): LookasideError | null {
    if (this.#closeUntilMs !== null) return unavailable('the databases are closed');
    if (lane.name === 'state' && this.#stateFailure !== null) return unavailable(this.#stateFailure);
    const isFull =
      lane.jobs.length >= MAX_QUEUED[lane.name] ||
      (lane.jobs.length > 0 && lane.sizeBytes + sizeBytes > MAX_QUEUED_BYTES[lane.name]);
    if (!isFull) return null;
    return new LookasideError('BUSY', `${lane.jobs.length} writes to ${lane.name} are waiting already`);
  }

  #next(): void {
    if (this.#current !== null) return;
    const lane = this.#nextLane();
    const job = lane?.jobs[0];
    if (lane === null || job === undefined) {
      this.#rest();
      return;
    }
    this.#current = { lane, job };
    this.#lastServed = lane.name;
    this.#worker ??= this.#start();
    this.#worker.ref();
    try {
      this.#worker.postMessage({ name: job.name, input: job.input });
    } catch (error) {
      // an input that cannot be cloned is a bug of the caller, and must not stop the queue
      this.#settle(lane, job, error instanceof Error ? error : new Error(String(error)), null);
    }
  }

  // State first; index and access in turns, so that a long scan does not starve the access log.
  #nextLane(): Lane | null {
    const { state, index, access } = this.#lanes;
    const order = this.#lastServed === 'index' ? [state, access, index] : [state, index, access];
    return order.find((lane) => lane.pause === null && lane.jobs.length > 0) ?? null;
  }

  #rest(): void {
    this.#worker?.unref();
    const isEmpty = LANES.every((name) => this.#lanes[name].jobs.length === 0);
    if (isEmpty) this.#onIdle?.();
  }

  #start(): Worker {
    const worker = new Worker(new URL('./writer-thread.js', import.meta.url), {
      name: 'database-writer',
      workerData: { dataDir: this.#options.dataDir },
      resourceLimits: { maxOldGenerationSizeMb: this.#options.threadHeapMib ?? THREAD_HEAP_MIB },
    });
    let death: unknown = null;
    worker.on('message', (reply: Reply) => this.#take(reply));
    worker.on('error', (error) => {
      death = error;
    });
    worker.on('exit', () => this.#lose(death));
    return worker;
  }

  #take(reply: Reply): void {
    const current = this.#current;
    if (current === null) throw new Error('the writer thread answered what nobody asked');
    const { lane, job } = current;
    switch (reply.outcome) {
      case 'done':
        this.#settle(lane, job, null, reply.output);
        break;
      case 'failed':
        this.#settle(lane, job, this.#failure(lane, reply), null);
        break;
      case 'locked':
        this.#tryLater(lane, job, reply.message);
        break;
    }
  }

  #tryLater(lane: Lane, job: Job, reason: string): void {
    lane.lockedTries += 1;
    const untilMs = Math.min(job.lockedUntilMs, this.#closeUntilMs ?? Number.POSITIVE_INFINITY);
    if (performance.now() >= untilMs) {
      const message = `another process keeps the ${lane.name} database locked: ${reason}`;
      this.#settle(lane, job, new LookasideError('BUSY', message), null);
      return;
    }
    this.#current = null;
    lane.pause = setTimeout(() => {
      lane.pause = null;
      this.#next();
    }, LOCKED_PAUSE_MS);
    this.#next();
  }

  #failure(lane: Lane, reply: { readonly code: string | null; readonly message: string }): Error {
    const { code, message } = reply;
    if (code === null) return new Error(message);
    if (isErrorCode(code)) return new LookasideError(code, message);
    if (lane.name === 'state' && /^SQLITE_IOERR_(DIR_)?FSYNC/.test(code)) {
      // After a failed fsync the kernel drops the dirty pages and the next one succeeds over nothing (promise 3).
      this.#stateFailure = `state.db could not be synced to the disk (${message}): no change is accepted until a restart`;
    }
    const refusal = lane.name === 'state' ? (DISK_REFUSALS.get(code) ?? null) : null;
    return new LookasideError(
      refusal ?? 'STORE_UNAVAILABLE',
      `the ${lane.name} database cannot be written: ${message}`,
      { cause: Object.assign(new Error(message), { code }) },
    );
  }

  #lose(death: unknown): void {
    this.#worker = null;
    if (this.#current === null) return;
    const { lane, job } = this.#current;
    this.#settle(lane, job, unavailable('the database writer died and was replaced', death), null);
  }

  #settle(lane: Lane, job: Job, error: Error | null, output: unknown): void {
    this.#current = null;
    lane.jobs.shift();
    lane.sizeBytes -= job.sizeBytes;
    lane.lockedTries = 0;
    const isAnswer = error instanceof LookasideError && ANSWERS.includes(error.code);
    lane.lastWriteSucceeded = error === null || isAnswer;
    lane.lastError = lane.lastWriteSucceeded || error === null ? null : error.message;
    if (error === null) job.resolve(output);
    else job.reject(error);
    this.#next();
  }
}

function laneOf(name: CommandName): LaneName {
  if (name.startsWith('state.')) return 'state';
  return name.startsWith('index.') ? 'index' : 'access';
}

function healthOf({ lastWriteSucceeded, lastError, jobs, lockedTries }: Lane): LaneHealth {
  return { lastWriteSucceeded, lastError, queued: jobs.length, lockedTries };
}

// The codes of ours that the thread throws; all others are SQLite's or the system's.
const THREAD_CODES: readonly ErrorCode[] = [
  'NAME_TAKEN',
  'STORE_UNAVAILABLE',
  'INDEX_UNUSABLE',
  'STATE_UNUSABLE',
];

/** Answers to the caller; all else that rejects is a failure of the store. */
const ANSWERS: readonly ErrorCode[] = ['NAME_TAKEN'];

/**
 * What SQLite says when the disk takes no more, as far as the caller may be told so. SHMSIZE: no room to lengthen the
 * -shm (sqlite.org/rescode.html). Of the kinds of READONLY others mean a file that was moved or a lock.
 */
const DISK_REFUSALS: ReadonlyMap<string, ErrorCode> = new Map([
  ['SQLITE_FULL', 'DISK_FULL'],
  ['SQLITE_IOERR_SHMSIZE', 'DISK_FULL'],
  ['SQLITE_READONLY', 'READ_ONLY'],
]);

function isErrorCode(code: string): code is ErrorCode {
  return THREAD_CODES.some((known) => known === code);
}

function unavailable(message: string, cause?: unknown): LookasideError {
  return new LookasideError('STORE_UNAVAILABLE', message, { cause });
}
