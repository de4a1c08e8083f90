// The results as a table for people, and as JSON.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { reachedOf } from './targets.mjs';

/** Ahead of the first row: the rows are a load of their own. */
const LOAD_BEFORE = os.loadavg()[0];
const RESULTS = new URL('results/', import.meta.url).pathname;

export function printTable(results) {
  const rows = results.map(({ name, unit, figures: f, tookSeconds }) => ({
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
    'start ms': rounded(f.startMs, 0),
    'RSS MiB': rounded(f.rssMiB, 0),
    'took s': tookSeconds,
  }));
  console.table(
    rows.map((row) => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== ''))),
  );
}

const isOurs = (unit) => unit !== '× nginx' && unit?.startsWith('×');

/**
 * Returns the file. The results of one day stand in one file, the latest of each row with the commit that it is of. Those of smaller
 * trees, and of --quick, have files of their own, so that a trial does not write over what was measured with care.
 */
export function writeResults(results, { isQuick, scale }) {
  mkdirSync(RESULTS, { recursive: true });
  const date = new Date().toISOString().slice(0, 10);
  const kind = isQuick ? '-quick' : scale < 1 ? '-scaled' : '';
  const file = join(RESULTS, `${date}${kind}.json`);
  const measured = new Set(results.map(({ name }) => name));
  const others = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).rows : [];
  const rows = [
    ...others.filter(({ name }) => !measured.has(name)),
    ...results.map((row) => ({
      ...row,
      targets: reachedOf(row),
      target: undefined,
      commit: commit(),
      scale,
    })),
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

function rounded(value, digits) {
  return value === undefined ? '' : Number(value.toFixed(digits));
}
