// Rows of the records as text for other programs: JSON Lines, and CSV for spreadsheets.
import { csvLine } from './csv.ts';
import { type ExportEnd, type ExportFormat, type RecordName, type RecordRow, ROW_TITLES } from './records.ts';
import { escapeJson, escapeTerminal } from './text.ts';

/** What stands before the first row. */
export function exportHead(record: RecordName, format: ExportFormat): string {
  return format === 'csv' ? csvLine(ROW_TITLES[record]) : '';
}

/** One row with its line's end. */
export function exportRow(record: RecordName, format: ExportFormat, row: RecordRow): string {
  if (format === 'jsonl') return `${escapeJson(JSON.stringify(row))}\n`;
  const values = row as unknown as Readonly<Record<string, unknown>>; // the titles are members of its own
  return csvLine(ROW_TITLES[record].map((title) => csvCell(values[title])));
}

/** What stands behind the last row. CSV has no place for it. */
export function exportEnd(format: ExportFormat, end: ExportEnd): string {
  return format === 'csv' ? '' : `${escapeJson(JSON.stringify({ end }))}\n`;
}

/** Empty where there is nothing. */
export function csvCell(value: unknown): string {
  return value instanceof Date ? value.toISOString() : escapeTerminal(String(value ?? ''));
}
