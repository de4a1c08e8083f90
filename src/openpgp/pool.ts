// The threads that verify. The content of a signature or certificate can block or crash one thread, never the server. A
// thread that is stuck or dead is replaced, and only its own job is lost.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { LookasideError } from '../domain/errors.ts';
import type { KeyPartUse, KeyWarning } from '../domain/key.ts';
import type { CleanedCertificate, Urgency, Verifier } from '../domain/ports.ts';
import type { Judgement } from '../domain/verdict.ts';
import { armorPublicKey } from './armor.ts';
import { usesOfCertificate } from './certificate-uses.ts';
import type { JobName, Jobs, Reply, Request, ThreadData } from './jobs.ts';
import { warningsOfCertificate } from './key-warnings.ts';
import { CLEAN_LIMIT_MS, EXAMINE_LIMIT_MS } from './limits.ts';

const THREADS = 2;
/** Jobs that a thread has which no upload waits for: it takes the next by itself, so that it never waits for this thread in between. */
const JOBS_AHEAD = 16;
/** It has fewer uploads, as all others go to another thread when one of them takes long. */
const UPLOADS_AHEAD = 4;
/**
 * How long an upload waits before a second thread helps. Each thread compiles all code for itself, and takes twice as long for each
 * of its first 1,800 signatures. So a thread that has done many is the quicker one: docs/performance.md.
 */
const HELP_AFTER_MS = 200;
/** How much longer an idle job may take: its thread gives way to all others. */
const IDLE_PATIENCE = 4;
const START_LIMIT_MS = 30_000;
const THREAD_HEAP_MIB = 256;
const MAX_QUEUED = 1024;
const MAX_QUEUED_BYTES = 128 * 1024 * 1024;

export interface VerifierOptions {
  /** Default 2, and not more than the machine has processors. Where there are several, one more that gives way does the idle jobs. */
  readonly threads?: number;
  /** How long one signature may take, and four times that when the job is idle. Default 2 s. */
  readonly examineLimitMs?: number;
  /** How long the certificates of one file may take. Default 5 s. */
  readonly cleanLimitMs?: number;
  /** How long uploads wait before another thread does some. Default 200 ms. */
  readonly helpAfterMs?: number;
  /** Jobs of one urgency that may wait. Default 1024. */
  readonly maxQueued?: number;
  /** The bytes of those jobs. Default 128 MiB. */
  readonly maxQueuedBytes?: number;
  /** The script of a thread, which exchanges the messages of jobs.ts. Default worker.js. */
  readonly script?: URL;
}

/** Bytes handed in must not be changed until the promise settles. Threads are started when first needed. */
export function openVerifier(options: VerifierOptions = {}): Verifier {
  return new Pool(options);
}

interface Job {
  readonly name: JobName;
  readonly bytes: Uint8Array;
  readonly now: Date;
  readonly urgency: Urgency;
  readonly limitMs: number;
  readonly queuedAtMs: number;
  /** Two threads may have it: the first answer counts, as both judge the same bytes. */
  isAnswered: boolean;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

class Queue {
  readonly #jobs: Job[] = [];
  #sizeBytes = 0;

  get count(): number {
    return this.#jobs.length;
  }

  get first(): Job | null {
    return this.#jobs[0] ?? null;
  }

  hasRoom(sizeBytes: number, maxCount: number, maxBytes: number): boolean {
    return this.count < maxCount && (this.count === 0 || this.#sizeBytes + sizeBytes <= maxBytes);
  }

  push(job: Job): void {
    this.#jobs.push(job);
    this.#sizeBytes += job.bytes.length;
  }

  shift(): Job | null {
    const job = this.#jobs.shift();
    if (job === undefined) return null;
    this.#sizeBytes -= job.bytes.length;
    return job;
  }

  /** Whatever room there is: they had a place before. */
  putBack(jobs: readonly Job[]): void {
    const waiting = jobs.filter(({ isAnswered }) => !isAnswered);
    this.#jobs.unshift(...waiting);
    for (const { bytes } of waiting) this.#sizeBytes += bytes.length;
  }

  /** Nothing, if it does not wait here. */
  drop(job: Job): void {
    const position = this.#jobs.indexOf(job);
    if (position === -1) return;
    this.#jobs.splice(position, 1);
    this.#sizeBytes -= job.bytes.length;
  }
}

class Pool implements Verifier {
  readonly #options: VerifierOptions;
  readonly #maxThreads: number;
  readonly #queues = { upload: new Queue(), background: new Queue(), idle: new Queue() };
  readonly #threads = new Set<Thread>();
  /** Beside those: it has a lower priority, which no thread can give back. */
  #idleThread: Thread | null = null;
  #keyring: readonly Uint8Array[] = [];
  #isClosed = false;

