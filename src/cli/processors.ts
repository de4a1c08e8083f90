// How many processors this process may use. A container's share is told by its control groups; Node.js 20 does not look there, and
// counts all processors of the machine.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const GROUPS = '/sys/fs/cgroup';

export interface ProcessorSources {
  /** Those that the scheduler may give to this process. */
  readonly processors: number;
  /** The text of a file; null: it cannot be read. */
  readonly read: (file: string) => string | null;
}

/** A share of one and a half counts as two. */
export function usableProcessors({ processors, read }: ProcessorSources = SYSTEM): number {
  const shares = (read('/proc/self/cgroup') ?? '').split('\n').flatMap((line) => sharesOf(line, read));
  return Math.max(1, Math.min(processors, ...shares.map(Math.ceil)));
}

/** What the group that a line of /proc/self/cgroup names may use, and the groups around it. In a container its own one is the outermost. */
function sharesOf(line: string, read: ProcessorSources['read']): readonly number[] {
  const [, controllers, path] = /^[0-9]+:([^:]*):\/(.*)$/.exec(line) ?? [];
  if (controllers === undefined || path === undefined) return [];
  const isCurrent = controllers === ''; // version 2, whose groups have all controllers
  if (!isCurrent && !controllers.split(',').includes('cpu')) return [];
  const folders = path.split('/').map((_, depth, names) => names.slice(0, depth).join('/'));
  return [...folders, path].flatMap((folder) => {
    const group = join(GROUPS, isCurrent ? '' : controllers, folder);
    const share = isCurrent
      ? shareOf(read(join(group, 'cpu.max')))
      : shareOf(`${read(join(group, 'cpu.cfs_quota_us'))} ${read(join(group, 'cpu.cfs_period_us'))}`);
    return share === null ? [] : [share];
  });
}

/** How many processors `quota period` in microseconds means; null where there is no quota: `max` or -1. */
function shareOf(text: string | null): number | null {
  const [quota, period] = (text ?? '').trim().split(/\s+/).map(Number);
  return quota !== undefined && period !== undefined && quota > 0 && period > 0 ? quota / period : null;
}

const SYSTEM: ProcessorSources = {
  processors: availableParallelism(),
  read(file) {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return null;
    }
  },
};
