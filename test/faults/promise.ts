// A promise of docs/reliability.md and the test that shows it kept: what was wanted, and what was seen. `npm run faults`
// makes its table of these; `npm test` runs those that are not long, with short counts.
import { appendFileSync } from 'node:fs';
import { describe, test } from 'node:test';

/** As docs/reliability.md numbers them. */
export type PromiseId = `P${number}`;

/** True in `npm run faults`. The variable does not begin as a setting does: commands refuse settings that they do not know. */
export const isFull = process.env.FAULTS === 'full';

/** How often, how many, how long: as the promise says, or few enough for `npm test`. */
export function count(full: number, short: number): number {
  return isFull ? full : short;
}

const leftOut = () => undefined;

/** A test that only `npm run faults` has: a longer form of what another of `npm test` can fail for. */
export const longTest = isFull ? test : leftOut;

/** The same for a suite, whose preparations `npm test` leaves out too. */
export const longSuite = isFull ? describe : leftOut;

export interface Promised {
  readonly id: PromiseId;
  /** What is promised, as a row of the table begins: `an acknowledged upload survives kill -9`. */
  readonly what: string;
  /** The figure: `0 lost, 0 torn of 2,000`. */
  readonly wanted: string;
  /** As needs() gives it. */
  readonly skip?: string | false;
  /** As longTest: `npm test` has none of it. */
  readonly isLong?: boolean;
}

/** `see` takes the figure as it is found; called again it replaces what was seen before. Kept when `act` does not throw. */
export type Act = (see: (figure: string) => void) => Promise<void>;

/** Registers the test. */
export function promise(promised: Promised, act: Act): void {
  const { id, what, wanted, skip = false, isLong = false } = promised;
  if (isLong && !isFull) return;
  // replaced by the row of its end; a test that does not come that far must not be missing in the table
  report({ id, what, wanted, seen: skip === false ? 'not run' : `not run: ${skip}`, isKept: false });
  test(`${id}: ${what}`, { skip }, async () => {
    let seen = '';
    let isKept = false;
    try {
      await act((figure) => {
        seen = figure;
      });
      isKept = seen !== '';
    } finally {
      report({ id, what, wanted, seen, isKept });
    }
    if (!isKept) throw new Error('nothing was seen of the promise: its test must tell a figure');
  });
}

/** A JSON line, for scripts/faults.mjs. */
function report(row: object): void {
  const file = process.env.FAULTS_REPORT;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(row)}\n`);
}
