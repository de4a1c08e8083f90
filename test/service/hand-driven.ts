// A clock, a log and images that a test drives and reads by hand.
import type { ImageId } from '../../src/domain/image.ts';
import type { Clock, Log } from '../../src/domain/ports.ts';

export interface HandClock extends Clock {
  pass(ms: number): void;
  /** The time of day is set to another, and no time passes. */
  jump(ms: number): void;
}

export function createClock(start = '2026-11-22T10:00:00.000Z'): HandClock {
  let nowMs = Date.parse(start);
  let startMs = nowMs;
  return {
    now: () => new Date(nowMs),
    monotonicMs: () => nowMs - startMs,
    pass(ms) {
      nowMs += ms;
    },
    jump(ms) {
      nowMs += ms;
      startMs += ms;
    },
  };
}

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export function createLog(): Log & { readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = [];
  const at = (level: LogLine['level']) => (fields: object, message: string) => {
    lines.push({ level, fields: { ...fields }, message });
  };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** The image whose digest is the letter or digit again and again. */
export function imageOf(path: string, digit = 'a'): ImageId {
  return { site: 'default', layout: 'repository', path, algorithm: 'sha256', hex: digit.repeat(64) };
}
