// Durations as people write them: a number and a unit.

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds in `90d`, `15m`, `30s` or `250ms`; null for any other text, and for zero. */
export function durationMs(text: string): number | null {
  const match = /^([0-9]{1,9})(ms|s|m|h|d)$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ''];
  return match === null || unit === undefined || Number(match[1]) === 0 ? null : Number(match[1]) * unit;
}
