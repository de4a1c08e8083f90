// What commands print: results on standard output, progress and errors on standard error, exit codes.
import { type ErrorCode, isLookasideError } from '../domain/errors.ts';
import type { OnRetry } from '../domain/remote.ts';
import { escapeJson, escapeTerminal } from '../domain/text.ts';
import type { TreeCounts } from '../domain/upkeep.ts';

/** Done; refused or failed; wrong usage or unreachable. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** All others end with EXIT.failed. */
const USAGE_CODES: ReadonlySet<ErrorCode> = new Set(['CONFIG_INVALID', 'SERVER_UNREACHABLE', 'UNAUTHORIZED']);

/** As HTTP tells them too. */
export function errorsJson(error: unknown): { readonly errors: readonly object[] } {
  if (!isLookasideError(error)) {
    return {
      errors: [{ code: 'INTERNAL', message: 'lookaside has failed at this; standard error says why' }],
    };
  }
  const { code, message, detail } = error;
  return { errors: [detail === null ? { code, message } : { code, message, detail }] };
}

/** Errors that stand in the JSON which was printed already. */
const toldInJson = new WeakSet<object>();

/** The error for JSON that is under way, which runProgram() then prints no more. */
export function errorsWithin(error: unknown): { readonly errors: readonly object[] } {
  if (typeof error === 'object' && error !== null) toldInJson.add(error);
  return errorsJson(error);
}

export function isToldInJson(error: unknown): boolean {
  return typeof error === 'object' && error !== null && toldInJson.has(error);
}

/** Prints the error as a line for people; the code that the process ends with. */
export function exitCodeOf(error: unknown): number {
  if (!isLookasideError(error)) {
    process.stderr.write(
      `lookaside: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    return EXIT.failed;
  }
  const tries =
    error.code === 'SERVER_UNREACHABLE' && retries > 0
      ? ` (tried ${retries + 1} times); does the server run, and is its address right?`
      : '';
  tell(error.message + tries);
  return USAGE_CODES.has(error.code) ? EXIT.usage : EXIT.failed;
}

/** A line for people beside the results. */
export function tell(text: string): void {
  process.stderr.write(`lookaside: ${escapeTerminal(text)}\n`);
}

/** How long a command that asks a question waits for an unreachable server. */
export const QUESTION_PATIENCE_MS = 10_000;

let retries = 0;

/** Says the same only once, however often it is tried; exitCodeOf() says how often that was. */
export function createRetryTeller(say: (text: string) => void): OnRetry {
  let last: string | null = null;
  return ({ message }) => {
    retries += 1;
    if (message !== last) say(`${message}; trying again`);
    last = message;
  };
}

export const tellRetry = createRetryTeller(tell);

/** `1 file`, `2 files`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  // line by line: the line ends between the lines are ours
  print(JSON.stringify(value, null, 2).split('\n').map(escapeJson).join('\n'));
}

/** Columns as wide as their widest cell, two spaces apart. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const escapedRows = rows.map((row) => row.map(escapeTerminal));
  const widths = escapedRows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)),
    [],
  );
  return escapedRows
    .map((row) =>
      row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join('  '),
    )
    .map((line) => line.trimEnd())
    .join('\n');
}

/** `1 image, 2 signatures, 0 problems`. */
export function countsOf({ images, signatures, problems }: TreeCounts): string {
  return [plural(images, 'image'), plural(signatures, 'signature'), plural(problems, 'problem')].join(', ');
}
