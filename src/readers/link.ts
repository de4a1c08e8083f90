// One reader process, as the process that started it sees it.
import { type ChildProcess, fork } from 'node:child_process';
import type { ImageId } from '../domain/image.ts';
import type { AskAnswer, FromReader, Report, ToReader } from './messages.ts';

/**
 * A reader that has not forgotten after so many waits is ended: a dead one serves nothing that is old. Several short waits, because this
 * process may stand still during one, and then what the reader has said lies unread.
 */
const FORGET_WAITS = 4;
const FORGET_WAIT_MS = 500;
/** How many reports in a row may be missing. */
const MOST_SILENT = 20;
/** The same ahead of the first: a start takes long on a machine that has much to do. */
const MOST_STARTING = 120;
const FLUSH_MS = 1000;

const NO_REPORT: Pick<Report, 'buffer' | 'cache' | 'traffic'> = {
  buffer: { rows: 0, dropped: 0 },
  cache: { bytes: 0, sets: 0, hits: 0, misses: 0 },
  traffic: { requestsPerSecond: 0, connections: 0 },
};

export interface LinkOptions {
  readonly sockets: readonly number[];
  /** What its copies of sets may hold. */
  readonly setBytes: number;
  readonly script?: URL;
  readonly onMessage: (message: FromReader) => void;
  readonly onEnd: (how: string) => void;
}

interface Waiter {
  readonly number: number;
  readonly resolve: () => void;
}

export class Link {
  /** Null: it did not start. */
  readonly #child: ChildProcess | null;
  readonly ended: Promise<void>;
  /** Whether it may have sets in memory. */
  mayHold = false;
  isServing = false;
  report = NO_REPORT;
  #answers: AskAnswer[] = [];
  #toldToForget = 0;
  #forgotten = 0;
  #waiters: Waiter[] = [];
  readonly #flushes = new Map<number, () => void>();
  #lastFlush = 0;
  #silent = 0;

  constructor({ script = new URL('./process.js', import.meta.url), ...options }: LinkOptions) {
    const { onMessage, onEnd } = options;
    const started = startReader(script, options);
    this.#child = started instanceof Error ? null : started;
    this.ended = new Promise((resolve) => {
      let isOver = false;
      const end = (how: string) => {
        if (isOver) return;
        isOver = true;
        this.#release();
        onEnd(how);
        resolve();
      };
      if (started instanceof Error) {
        setImmediate(end, started.message);
        return;
      }
      started.on('message', (message) => onMessage(message as FromReader)); // only process.ts sends
      started.once('exit', (status, signal) => end(signal ?? `exit status ${status}`));
      started.on('error', (error) => {
        if (started.pid === undefined) end(error.message);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isBehind(): boolean {
    return this.#forgotten < this.#toldToForget;
  }

  /** To one that has ended, or is ending, there is nothing to say. */
  send(message: ToReader): void {
    if (this.#child?.connected === true) this.#child.send(message, () => undefined);
  }

  /** Answers of one turn of the event loop go together. */
  answer(answer: AskAnswer): void {
    this.#answers.push(answer);
    if (this.#answers.length > 1) return;
    setImmediate(() => {
      const answers = this.#answers;
      this.#answers = [];
      this.send({ kind: 'answers', answers });
    });
  }

  forget(number: number, images: readonly ImageId[] | null): void {
    this.#toldToForget = number;
    this.send({ kind: 'forget', number, images });
  }

  hasForgotten(number: number): void {
    this.#forgotten = number;
    const [done, left] = [
      this.#waiters.filter((waiter) => waiter.number <= number),
      this.#waiters.filter((waiter) => waiter.number > number),
    ];
    this.#waiters = left;
    for (const { resolve } of done) resolve();
  }

  /** Resolves also when it has ended, of which this makes sure. */
  untilForgotten(number: number): Promise<void> {
    return new Promise((resolve) => {
      let waits = 0;
      const late = setInterval(() => {
        waits += 1;
        if (waits === FORGET_WAITS) this.kill();
      }, FORGET_WAIT_MS);
      this.#waiters.push({
        number: Math.min(number, this.#toldToForget),
        resolve() {
          clearInterval(late);
          resolve();
        },
      });
    });
  }

  flush(): Promise<void> {
    this.#lastFlush += 1;
    const id = this.#lastFlush;
    return new Promise((resolve) => {
      const end = () => this.flushed(id);
      const late = setTimeout(end, FLUSH_MS);
      this.#flushes.set(id, () => {
        clearTimeout(late);
        resolve();
      });
      this.send({ kind: 'flush', id });
    });
  }

  flushed(id: number): void {
    this.#flushes.get(id)?.();
    this.#flushes.delete(id);
  }

  reported(report: Report): void {
    this.#silent = 0;
    this.report = report;
  }

  watch(): void {
    this.#silent += 1;
    if (this.#silent > (this.isServing ? MOST_SILENT : MOST_STARTING)) this.kill();
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  #release(): void {
    for (const { resolve } of this.#waiters) resolve();
    this.#waiters = [];
    for (const end of this.#flushes.values()) end();
    this.#flushes.clear();
  }
}

/** fork() reports some faults by an event, and throws others: ENOMEM, say. */
function startReader(
  script: URL,
  { sockets, setBytes }: Pick<LinkOptions, 'sockets' | 'setBytes'>,
): ChildProcess | Error {
  try {
    return fork(script, [String(setBytes)], {
      serialization: 'advanced',
      // standard error for what V8 says when it ends a process
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', ...sockets],
    });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
