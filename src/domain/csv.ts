// Comma-separated values, as RFC 4180 has them and spreadsheets read them.

/** What spreadsheets take for the beginning of a formula, also in its wide forms. */
const FORMULA = /^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/;

/** One line with its end. A cell that a spreadsheet would calculate begins with an apostrophe instead, which it shows as text. */
export function csvLine(cells: readonly string[]): string {
  return `${cells.map(cellOf).join(',')}\r\n`;
}

function cellOf(text: string): string {
  const harmless = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
