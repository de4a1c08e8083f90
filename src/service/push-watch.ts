// Watching staging folders: what appears in them is pushed once it is written to its end.
import { backoffMs } from '../domain/backoff.ts';
import { mapInOrder } from '../domain/concurrency.ts';
import { type ErrorCode, isLookasideError } from '../domain/errors.ts';
import { createLru } from '../domain/lru.ts';
import type { Clock } from '../domain/ports.ts';
import type { Staged, StagedBytes, StagedFile, StagedProblem, Staging } from '../domain/staged.ts';
import { createBell } from './bell.ts';
import { CHUNK, type PushedFile, type PushedImage, type Pusher, type ReadFile } from './push.ts';
import { PASSING_CODES, type Wait } from './push-batches.ts';

export interface WatchOptions {
  readonly pusher: Pick<Pusher, 'greet' | 'pushRead' | 'identify'>;
  readonly staging: Pick<Staging, 'findBelow' | 'read' | 'watch'>;
  readonly isWhole: (bytes: Uint8Array) => boolean;
  /** What a server would say of their structure, for people; null when nothing stands against it. */
  readonly whyRefused: (bytes: Uint8Array) => string | null;
  readonly clock: Clock;
  readonly wait: Wait;
  /** From 0 to 1. */
  readonly random: () => number;
}

export type WatchEvent =
  /** All that was there at the start has been looked at. */
  | { readonly event: 'watching'; readonly roots: readonly string[] }
  | { readonly event: 'pushed'; readonly pushed: PushedImage }
  /** Not a whole signature for ten seconds; told once, and the file is sent should it become one. `message`: what it is instead, if that is known. */
  | { readonly event: 'unfinished'; readonly source: string; readonly message: string | null }
  | { readonly event: 'problem'; readonly problem: StagedProblem }
  | { readonly event: 'gap'; readonly gap: Staged['gaps'][number] }
  /** The server cannot be asked; told once, until `back`. */
  | { readonly event: 'away'; readonly message: string }
  | { readonly event: 'back' }
  /** A root cannot be watched; told once, until `root-back`. */
  | { readonly event: 'root-away'; readonly root: string; readonly message: string }
  | { readonly event: 'root-back'; readonly root: string }
  /** Changes of the root may go unnoticed, so that all of it is looked at every few seconds. */
  | { readonly event: 'polling'; readonly root: string; readonly message: string };

export interface WatchRequest {
  readonly roots: readonly string[];
  readonly force: boolean;
  /** Ends the watch after the batches under way. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: WatchEvent) => void;
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

const SHORTEST_OUTAGE_MS = 1000;
/** Until the server knows the token again. */
const DENIED_AGAIN_MS = 60_000;
const ROOT_AGAIN_MS = 1000;

/** Waited for before the server has answered for the first time; all else ends the watch then. */
const WORTH_WAITING: ReadonlySet<ErrorCode> = new Set([
  ...PASSING_CODES,
  'SERVER_UNREACHABLE',
  'SLOW_DOWN',
  'TOO_SLOW',
]);

const READ_AT_ONCE = 8;
/** Looked at together: few, so that what is new does not wait long behind what was there. */
const ROUND_FILES = 200;

/** Sources of which is known what was done and said; a forgotten one is asked for again when its folder changes. */
const MAX_REMEMBERED = 100_000;
const MAX_PENDING = 10_000;
/** Beyond it the whole root is looked at. */
const MAX_CHANGED_FOLDERS = 1000;

interface Root {
  readonly name: string;
  /** Folders in which something may have changed; the empty name is the root with all below it. */
  readonly changed: Set<string>;
  /** Found by a look at all of it, and not yet looked at. */
  backlog: readonly StagedFile[];
  watcher: AsyncDisposable | null;
  /** When to try again to watch it; null while it is watched. */
  againAtMs: number | null;
}

/** A file that is to be looked at. Times are by the monotonic clock. */
interface Pending {
  readonly file: StagedFile;
  dueMs: number;
  /** What was found last, and since when it is found. */
  seen: { readonly version: string; readonly sinceMs: number } | null;
  /** Since when it is found and is no whole signature. */
  unfinishedSinceMs: number | null;
  /** When the version that was refused is worth another try; null: it was not refused. */
  retryAtMs: number | null;
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
  const { pusher, staging, isWhole, whyRefused, clock, wait, random } = options;
  const roots: readonly Root[] = [...new Set(names)].map((name) => ({
    name,
    changed: new Set(['']),
    backlog: [],
    watcher: null,
    againAtMs: null,
  }));
  const bell = createBell(signal);
  const pending = new Map<string, Pending>();
  /** The version of each source that nothing is left to do for. */
  const done = createLru<string, string>(MAX_REMEMBERED, () => 1);
  /** What was said last of each thing, so that it is said once. */
  const said = createLru<string, string>(MAX_REMEMBERED, () => 1);
  const outage: { hasBeenIn: boolean; tries: number; code: ErrorCode | null } = {
    hasBeenIn: false,
    tries: 0,
    code: null,
  };

  async function start(): Promise<void> {
    for (const root of roots) await open(root);
    await reaching(() => pusher.greet());
  }

  async function run(): Promise<void> {
    let isStarting = true;
    while (!signal.aborted) {
      bell.reset();
      for (const root of roots) await lookInto(root);
      const due = takeDue();
      if (due.length > 0) {
        await pushSettled(await settledOf(due));
      } else if (outage.tries > 0) {
        await reaching(() => pusher.greet());
      } else {
        if (isStarting) onEvent({ event: 'watching', roots: names });
        isStarting = false;
        await wait(Math.max(0, nextDueMs() - clock.monotonicMs()), bell.signal());
      }
    }
  }

