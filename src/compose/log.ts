// The log of this process: JSON lines, written without waiting.
import { type Logger, pino } from 'pino';
import type { Config } from '../config.ts';
import { escapeJson } from '../domain/text.ts';
import { maskTokens } from '../service/tokens.ts';

const LINES_KEPT_BYTES = 1024 * 1024;

/**
 * Writes lines to standard output (1) or standard error (2) without waiting: a reader of our log that stops reading
 * must not stop the server. Beyond 1 MiB unread, lines are dropped.
 */
export function createLineWriter(fd: 1 | 2): (line: string) => void {
  const stream = pino.destination({ dest: fd, sync: false, maxLength: LINES_KEPT_BYTES });
  stream.on('error', () => undefined); // EPIPE: the reader has gone, and there is nobody left to tell
  return (line) => void stream.write(`${line}\n`);
}

/** JSON lines, by default on standard error. They contain no token and nothing that could forge a line or control a terminal. */
export function createLog(level: Config['logLevel'] | 'silent', writeLine = createLineWriter(2)): Logger {
  const lines = { write: (line: string) => writeLine(escapeJson(maskTokens(line.trimEnd()))) };
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    lines,
  );
}