  constructor(options: VerifierOptions) {
    this.#options = options;
    this.#maxThreads = options.threads ?? Math.min(THREADS, availableParallelism());
  }

  examine(untrusted: Uint8Array, now: Date, wanted: Urgency): Promise<Judgement> {
    // where one thread has to do all, somebody may always wait for it
    const urgency = wanted === 'idle' && this.#maxThreads === 1 ? 'background' : wanted;
    const limitMs =
      (this.#options.examineLimitMs ?? EXAMINE_LIMIT_MS) * (urgency === 'idle' ? IDLE_PATIENCE : 1);
    return this.#run('examine', { bytes: untrusted, now, urgency, limitMs });
  }

  cleanCertificates(untrusted: Uint8Array, now: Date): Promise<readonly CleanedCertificate[]> {
    const limitMs = this.#options.cleanLimitMs ?? CLEAN_LIMIT_MS;
    return this.#run('clean-certificates', { bytes: untrusted, now, urgency: 'upload', limitMs });
  }

  armor(certificate: Uint8Array): string {
    return armorPublicKey(certificate);
  }

  warningsOf(certificate: Uint8Array): readonly KeyWarning[] {
    return warningsOfCertificate(certificate);
  }

  usesOf(certificate: Uint8Array): readonly KeyPartUse[] {
    return usesOfCertificate(certificate);
  }

  setKeyring(certificates: readonly Uint8Array[]): void {
    this.#keyring = certificates.map((certificate) => Uint8Array.from(certificate));
    for (const thread of this.#all) thread.setKeyring(this.#keyring);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const queue of Object.values(this.#queues)) {
      for (let job = queue.shift(); job !== null; job = queue.shift()) job.reject(closed());
    }
    await Promise.all(this.#all.map((thread) => thread.end(closed())));
  }

  get #all(): readonly Thread[] {
    return this.#idleThread === null ? [...this.#threads] : [...this.#threads, this.#idleThread];
  }

  #run<Name extends JobName>(
    name: Name,
    { bytes, now, urgency, limitMs }: Pick<Job, 'bytes' | 'now' | 'urgency' | 'limitMs'>,
  ): Promise<Jobs[Name]['output']> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closed());
      const queue = this.#queues[urgency];
      const { maxQueued = MAX_QUEUED, maxQueuedBytes = MAX_QUEUED_BYTES } = this.#options;
      if (!queue.hasRoom(bytes.length, maxQueued, maxQueuedBytes)) {
        const message = `${queue.count} signatures wait to be verified already. Try again later`;
        return reject(new LookasideError('BUSY', message, { detail: { waiting: queue.count } }));
      }
      // the cast: the thread answers each job with its own output
      const settle = (output: unknown) => resolve(output as Jobs[Name]['output']);
      const queuedAtMs = performance.now();
      const timing = { limitMs, queuedAtMs, isAnswered: false };
      queue.push({ name, bytes, now, urgency, ...timing, resolve: settle, reject });
      this.#next();
    });
  }

  #next(): void {
    while (this.#queues.upload.count > 0) {
      const thread = this.#threadForUpload();
      const job = thread === null ? null : this.#queues.upload.shift();
      if (job === null) break;
      thread?.take([job]);
    }
    while (this.#queues.upload.count === 0 && this.#mayTakeBackground()) {
      const thread = this.#queues.background.count === 0 ? null : this.#freeThread();
      const job = thread === null ? null : this.#queues.background.shift();
      if (job === null) break;
      thread?.take([job]);
    }
    this.#giveAhead();
    if (this.#isClosed || this.#queues.idle.count === 0) return;
    this.#idleThread ??= this.#startIdleThread();
    this.#giveMore(this.#idleThread, this.#queues.idle);
  }

  /** A thread that rests, or a new one while more are allowed. */
  #freeThread(): Thread | null {
    const resting = [...this.#threads].find(({ isResting }) => isResting);
    if (resting !== undefined) return resting;
    return this.#isClosed || this.#threads.size >= this.#maxThreads ? null : this.#startThread();
  }

  /** One thread for all as long as it suffices. A single thread has one job at a time: what is more urgent goes ahead of what waits. */
  #threadForUpload(): Thread | null {
    const atUploads = [...this.#threads].filter(({ urgency, isSlow }) => urgency === 'upload' && !isSlow);
    const withRoom = atUploads.find(({ count }) => count < UPLOADS_AHEAD);
    if (withRoom !== undefined && this.#maxThreads > 1) return withRoom;
    const needsHelp = atUploads.length === 0 || this.#haveUploadsWaited(atUploads);
    return needsHelp ? this.#freeThread() : null;
  }

  /** Not for a thread that still starts: another one would not be there sooner. */
  #haveUploadsWaited(atUploads: readonly Thread[]): boolean {
    const { first } = this.#queues.upload;
    if (first === null) return false;
    const sinceMs = Math.max(first.queuedAtMs, ...atUploads.map(({ readyAtMs }) => readyAtMs));
    return performance.now() - sinceMs >= (this.#options.helpAfterMs ?? HELP_AFTER_MS);
  }

  // The last of several threads is left to uploads, so that they never wait for background jobs.
  #mayTakeBackground(): boolean {
    const inBackground = [...this.#threads].filter(({ urgency }) => urgency === 'background').length;
    return inBackground < Math.max(1, this.#maxThreads - 1);
  }

  /**
   * More jobs for threads in the background, unless uploads wait: these get each thread that ends what it has. A single thread has none
   * ahead: uploads would wait for them.
   */
  #giveAhead(): void {
    if (this.#maxThreads === 1 || this.#queues.upload.count > 0) return;
    for (const thread of this.#threads) {
      if (thread.urgency === 'background') this.#giveMore(thread, this.#queues.background);
    }
  }

  /** Many in one message. */
  #giveMore(thread: Thread, queue: Queue): void {
    if (thread.count > JOBS_AHEAD / 2) return;
    const jobs: Job[] = [];
    while (thread.count + jobs.length < JOBS_AHEAD) {
      const job = queue.shift();
      if (job === null) break;
      jobs.push(job);
    }
    if (jobs.length > 0) thread.take(jobs);
  }

  #startThread(): Thread {
    const thread = this.#newThread(false, (untouched) => {
      this.#threads.delete(thread);
      this.#leave(untouched);
    });
    this.#threads.add(thread);
    return thread;
  }

  #startIdleThread(): Thread {
    return this.#newThread(true, (untouched) => {
      this.#idleThread = null;
      this.#leave(untouched);
    });
  }

  #newThread(givesWay: boolean, onEnd: ThreadEvents['onEnd']): Thread {
    const { script, helpAfterMs = HELP_AFTER_MS } = this.#options;
    const events = {
      onAnswer: () => this.#next(),
      onLeftAnswered: (job: Job) => this.#queues[job.urgency].drop(job),
      onSlow: (jobs: readonly Job[]) => this.#leave(jobs),
      onEnd,
    };
    return new Thread({ script, givesWay, helpAfterMs, keyring: this.#keyring }, events);
  }

  /** What a thread did not come to: jobs of one urgency. */
  #leave(untouched: readonly Job[]): void {
    const [first] = untouched;
    if (this.#isClosed) for (const job of untouched) job.reject(closed());
    else if (first !== undefined) this.#queues[first.urgency].putBack(untouched);
    this.#next();
  }
}