  async function close(): Promise<void> {
    for (const { watcher } of roots) await watcher?.[Symbol.asyncDispose]();
  }

  async function open(root: Root): Promise<void> {
    root.watcher = await staging.watch(root.name, {
      onChange(folder) {
        root.changed.add(root.changed.size < MAX_CHANGED_FOLDERS ? folder : '');
        bell.ring();
      },
      onPolling: (message) => onEvent({ event: 'polling', root: root.name, message }),
    });
  }

  async function lookInto(root: Root): Promise<void> {
    const nowMs = clock.monotonicMs();
    const folders = foldersToLookInto(root);
    if (root.againAtMs === null ? folders.length === 0 : nowMs < root.againAtMs) return;
    const isAll = folders.includes('');
    if (isAll) root.changed.clear();
    for (const folder of folders) root.changed.delete(folder);
    try {
      if (root.watcher === null) await open(root);
      enqueue(root, await staging.findBelow(root.name, folders), isAll);
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      if (root.againAtMs === null) {
        onEvent({ event: 'root-away', root: root.name, message: error.message });
      }
      root.againAtMs = nowMs + ROOT_AGAIN_MS;
      root.changed.add('');
      await root.watcher?.[Symbol.asyncDispose]();
      root.watcher = null;
      return;
    }
    if (root.againAtMs !== null) onEvent({ event: 'root-back', root: root.name });
    root.againAtMs = null;
  }

  function enqueue(root: Root, { files, problems, gaps }: Staged, isAll: boolean): void {
    for (const problem of problems) tellProblem(problem);
    for (const gap of gaps) {
      if (isNews(`gap ${gap.source}`, gap.hidden.join())) onEvent({ event: 'gap', gap });
    }
    if (isAll) {
      root.backlog = files;
      return;
    }
    const nowMs = clock.monotonicMs();
    for (const file of files) {
      const known = pending.get(file.source);
      if (known === undefined) pending.set(file.source, newPending(file, nowMs));
      else known.dueMs = nowMs;
    }
  }

  /** What is to be looked at now: what changed goes ahead of what was there. */
  function takeDue(): readonly Pending[] {
    const nowMs = clock.monotonicMs();
    const due = new Map<string, Pending>();
    for (const [source, item] of pending) {
      if (due.size >= ROUND_FILES) return [...due.values()];
      if (item.dueMs <= nowMs) due.set(source, item);
    }
    for (const root of roots) {
      const old = root.backlog.slice(0, ROUND_FILES - due.size);
      root.backlog = root.backlog.slice(old.length);
      for (const file of old) {
        const item = pending.get(file.source) ?? newPending(file, nowMs);
        pending.set(file.source, item);
        due.set(file.source, item);
      }
    }
    return [...due.values()];
  }

  function nextDueMs(): number {
    let nextMs = clock.monotonicMs() + REFUSED_AGAIN_MS;
    for (const { dueMs } of pending.values()) nextMs = Math.min(nextMs, dueMs);
    for (const { againAtMs } of roots) nextMs = Math.min(nextMs, againAtMs ?? nextMs);
    return nextMs;
  }

  /** Those that are whole and no longer written to. They stay pending until it is known what became of them. */
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
    if (problem.kind !== 'gone') tellProblem(problem);
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
      onEvent({ event: 'unfinished', source, message: whyRefused(bytes) });
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

  async function pushSettled(settled: readonly ReadFile[]): Promise<void> {
    if (settled.length === 0) return;
    await reaching(async () => {
      const options = { force, dryRun: false, signal };
      const end = await pusher.pushRead(settled, options, { onImage: conclude, onProgress: () => undefined });
      if (end.stopped?.failure != null) throw end.stopped.failure;
    });
  }

  /** Remembers what became of an image's files, and tells what is new of it. */
  function conclude({ image, files }: PushedImage): void {
    const news = files.filter((pushed) => {
      const item = pending.get(pushed.source);
      return item === undefined || concludeFile(item, pushed);
    });
    if (news.length > 0) onEvent({ event: 'pushed', pushed: { image, files: news } });
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

  function tellProblem(problem: StagedProblem): void {
    if (isNews(problem.source, `${problem.kind} ${problem.message}`)) onEvent({ event: 'problem', problem });
  }

  function isNews(about: string, what: string): boolean {
    if (said.get(about) === what) return false;
    said.set(about, what);
    return true;
  }

  /** Does what needs the server; when it fails, tells so once, and resolves when another try may be made. */
  async function reaching(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      if (!outage.hasBeenIn && !WORTH_WAITING.has(error.code)) throw error;
      if (outage.code !== error.code) onEvent({ event: 'away', message: error.message });
      outage.code = error.code;
      outage.tries += 1;
      const isDenied = error.code === 'UNAUTHORIZED' || error.code === 'DENIED';
      const pauseMs = isDenied
        ? DENIED_AGAIN_MS
        : Math.max(SHORTEST_OUTAGE_MS, backoffMs(outage.tries, random(), null));
      await wait(pauseMs, signal);
      return;
    }
    outage.hasBeenIn = true;
    if (outage.tries > 0) onEvent({ event: 'back' });
    outage.tries = 0;
    outage.code = null;
  }

  return { start, run, close };
}

/** All of the root waits until what was found by the look before is done, or that would never come to its end. */
function foldersToLookInto({ changed, backlog }: Root): readonly string[] {
  if (changed.has('') && backlog.length === 0) return [''];
  return [...changed].filter((folder) => folder !== '');
}

function newPending(file: StagedFile, dueMs: number): Pending {
  return { file, dueMs, seen: null, unfinishedSinceMs: null, retryAtMs: null };
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
