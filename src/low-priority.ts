// Puts a thread behind those that somebody waits for. Which threads, and why: docs/decisions/giving-way.md.
import { readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

const { PRIORITY_BELOW_NORMAL, PRIORITY_LOW } = constants.priority;

/**
 * From here on, all threads with the priority that this one had get a processor ahead of it. Only an administrator can take that back, so
 * call it in a thread that nobody will ever wait for. False: the system has no priority for one thread, or does not allow it.
 */
export function giveWay(): boolean {
  try {
    const thread = threadOf(readlinkSync('/proc/thread-self'), process.pid);
    if (thread === null) return false;
    // on Linux the number of a thread names that thread alone
    setPriority(thread, Math.min(PRIORITY_LOW, getPriority(thread) + PRIORITY_BELOW_NORMAL));
    return true;
  } catch {
    return false; // not Linux, no /proc, or not allowed
  }
}

/** Null: this /proc numbers the processes in another way than our calls, and the number may be another program's. */
export function threadOf(link: string, pid: number): number | null {
  const [, process, thread] = /^([0-9]+)\/task\/([0-9]+)$/.exec(link) ?? [];
  return Number(process) === pid ? Number(thread) : null;
}
