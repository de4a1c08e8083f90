// What most of the measured times were at most.

/** The smallest of them that `percent` of a hundred do not exceed; 0 of none. */
export function percentile(measured: readonly number[], percent: number): number {
  const sorted = [...measured].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
}
