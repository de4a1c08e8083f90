// Sums over rows of the records, which grow piece by piece.
import type { Grouping, RecordTotal, SumGroup } from './records.ts';

export interface Part {
  readonly count: number;
  readonly bytes: number;
  readonly rows: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

export interface OtherParts {
  readonly found: number | null;
  readonly left: number;
  readonly total: Part;
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
  #found: number | null = null;
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

  /** What all parts sum up to, where only some of them are added: `left` are not. `found`: null when nobody knows how many groups they make. */
  addOthers({ found, left, total }: OtherParts): void {
    this.#found = found;
    this.#left += found === null ? left : 0;
    this.#total = total;
  }

  /** How many parts found no room among the groups. */
  get left(): number {
    return this.#left;
  }

  get found(): number {
    return this.#found ?? this.#groups.size;
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