interface ThreadOptions {
  readonly script: URL | undefined;
  readonly givesWay: boolean;
  readonly helpAfterMs: number;
  readonly keyring: readonly Uint8Array[];
}

interface ThreadEvents {
  readonly onAnswer: () => void;
  /** With a job that was left to others, and may still wait for them. */
  readonly onLeftAnswered: (job: Job) => void;
  /** With the uploads that wait for one that takes long: they are no longer this thread's. */
  readonly onSlow: (others: readonly Job[]) => void;
  /** With the jobs that it had ahead: nothing was done of them. */
  readonly onEnd: (untouched: readonly Job[]) => void;
}

/** A thread without a job does not keep the process alive. */
class Thread {
  readonly #events: ThreadEvents;
  readonly #worker: Worker;
  readonly #helpAfterMs: number;
  /** The first is under way, and the others are taken in their order. */
  #jobs: Job[] = [];
  /** Those of them that another thread has since, or will have: when this one fails, it refuses none of them and gives none back. */
  readonly #leftToOthers = new Set<Job>();
  #timer: NodeJS.Timeout | null = null;
  #isSlow = false;
  #readyAtMs: number | null = null;
  #isEnding = false;

  constructor({ script, givesWay, helpAfterMs, keyring }: ThreadOptions, events: ThreadEvents) {
    this.#events = events;
    this.#helpAfterMs = helpAfterMs;
    this.#worker = new Worker(script ?? new URL('./worker.js', import.meta.url), {
      name: 'verifier',
      workerData: { givesWay } satisfies ThreadData,
      execArgv: [], // the program's own options, such as an inspector or --eval, are not for the thread
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MIB },
    });
    this.#worker.unref();
    this.#worker.on('message', (reply: Reply) => this.#take(reply));
    let cause: unknown;
    this.#worker.on('error', (error) => {
      cause = error;
    });
    // its last answers have come by then
    this.#worker.on('exit', () => void this.end(busy('the thread that verified it died', cause)));
    this.setKeyring(keyring);
  }

  get isResting(): boolean {
    return this.#jobs.length === 0 && !this.#isEnding;
  }

  get count(): number {
    return this.#jobs.length;
  }

  /** By performance.now(); infinite as long as it starts. */
  get readyAtMs(): number {
    return this.#readyAtMs ?? Number.POSITIVE_INFINITY;
  }

  /** Whether the upload under way takes long, so that no other should wait for it. */
  get isSlow(): boolean {
    return this.#isSlow;
  }

  get urgency(): Urgency | null {
    return this.#jobs[0]?.urgency ?? null;
  }

  setKeyring(certificates: readonly Uint8Array[]): void {
    this.#post({ name: 'keyring', certificates });
  }

  /** While it has others, only further ones of the same urgency. */
  take(given: readonly Job[]): void {
    // one that comes back before this thread has answered it is still there
    const jobs = given.filter((job) => !this.#leftToOthers.delete(job));
    if (jobs.length === 0) return;
    const wasResting = this.isResting;
    if (wasResting) this.#worker.ref();
    // a view would be sent with all of the memory behind it
    const sent = jobs.map(({ name, bytes, now }) => ({ name, bytes: new Uint8Array(bytes), now }));
    this.#post(
      { name: 'jobs', jobs: sent },
      sent.map(({ bytes }) => bytes.buffer),
    );
    this.#jobs.push(...jobs);
    if (wasResting) this.#watch();
  }

  /** Rejects the job under way, if any. */
  async end(reason: LookasideError): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const [underWay, ...behind] = this.#jobs;
    const untouched = behind.filter((job) => !this.#leftToOthers.has(job));
    this.#jobs = [];
    this.#rest();
    if (underWay !== undefined && !this.#leftToOthers.has(underWay)) underWay.reject(reason);
    this.#events.onEnd(untouched);
    await this.#worker.terminate();
  }

  #take(reply: Reply): void {
    if (reply.outcome === 'ready') {
      this.#readyAtMs = performance.now();
      if (this.#jobs.length > 0) this.#watch();
      return;
    }
    const job = this.#jobs.shift();
    if (job === undefined) return; // end() has already rejected it
    if (this.#jobs.length > 0) this.#watch();
    else this.#rest();
    job.isAnswered = true;
    if (reply.outcome === 'done') job.resolve(reply.output);
    else job.reject(errorOf(reply));
    if (this.#leftToOthers.delete(job)) this.#events.onLeftAnswered(job);
    this.#events.onAnswer();
  }

  /** The job under way has its time from now on. */
  #watch(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#isSlow = false;
    const isReady = this.#readyAtMs !== null;
    const limitMs = isReady ? (this.#jobs[0]?.limitMs ?? 0) : START_LIMIT_MS;
    const giveUp = () => void this.end(busy(`verification took longer than ${limitMs} ms. Try again later`));
    if (!isReady || this.urgency !== 'upload' || limitMs <= this.#helpAfterMs) {
      this.#timer = setTimeout(giveUp, limitMs);
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = setTimeout(giveUp, limitMs - this.#helpAfterMs);
      this.#isSlow = true;
      const others = this.#jobs.slice(1).filter((job) => !this.#leftToOthers.has(job));
      for (const job of others) this.#leftToOthers.add(job);
      this.#events.onSlow(others);
    }, this.#helpAfterMs);
  }

  #rest(): void {
    this.#worker.unref();
    this.#isSlow = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #post(request: Request, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(request, transfer);
  }
}

function errorOf({ code, message, detail }: Extract<Reply, { outcome: 'failed' }>): Error {
  if (code === null) return new Error(message);
  return new LookasideError(code, message, detail === null ? {} : { detail });
}

function busy(message: string, cause?: unknown): LookasideError {
  return new LookasideError('BUSY', message, { cause });
}

function closed(): LookasideError {
  return busy('the verifier is closed');
}
