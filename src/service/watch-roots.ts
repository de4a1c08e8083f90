// The folders that a watch looks into: which of them have changed, and what was found there and not verified yet.
import { isLookasideError } from '../domain/errors.ts';
import type { Clock } from '../domain/ports.ts';
import type { Staged, StagedFile, Staging } from '../domain/staged.ts';

export type RootEvent =
  /** A root cannot be watched. This comes once, until `root-back`. */
  | { readonly event: 'root-away'; readonly root: string; readonly message: string }
  | { readonly event: 'root-back'; readonly root: string }
  /** Changes in the root may go unnoticed, so the whole root is looked at every few seconds. */
  | { readonly event: 'polling'; readonly root: string; readonly message: string };

export interface WatchedRootsOptions {
  readonly names: readonly string[];
  readonly staging: Pick<Staging, 'findBelow' | 'watch'>;
  readonly clock: Clock;
  readonly onEvent: (event: RootEvent) => void;
  /** Something has changed: call look(). */
  readonly onChange: () => void;
  /** Called with what was found in changed folders; these files are looked at before the backlog. */
  readonly onFound: (staged: Staged) => void;
  /** Called after a look at a whole root; its files wait in the backlog. */
  readonly onFoundAll: (staged: Omit<Staged, 'files'>) => void;
}

export interface WatchedRoots {
  /** @throws LookasideError as Staging.watch() */
  start(): Promise<void>;
  look(): Promise<void>;
  /** Takes up to `limit` files from the backlog, which no earlier call has taken. */
  takeBacklog(limit: number): readonly StagedFile[];
  /** When to try again to watch an absent root, by the monotonic clock; null when no root is absent. */
  againAtMs(): number | null;
  close(): Promise<void>;
}

interface Root {
  readonly name: string;
  /** Folders in which something may have changed; the empty name is the root with everything below it. */
  readonly changed: Set<string>;
  backlog: readonly StagedFile[];
  watcher: AsyncDisposable | null;
  /** When to try again to watch it; null while it is watched. */
  againAtMs: number | null;
}

const ROOT_AGAIN_MS = 1000;
/** With more changed folders than this, the whole root is looked at. */
const MAX_CHANGED_FOLDERS = 1000;

export function createWatchedRoots(options: WatchedRootsOptions): WatchedRoots {
  const { staging, clock, onEvent } = options;
  const roots: readonly Root[] = [...new Set(options.names)].map((name) => ({
    name,
    changed: new Set(['']),
    backlog: [],
    watcher: null,
    againAtMs: null,
  }));

  async function open(root: Root): Promise<void> {
    root.watcher = await staging.watch(root.name, {
      onChange(folder) {
        root.changed.add(root.changed.size < MAX_CHANGED_FOLDERS ? folder : '');
        options.onChange();
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
      take(root, await staging.findBelow(root.name, folders), isAll);
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      await leave(root, error.message, nowMs + ROOT_AGAIN_MS);
      return;
    }
    if (root.againAtMs !== null) onEvent({ event: 'root-back', root: root.name });
    root.againAtMs = null;
  }

  function take(root: Root, { files, ...rest }: Staged, isAll: boolean): void {
    if (!isAll) {
      options.onFound({ files, ...rest });
      return;
    }
    root.backlog = files;
    options.onFoundAll(rest);
  }

  async function leave(root: Root, message: string, againAtMs: number): Promise<void> {
    if (root.againAtMs === null) onEvent({ event: 'root-away', root: root.name, message });
    root.againAtMs = againAtMs;
    root.changed.add('');
    await root.watcher?.[Symbol.asyncDispose]();
    root.watcher = null;
  }

  return {
    async start() {
      for (const root of roots) await open(root);
    },
    async look() {
      for (const root of roots) await lookInto(root);
    },
    takeBacklog(limit) {
      const taken: StagedFile[] = [];
      for (const root of roots) {
        const first = root.backlog.slice(0, limit - taken.length);
        root.backlog = root.backlog.slice(first.length);
        taken.push(...first);
      }
      return taken;
    },
    againAtMs() {
      const times = roots.flatMap(({ againAtMs }) => (againAtMs === null ? [] : [againAtMs]));
      return times.length === 0 ? null : Math.min(...times);
    },
    async close() {
      for (const { watcher } of roots) await watcher?.[Symbol.asyncDispose]();
    },
  };
}

/**
 * A look at the whole root waits until the backlog of the last such look is empty; otherwise the backlog might never be
 * finished.
 */
function foldersToLookInto({ changed, backlog }: Root): readonly string[] {
  if (changed.has('') && backlog.length === 0) return [''];
  return [...changed].filter((folder) => folder !== '');
}
