// `npm run bench`: how fast we are beside the file server that people have, nginx with its access log, in the same run on
// the same machine. Prints a table, writes bench/results/DATE.json and docs/performance.svg.
//   --quick             the rows that take under a minute together; writes neither chart nor the full results
//   --rows reads,…      groups: reads, cores, pulls, uploads, commands, start, scan, growth, tail; or a part of a row's name
//   --pairs N           how often each is measured; 5 unless told, 3 with --quick
//   --scale 0.1         a tenth of the images of rows with more than 5,000, which the table says
//   --folder DIR        keeps the trees for the next run
//   --list              the rows
// `npm run bench -- start`: what it costs to start a command of signers. `npm run bench -- audit`: what questions to the record cost.
// `npm run bench -- records`: verifying a million audit events and exporting a million reads, by the clock.
// `npm run bench -- rotation`: what the list of work from one key to the next costs. `npm run bench -- mirror`: filling a mirror,
// beside curl. `npm run bench -- pages`: how long each web page takes. `npm run bench -- soak`: whether the memory stays flat.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { missingPrograms, requireRoom } from './programs.mjs';
import { drawChart, machine, printTable, writeResults } from './report.mjs';
import { ROWS } from './rows.mjs';
import { stopAll } from './servers.mjs';

if (process.argv[2] === 'start') await import('./start.mjs');
else if (process.argv[2] === 'audit') await import('./audit.mjs');
else if (process.argv[2] === 'records') await import('./records.mjs');
else if (process.argv[2] === 'rotation') await import('./rotation.mjs');
else if (process.argv[2] === 'pages') await import('./pages.mjs');
else if (process.argv[2] === 'mirror') await import('./mirror.mjs');
else if (process.argv[2] === 'soak') await import('./soak.mjs');
else await main();

async function main() {
  const { values: flags } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rows: { type: 'string' },
      pairs: { type: 'string' },
      scale: { type: 'string', default: '1' },
      folder: { type: 'string' },
      list: { type: 'boolean', default: false },
    },
  });
  const rows = chosen(flags);
  if (flags.list) {
    for (const { group, name } of rows) process.stdout.write(`${group}: ${name}\n`);
    return;
  }
  const folder = flags.folder ?? mkdtempSync(join(tmpdir(), 'lookaside-bench-'));
  mkdirSync(folder, { recursive: true });
  try {
    requireRoom(folder, rows);
  } catch (error) {
    if (flags.folder === undefined) rmSync(folder, { recursive: true });
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
    return;
  }
  // ahead of all rows, as the first that fails for it may be an hour away
  const missing = flags.rows === undefined ? missingPrograms() : null;
  if (missing !== null) process.stderr.write(`${missing} Those rows will fail.\n`);
  const pairs = Number(flags.pairs ?? (flags.quick ? 3 : 5));
  const bench = {
    folder,
    pairs,
    warmUps: flags.quick ? 3 : 5,
    isQuick: flags.quick,
    /** What the run makes and no other run needs. */
    passing: [],
    progress: () => process.stderr.write('.'),
  };
  const results = [];
  let isWrong = false;
  let file = null;
  process.stderr.write(`${JSON.stringify(machine())}\n`);
  try {
    for (const row of rows) {
      process.stderr.write(`${row.name} `);
      try {
        const { run, isQuick: _, ...described } = row;
        results.push({ ...described, figures: await run(bench, row) });
        // after each row: a run that is ended early has measured something
        file = writeResults(results, { isQuick: flags.quick, scale: Number(flags.scale) });
        process.stderr.write(` ${summaryOf(results.at(-1))}\n`);
      } catch (error) {
        // the other rows may still tell something; the end says that one has failed
        isWrong = true;
        process.stderr.write(`FAILED: ${error instanceof Error ? error.message : error}\n`);
        await stopAll();
      }
    }
  } finally {
    await stopAll();
    const made = flags.folder === undefined ? [folder] : bench.passing;
    for (const path of made) rmSync(path, { recursive: true, force: true });
  }
  printTable(results);
  if (file !== null) process.stdout.write(`written: ${file}\n`);
  const isWhole = !flags.quick && flags.rows === undefined;
  const chart = isWhole ? drawChart(results, { date: new Date().toISOString().slice(0, 10) }) : null;
  if (chart !== null) process.stdout.write(`written: ${chart}\n`);
  if (isWrong) {
    process.stderr.write('at least one row FAILED: see above\n');
    process.exitCode = 1;
  }
}

/** Told at once, so that a run that is ended early has told something. */
function summaryOf({ unit = '× nginx', figures: { ratio, perSecond, cpuUs } }) {
  const parts = [];
  if (ratio !== undefined) parts.push(`${ratio.toFixed(2)} ${unit.startsWith('×') ? unit : '× nginx'}`);
  if (cpuUs !== undefined) parts.push(`${cpuUs.toFixed(1)} µs each`);
  if (perSecond !== undefined) parts.push(`${Math.round(perSecond)} a second`);
  return parts.join(', ');
}

function chosen({ quick, rows, scale }) {
  const wanted = rows?.split(',').map((part) => part.trim()) ?? null;
  const rowsToRun = ROWS.filter(({ group, name, isQuick = false, isLong = false }) => {
    if (quick && !isQuick) return false;
    if (isLong && wanted === null) return false;
    return wanted === null || wanted.some((part) => part === group || name.includes(part));
  });
  if (rowsToRun.length === 0) throw new Error(`no row is named ${rows}; --list names them`);
  return rowsToRun.map((row) => scaled(row, Number(scale)));
}

function scaled(row, scale) {
  if (scale === 1 || row.images === undefined || row.images <= 5000) return row;
  const images = Math.max(5000, Math.round(row.images * scale));
  return { ...row, images, name: `${row.name} (scaled down to ${images})` };
}
