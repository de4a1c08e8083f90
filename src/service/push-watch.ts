// Watching staging folders: what appears in them is pushed once it is written to its end.
import { backoffMs } from '../domain/backoff.ts';
import { mapInOrder } from '../domain/concurrency.ts';
import { type ErrorCode, isLookasideError, type LookasideError } from '../domain/errors.ts';
import { createLru } from '../domain/lru.ts';
import type { Clock } from '../domain/ports.ts';
import type { Staged, StagedBytes, StagedFile, StagedProblem, Staging } from '../domain/staged.ts';
import { CHUNK, type PushedImage, type Pusher, type ReadFile } from './push.ts';
import { PASSING_CODES, type Wait } from './push-batches.ts';

export interface WatchOptions {
  readonly pusher: Pick<Pusher, 'greet' | 'pushRead' | 'identify'>;
  readonly staging: Pick<Staging, 'findBelow' | 'read' | 'watch'>;
  readonly isWhole: (bytes: Uint8Array) => boolean;
  readonly clock: Clock;
  readonly wait: Wait;
  /** From 0 to 1. */
  readonly random: () => number;
}

export type WatchEvent =
  /** All that was there at the start has been looked at. */
  | { readonly event: 'watching'; readonly roots: readonly string[] }
  | { readonly event: 'pushed'; readonly pushed: PushedImage }
  /** Not a whole signature for ten seconds; told once, and the file is sent should it become one. */
  | { readonly event: 'unfinished'; readonly source: string }
  | { readonly event: 'problem'; readonly problem: StagedProblem }
  | { readonly event: 'gap'; readonly gap: Staged['gaps'][number] }
  /** The server cannot be asked; told once, until `back`. */
  | { readonly event: 'away'; readonly message: string }
  | { readonly event: 'back' }
  /** A root cannot be watched; told once, until `root-back`. */
  | { readonly event: 'root-away'; readonly root: string; readonly message: string }
  | { readonly event: 'root-back'; readonly root: string };

export interface WatchRequest {
  readonly roots: readonly string[];
  readonly force: boolean;
  /** Ends the watch after the batches under way. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: WatchEvent) => void;
}

/** A file changed less than this ago may still be being written. */
const SETTLED_MS = 200;

/** Between looks at a file that is being written. */
const LOOK_AGAIN_MS = 200;
const UNFINISHED_TOLD_MS = 10_000;

/** What was refused for a reason of its own: a key may have been registered since. */
const REFUSED_AGAIN_MS = 3_600_000;
/** What was refused for a reason that passes. */
const PASSING_AGAIN_MS = 60_000;
const NOT_THE_FILES_FAULT: ReadonlySet<ErrorCode> = new Set([...PASSING_CODES, 'DISK_FULL', 'READ_ONLY']);

/** Until the server knows the token again. */
const DENIED_AGAIN_MS = 60_000;
const ROOT_AGAIN_MS = 1000;

/** Before the server has answered for the first time these are waited for; all else ends the watch. */
const WORTH_WAITING: ReadonlySet<ErrorCode> = new Set([
  ...PASSING_CODES,
  'SERVER_UNREACHABLE',
  'SLOW_DOWN',
  'TOO_SLOW',
]);

const READ_AT_ONCE = 8;
/** Pushed together: few, so that what is new does not wait long behind what was there. */
const ROUND_FILES = 200;

/** What was done and told; forgotten files are asked for again when their folder changes. */
const MAX_REMEMBERED = 100_000;
const MAX_LATER = 10_000;
/** Beyond it the whole root is looked at. */
const MAX_CHANGED_FOLDERS = 1000;

interface Root {
  readonly name: string;
  /** Folders in which something may have changed; the empty name is the root. */
  readonly changed: Set<string>;
  watcher: AsyncDisposable | null;
  /** Null while it can be watched. */
  againAtMs: number | null;
}

/** A file to be looked at at some time. */
interface Later {
  readonly file: StagedFile;
  dueMs: number;
  /** Since when it has been found with this content, by the monotonic clock. */
  seen: { readonly version: string; readonly sinceMs: number } | null;
  unfinishedSinceMs: number | null;
}

/**
 * Pushes what is and what appears below the roots until the signal is aborted. @throws LookasideError as
 * Staging.watch(), and what the server refuses the first question with
 */
export async function watchAndPush(options: WatchOptions, request: WatchRequest): Promise<void> {
  const watch = createWatch(options, request);
  try {
    await watch.start();
    await watch.run();
  } finally {
    await watch.close();
  }
}

function createWatch(options: WatchOptions, { roots: names, force, signal, onEvent }: WatchRequest) {
  const { pusher, staging, isWhole, clock, wait } = options;
  const roots: readonly Root[] = names.map((name) => ({
    name,
    changed: new Set(['']),
    watcher: null,
    againAtMs: null,
  }));
  const bell = createBell();
  let backlog: readonly StagedFile[] = [];
  let isStarting = true;
  const later = new Map<string, Later>();
  /** Version of the file as it was last done with, by source. */
  const done = createLru<string, string>(MAX_REMEMBERED, () => 1);
  /** What was said of it last, so that it is said once. */
  const told = createLru<string, string>(MAX_REMEMBERED, () => 1);
  const outage = { hasBeenIn: false, tries: 0 };

  async function start(): Promise<void> {
    for (const root of roots) await open(root);
    try {
      await pusher.greet();
      outage.hasBeenIn = true;
    } catch (error) {
      await endure(error);
    }
  }

  async function open(root: Root): Promise<void> {
    root.watcher = await staging.watch(root.name, (folder) => {
      root.changed.add(root.changed.size < MAX_CHANGED_FOLDERS ? folder : '');
      bell.ring();
    });
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      for (const root of roots) await lookAtRoot(root);
      const due = takeDue();
      if (due.length > 0) {
        await push(await settledOf(due));
        continue;
      }
      if (isStarting) {
        isStarting = false;
        onEvent({ event: 'watching', roots: names });
      }
      await idle();
    }
  }

