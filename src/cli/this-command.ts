// The name under which other processes see this one.
import { hostname } from 'node:os';
import type { Holder } from '../domain/holder.ts';

/** The words of the command line ahead of its options, and this machine. */
export function thisCommand(): Pick<Holder, 'command' | 'host'> {
  const words = process.argv.slice(2);
  const end = words.findIndex((word) => word.startsWith('-'));
  const command = words.slice(0, end === -1 ? words.length : end).join(' ');
  return { command: command.slice(0, 1000), host: hostname() };
}
