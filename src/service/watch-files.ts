// The files that a watch has found: when to look at each, which ones are whole, and what is already known about them.
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
  /** Called once for a file that has not been a whole signature for ten seconds. */
  readonly onUnfinished: (source: string, bytes: Uint8Array) => void;
  readonly onProblem: (problem: StagedProblem) => void;
}

export interface WatchedFiles {
  /** These files have changed, so they are looked at next. */
  add(files: readonly StagedFile[]): void;
  /** The files to look at now. Changed files come before those from `more`, which gets the number that still fits. */
  takeDue(more: (limit: number) => readonly StagedFile[]): readonly Pending[];
  /** The files that are whole and no longer being written. They stay due until conclude() gets their results. */
  settledOf(due: readonly Pending[]): Promise<readonly ReadFile[]>;
  /** Remembers the results of an image's files. Returns the files whose results are new. */
  conclude(pushed: PushedImage): readonly PushedFile[];
  /** When the next file is due, by the monotonic clock. */
  nextDueMs(): number;
  /** Whether `what` differs from the last report about the same thing, so that everything is reported once. */
  isNews(about: string, what: string): boolean;
}

/** Another program may still be writing a file that changed less than this ago. */
const SETTLED_MS = 200;

/**
 * Pauses between looks at a file that is not yet a whole signature: first while it may still be growing, then when it no
 * longer changes.
 */
const LONGEST_LOOK_AGAIN_MS = 1000;
const UNCHANGED_AGAIN_MS = 60_000;
const UNFINISHED_TOLD_MS = 10_000;

/** When to try again with a file that was refused for its own content: a key may have been registered since. */
const REFUSED_AGAIN_MS = 3_600_000;
const PASSING_AGAIN_MS = 60_000;
const NOT_THE_FILES_FAULT: ReadonlySet<ErrorCode> = new Set([...PASSING_CODES, 'DISK_FULL', 'READ_ONLY']);

const READ_AT_ONCE = 8;
/** How many files one round looks at. The number is small, so that new files do not wait long behind existing ones. */
const ROUND_FILES = 200;

/**
 * Sources whose results and reports are remembered. The server is asked again about a forgotten one when its folder changes.
 */
const MAX_REMEMBERED = 100_000;
const MAX_PENDING = 10_000;

/** A file that must be looked at. Times are by the monotonic clock. */
export interface Pending {
  readonly file: StagedFile;
  dueMs: number;
  /** The version found last, and since when it is the same. */
  seen: { readonly version: string; readonly sinceMs: number } | null;
  /** Since when the file is known not to be a whole signature; null when it is whole. */
  unfinishedSinceMs: number | null;
  /** When to try the refused version again; null: it was not refused. */
  retryAtMs: number | null;
}

export function createWatchedFiles(options: WatchedFilesOptions): WatchedFiles {
  const { pusher, staging, isWhole, clock } = options;
  const pending = new Map<string, Pending>();
  /** The version of each source that needs no further work. */
  const done = new LRUCache<string, string>({ max: MAX_REMEMBERED });
  /** The last report about each thing. */
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

  /** The file when it can be sent now; else null. */
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

  /**
   * Makes the file wait for a long time. When too many files wait, it is dropped, and is looked at again only when it
   * changes.
   */
  function park(item: Pending, untilMs: number): void {
    const { source } = item.file;
    item.dueMs = untilMs;
    if (pending.size > MAX_PENDING) pending.delete(source);
  }

  /** Whether the result is new. */
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
