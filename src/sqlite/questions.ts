// Questions to the records as the main thread sees them: each asker has a thread, so that the event loop never waits for a disk.
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import { MAX_QUESTIONS_AT_ONCE, QUESTION_MS } from '../domain/limits.ts';
import type { RecordLookups, RecordSession } from '../domain/records.ts';
import { keepTemporaryFilesIn } from './connect.ts';
import type { LookupAnswer, LookupCall, QuestionThreadData } from './question-request.ts';

/** Old space of one thread: 200,000 groups of a sum are 100 MiB. */
const THREAD_MEMORY_MB = 512;

const CLOSE_MS = 1000;

export class SqliteQuestions implements RecordLookups {
  readonly #dataDir: string;
  readonly #questionMs: number;
  #open = 0;

  constructor(dataDir: string, questionMs = QUESTION_MS) {
    this.#dataDir = dataDir;
    this.#questionMs = questionMs;
  }

  async open(signal: AbortSignal): Promise<RecordSession> {
    signal.throwIfAborted();
    if (this.#open >= MAX_QUESTIONS_AT_ONCE) {
      throw new LookasideError(
        'BUSY',
        `${this.#open} questions are being answered, and no more at once; ask again in a few seconds`,
      );
    }
    this.#open += 1;
    const thread = new Thread(this.#dataDir, signal, this.#questionMs);
    void thread.ended.then(() => {
      this.#open -= 1;
    });
    return sessionOver(thread);
  }
}

function sessionOver(thread: Thread): RecordSession {
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
    [Symbol.asyncDispose]: () => thread.close(),
  };
}

interface Waiting {
  resolve(answer: LookupAnswer): void;
  reject(error: unknown): void;
}

class Thread {
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  readonly #signal: AbortSignal;
  readonly #questionMs: number;
  readonly #stop = new SharedArrayBuffer(4);
  #waiting: Waiting | null = null;
  #timer: NodeJS.Timeout | null = null;
  #failure: unknown = null;

  constructor(dataDir: string, signal: AbortSignal, questionMs: number) {
    this.#signal = signal;
    this.#questionMs = questionMs;
    keepTemporaryFilesIn(dataDir);
    const data: QuestionThreadData = { dataDir, stop: this.#stop };
    this.#worker = new Worker(new URL('./question-thread.js', import.meta.url), {
      name: 'question',
      workerData: data,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MB },
    });
    this.#worker.on('message', (answer: LookupAnswer) => this.#settle((waiting) => waiting.resolve(answer)));
    this.#worker.once('error', (error) => this.#fail(error));
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#fail(new Error('the thread that answers a question ended without an answer'));
        signal.removeEventListener('abort', this.#onAbort);
        resolve();
      });
    });
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  async ask(call: LookupCall): Promise<unknown> {
    this.#stopTimer();
    if (this.#failure !== null) throw this.#failure;
    const answer = await new Promise<LookupAnswer>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#timer = setTimeout(() => this.#giveUp(tooLong(this.#questionMs)), this.#questionMs);
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
      this.#questionMs,
    );
    this.#timer.unref();
  }

  /** Waits for the thread, but not for long: one that is stopped in the middle of its work ends at its next pause. */
  async close(): Promise<void> {
    this.#giveUp(new Error('the session was closed'));
    await Promise.race([this.ended, wait(CLOSE_MS, undefined, { ref: false })]);
  }

  readonly #onAbort = (): void => this.#giveUp(this.#signal.reason);

  /** The thread ends at its next pause: it is never killed within SQLite. */
  #giveUp(reason: unknown): void {
    Atomics.store(new Int32Array(this.#stop), 0, 1);
    this.#worker.postMessage('close');
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

function tooLong(ms: number): LookasideError {
  return new LookasideError(
    'QUESTION_TOO_LONG',
    `there was no answer within ${ms / 1000} seconds; ask for less, with a shorter time (since, until) or one image, key or address, or take all rows as JSON Lines`,
  );
}
