// A program in a mount namespace of its own: what is mounted for it, no other process of the machine sees.
import path from 'node:path';
import type { Argv } from '../clients/command.ts';

/** Runs a program after this shell script has set its mounts up; `args` are the script's $1, $2, …. */
export function inOwnMounts(script: string, ...args: readonly string[]): (argv: Argv) => Argv {
  const shell = `${script}\nshift ${args.length}\nexec "$@"`;
  const own = ['unshare', '--mount', '--propagation', 'private'] as const;
  return (argv) => [...own, 'sh', '-ec', shell, 'sh', ...args, ...argv];
}

/** Where others find a file or folder that the process knows by this path. */
export function seenBy(pid: number, place: string): string {
  return path.join(`/proc/${pid}/root`, place);
}
