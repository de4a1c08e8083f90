// Questions to the records as the main thread sees them: each asker has a thread to itself, so that the event loop never waits
// for a disk. A thread that has answered rests for a while, because its start costs more than most questions.
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import { MAX_QUESTIONS_AT_ONCE, QUESTION_MS } from '../domain/limits.ts';
import type { RecordLookups, RecordSession } from '../domain/records.ts';
import { keepTemporaryFilesIn } from './connect.ts';
import { messageOf } from './open.ts';
import type { LookupAnswer, LookupCall, QuestionThreadData, ThreadTurn } from './question-request.ts';

/** Old space of one thread: 200,000 groups of a sum are 100 MiB. */
const THREAD_MEMORY_MB = 512;

const CLOSE_MS = 1000;

/** One page may ask both records at the same time. */
const MOST_RESTING = 2;
/** After so long a resting thread lets go of files that were deleted or replaced: open, they would keep their space on the disk. */
const REST_MS = 30_000;
/** So often, then it ends. It keeps files open and some 30 MB; the next one opens all days of the record. */
const RESTS = 20;
/** What a thread may keep (connect.ts) and still be asked again: 100 days with 20 statements each. */
const MOST_KEPT = 2500;

export interface QuestionTimes {
  readonly questionMs?: number;
  readonly restMs?: number;
  readonly rests?: number;
}

export class SqliteQuestions implements RecordLookups {
  readonly #dataDir: string;
  readonly #times: Required<QuestionTimes>;
  readonly #resting: Thread[] = [];
  #asked = 0;
  #isClosed = false;

  constructor(
    dataDir: string,
    { questionMs = QUESTION_MS, restMs = REST_MS, rests = RESTS }: QuestionTimes = {},
  ) {
    this.#dataDir = dataDir;
    this.#times = { questionMs, restMs, rests };
  }

  /** Threads that wait for a question. */
  get resting(): number {
    return this.#resting.length;
  }

  async open(signal: AbortSignal): Promise<RecordSession> {
    signal.throwIfAborted();
    if (this.#asked >= MAX_QUESTIONS_AT_ONCE) {
      throw new LookasideError(
        'BUSY',
        `${this.#asked} questions are being answered, and no more at once; ask again in a few seconds`,
      );
    }
    this.#asked += 1;
    const thread = this.#rested() ?? this.#start();
    thread.begin(signal);
    return sessionOver(thread, () => this.#end(thread));
  }

  /** Ends the threads that rest; those that are asked end with their questions. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#resting.splice(0).map((thread) => thread.close()));
  }

  /** One that has come to its end meanwhile is passed over. */
  #rested(): Thread | null {
    for (let thread = this.#resting.pop(); thread !== undefined; thread = this.#resting.pop()) {
      if (!thread.isEnding) return thread;
    }
    return null;
  }

  #start(): Thread {
    const thread = new Thread(this.#dataDir, this.#times);
    void thread.ended.then(() => {
      const position = this.#resting.indexOf(thread);
      if (position !== -1) this.#resting.splice(position, 1);
      if (thread.isAsked) this.#asked -= 1;
    });
    return thread;
  }

  async #end(thread: Thread): Promise<void> {
    const isWanted = !this.#isClosed && this.#resting.length < MOST_RESTING;
    if (!isWanted || !thread.rest()) {
      await thread.close();
      return;
    }
    this.#asked -= 1;
    this.#resting.push(thread);
  }
}

function sessionOver(thread: Thread, end: () => Promise<void>): RecordSession {
  let ended: Promise<void> | null = null;
  // each cast is right because the thread answers a call with what the session of the same name returns
  return {
    page: async (...input) => (await thread.ask({ name: 'page', input })) as never,
    sums: async (...input) => (await thread.ask({ name: 'sums', input })) as never,
    unsigned: async (...input) => (await thread.ask({ name: 'unsigned', input })) as never,
    stale: async (...input) => (await thread.ask({ name: 'stale', input })) as never,
    repositoryTotals: async (...input) => (await thread.ask({ name: 'repositoryTotals', input })) as never,
    // a client takes the list piece by piece, and may never ask for the next one
    rotation: async (...input) => (await thread.askPiece({ name: 'rotation', input })) as never,
    rotationWork: async (...input) => (await thread.askPiece({ name: 'rotationWork', input })) as never,
    revocation: async (...input) => (await thread.askPiece({ name: 'revocation', input })) as never,
    revocationBroken: async (...input) =>
      (await thread.askPiece({ name: 'revocationBroken', input })) as never,
    signaturesBy: async (...input) => (await thread.ask({ name: 'signaturesBy', input })) as never,
    async *export(...input) {
      let piece = (await thread.ask({ name: 'export', input })) as string | null;
      while (piece !== null) {
        thread.startIdling();
        yield piece;
        piece = (await thread.ask({ name: 'export', input: null })) as string | null;
      }
    },
    [Symbol.asyncDispose]() {
      ended ??= end();
      return ended;
    },
  };
}

