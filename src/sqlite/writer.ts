// The main thread's side of the writer thread: bounded queues, waiting for locks without blocking, and a new thread for a
// dead one. Only one request runs at a time, so it is known what a dying thread loses: one command, or several small ones
// that waited together and are committed together.
import { Worker } from 'node:worker_threads';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import {
  type Command,
  type CommandName,
  type Commands,
  JOINABLE,
  type LaneName,
  type Outcome,
  type Reply,
  type Request,
} from './commands.ts';
import { keepTemporaryFilesIn } from './connect.ts';

const LANES: readonly LaneName[] = ['state', 'index', 'access'];

const MAX_QUEUED = { state: 1000, index: 1000, access: 16 } as const;
const MAX_QUEUED_BYTES = {
  state: 64 * 1024 * 1024, // an upload may bring 4 MiB
  index: 64 * 1024 * 1024,
  access: 64 * 1024 * 1024,
} as const;

/** Limits of one transaction. A thread that dies loses all of it, so a large command goes alone. */
const MAX_JOINED = 64;
const MAX_JOINED_BYTES = 1024 * 1024;

// The pause between two tries of a command that met another process's lock.
const LOCKED_PAUSE_MS = 25;
const LOCKED_LIMIT_MS = 30_000;
const ENDING_LIMIT_MS = 5000;
const THREAD_HEAP_MIB = 256;

export interface WriterOptions {
  readonly dataDir: string;
  /** How long a command waits for a lock that another process holds, counted from when it was queued. Default 30 s. */
  readonly lockedLimitMs?: number;
  /** The same, counted from hurry(). Default 5 s. */
  readonly endingLimitMs?: number;
  /** Called after each change of state.db that may have written an audit event. */
  readonly onStateChanged?: () => void;
  /** Heap of the thread; beyond it the thread dies and is replaced. Default 256 MiB. */
  readonly threadHeapMib?: number;
}

export interface LaneHealth {
  /** Null before the first write. */
  readonly lastWriteSucceeded: boolean | null;
  /** Why the last write failed; null when it succeeded. */
  readonly lastError: string | null;
  readonly queued: number;
  /** How often the command at the head has met another process's lock; 0 when none is waiting. */
  readonly lockedTries: number;
}

export type WriterHealth = { readonly [Name in LaneName]: LaneHealth };

interface Job {
  readonly command: Command;
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
  #current: { readonly lane: Lane; readonly jobs: readonly Job[] } | null = null;
  #lastServed: LaneName = 'access';
  #endingUntilMs: number | null = null;
  #drained: Promise<void> | null = null;
  #closed: Promise<void> | null = null;
  #onIdle: (() => void) | null = null;
  #stateFailure: string | null = null;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * Queues a command; resolves when the thread has committed it. `sizeBytes` is its size in memory.
   * @throws LookasideError BUSY when the queue is full or another process's lock outlasts the limit. STORE_UNAVAILABLE when
   * the disk refuses, the thread died during the command or the writer is closed. DISK_FULL and READ_ONLY of state.db.
   * INDEX_UNUSABLE, STATE_UNUSABLE.
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
        command: { name, input },
        sizeBytes,
        lockedUntilMs: performance.now() + (this.#options.lockedLimitMs ?? LOCKED_LIMIT_MS),
        // the cast is right because the thread answers each command with that command's output
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

  /**
   * Call it when the server begins to stop: from now on, commands wait for locks of other processes for 5 s in all, and then
   * no longer.
   */
  hurry(): void {
    this.#endingUntilMs ??= performance.now() + (this.#options.endingLimitMs ?? ENDING_LIMIT_MS);
  }

  /** Calls hurry(), accepts no more commands and resolves when the queued ones are carried out. */
  drain(): Promise<void> {
    this.hurry();
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
    worker.postMessage('close' satisfies Request);
    await exited;
  }

  #refusal(lane: Lane, sizeBytes: number): LookasideError | null {
    if (this.#drained !== null) return unavailable('the databases are closed');
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
    if (lane === null) {
      this.#rest();
      return;
    }
    const failure = lane.name === 'state' ? this.#stateFailure : null;
    if (failure !== null) {
      this.#settleAll(lane, [...lane.jobs], () => unavailable(failure));
      return;
    }
    const jobs = joined(lane.jobs);
    this.#current = { lane, jobs };
    this.#lastServed = lane.name;
    this.#worker ??= this.#start();
    this.#worker.ref();
    const request: Request = { commands: jobs.map(({ command }) => command) };
    try {
      this.#worker.postMessage(request);
    } catch (error) {
      // an input that cannot be cloned is a bug in the caller, and must not stop the queue
      const failure = error instanceof Error ? error : new Error(String(error));
      this.#settleAll(lane, jobs, () => failure);
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
    keepTemporaryFilesIn(this.#options.dataDir);
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
    if (current === null) throw new Error('the writer thread answered a question that was not asked');
    const { lane, jobs } = current;
    let locked: string | null = null;
    reply.forEach((outcome, position) => {
      const job = jobs[position];
      if (outcome.outcome === 'locked') locked = outcome.message;
      else if (job !== undefined) this.#answer(lane, job, outcome);
    });
    this.#current = null;
    if (locked !== null) this.#tryLater(lane, locked);
    this.#next();
  }

  #answer(lane: Lane, job: Job, outcome: Exclude<Outcome, { outcome: 'locked' }>): void {
    if (outcome.outcome === 'done') this.#settle(lane, job, null, outcome.output);
    else this.#settle(lane, job, this.#failure(lane, outcome), null);
  }

  #tryLater(lane: Lane, reason: string): void {
    lane.lockedTries += 1;
    const nowMs = performance.now();
    const isOver = this.#endingUntilMs !== null && nowMs >= this.#endingUntilMs;
    const [head] = lane.jobs;
    const isHeadOver = head !== undefined && nowMs >= head.lockedUntilMs;
    // when stopping, give up all jobs at once: each further try would cost SQLite's own wait
    const givenUp = isOver ? [...lane.jobs] : isHeadOver ? [head] : [];
    if (givenUp.length > 0) {
      const message = `another process keeps the ${lane.name} database locked: ${reason}`;
      for (const job of givenUp) this.#settle(lane, job, new LookasideError('BUSY', message), null);
      return;
    }
    lane.pause = setTimeout(() => {
      lane.pause = null;
      this.#next();
    }, LOCKED_PAUSE_MS);
  }

  #failure(lane: Lane, reply: { readonly code: string | null; readonly message: string }): Error {
    const { code, message } = reply;
    if (code === null) return new Error(message);
    if (isErrorCode(code)) return new LookasideError(code, message);
    if (lane.name === 'state' && /^SQLITE_IOERR_(DIR_)?FSYNC/.test(code)) {
      // After a failed fsync the kernel drops the dirty pages, and the next fsync succeeds without writing them (promise 3).
      this.#stateFailure = `state.db could not be synced to the disk (${message}): no change is accepted until a restart`;
    }
    const refusal = DISK_REFUSALS.get(code) ?? null;
    return new LookasideError(
      // what the index tells of is there all the same
      (lane.name === 'state' ? refusal : null) ?? 'STORE_UNAVAILABLE',
      refusal === 'DISK_FULL'
        ? `the ${lane.name} database cannot be written: the disk is full (${message}); free some space, then try again`
        : `the ${lane.name} database cannot be written: ${message}${refusal === 'READ_ONLY' ? '; the disk is read-only, or the file belongs to another user than the one of the server' : ''}`,
      { cause: Object.assign(new Error(message), { code }) },
    );
  }

