// Keeps uploads from filling the disks: that of the tree, and that of the databases.
import { createSharedRuns } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';

export interface Disk {
  /** For the message: what lies on it. */
  readonly holds: string;
  freeBytes(): Promise<number>;
}

export interface FreeSpaceOptions {
  readonly disks: readonly Disk[];
  /** Space on each disk that uploads leave free. */
  readonly minFreeBytes: () => number;
  readonly monotonicMs: () => number;
}

/**
 * A look at the disks that found this much more than the reserve serves the uploads of the next moment: neither they nor other
 * programs write as much in it.
 */
const MUCH_BYTES = 1024 * 1024 * 1024;
const MOMENT_MS = 100;

/** Throws DISK_FULL, or STORE_UNAVAILABLE when a disk cannot be asked. */
export function createFreeSpaceCheck({
  disks,
  minFreeBytes,
  monotonicMs,
}: FreeSpaceOptions): () => Promise<void> {
  // one look serves all uploads that have asked for it before it began
  const shareLook = createSharedRuns<readonly number[]>();
  let last: { readonly atMs: number; readonly leastFreeBytes: number } | null = null;

  async function look(): Promise<readonly number[]> {
    const atMs = monotonicMs();
    const free = await Promise.all(disks.map((disk) => disk.freeBytes()));
    last = { atMs, leastFreeBytes: Math.min(...free) };
    return free;
  }

  return async () => {
    const reserveBytes = minFreeBytes();
    if (
      last !== null &&
      last.leastFreeBytes >= reserveBytes + MUCH_BYTES &&
      monotonicMs() - last.atMs < MOMENT_MS
    )
      return;
    const free = await shareLook('free', look);
    for (const [position, { holds }] of disks.entries()) {
      const freeBytes = free[position] ?? 0;
      if (freeBytes >= reserveBytes) continue;
      const message = `${freeBytes} bytes are free for ${holds}, and ${reserveBytes} are kept in reserve (LOOKASIDE_MIN_FREE); free some space, then upload again`;
      throw new LookasideError('DISK_FULL', message);
    }
  };
}
