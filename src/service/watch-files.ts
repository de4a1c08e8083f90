// The files that a watch has found: which are to be looked at when, which are whole, and what is known of them already.
import { LRUCache } from 'lru-cache';
import { mapInOrder } from '../domain/concurrency.ts';
import type { ErrorCode } from '../domain/errors.ts';
import type { Clock } from '../domain/ports.ts';
import type { StagedBytes, StagedFile, StagedProblem, Staging } from '../domain/staged.ts';
import { CHUNK, type PushedFile, type PushedImage, type Pusher, type ReadFile } from './push.ts';
import { PASSING_CODES } from './push-batches.ts';

export interface WatchedFilesOptions {
  readonly pusher: Pick<Pusher, 'identify'>;
  readonly staging: Pick<Staging, 'read'>;
  readonly isWhole: (bytes: Uint8Array) => boolean;
  readonly clock: Clock;
  /** Not a whole signature for ten seconds; told once. */
  readonly onUnfinished: (source: string, bytes: Uint8Array) => void;
  readonly onProblem: (problem: StagedProblem) => void;
}

export interface WatchedFiles {
  /** Something has changed in these: they are looked at next. */
  add(files: readonly StagedFile[]): void;
  /** What is to be looked at now: what changed goes ahead of what `more` gives, given how many still fit. */
  takeDue(more: (limit: number) => readonly StagedFile[]): readonly Pending[];
  /** Those that are whole and no longer written to. They stay due until it is known what became of them. */
  settledOf(due: readonly Pending[]): Promise<readonly ReadFile[]>;
  /** Remembers what became of an image's files. Those that are news. */
  conclude(pushed: PushedImage): readonly PushedFile[];
  /** When something is due next, by the monotonic clock. */
  nextDueMs(): number;
  /** Whether this was not said last of it: everything is said once. */
  isNews(about: string, what: string): boolean;
}

/** A file changed less than this ago may still be being written. */
const SETTLED_MS = 200;

/** Between looks at a file that is no whole signature yet: while it may be being written, and when it seems to rest. */
const LONGEST_LOOK_AGAIN_MS = 1000;
const UNCHANGED_AGAIN_MS = 60_000;
const UNFINISHED_TOLD_MS = 10_000;

/** What was refused for a reason of its own: a key may have been registered since. */
const REFUSED_AGAIN_MS = 3_600_000;
const PASSING_AGAIN_MS = 60_000;
const NOT_THE_FILES_FAULT: ReadonlySet<ErrorCode> = new Set([...PASSING_CODES, 'DISK_FULL', 'READ_ONLY']);

const READ_AT_ONCE = 8;
/** Looked at together: few, so that what is new does not wait long behind what was there. */
const ROUND_FILES = 200;

/** Sources of which is known what was done and said; a forgotten one is asked for again when its folder changes. */
const MAX_REMEMBERED = 100_000;
const MAX_PENDING = 10_000;

/** A file that is to be looked at. Times are by the monotonic clock. */
export interface Pending {
  readonly file: StagedFile;
  dueMs: number;
  /** What was found last, and since when it is found. */
  seen: { readonly version: string; readonly sinceMs: number } | null;
  /** Since when it is found and is no whole signature. */
  unfinishedSinceMs: number | null;
  /** When the version that was refused is worth another try; null: it was not refused. */
  retryAtMs: number | null;
}