  async function close(): Promise<void> {
    for (const { watcher } of roots) await watcher?.[Symbol.asyncDispose]();
  }

  async function lookAtRoot(root: Root): Promise<void> {
    const nowMs = clock.monotonicMs();
    if (root.againAtMs !== null && nowMs < root.againAtMs) return;
    if (root.againAtMs === null && root.changed.size === 0) return;
    const folders = root.changed.has('') ? [''] : [...root.changed];
    root.changed.clear();
    try {
      if (root.watcher === null) await open(root);
      enqueue(await staging.findBelow(root.name, folders), folders.includes(''));
      if (root.againAtMs !== null) onEvent({ event: 'root-back', root: root.name });
      root.againAtMs = null;
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      if (root.againAtMs === null) {
        onEvent({ event: 'root-away', root: root.name, message: error.message });
      }
      await root.watcher?.[Symbol.asyncDispose]();
      root.watcher = null;
      root.changed.add('');
      root.againAtMs = nowMs + ROOT_AGAIN_MS;
    }
  }

  function enqueue({ files, problems, gaps }: Staged, isAll: boolean): void {
    for (const problem of problems) tellProblem(problem);
    for (const gap of gaps) {
      if (isNews(`gap ${gap.source}`, gap.hidden.join())) onEvent({ event: 'gap', gap });
    }
    if (isAll) {
      backlog = [...backlog, ...files];
      return;
    }
    for (const file of files) lookSoon(file);
  }

  function lookSoon(file: StagedFile): void {
    const known = later.get(file.source);
    if (known === undefined) later.set(file.source, newLater(file, clock.monotonicMs()));
    else known.dueMs = clock.monotonicMs();
  }

  /** What is to be looked at now: what changed before what was there. */
  function takeDue(): readonly Later[] {
    const nowMs = clock.monotonicMs();
    const due: Later[] = [];
    for (const item of later.values()) {
      if (due.length === ROUND_FILES) return due;
      if (item.dueMs <= nowMs) due.push(item);
    }
    const room = ROUND_FILES - due.length;
    const old = backlog.slice(0, room).map((file) => later.get(file.source) ?? newLater(file, nowMs));
    backlog = backlog.slice(room);
    return [...due, ...old];
  }

  /** Those that are whole and no longer written to; the others are looked at later, or never when nothing is new. */
  async function settledOf(due: readonly Later[]): Promise<readonly ReadFile[]> {
    const settled: ReadFile[] = [];
    let bytes = 0;
    const reads = mapInOrder(each(due), READ_AT_ONCE, async (item) => ({
      item,
      read: await staging.read(item.file),
    }));
    for await (const { item, read } of reads) {
      if (bytes > CHUNK.bytes) {
        later.set(item.file.source, item); // in the next round
        continue;
      }
      const ready = 'bytes' in read ? look(item, read) : giveUp(item, read);
      if (ready === null) continue;
      settled.push(ready);
      bytes += ready.bytes.length;
    }
    return settled;
  }

  function giveUp({ file }: Later, problem: StagedProblem): null {
    later.delete(file.source);
    tellProblem(problem);
    return null;
  }

  function look(item: Later, read: StagedBytes): ReadFile | null {
    const { file } = item;
    const identified = pusher.identify(file, read);
    const version = versionOf(identified, read);
    const nowMs = clock.monotonicMs();
    if (done.get(file.source) === version && !isRetryDue(item, nowMs)) return null;
    if (item.seen?.version !== version) item.seen = { version, sinceMs: nowMs };
    const ageMs = clock.now().getTime() - read.modifiedAt.getTime();
    const isSettled = ageMs >= SETTLED_MS || nowMs - item.seen.sinceMs >= SETTLED_MS;
    if (isSettled && isWhole(read.bytes)) {
      item.unfinishedSinceMs = null;
      item.dueMs = nowMs;
      later.set(file.source, item);
      return identified;
    }
    lookLater(item, nowMs);
    return null;
  }

  // to be continued
  return { start, run, close };
}
