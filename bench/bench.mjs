// `npm run bench`: how fast we are beside the file server that people have, nginx with its access log, in the same run on
// the same machine. Prints tables of figures and of targets, writes bench/results/DATE.json and docs/performance.svg. USAGE has the flags.
// `npm run bench -- start`: what it costs to start a command of signers. `npm run bench -- audit`: what questions to the record cost.
// `npm run bench -- records`: verifying a million audit events and exporting a million reads, by the clock.
// `npm run bench -- rotation`: what the list of work from one key to the next costs. `npm run bench -- mirror`: filling a mirror,
// beside curl. `npm run bench -- pages`: how long each web page takes. `npm run bench -- soak`: whether the memory stays flat.
import { parseArgs } from 'node:util';
import { Refusal } from '../scripts/run.mjs';
import { drawChart } from './chart.mjs';
import { missingPrograms, requireRoom } from './programs.mjs';
import { machine, printTable, writeResults } from './report.mjs';
import { ROWS } from './rows.mjs';
import { openFolder } from './run-folder.mjs';
import { stopAll, unlessEnding } from './servers.mjs';
import { printTargets } from './targets.mjs';

const USAGE = `npm run bench -- [flags]

  --list              prints the rows, and measures nothing
  --quick             the most important rows, in a minute; writes neither chart nor the full results
  --rows reads,…      groups: reads, record, cores, pulls, uploads, commands, start, scan, tail, growth, nodes; or a part of a row's name
  --pairs N           how often each is measured; otherwise 5 times, 3 with --quick
  --scale 0.1         a tenth of the images of rows with more than 5,000, which the table says; a million images take an hour
  --folder DIR        keeps the trees for the next run

npm run bench -- start, audit, records, rotation, mirror, pages or soak measures other things: docs/performance.md
npm run bench -- chart draws docs/performance.svg again from the newest results
`;

if (process.argv[2] === 'start') await import('./start.mjs');
else if (process.argv[2] === 'audit') await import('./audit.mjs');
else if (process.argv[2] === 'records') await import('./records.mjs');
else if (process.argv[2] === 'rotation') await import('./rotation.mjs');
else if (process.argv[2] === 'pages') await import('./pages.mjs');
else if (process.argv[2] === 'mirror') await import('./mirror.mjs');
else if (process.argv[2] === 'soak') await import('./soak.mjs');
else if (process.argv[2] === 'chart') await import('./draw.mjs');
else await main();

async function main() {
  const flags = flagsOf(process.argv.slice(2));
  if (flags.help) {
    process.stdout.write(USAGE);
    return;
  }
  const rows = chosen(flags);
  if (flags.list) {
    for (const { group, name } of rows) process.stdout.write(`${group}: ${name}\n`);
    return;
  }
  const folder = openFolder(flags.folder, 'lookaside-bench-');
  try {
    requireRoom(folder.path, rows);
  } catch (error) {
    folder.close();
    throw error;
  }
  // ahead of all rows, as the first that fails for it may be an hour away
  const missing = flags.rows === undefined ? missingPrograms() : null;
  if (missing !== null) process.stderr.write(`${missing} Those rows will fail.\n`);
  const bench = {
    folder: folder.path,
    pairs: flags.pairs,
    warmUps: flags.quick ? 1 : 5,
    isQuick: flags.quick,
    passing: folder.passing,
    progress: () => process.stderr.write('.'),
    /** Of the rows before. */
    results: [],
    /** The row that comes next, which may take servers over; undefined: none. */
    next: undefined,
  };
  const { results } = bench;
  const startedMs = performance.now();
  let isWrong = false;
  let file = null;
  process.stderr.write(`${JSON.stringify(machine())}\n`);
  try {
    for (const [at, row] of rows.entries()) {
      process.stderr.write(`${row.name} `);
      bench.next = rows[at + 1];
      const rowMs = performance.now();
      try {
        const { run, isQuick: _, ...described } = row;
        const figures = await run(bench, row);
        const tookSeconds = secondsSince(rowMs);
        results.push({ ...described, figures, tookSeconds });
        // after each row: a run that is ended early has measured something
        file = writeResults(results, { isQuick: flags.quick, scale: flags.scale });
        process.stderr.write(
          ` ${[summaryOf(results.at(-1)), `${tookSeconds} s`].filter(Boolean).join('; ')}\n`,
        );
      } catch (error) {
        await unlessEnding();
        // the other rows may still tell something; the end says that one has failed
        isWrong = true;
        process.stderr.write(`FAILED: ${error instanceof Error ? error.message : error}\n`);
        await stopAll();
      }
    }
    await stopAll();
    const isWhole = !flags.quick && flags.rows === undefined && flags.scale === 1;
    // the last whole one says more than one that lacks rows
    report(results, file, isWhole && !isWrong);
    if (isWhole)
      process.stdout.write('whether the memory stays flat is another half an hour: npm run bench -- soak\n');
    process.stdout.write(`this took ${minutesText(secondsSince(startedMs))}\n`);
  } finally {
    await stopAll();
    if (flags.folder === undefined) process.stderr.write('deleting the trees …\n');
    folder.close();
  }
  if (isWrong) {
    process.stderr.write('at least one row FAILED: see above\n');
    process.exitCode = 1;
  }
}

