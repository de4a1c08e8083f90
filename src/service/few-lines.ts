// Limits warnings that a tree, a disk or a client can cause without end: the first ten of each kind are written, and the
// others are counted and summed up in one line.
import type { Log } from '../domain/ports.ts';

type Level = 'warn' | 'error';

export interface FewLinesOptions {
  readonly log: Log;
  /** Resolves after that many milliseconds. Its timer does not keep the process running. */
  readonly wait: (ms: number) => Promise<void>;
}

export interface FewLines extends Log {
  /** The same log, for lines whose complete list `listedBy` gives: the summary line names it. */
  listedBy(listedBy: string): Log;
  /**
   * Lines until the work ends count as one group. Its summary comes at the end of the work, and after that the first ten
   * lines of each kind are written again.
   */
  during<T>(work: Promise<T>): Promise<T>;
  /** Writes all summaries at once. Call it before the log ends. */
  sumUp(): void;
}

const NAMED = 10;

/**
 * Time from the first line that was only counted to the summary. While such lines keep coming, each wait is twice as long as
 * the one before.
 */
const FIRST_SUMMARY_MS = 60_000;
const LONGEST_SUMMARY_MS = 3_600_000;

/** Kinds that are remembered at a time. The messages are ours, so only a bug would make more. */
const MAX_KINDS = 1000;

interface Kind {
  readonly level: Level;
  readonly message: string;
  readonly listedBy: string | null;
  total: number;
  /** Lines left out since the last summary. */
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
    if (works > 0) return; // the end of the work writes the summary
    tellCount(kind);
    kind.waitMs = Math.min(2 * kind.waitMs, LONGEST_SUMMARY_MS);
  }

  /** Forgets the kind once no more of its lines come, so that its first ten are written again. */
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

/** The code of the error in the line: lines with other codes are other kinds. */
function codeOf(fields: object): string {
  const { err } = fields as { readonly err?: { readonly code?: unknown } };
  return typeof err?.code === 'string' ? err.code : '';
}
