// What is found, as docs/agreement.md.

export interface Difference {
  /** A fingerprint, or the options of a signature. */
  readonly about: string;
  readonly what: string;
  /** Null: unexplained, which is an error of ours until it is explained. */
  readonly explanation: string | null;
}

export interface Row {
  readonly name: string;
  readonly compared: number;
  readonly accepted: number;
  readonly differences: readonly Difference[];
}

/** Rows as a table, and below it each explanation with its count and each difference without one. */
export function formatRows(noun: string, rows: readonly Row[]): string {
  const head = `| | ${noun} | accepted by us | differences | unexplained |\n|---|---|---|---|---|`;
  const lines = rows.map(({ name, compared, accepted, differences }) => {
    const unexplained = differences.filter(({ explanation }) => explanation === null).length;
    return `| ${name} | ${compared} | ${accepted} | ${differences.length} | ${unexplained} |`;
  });
  const all = rows.flatMap(({ differences }) => differences);
  return [[head, ...lines].join('\n'), explained(all), unexplainedOf(all)]
    .filter((part) => part !== '')
    .join('\n\n');
}

function explained(all: readonly Difference[]): string {
  const counts = new Map<string, number>();
  for (const { explanation } of all)
    if (explanation !== null) counts.set(explanation, (counts.get(explanation) ?? 0) + 1);
  if (counts.size === 0) return '';
  const lines = [...counts]
    .sort(([, one], [, other]) => other - one)
    .map(([why, count]) => `| ${why} | ${count} |`);
  return ['| why we differ | |', '|---|---|', ...lines].join('\n');
}

function unexplainedOf(all: readonly Difference[]): string {
  const lines = all
    .filter(({ explanation }) => explanation === null)
    .map(({ about, what }) => `- \`${about}\`: ${what}`);
  return lines.length === 0 ? '' : ['Unexplained:', '', ...lines].join('\n');
}