  #lose(death: unknown): void {
    this.#worker = null;
    if (this.#current === null) return;
    const { lane, jobs } = this.#current;
    this.#settleAll(lane, jobs, () => unavailable('the database writer died and was replaced', death));
  }

  #settleAll(lane: Lane, jobs: readonly Job[], errorOf: () => Error): void {
    for (const job of jobs) this.#settle(lane, job, errorOf(), null);
    this.#current = null;
    this.#next();
  }

  /** `job` is at the head of its lane. */
  #settle(lane: Lane, job: Job, error: Error | null, output: unknown): void {
    lane.jobs.shift();
    lane.sizeBytes -= job.sizeBytes;
    lane.lockedTries = 0;
    const isAnswer = error instanceof LookasideError && ANSWERS.includes(error.code);
    lane.lastWriteSucceeded = error === null || isAnswer;
    lane.lastError = lane.lastWriteSucceeded || error === null ? null : error.message;
    if (error === null && lane.name === 'state' && !EVENTLESS.has(job.command.name)) {
      this.#options.onStateChanged?.();
    }
    if (error === null) job.resolve(output);
    else job.reject(error);
  }
}

/** The first job, and the jobs directly behind it that may share a transaction with it. */
function joined(waiting: readonly Job[]): readonly Job[] {
  let sizeBytes = 0;
  const end = waiting.slice(0, MAX_JOINED).findIndex((job) => {
    sizeBytes += job.sizeBytes;
    return !JOINABLE.has(job.command.name) || sizeBytes > MAX_JOINED_BYTES;
  });
  if (end === -1) return waiting.slice(0, MAX_JOINED);
  return waiting.slice(0, Math.max(end, 1));
}

/** Commands that write no audit event. */
const EVENTLESS: ReadonlySet<CommandName> = new Set([
  'state.open',
  'state.add-checkpoint',
  'state.cosign-checkpoint',
  'state.witness',
  'state.mirror-checked',
  'state.mirror-asked',
  'state.mirror-failed',
  'state.mirror-beyond',
  'state.mirror-on-demand',
  'state.mirror-put-releases',
  'state.mirror-forget',
  'state.mirror-ran',
]);

function laneOf(name: CommandName): LaneName {
  if (name.startsWith('state.')) return 'state';
  return name.startsWith('index.') ? 'index' : 'access';
}

function healthOf({ lastWriteSucceeded, lastError, jobs, lockedTries }: Lane): LaneHealth {
  return { lastWriteSucceeded, lastError, queued: jobs.length, lockedTries };
}

// Our own codes that the thread throws; all others are SQLite's or the system's.
const THREAD_CODES: readonly ErrorCode[] = [
  'NAME_TAKEN',
  'NOT_FOUND',
  'CHANGED_MEANWHILE',
  'STORE_UNAVAILABLE',
  'INDEX_UNUSABLE',
  'STATE_UNUSABLE',
];

/** Codes that are answers to the caller; every other rejection is a failure of the store. */
const ANSWERS: readonly ErrorCode[] = ['NAME_TAKEN', 'NOT_FOUND', 'CHANGED_MEANWHILE'];

/**
 * The codes of SQLite that say for certain that the disk accepts no more. SHMSIZE: there is no room to extend the -shm
 * (sqlite.org/rescode.html). Other kinds of READONLY mean a moved file or a lock.
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
