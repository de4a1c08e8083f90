// The questions that are asked most, each answered as a whole: facts, and tables that belong together.
import type { Completeness } from './records.ts';

export const READY_QUESTIONS = [
  'key',
  'image',
  'signature',
  'unsigned',
  'stale',
  'who',
  'exposure',
  'report',
] as const;
export type ReadyKind = (typeof READY_QUESTIONS)[number];

export interface ReadyQuestion {
  readonly kind: ReadyKind;
  /** A key, an image, a signature, an address or a token, a month; null for `unsigned` and `stale`. */
  readonly subject: string | null;
  readonly since: Date | null;
  readonly until: Date | null;
  /** Limits `unsigned` and `stale` to that repository, and what lies below it. */
  readonly repository: string | null;
  /** Rows of each table, 1 to MAX_PAGE_ROWS; `exposure` lists everybody. */
  readonly limit: number;
}

export type Cell = string | number | null;

export interface AnswerTable {
  /** For programs. */
  readonly name: string;
  readonly title: string;
  readonly columns: readonly string[];
  /** In the order of the columns. Times are as in RFC 3339. */
  readonly rows: readonly (readonly Cell[])[];
  /** How many rows there are; more than `rows` has when they were cut. */
  readonly found: number;
}

export interface ReadyAnswer extends Completeness {
  readonly question: ReadyKind;
  readonly subject: string | null;
  readonly since: Date | null;
  readonly until: Date | null;
  readonly answeredAt: Date;
  readonly facts: readonly { readonly name: string; readonly value: Cell }[];
  readonly tables: readonly AnswerTable[];
}

/** What stands behind the name of a question; null: nothing does. */
export const SUBJECTS: Readonly<Record<ReadyKind, string | null>> = {
  key: 'the fingerprint of a primary key: 40 hex digits, as lookaside key list shows them, or its key ID of 16',
  image: 'an image like team/app@sha256:<64 hex digits>, the digest alone, or team/app:v1',
  signature: "the signature's SHA-256: 64 hex digits, as lookaside show and sha256sum print them",
  unsigned: null,
  stale: null,
  who: "an address or network like 192.0.2.7, or a token's name",
  exposure:
    'an image like team/app:v1 or team/app@sha256:<64 hex digits>, the fingerprint or key ID of a key, or the SHA-256 of a signature',
  report: 'a month like 2026-11',
};

/** Since when something must not have been fetched to be stale. */
export const STALE_DAYS = 90;

/** The first moments of a month and of the next one, UTC; null for any other text. */
export function parseMonth(text: string): { readonly since: Date; readonly until: Date } | null {
  const [, year, month] = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(text) ?? [];
  if (year === undefined || month === undefined) return null;
  return {
    since: new Date(Date.UTC(Number(year), Number(month) - 1)),
    until: new Date(Date.UTC(Number(year), Number(month))),
  };
}
