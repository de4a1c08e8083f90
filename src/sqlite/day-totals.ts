// What is kept of a day of the access record for ever.

export interface DayTotals {
  readonly hours: readonly HourTotal[];
  readonly dropped: readonly { readonly hour: number; readonly count: number }[];
}

/** Reads of signed images. */
export interface HourTotal {
  /** Since 1970 UTC. */
  readonly hour: number;
  readonly site: string;
  readonly repository: string;
  /** Answered with a signature. */
  readonly fetched: number;
  /** Answered with 404. */
  readonly ended: number;
  readonly bytes: number;
}

/** Null: they are kept already, or the day is gone. */
export type CloseOutcome =
  | { readonly outcome: 'done'; readonly totals: DayTotals | null }
  | { readonly outcome: 'failed'; readonly message: string; readonly isDamaged: boolean };
