// What is wanted of the figures, and whether it is reached. A target that is missed is a result, and no failure of the run.

/** More is better in these; of other rows that compare, less. */
const MORE_IS_BETTER = ['× one process', '× curl'];

/** The targets of a row: its own `targets`, or what its `target` and `unit` say. */
function targetsOf({ unit = 'a second', target = null, targets }) {
  if (targets !== undefined) return targets;
  if (target === null) return [];
  if (!unit.startsWith('×')) return [{ figure: 'perSecond', unit, least: target }];
  return [
    { figure: 'ratio', unit, ...(MORE_IS_BETTER.includes(unit) ? { least: target } : { most: target }) },
  ];
}

/** Each with what was measured and whether that reaches it; null: it was not measured in this run. */
export function reachedOf(row) {
  return targetsOf(row).map((target) => {
    const value = row.figures[target.figure] ?? null;
    const { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY } = target;
    return { ...target, value, isReached: value === null ? null : value >= least && value <= most };
  });
}

/** A line for each target of all rows. */
export function linesOf(results) {
  return results.flatMap((row) =>
    reachedOf(row).map(({ unit, least, most, value, isReached }) => ({
      name: row.name,
      unit,
      measured: value === null ? 'not measured' : rounded(value),
      wanted: least === undefined ? `≤ ${most}` : `≥ ${least}`,
      limit: least ?? most,
      value,
      isReached,
    })),
  );
}

export function printTargets(results) {
  const lines = linesOf(results);
  if (lines.length === 0) return;
  console.table(
    lines.map(({ name, measured, wanted, unit, isReached }) => ({
      row: name,
      measured,
      wanted,
      of: unit,
      reached: isReached === null ? 'not measured' : isReached ? 'yes' : 'NO',
    })),
  );
  const measured = lines.filter(({ isReached }) => isReached !== null);
  const reached = measured.filter(({ isReached }) => isReached);
  const others = lines.length - measured.length;
  const more = others === 0 ? '' : `; ${others} not measured in this run`;
  process.stdout.write(`${reached.length} of ${measured.length} targets reached${more}\n`);
}

function rounded(value) {
  return Number(value.toFixed(value < 100 ? 2 : 0));
}