export function createWatchedFiles(options: WatchedFilesOptions): WatchedFiles {
  const { pusher, staging, isWhole, clock } = options;
  const pending = new Map<string, Pending>();
  /** The version of each source that nothing is left to do for. */
  const done = new LRUCache<string, string>({ max: MAX_REMEMBERED });
  /** What was said last of each thing. */
  const said = new LRUCache<string, string>({ max: MAX_REMEMBERED });

  function add(files: readonly StagedFile[]): void {
    const nowMs = clock.monotonicMs();
    for (const file of files) {
      const known = pending.get(file.source);
      if (known === undefined) pending.set(file.source, newPending(file, nowMs));
      else known.dueMs = nowMs;
    }
  }

  function takeDue(more: (limit: number) => readonly StagedFile[]): readonly Pending[] {
    const nowMs = clock.monotonicMs();
    const due = new Map<string, Pending>();
    for (const [source, item] of pending) {
      if (due.size >= ROUND_FILES) return [...due.values()];
      if (item.dueMs <= nowMs) due.set(source, item);
    }
    for (const file of more(ROUND_FILES - due.size)) {
      const item = pending.get(file.source) ?? newPending(file, nowMs);
      pending.set(file.source, item);
      due.set(file.source, item);
    }
    return [...due.values()];
  }

  async function settledOf(due: readonly Pending[]): Promise<readonly ReadFile[]> {
    const settled: ReadFile[] = [];
    let bytes = 0;
    const reads = mapInOrder(each(due), READ_AT_ONCE, async (item) => ({
      item,
      read: await staging.read(item.file),
    }));
    for await (const { item, read } of reads) {
      const ready = 'bytes' in read ? settledFile(item, read) : forgetProblem(item, read);
      if (ready === null) continue;
      settled.push(ready);
      bytes += ready.bytes.length;
      if (bytes >= CHUNK.bytes) break; // the others are due in the next round
    }
    return settled;
  }

  function forgetProblem({ file }: Pending, problem: StagedProblem): null {
    pending.delete(file.source);
    if (problem.kind !== 'gone') options.onProblem(problem);
    return null;
  }

  /** Null when there is nothing to send now. */
  function settledFile(item: Pending, read: StagedBytes): ReadFile | null {
    const nowMs = clock.monotonicMs();
    const { source } = item.file;
    const identified = pusher.identify(item.file, read);
    const version = `${read.modifiedAt.getTime()} ${identified.sha256}`;
    if (item.seen?.version !== version) item.seen = { version, sinceMs: nowMs };
    if (done.get(source) === version) {
      const { retryAtMs } = item;
      if (retryAtMs === null) pending.delete(source);
      else if (nowMs >= retryAtMs) return identified;
      else item.dueMs = retryAtMs;
      return null;
    }
    const unchangedMs = nowMs - item.seen.sinceMs;
    if (!isWhole(read.bytes)) {
      waitForTheEnd(item, read.bytes, unchangedMs);
      return null;
    }
    item.unfinishedSinceMs = null;
    const ageMs = clock.now().getTime() - read.modifiedAt.getTime();
    if (ageMs >= SETTLED_MS || unchangedMs >= SETTLED_MS) return identified;
    item.dueMs = nowMs + SETTLED_MS;
    return null;
  }

  function waitForTheEnd(item: Pending, bytes: Uint8Array, unchangedMs: number): void {
    const nowMs = clock.monotonicMs();
    const { source } = item.file;
    item.unfinishedSinceMs ??= nowMs;
    if (nowMs - item.unfinishedSinceMs >= UNFINISHED_TOLD_MS && isNews(source, 'unfinished')) {
      options.onUnfinished(source, bytes);
    }
    if (unchangedMs < UNFINISHED_TOLD_MS) {
      item.dueMs = nowMs + Math.min(LONGEST_LOOK_AGAIN_MS, Math.max(SETTLED_MS, unchangedMs / 2));
    } else {
      park(item, nowMs + UNCHANGED_AGAIN_MS);
    }
  }

  /** For a long time, unless too much waits so; then it is looked at when it changes. */
  function park(item: Pending, untilMs: number): void {
    const { source } = item.file;
    item.dueMs = untilMs;
    if (pending.size > MAX_PENDING) pending.delete(source);
  }

  /** Whether it is news. */
  function concludeFile(item: Pending, { source, outcome }: PushedFile): boolean {
    if (outcome.result === 'unsent') return false; // it stays due
    const version = item.seen?.version ?? '';
    done.set(source, version);
    if (outcome.result !== 'refused') {
      pending.delete(source);
      said.delete(source);
      return true;
    }
    const nowMs = clock.monotonicMs();
    const againMs = NOT_THE_FILES_FAULT.has(outcome.code) ? PASSING_AGAIN_MS : REFUSED_AGAIN_MS;
    item.retryAtMs = nowMs + againMs;
    park(item, item.retryAtMs);
    return isNews(source, `${version} ${outcome.code}`);
  }

  function isNews(about: string, what: string): boolean {
    if (said.get(about) === what) return false;
    said.set(about, what);
    return true;
  }

  return {
    add,
    takeDue,
    settledOf,
    conclude: ({ files }) =>
      files.filter((pushed) => {
        const item = pending.get(pushed.source);
        return item === undefined || concludeFile(item, pushed);
      }),
    nextDueMs() {
      let nextMs = clock.monotonicMs() + REFUSED_AGAIN_MS;
      for (const { dueMs } of pending.values()) nextMs = Math.min(nextMs, dueMs);
      return nextMs;
    },
    isNews,
  };
}

function newPending(file: StagedFile, dueMs: number): Pending {
  return { file, dueMs, seen: null, unfinishedSinceMs: null, retryAtMs: null };
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
