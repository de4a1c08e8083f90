// The table of promises: from what the tests reported, in the terminal and in docs/reliability.md.

/** Written by hand in docs/reliability.md, and what is between them by `npm run faults`. */
const BEGIN = '<!-- the table: written by npm run faults -->';
const END = '<!-- end of the table -->';

const COLUMNS = ['promise', 'what', 'wanted', 'seen', ''];

/**
 * A row for each promise that was registered, by number and then as they came. `text` is of JSON lines: one when the test
 * is registered, one when it has ended, which replaces the first.
 */
export function parseRows(text) {
  const rows = new Map();
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const row = JSON.parse(line);
    rows.set(`${row.id} ${row.what}`, row);
  }
  return [...rows.values()].sort((one, other) => numberOf(one.id) - numberOf(other.id));
}

/** A row for each promise that docs/reliability.md makes and no test has shown. */
export function missingRows(docs, rows) {
  const made = [...docs.matchAll(/^\*\*(P[0-9]+)\*\*/gm)].map(([, id]) => id);
  return made
    .filter((id) => rows.every((row) => row.id !== id))
    .map((id) => ({ id, what: 'no test', wanted: 'a figure', seen: '', isKept: false }));
}

/** `rows` take the place of those about the same; others stay as long as a test of theirs is `registered`. */
export function withRows(others, rows, registered) {
  const isOf = (some) => (other) => some.some(({ id, what }) => id === other.id && what === other.what);
  const isNew = isOf(rows);
  return [...others.filter(isOf(registered)).filter((other) => !isNew(other)), ...rows];
}

/** Lines for a terminal. */
export function textTable(rows) {
  const lines = [COLUMNS, ...rows.map(cellsOf)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((cells) => cells[column].length)));
  return lines
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The document with this table, and the line above it. @throws Error when it has no place for one */
export function withTable(docs, caption, rows) {
  const begin = docs.indexOf(BEGIN);
  const end = docs.indexOf(END);
  if (begin === -1 || end < begin)
    throw new Error(`docs/reliability.md has no ${BEGIN} with ${END} behind it`);
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const table = [line(COLUMNS), line(COLUMNS.map(() => '---')), ...rows.map((row) => line(cellsOf(row)))];
  return `${docs.slice(0, begin)}${BEGIN}\n${caption}\n\n${table.join('\n')}\n${docs.slice(end)}`;
}

/** The rows of the document's table; null when another caption stands above it: another day, machine or Node.js. */
export function rowsOf(docs, caption) {
  const [, table = ''] = docs.split(`${BEGIN}\n${caption}\n\n`);
  if (table === '') return null;
  const lines = table.slice(0, table.indexOf(END)).trim().split('\n').slice(2);
  return lines.map((line) => {
    // within a cell a backslash stands before each bar
    const cells = line.slice(2, -2).split(' | ');
    const [id, what, wanted, seen, state] = cells.map((cell) => cell.replaceAll('\\|', '|'));
    return { id, what, wanted, seen, isKept: state === 'kept' };
  });
}

function cellsOf({ id, what, wanted, seen, isKept }) {
  const oneLine = (text) => text.replaceAll(/\s+/g, ' ');
  return [id, what, wanted, seen, isKept ? 'kept' : 'BROKEN'].map(oneLine);
}

function numberOf(id) {
  return Number(id.slice(1));
}
