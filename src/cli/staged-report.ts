// Messages about files on this machine that are not signatures, or cannot be sent.
import type { Staged, StagedProblem } from '../domain/staged.ts';
import { escapeTerminal } from '../domain/text.ts';
import { plural } from './terminal.ts';

const MAX_STRANGERS = 3;

/** The names that push looks for, for users whose folder has no such file. */
export const LOOKED_FOR =
  'looked for files named signature-N in folders named REPOSITORY@sha256=<hex> or sha256=<hex>, for those of dir: images, and for those of oc-mirror';

/** Null when there are none. */
export function formatStrangers({ count, first }: Staged['strangers']): string | null {
  if (count === 0) return null;
  const names = first.slice(0, MAX_STRANGERS).join(', ');
  const more = count > MAX_STRANGERS ? ', …' : '';
  return escapeTerminal(`${plural(count, 'file')} not named like a signature left out: ${names}${more}`);
}

export function formatProblem({ source, message }: StagedProblem): string {
  return escapeTerminal(`${source}: ${message}`);
}
