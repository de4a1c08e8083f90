// A bar with count and rate on a terminal, which gives way to the lines that are printed meanwhile.

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

export interface BarOptions {
  /** What is being done: `pushing`. */
  readonly what: string;
  readonly output: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>;
  readonly nowMs: () => number;
}

const EVERY_MS = 100;
const CLEAR_LINE = '\r\u001b[K';

/** Prints nothing when the output is not a terminal. */
export function createProgressBar({ what, output, nowMs }: BarOptions): ProgressBar {
  const isTerminal = output.isTTY === true;
  const startedMs = nowMs();
  let drawnMs = Number.NEGATIVE_INFINITY;
  let isDrawn = false;

  const draw = (text: string) => {
    const now = nowMs();
    if (!isTerminal || now - drawnMs < EVERY_MS) return;
    drawnMs = now;
    isDrawn = true;
    // one column less: terminals wrap a full line
    output.write(CLEAR_LINE + text.slice(0, (output.columns || 80) - 1));
  };

  return {
    show(progress) {
      draw(formatProgress(what, progress, { elapsedMs: nowMs() - startedMs, columns: output.columns || 80 }));
    },
    say: draw,
    clear() {
      if (!isDrawn) return;
      output.write(CLEAR_LINE);
      isDrawn = false;
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
