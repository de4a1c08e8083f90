// What a command is doing: one line on a terminal, which gives way to the lines that are printed meanwhile.
import type { TreeCounts } from '../domain/upkeep.ts';
import { countsOf } from './terminal.ts';

export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly sentBytes: number;
}

export interface ProgressBar {
  show(progress: Progress): void;
  /** Shows one line of text in the bar's place. */
  say(text: string): void;
  /** Removes the bar, so that a line can be printed; the next show() draws it again. */
  clear(): void;
}

export interface BarOptions extends LineOptions {
  /** What is being done: `pushing`. */
  readonly what: string;
}

export function createProgressBar({ what, output, nowMs }: BarOptions): ProgressBar {
  const line = createLine({ output, nowMs });
  const startedMs = nowMs();
  return {
    show: (progress) =>
      line.show((columns) => formatProgress(what, progress, { elapsedMs: nowMs() - startedMs, columns })),
    say: (text) => line.show(() => text),
    clear: line.clear,
  };
}

export interface ProgressLine<Progress> {
  show(progress: Progress): void;
  /** Removes the line. */
  end(): void;
}

/** On standard error. */
export function progressLine<Progress>(textOf: (progress: Progress) => string): ProgressLine<Progress> {
  const line = createLine({ output: process.stderr, nowMs: () => performance.now() });
  return { show: (progress) => line.show(() => textOf(progress)), end: line.clear };
}

/** `checking: 1 image, 2 signatures, 0 problems`. */
export function countsLine(what: string): ProgressLine<TreeCounts> {
  return progressLine((counts) => `${what}: ${countsOf(counts)}`);
}

interface LineOptions {
  readonly output: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>;
  readonly nowMs: () => number;
}

const EVERY_MS = 100;
const CLEAR_LINE = '\r\u001b[K';

/** Rewritten ten times a second at most. Prints nothing when the output is not a terminal. */
function createLine({ output, nowMs }: LineOptions) {
  let drawnMs = Number.NEGATIVE_INFINITY;
  return {
    show(textOf: (columns: number) => string): void {
      const now = nowMs();
      if (output.isTTY !== true || now - drawnMs < EVERY_MS) return;
      drawnMs = now;
      const columns = output.columns || 80;
      // one column less: terminals wrap a full line
      output.write(CLEAR_LINE + textOf(columns).slice(0, columns - 1));
    },
    clear(): void {
      if (drawnMs === Number.NEGATIVE_INFINITY) return;
      output.write(CLEAR_LINE);
      drawnMs = Number.NEGATIVE_INFINITY;
    },
  };
}

const LONGEST_BAR = 40;
const SHORTEST_BAR = 10;

/** `pushing [######    ] 512/1000  51%  230/s  1.2 MiB sent`; without the bar when there is no space for it. */
export function formatProgress(
  what: string,
  { done, total, sentBytes }: Progress,
  { elapsedMs, columns }: { readonly elapsedMs: number; readonly columns: number },
): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const rate = elapsedMs < 1 ? 0 : Math.round((done * 1000) / elapsedMs);
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  const numbers = `${done}/${total} ${percent}  ${rate}/s  ${formatBytes(sentBytes)} sent`;
  const room = Math.min(LONGEST_BAR, columns - what.length - numbers.length - 5);
  if (room < SHORTEST_BAR) return `${what} ${numbers}`;
  const bar = '#'.repeat(Math.floor(share * room)).padEnd(room);
  return `${what} [${bar}] ${numbers}`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `721 B`, `1.2 MiB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${UNITS[power]}`;
}
