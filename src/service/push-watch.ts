// Watches staging folders: pushes a file that appears there once it is completely written.
import type { Clock } from '../domain/ports.ts';
import type { Staged, StagedProblem, Staging } from '../domain/staged.ts';
import { createBell } from './bell.ts';
import type { PushedImage, Pusher, ReadFile } from './push.ts';
import type { Wait } from './push-batches.ts';
import { createWatchedFiles } from './watch-files.ts';
import { createOutage, type OutageEvent } from './watch-outage.ts';
import { createWatchedRoots, type RootEvent } from './watch-roots.ts';

export interface WatchOptions {
  readonly pusher: Pick<Pusher, 'greet' | 'pushRead' | 'identify'>;
  readonly staging: Pick<Staging, 'findBelow' | 'read' | 'watch'>;
  readonly isWhole: (bytes: Uint8Array) => boolean;
  /** Why a server would refuse their structure, for people; null when it would not. */
  readonly whyRefused: (bytes: Uint8Array) => string | null;
  readonly clock: Clock;
  readonly wait: Wait;
  /** From 0 to 1. */
  readonly random: () => number;
}

export type WatchEvent =
  /** All files that existed at the start have been looked at. */
  | { readonly event: 'watching'; readonly roots: readonly string[] }
  | { readonly event: 'pushed'; readonly pushed: PushedImage }
  /**
   * The file has not been a whole signature for ten seconds. The event comes once, and the file is sent if it becomes one.
   * `message` says what it is instead, if that is known.
   */
  | { readonly event: 'unfinished'; readonly source: string; readonly message: string | null }
  | { readonly event: 'problem'; readonly problem: StagedProblem }
  | { readonly event: 'gap'; readonly gap: Staged['gaps'][number] }
  | OutageEvent
  | RootEvent;

export interface WatchRequest {
  readonly roots: readonly string[];
  readonly force: boolean;
  /** Ends the watch after the running batches. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: WatchEvent) => void;
}

/**
 * Pushes all that exists or appears below the roots until the signal is aborted. @throws LookasideError as Staging.watch(),
 * and the server's refusal of the first request
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
  const { pusher, clock, wait } = options;
  const bell = createBell(signal);
  const outage = createOutage({ ...options, signal, onEvent });
  const files = createWatchedFiles({
    ...options,
    onUnfinished: (source, bytes) =>
      onEvent({ event: 'unfinished', source, message: options.whyRefused(bytes) }),
    onProblem: tellProblem,
  });
  const roots = createWatchedRoots({
    ...options,
    names,
    onEvent,
    onChange: bell.ring,
    onFound(staged) {
      tellFound(staged);
      files.add(staged.files);
    },
    onFoundAll: tellFound,
  });

  async function start(): Promise<void> {
    await roots.start();
    await outage.reaching(() => pusher.greet());
  }

  async function run(): Promise<void> {
    let isStarting = true;
    while (!signal.aborted) {
      bell.reset();
      await roots.look();
      const due = files.takeDue(roots.takeBacklog);
      if (due.length > 0) {
        await pushSettled(await files.settledOf(due));
      } else if (outage.isOn) {
        await outage.reaching(() => pusher.greet());
      } else {
        if (isStarting) onEvent({ event: 'watching', roots: names });
        isStarting = false;
        await wait(Math.max(0, nextDueMs() - clock.monotonicMs()), bell.signal());
      }
    }
  }

  function nextDueMs(): number {
    return Math.min(files.nextDueMs(), roots.againAtMs() ?? Number.POSITIVE_INFINITY);
  }

  async function pushSettled(settled: readonly ReadFile[]): Promise<void> {
    if (settled.length === 0) return;
    await outage.reaching(async () => {
      const how = { force, dryRun: false, signal };
      const end = await pusher.pushRead(settled, how, { onImage: tellPushed, onProgress: () => undefined });
      if (end.stopped?.failure != null) throw end.stopped.failure;
    });
  }

  function tellPushed(pushed: PushedImage): void {
    const news = files.conclude(pushed);
    if (news.length > 0) onEvent({ event: 'pushed', pushed: { image: pushed.image, files: news } });
  }

  function tellFound({ problems, gaps }: Pick<Staged, 'problems' | 'gaps'>): void {
    for (const problem of problems) tellProblem(problem);
    for (const gap of gaps) {
      if (files.isNews(`gap ${gap.source}`, gap.hidden.join())) onEvent({ event: 'gap', gap });
    }
  }

  function tellProblem(problem: StagedProblem): void {
    if (files.isNews(problem.source, `${problem.kind} ${problem.message}`))
      onEvent({ event: 'problem', problem });
  }

  return { start, run, close: roots.close };
}
