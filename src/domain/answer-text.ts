// Ready answers as one page of HTML that needs nothing else, with its plots, and as CSV.
import { csvLine } from './csv.ts';
import type { AnswerTable, Cell, ReadyAnswer } from './ready-question.ts';
import { csvCell } from './record-text.ts';
import { escapeHtml } from './text.ts';

/** One line for each cell: table, row, column, value. Facts are the table `facts`. */
export function answerCsv({ facts, tables }: ReadyAnswer): string {
  const lines = [csvLine(['table', 'row', 'column', 'value'])];
  for (const { name, value } of facts) lines.push(csvLine(['facts', '1', name, csvCell(value)]));
  for (const { name, columns, rows } of tables) {
    for (const [position, row] of rows.entries()) {
      for (const [at, column] of columns.entries()) {
        lines.push(csvLine([name, String(position + 1), column, csvCell(row[at])]));
      }
    }
  }
  return lines.join('');
}

export function answerHtml(answer: ReadyAnswer): string {
  const { question, subject, answeredAt, facts, tables, dropped, gaps } = answer;
  const title = `lookaside ${question}${subject === null ? '' : ` ${subject}`}`;
  const lacks = [
    ...(dropped > 0 ? [`${dropped} reads of that time could not be recorded, and are in no number`] : []),
    ...gaps,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
<p>Made ${escapeHtml(answeredAt.toISOString())}. All times are UTC.</p>
${lacks.map((text) => `<p class="lack">${escapeHtml(text)}</p>`).join('\n')}
<dl>
${facts.map(({ name, value }) => `<dt>${escapeHtml(name)}</dt><dd>${cellText(value)}</dd>`).join('\n')}
</dl>
${tables.map(tableHtml).join('\n')}
</body>
</html>
`;
}

const STYLE =
  'body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;background:#fff}' +
  'table{border-collapse:collapse;margin:.5em 0 2em}td,th{text-align:left;padding:.2em 1em .2em 0;vertical-align:top;' +
  'border-bottom:1px solid #ddd}td{overflow-wrap:anywhere}dl{display:grid;grid-template-columns:max-content auto;gap:.2em 1.5em}' +
  'dd{margin:0}.lack{background:#fff3cd;padding:.5em}svg text{font:11px system-ui,sans-serif}';

function tableHtml(table: AnswerTable): string {
  const { title, columns, rows, found } = table;
  const head = `<h2>${escapeHtml(title)}</h2>`;
  if (rows.length === 0) return `${head}\n<p>None.</p>`;
  // a text that is proof as it stands
  if (columns.length === 1 && columns[0] === 'line')
    return `${head}\n<pre>${rows.map(([line]) => escapeHtml(String(line ?? ''))).join('\n')}</pre>`;
  const lines = rows.map((row) => `<tr>${row.map((cell) => `<td>${cellText(cell)}</td>`).join('')}</tr>`);
  const cut = found > rows.length ? `\n<p>The first ${rows.length} of ${found}.</p>` : '';
  return `${head}
${plotOf(table)}<table>
<tr>${columns.map((column) => `<th>${escapeHtml(column)}</th>`).join('')}</tr>
${lines.join('\n')}
</table>${cut}`;
}

function cellText(cell: Cell): string {
  return cell === null ? '–' : escapeHtml(String(cell));
}

/** A month of one day is no wall. */
const MOST_BAR = 40;
const PLOT = { width: 900, height: 160, foot: 18, head: 14 };

/** A bar for each day; nothing for tables of other things. */
function plotOf({ title, columns, rows }: AnswerTable): string {
  if (columns[0] !== 'day') return '';
  const bars = rows.map((row) => ({ day: String(row[0]), count: Number(row[1]) })).reverse();
  const most = Math.max(...bars.map(({ count }) => count), 1);
  const width = Math.min(PLOT.width / bars.length, MOST_BAR);
  const room = PLOT.height - PLOT.foot - PLOT.head;
  const shapes = bars.map(({ day, count }, position) => {
    const height = Math.round((count / most) * room * 10) / 10;
    const x = Math.round(position * width * 10) / 10;
    const y = PLOT.height - PLOT.foot - height;
    const bar = `<rect x="${x}" y="${y}" width="${Math.max(width - 2, 1).toFixed(1)}" height="${height}" fill="#3367a8"><title>${escapeHtml(day)}: ${count}</title></rect>`;
    const isNamed = bars.length <= 16 || position % 5 === 0;
    return isNamed ? `${bar}<text x="${x}" y="${PLOT.height - 4}">${escapeHtml(day.slice(5))}</text>` : bar;
  });
  return `<svg role="img" aria-label="${escapeHtml(title)}" viewBox="0 0 ${PLOT.width} ${PLOT.height}" width="${PLOT.width}" height="${PLOT.height}">
<text x="0" y="10">at most ${most}</text>
${shapes.join('\n')}
</svg>
`;
}
