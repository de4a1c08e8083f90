// Warnings that a tree, a disk or a client may cause without end: the first ten of each kind are written, the others
// are counted and told in one line.
import type { Log } from '../domain/ports.ts';

type Level = 'warn' | 'error';

export interface FewLinesOptions {
  readonly log: Log;
  /** Resolves after so many milliseconds, and keeps no process running. */
  readonly wait: (ms: number) => Promise<void>;
}

export interface FewLines extends Log {
  /** The same, for lines of which `listedBy` names the whole list: the line of the count says so. */
  listedBy(listedBy: string): Log;
  /** What is written until the work ends is counted as one: its summary comes then, and the next ten are named again. */
  during<T>(work: Promise<T>): Promise<T>;
  /** Tells at once what was only counted. To be called before the log ends. */
  sumUp(): void;
}

const NAMED = 10;

/** After the first line that was only counted. While they go on, each wait is twice as long as the one before. */
const FIRST_SUMMARY_MS = 60_000;
const LONGEST_SUMMARY_MS = 3_600_000;

/** Kinds known at a time; the messages are ours, so that only a bug would make more. */
const MAX_KINDS = 1000;

interface Kind {
  readonly level: Level;
  readonly message: string;
  readonly listedBy: string | null;
  total: number;
  /** Since the last summary. */
  counted: number;
  waitMs: number;
}

export function createFewLines({ log, wait }: FewLinesOptions): FewLines {
  const kinds = new Map<string, Kind>();
  let works = 0;

  function tell(level: Level, fields: object, message: string, listedBy: string | null): void {
    const kind = kindOf(level, fields, message, listedBy);
    kind.total += 1;
    if (kind.total <= NAMED) {
      log[level](fields, message);
      return;
    }
    kind.counted += 1;
    if (kind.counted === 1) void sumUpLater(kind);
  }

  function kindOf(level: Level, fields: object, message: string, listedBy: string | null): Kind {
    const name = `${level} ${codeOf(fields)} ${message}`;
    const known = kinds.get(name);
    if (known !== undefined) return known;
    if (kinds.size >= MAX_KINDS) sumUp();
    const kind = { level, message, listedBy, total: 0, counted: 0, waitMs: FIRST_SUMMARY_MS };
    kinds.set(name, kind);
    void forgetLater(name, kind);
    return kind;
  }

  async function sumUpLater(kind: Kind): Promise<void> {
    await wait(kind.waitMs);
    if (works > 0) return; // the end of the work tells it
    tellCount(kind);
    kind.waitMs = Math.min(2 * kind.waitMs, LONGEST_SUMMARY_MS);
  }

  /** Once no more of the kind come, it is new again. */
  async function forgetLater(name: string, kind: Kind): Promise<void> {
    for (let before = -1; kind.total !== before; ) {
      before = kind.total;
      await wait(kind.waitMs);
    }
    if (kinds.get(name) === kind) kinds.delete(name);
  }

  function tellCount(kind: Kind): void {
    const { level, counted, listedBy, message } = kind;
    if (counted === 0) return;
    kind.counted = 0;
    const list = listedBy === null ? '' : `; all of them: ${listedBy}`;
    log[level](
      { more: counted },
      `${counted} more ${counted === 1 ? 'line' : 'lines'} left out: ${message}${list}`,
    );
  }

  function sumUp(): void {
    for (const kind of kinds.values()) tellCount(kind);
    kinds.clear();
  }

  const linesOf = (listedBy: string | null): Log => ({
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => tell('warn', fields, message, listedBy),
    error: (fields, message) => tell('error', fields, message, listedBy),
  });

  return {
    ...linesOf(null),
    listedBy: linesOf,
    async during(work) {
      works += 1;
      try {
        return await work;
      } finally {
        works -= 1;
        if (works === 0) sumUp();
      }
    },
    sumUp,
  };
}

/** Of the error that the line tells of: other errors are other lines. */
function codeOf(fields: object): string {
  const { err } = fields as { readonly err?: { readonly code?: unknown } };
  return typeof err?.code === 'string' ? err.code : '';
}