function report(results, file, isChart) {
  if (results.length > 0) {
    printTable(results);
    printTargets(results);
  }
  if (file !== null) process.stdout.write(`written: ${file}\n`);
  const chart = isChart ? drawChart(results, { date: new Date().toISOString().slice(0, 10) }) : null;
  if (chart !== null) process.stdout.write(`written: ${chart}\n`);
}

function secondsSince(ms) {
  return Math.round((performance.now() - ms) / 1000);
}

function minutesText(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} minutes`;
}

/** @throws Refusal */
function flagsOf(args) {
  const flags = parsedFlags(args);
  const pairs = Number(flags.pairs ?? (flags.quick ? 3 : 5));
  const scale = Number(flags.scale);
  if (!Number.isInteger(pairs) || pairs < 1)
    throw new Refusal(`--pairs is ${flags.pairs}; wanted a whole number from 1`);
  if (!(scale > 0 && scale <= 1))
    throw new Refusal(`--scale is ${flags.scale}; wanted a number above 0 and up to 1`);
  return { ...flags, pairs, scale };
}

function parsedFlags(args) {
  try {
    return parseArgs({
      args,
      options: {
        quick: { type: 'boolean', default: false },
        rows: { type: 'string' },
        pairs: { type: 'string' },
        scale: { type: 'string', default: '1' },
        folder: { type: 'string' },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new Refusal(`${error.message}\n\n${USAGE}`);
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

function chosen(flags) {
  const { quick, rows, scale } = flags;
  const wanted = rows === undefined ? null : partsOf(rows);
  const groups = new Set(ROWS.map(({ group }) => group));
  const rowsToRun = ROWS.filter(({ group, name, isQuick = false }) => {
    if (quick && !isQuick) return false;
    return (
      wanted === null || wanted.some((part) => (groups.has(part) ? part === group : name.includes(part)))
    );
  });
  if (rowsToRun.length === 0) throw new Refusal(whyNone(flags));
  return rowsToRun.map((row) => scaled(row, scale));
}

/** Nothing between two commas is no part: each name has it. */
function partsOf(rows) {
  const parts = rows.split(',').map((part) => part.trim());
  return parts.filter((part) => part !== '');
}

function whyNone({ quick, rows }) {
  const all = `npm run bench -- --list${quick ? ' --quick' : ''} names them`;
  return `${quick ? 'no row of --quick' : 'no row'} has the group ${rows}, or ${rows} in its name; ${all}`;
}

/** Images that are served, or that are stored. */
function scaled(row, scale) {
  const field = row.images === undefined ? 'count' : 'images';
  const whole = row[field];
  if (scale === 1 || whole === undefined || whole <= 5000) return row;
  const least = row.leastImages ?? (field === 'count' ? 1000 : 5000);
  const some = Math.max(least, Math.round(whole * scale));
  return { ...row, [field]: some, name: `${row.name} (scaled down to ${some})` };
}
