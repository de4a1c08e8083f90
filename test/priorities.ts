// The priorities of this process's threads.
import { readdirSync, readFileSync } from 'node:fs';

/** The lowest there is. */
export const LEAST = 19;

/** By the thread's number: field 19 of proc_pid_stat(5), nice. */
export function priorities(): ReadonlyMap<number, number> {
  const all = readdirSync('/proc/self/task').map((task) => {
    const stat = readFileSync(`/proc/self/task/${task}/stat`, 'utf8');
    const behindName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return [Number(task), Number(behindName[16])] as const;
  });
  return new Map(all);
}
