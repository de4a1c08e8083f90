// The results as a table for people, as JSON, and as a chart of the rows that are held against nginx.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';

/** Ahead of the first row: the rows are a load of their own. */
const LOAD_BEFORE = os.loadavg()[0];
const RESULTS = new URL('results/', import.meta.url).pathname;
const CHART = new URL('../docs/performance.svg', import.meta.url).pathname;

/** Other rows that compare are costs. */
const MORE_IS_BETTER = '× one process';

export function printTable(results) {
  const rows = results.map(({ name, unit, target, figures: f }) => ({
    row: name,
    'CPU µs each': rounded(f.cpuUs, 1),
    'cold µs': rounded(f.coldCpuUs, 1),
    'nginx µs': rounded(f.nginxCpuUs, 1),
    'SQLite µs': rounded(f.aloneCpuUs, 1),
    'few µs': rounded(f.fewCpuUs, 1),
    'database µs': rounded(f.databaseCpuUs, 1),
    'a second': rounded(f.perSecond, 0),
    'p50 ms': rounded(f.p50Ms, 2),
    'p99 ms': rounded(f.p99Ms, 1),
    'times nginx': unit === '× nginx' ? rounded(f.ratio, 2) : '',
    'times ours': isOurs(unit) ? `${rounded(f.ratio, 2)} ${unit}` : '',
    spread: f.least === undefined ? '' : `${rounded(f.least, 2)}–${rounded(f.most, 2)}`,
    target: target === null ? '' : targetText(unit, target),
    'start ms': rounded(f.startMs, 0),
    'RSS MiB': rounded(f.rssMiB, 0),
  }));
  console.table(
    rows.map((row) => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== ''))),
  );
}

const isOurs = (unit) => unit !== '× nginx' && unit?.startsWith('×');

function targetText(unit, target) {
  if (unit === MORE_IS_BETTER) return `≥ ${target}`;
  return unit?.startsWith('×') ? `≤ ${target}` : `≥ ${target}/s`;
}

/** Returns the file. The results of one day stand in one file, the latest of each row with the commit that it is of. */
export function writeResults(results, { isQuick, scale }) {
  mkdirSync(RESULTS, { recursive: true });
  const date = new Date().toISOString().slice(0, 10);
  const file = join(RESULTS, `${date}${isQuick ? '-quick' : ''}.json`);
  const measured = new Set(results.map(({ name }) => name));
  const others = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).rows : [];
  const rows = [
    ...others.filter(({ name }) => !measured.has(name)),
    ...results.map((row) => ({ ...row, commit: commit(), scale })),
  ];
  const value = { date, machine: machine(), rows };
  writeFileSync(
    file,
    `${JSON.stringify(value, (_, part) => (typeof part === 'number' ? Number(part.toFixed(3)) : part), 2)}\n`,
  );
  return file;
}

export function machine() {
  const cpus = os.cpus();
  return {
    processor: cpus[0]?.model ?? 'unknown',
    cores: cpus.length,
    memoryMiB: Math.round(os.totalmem() / 1024 / 1024),
    kernel: os.release(),
    node: process.version,
    loadBefore: LOAD_BEFORE,
  };
}

function commit() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null; // an unpacked archive
  }
}

/** Bars of the processor time of a read in times nginx's, a mark where the target is. */
export function drawChart(results, { date }) {
  const rows = results.filter(({ unit, figures }) => unit === '× nginx' && figures.ratio !== undefined);
  if (rows.length === 0) return null;
  const [left, width, line] = [290, 380, 30];
  const most = Math.max(...rows.map(({ figures, target }) => Math.max(figures.most, target ?? 0)));
  const x = (ratio) => left + (width * ratio) / most;
  const height = 60 + line * rows.length + 24;
  const bars = rows.map(({ name, target, figures: { ratio, least, most: highest } }, at) => {
    const y = 60 + line * at;
    const mark =
      target === null
        ? ''
        : `<path d="M${x(target).toFixed(1)} ${y - 2}v22" stroke="#b3261e" stroke-width="2"/>`;
    return `<text x="${left - 10}" y="${y + 14}" text-anchor="end">${escapeXml(name)}</text>
<rect x="${left}" y="${y}" width="${(x(ratio) - left).toFixed(1)}" height="18" fill="#3b6ea5"/>
<path d="M${x(least).toFixed(1)} ${y + 9}H${x(highest).toFixed(1)}" stroke="#111" stroke-width="1.5"/>${mark}
<text x="${(x(highest) + 6).toFixed(1)}" y="${y + 14}">${ratio.toFixed(2)}</text>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="760" height="${height}" viewBox="0 0 760 ${height}" font-family="sans-serif" font-size="13" role="img">
<title>Processor time of a read in times that of nginx</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="24" font-size="16" font-weight="bold">Processor time of a read, in times that of nginx with its access log</text>
<text x="12" y="43" fill="#555">npm run bench, ${date}, Node.js ${process.version}; line: spread of the pairs; red: what is wanted at most</text>
<path d="M${x(1).toFixed(1)} 52V${height - 20}" stroke="#888" stroke-dasharray="4 3"/>
${bars.join('\n')}
<text x="${x(1).toFixed(1)}" y="${height - 6}" text-anchor="middle" fill="#555">nginx</text>
</svg>
`;
  writeFileSync(CHART, svg);
  return CHART;
}

function escapeXml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function rounded(value, digits) {
  return value === undefined ? '' : Number(value.toFixed(digits));
}