interface Waiting {
  resolve(answer: LookupAnswer): void;
  reject(error: unknown): void;
}

class Thread {
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  readonly #times: Required<QuestionTimes>;
  readonly #stop = new SharedArrayBuffer(4);
  #signal: AbortSignal | null = null;
  #waiting: Waiting | null = null;
  #timer: NodeJS.Timeout | null = null;
  #failure: unknown = null;
  #isAsked = false;
  #kept = 0;

  constructor(dataDir: string, times: Required<QuestionTimes>) {
    this.#times = times;
    keepTemporaryFilesIn(dataDir);
    const data: QuestionThreadData = { dataDir, stop: this.#stop };
    this.#worker = new Worker(new URL('./question-thread.js', import.meta.url), {
      name: 'question',
      workerData: data,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MB },
    });
    this.#worker.on('message', (answer: LookupAnswer) => {
      this.#kept = answer.kept;
      this.#settle((waiting) => waiting.resolve(answer));
    });
    this.#worker.once('error', (error) => this.#fail(endedByItself(error)));
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#fail(endedByItself(new Error('its thread ended without an answer')));
        this.#leave();
        resolve();
      });
    });
  }

  /** Whether somebody's session has it, also one that was given up. */
  get isAsked(): boolean {
    return this.#isAsked;
  }

  get isEnding(): boolean {
    return this.#failure !== null;
  }

  begin(signal: AbortSignal): void {
    this.#isAsked = true;
    this.#stopTimer();
    this.#worker.ref();
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#turn('begin');
  }

  /** False: it was given up, is still at work, or keeps too much; it must be closed. */
  rest(): boolean {
    if (this.#failure !== null || this.#waiting !== null || this.#kept > MOST_KEPT) return false;
    this.#isAsked = false;
    this.#leave();
    this.#stopTimer();
    this.#turn('rest');
    this.#worker.unref();
    this.#restOn(this.#times.rests);
    return true;
  }

  #restOn(left: number): void {
    this.#timer = setTimeout(() => {
      if (left <= 1) {
        this.#giveUp(new Error('nobody asked for a while'));
        return;
      }
      this.#turn('begin');
      this.#restOn(left - 1);
    }, this.#times.restMs).unref();
  }

  #leave(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#signal = null;
  }

  #turn(turn: ThreadTurn): void {
    this.#worker.postMessage(turn);
  }

  async ask(call: LookupCall): Promise<unknown> {
    this.#stopTimer();
    if (this.#failure !== null) throw this.#failure;
    const answer = await new Promise<LookupAnswer>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#timer = setTimeout(() => this.#giveUp(tooLong(this.#times.questionMs)), this.#times.questionMs);
      this.#worker.postMessage(call);
    });
    if (answer.outcome === 'done') return answer.value;
    const { code, message } = answer;
    throw new LookasideError(
      CODES[code ?? ''] ?? 'STORE_UNAVAILABLE',
      `the records cannot be read: ${message}`,
      {
        cause: new Error(message),
      },
    );
  }

  async askPiece(call: LookupCall): Promise<unknown> {
    const answer = await this.ask(call);
    if (this.#failure === null) this.startIdling();
    return answer;
  }

  /** Who does not take the next piece in time keeps no thread. */
  startIdling(): void {
    this.#timer = setTimeout(
      () => this.#giveUp(new Error('nobody took the next piece of an export')),
      this.#times.questionMs,
    );
    this.#timer.unref();
  }

  /** Waits for the thread, but not for long: one that is stopped in the middle of its work ends at its next pause. */
  async close(): Promise<void> {
    this.#worker.ref(); // else a process that waits for nothing but this would end in the middle of it
    this.#giveUp(new Error('the session was closed'));
    await Promise.race([this.ended, wait(CLOSE_MS, undefined, { ref: false })]);
  }

  readonly #onAbort = (): void => this.#giveUp(this.#signal?.reason);

  /** The thread ends at its next pause: it is never killed within SQLite. */
  #giveUp(reason: unknown): void {
    Atomics.store(new Int32Array(this.#stop), 0, 1);
    this.#turn('close');
    this.#fail(reason);
  }

  #fail(reason: unknown): void {
    this.#failure ??= reason;
    this.#settle((waiting) => waiting.reject(reason));
  }

  #settle(act: (waiting: Waiting) => void): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#stopTimer();
    if (waiting !== null) act(waiting);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  STATE_UNUSABLE: 'STATE_UNUSABLE',
  INDEX_UNUSABLE: 'INDEX_UNUSABLE',
  SQLITE_FULL: 'DISK_FULL',
};

/** Out of memory, or a fault of ours. */
function endedByItself(error: unknown): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `the records cannot be read: ${messageOf(error)}; ask again, and for less where memory was used up`,
    { cause: error },
  );
}

function tooLong(ms: number): LookasideError {
  return new LookasideError(
    'QUESTION_TOO_LONG',
    `there was no answer within ${ms / 1000} seconds; ask for less, with a shorter time (since, until) or one image, key or address, or take all rows as JSON Lines`,
  );
}
