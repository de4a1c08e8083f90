// Durations as people write them: a number and a unit.

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds in `90d`, `15m`, `30s` or `250ms`; null for any other text, and for zero. */
export function durationMs(text: string): number | null {
  const match = /^([0-9]{1,9})(ms|s|m|h|d)$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ''];
  return match === null || unit === undefined || Number(match[1]) === 0 ? null : Number(match[1]) * unit;
}

/** The text of that many milliseconds, which durationMs() reads: `30d`, in the largest unit of which they are a whole number. */
export function durationText(ms: number): string {
  for (const [unit, unitMs] of Object.entries(UNIT_MS).toReversed()) {
    if (ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  }
  return `${Math.ceil(ms)}ms`;
}
