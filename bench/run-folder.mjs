// The folder of a run. One that --folder names is kept; any other goes with the run, also when a signal ends that.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { endAll } from './servers.mjs';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** npm sends on what the terminal has sent already: a signal so soon after the first is the same one. */
const TWICE_MS = 1000;

/** `named`: as --folder has it; undefined: a temporary folder, whose name begins with `prefix`. */
export function openFolder(named, prefix) {
  // whole, as nginx looks for a relative path below a folder of its own
  const path = named === undefined ? mkdtempSync(join(tmpdir(), prefix)) : resolve(named);
  mkdirSync(path, { recursive: true });
  const passing = named === undefined ? [path] : [];
  const close = () => {
    for (const one of passing) remove(one);
  };
  let endingSinceMs = null;
  for (const signal of SIGNALS)
    process.on(signal, () => {
      if (endingSinceMs !== null && performance.now() - endingSinceMs > TWICE_MS) exit(signal);
      if (endingSinceMs === null) void end(signal, close);
      endingSinceMs ??= performance.now();
    });
  return {
    path,
    /** What the run makes and no other run needs. */
    passing,
    close,
  };
}

/** By a program, as trees of millions of files go several times as quickly so. */
function remove(path) {
  spawnSync('rm', ['-rf', '--', path], { stdio: 'ignore' });
  // where something was still being written
  rmSync(path, { recursive: true, force: true, maxRetries: 3 });
}

async function end(signal, close) {
  process.stderr.write(
    `\nended by ${signal}: servers are stopped, and what only this run needs is deleted; once more ends it at once\n`,
  );
  await endAll();
  close();
  exit(signal);
}

function exit(signal) {
  process.exit(128 + constants.signals[signal]);
}
