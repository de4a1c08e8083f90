// What is said of files on this machine that are no signatures, or cannot be sent.
import type { Staged, StagedProblem } from '../domain/staged.ts';
import { escapeTerminal } from '../domain/text.ts';

const MAX_STRANGERS = 3;

/** Null when there are none. */
export function formatStrangers({ count, first }: Staged['strangers']): string | null {
  if (count === 0) return null;
  const shown = first.slice(0, MAX_STRANGERS).join(', ');
  const more = count > MAX_STRANGERS ? ', …' : '';
  return escapeTerminal(`${plural(count, 'file')} not named like a signature left out: ${shown}${more}`);
}

export function formatProblem({ source, message }: StagedProblem): string {
  return escapeTerminal(`${source}: ${message}`);
}

/** `1 file`, `2 files`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
