// docs/performance.svg: the processor time of reads beside nginx's as bars, and the other targets as lines of text.
import { writeFileSync } from 'node:fs';
import { linesOf } from './targets.mjs';

const CHART = new URL('../docs/performance.svg', import.meta.url).pathname;
const COLORS = { true: '#1b7f3b', false: '#b3261e', null: '#777' };
const SAYS = { true: 'reached', false: 'missed' };
const [LEFT, WIDTH, LINE, TOP, ALL] = [380, 330, 30, 60, 910];

/** Returns its file, or null when there is nothing to draw. */
export function drawChart(results, { date, file = CHART }) {
  const rows = results.filter(({ unit, figures }) => unit === '× nginx' && figures.ratio !== undefined);
  if (rows.length === 0) return null;
  const most = Math.max(...rows.map((row) => Math.max(row.figures.most, wantedOf(row)?.limit ?? 0)));
  const x = (ratio) => LEFT + (WIDTH * ratio) / most;
  const barsEnd = TOP + LINE * rows.length;
  const others = linesOf(results.filter((row) => !rows.includes(row)));
  const height = barsEnd + 52 + 22 * others.length + 12;
  writeFileSync(
    file,
    `<svg xmlns="http://www.w3.org/2000/svg" width="${ALL}" height="${height}" viewBox="0 0 ${ALL} ${height}" font-family="sans-serif" font-size="13" role="img">
<title>Processor time of a read in times that of nginx, and what else is wanted</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="24" font-size="16" font-weight="bold">Processor time of a read, in times that of nginx with its access log</text>
<text x="12" y="43" fill="#555">npm run bench, ${date}, Node.js ${process.version}; black line: spread of the pairs; red line: what is wanted at most</text>
<path d="M${x(1).toFixed(1)} 52V${barsEnd}" stroke="#888" stroke-dasharray="4 3"/>
${rows.map((row, at) => bar(row, TOP + LINE * at, x)).join('\n')}
<text x="${x(1).toFixed(1)}" y="${barsEnd + 14}" text-anchor="middle" fill="#555">nginx</text>
${others.length === 0 ? '' : `<text x="12" y="${barsEnd + 38}" font-size="16" font-weight="bold">What else is wanted</text>`}
${others.map((line, at) => textOf(line, barsEnd + 62 + 22 * at)).join('\n')}
</svg>
`,
  );
  return file;
}

/** Undefined: nothing is wanted of it. Results that are read from a file have no other target. */
function wantedOf(row) {
  return linesOf([row])[0];
}

function bar(row, y, x) {
  const { name, figures } = row;
  const { ratio, least, most } = figures;
  const { limit: target, isReached } = wantedOf(row) ?? { limit: null, isReached: null };
  const mark =
    target === null
      ? ''
      : `<path d="M${x(target).toFixed(1)} ${y - 2}v22" stroke="#b3261e" stroke-width="2"/>`;
  const says = target === null ? '' : `, wanted ${target}: ${SAYS[isReached]}`;
  return `<text x="${LEFT - 10}" y="${y + 14}" text-anchor="end">${escapeXml(name)}</text>
<rect x="${LEFT}" y="${y}" width="${(x(ratio) - LEFT).toFixed(1)}" height="18" fill="#3b6ea5"/>
<path d="M${x(least).toFixed(1)} ${y + 9}H${x(most).toFixed(1)}" stroke="#111" stroke-width="1.5"/>${mark}
<text x="${(Math.max(x(most), x(target ?? 0)) + 6).toFixed(1)}" y="${y + 14}" fill="${COLORS[isReached]}">${ratio.toFixed(2)}${says}</text>`;
}

function textOf({ name, measured, unit, wanted, isReached }, y) {
  const says =
    isReached === null
      ? `not measured; wanted ${wanted} ${unit}`
      : `${measured} ${unit}, wanted ${wanted}: ${SAYS[isReached]}`;
  return `<text x="12" y="${y}">${escapeXml(name)}</text>
<text x="${LEFT + 150}" y="${y}" fill="${COLORS[isReached]}">${escapeXml(says)}</text>`;
}

function escapeXml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
