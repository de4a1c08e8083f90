// Who holds a data directory, as the holder wrote it down. Only messages use this text. The lock alone decides whether
// the directory is held, because a killed holder leaves its text behind.
import { z } from 'zod';

export interface Holder {
  /** The words of the command line that started it, without options: `serve`, `token create`. */
  readonly command: string;
  /** As the holder sees it: in a container this is not the process number on the host. */
  readonly pid: number;
  readonly host: string;
  readonly since: Date;
}

const HOLDER = z.object({
  command: z.string().min(1).max(1000),
  pid: z.int().positive(),
  host: z.string().max(255),
  since: z.iso.datetime().transform((text) => new Date(text)),
});

/** JSON, for parseHolder. */
export function holderText(holder: Holder): string {
  return `${JSON.stringify(holder)}\n`;
}

/** Null when lookaside did not write the text, or it was read while being written. */
export function parseHolder(text: string): Holder | null {
  try {
    return HOLDER.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null; // only SyntaxError
  }
}

/** `lookaside serve (process 71 on host a, since 2026-11-22T10:00:00.000Z)` */
export function describeHolder({ command, pid, host, since }: Holder): string {
  return `lookaside ${command} (process ${pid} on host ${host}, since ${since.toISOString()})`;
}

/** Whether the holder answers on the socket of the data directory. */
export function isServer({ command }: Pick<Holder, 'command'>): boolean {
  return command === 'serve';
}
