// What questions to both records have in common: conditions in SQL, sums that grow piece by piece, an end from outside.
import type { Grouping, RecordTotal, SumGroup } from '../domain/records.ts';

/** Conditions that are joined by AND, with their parameters in order. */
export class Conditions {
  readonly #texts: string[] = [];
  readonly #values: (string | number | Uint8Array)[] = [];

  add(text: string, ...values: readonly (string | number | Uint8Array)[]): void {
    this.#texts.push(text);
    this.#values.push(...values);
  }

  get text(): string {
    return this.#texts.length === 0 ? '1' : this.#texts.join('\n          AND ');
  }

  get values(): readonly (string | number | Uint8Array)[] {
    return this.#values;
  }
}

/** Thrown between two pieces of work once nobody waits for the answer. */
export class Stopped extends Error {}

/** Called between pieces of work. @throws Stopped */
export type Pause = () => void;

export interface Part {
  readonly count: number;
  readonly bytes: number;
  readonly rows: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

interface Group {
  readonly of: readonly (string | null)[];
  sum: Part;
}

/** Groups that memory holds; a question that has more is cut, and says so. */
const MAX_GROUPS = 200_000;

/** Sums over parts that come in any order. */
export class Sums {
  readonly #groups = new Map<string, Group>();
  #total: Part | null = null;
  #left = 0;

  add(of: readonly (string | null)[], part: Part): void {
    if (part.rows === 0) return;
    this.#total = this.#total === null ? part : together(this.#total, part);
    if (of.length === 0) return;
    const key = JSON.stringify(of);
    const group = this.#groups.get(key);
    if (group !== undefined) group.sum = together(group.sum, part);
    else if (this.#groups.size < MAX_GROUPS) this.#groups.set(key, { of, sum: part });
    else this.#left += 1;
  }

  /** How many parts found no room among the groups. */
  get left(): number {
    return this.#left;
  }

  get found(): number {
    return this.#groups.size;
  }

  get total(): RecordTotal {
    const { count = 0, bytes = 0, rows = 0, firstAtMs = null, lastAtMs = null } = this.#total ?? {};
    return { count, bytes, rows, firstAt: dateOrNull(firstAtMs), lastAt: dateOrNull(lastAtMs) };
  }

  /** Days newest first, all else by count. */
  groups(by: Grouping, limit: number): readonly SumGroup[] {
    const groups = [...this.#groups.values()];
    groups.sort((one, other) => {
      if (by[0] === 'day') return compare(other.of, one.of);
      return other.sum.count - one.sum.count || compare(one.of, other.of);
    });
    return groups.slice(0, limit).map(({ of, sum: { count, bytes, firstAtMs, lastAtMs } }) => {
      return { of, count, bytes, firstAt: new Date(firstAtMs), lastAt: new Date(lastAtMs) };
    });
  }
}

function together(one: Part, other: Part): Part {
  return {
    count: one.count + other.count,
    bytes: one.bytes + other.bytes,
    rows: one.rows + other.rows,
    firstAtMs: Math.min(one.firstAtMs, other.firstAtMs),
    lastAtMs: Math.max(one.lastAtMs, other.lastAtMs),
  };
}

function compare(one: readonly (string | null)[], other: readonly (string | null)[]): number {
  for (const [position, text] of one.entries()) {
    const [a, b] = [text ?? '', other[position] ?? ''];
    if (a !== b) return a < b ? -1 : 1;
  }
  return 0;
}

function dateOrNull(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}

/** A folder and all below it, as ranges of bytes: names are ASCII. `ends` are the characters that may follow the folder. */
export function below(column: string, folder: string, ends: readonly ('/' | '@')[]): Conditions {
  const found = new Conditions();
  const ranges = ends.map(() => `(${column} >= ? AND ${column} < ?)`).join(' OR ');
  const values = ends.flatMap((end) => [
    `${folder}${end}`,
    `${folder}${String.fromCharCode(end.charCodeAt(0) + 1)}`,
  ]);
  found.add(`(${ranges})`, ...values);
  return found;
}
