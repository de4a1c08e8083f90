// `npm run bench -- chart`: draws docs/performance.svg from the newest results of bench/results, where the rows of a whole run stand, and
// those that were measured again since.
import { readdirSync, readFileSync } from 'node:fs';
import { Refusal } from '../scripts/run.mjs';
import { drawChart } from './chart.mjs';
import { ROWS } from './rows.mjs';

const RESULTS = new URL('results/', import.meta.url);

const newest = readdirSync(RESULTS)
  .filter((name) => /^[0-9-]+\.json$/.test(name))
  .sort()
  .at(-1);
if (newest === undefined) throw new Refusal('bench/results has no results; run npm run bench first');
const { date, rows } = JSON.parse(readFileSync(new URL(newest, RESULTS), 'utf8'));
const results = ROWS.flatMap(({ name }) => rows.filter((row) => row.name === name));
const chart = drawChart(results, { date });
if (chart === null) throw new Refusal(`bench/results/${newest} has no row of reads`);
const missing = ROWS.filter(({ name }) => !rows.some((row) => row.name === name));
for (const { name } of missing) process.stdout.write(`not in bench/results/${newest}: ${name}\n`);
process.stdout.write(`written: ${chart}\n`);
