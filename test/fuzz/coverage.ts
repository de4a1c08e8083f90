// Which code has run, asked of V8 itself: every character of our own built files, by blocks.
import { type Profiler, Session } from 'node:inspector';

export interface Coverage extends Disposable {
  /** Whether code has run since the last call of either that never ran before. */
  isNew(): boolean;
  /** The same, and from now on it is not new any more. */
  take(): boolean;
  /** Characters of code that have run, as far as they were taken. */
  readonly characters: number;
}

/** Counts what runs in files whose URL has one of `watched` in it. */
export function watchCoverage(watched: readonly string[]): Coverage {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  const seen = new Map<string, Uint8Array>();
  let characters = 0;

  // counts begin anew with each call: what was asked for is lost unless it is looked at
  function ran(): ReadonlyMap<string, Uint8Array> {
    let scripts: readonly Profiler.ScriptCoverage[] = [];
    // this thread's own session answers before post() returns
    session.post('Profiler.takePreciseCoverage', (error, { result }) => {
      if (error !== null) throw error;
      scripts = result;
    });
    const ours = scripts.filter(({ url }) => watched.some((part) => url.includes(part)));
    return new Map(ours.map(({ url, functions }) => [url, charactersOf(functions)]));
  }

  function visit(isTaken: boolean): boolean {
    let isNew = false;
    for (const [url, marks] of ran()) {
      const known = roomFor(seen.get(url), marks.length);
      if (isTaken) seen.set(url, known);
      for (let at = 0; at < marks.length; at += 1) {
        if (marks[at] !== 1 || known[at] === 1) continue;
        isNew = true;
        if (!isTaken) return true;
        known[at] = 1;
        characters += 1;
      }
    }
    return isNew;
  }

  return {
    isNew: () => visit(false),
    take: () => visit(true),
    get characters() {
      return characters;
    },
    [Symbol.dispose]() {
      session.post('Profiler.stopPreciseCoverage');
      session.disconnect();
    },
  };
}

/** One byte a character, 1 where it has run. Outer ranges come before those inside them, which say it more exactly. */
function charactersOf(functions: readonly Profiler.FunctionCoverage[]): Uint8Array {
  const ranges = functions.flatMap((each) => each.ranges);
  const marks = new Uint8Array(Math.max(0, ...ranges.map(({ endOffset }) => endOffset)));
  for (const { startOffset, endOffset, count } of ranges)
    marks.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  return marks;
}

function roomFor(marks: Uint8Array | undefined, length: number): Uint8Array {
  if (marks !== undefined && marks.length >= length) return marks;
  const room = new Uint8Array(length);
  room.set(marks ?? []);
  return room;
}
