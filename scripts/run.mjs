// Finds one other program, runs it to its end, and passes signals on to it.
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import os from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';

const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * The program's exit status; 128 + the signal's number when a signal ended it. After a signal to this process the
 * program is let end first, then this process ends too, so nothing runs on alone and no caller goes on.
 * `stdio` as for spawn; without it the program's output goes to our stderr. With `detached` the program leads a
 * process group, and all of that gets the signals: npm does not pass them on to the compilers that it started.
 */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 2, 2], ...options });
    let received = null;
    const passOn = (signal) => {
      received = signal;
      if (options.detached) process.kill(-child.pid, signal);
      else child.kill(signal);
    };
    const stopListening = () => {
      for (const signal of PASSED_ON) process.removeListener(signal, passOn);
    };
    for (const signal of PASSED_ON) process.on(signal, passOn);
    child.on('error', (error) => {
      stopListening();
      reject(error);
    });
    child.on('exit', (code, signal) => {
      stopListening();
      if (received !== null) process.exit(128 + os.constants.signals[received]);
      resolve(signal === null ? code : 128 + os.constants.signals[signal]);
    });
  });
}

/** The file that the shell would run for this name, or null. */
export function whereIs(name) {
  const candidates = (process.env.PATH || '').split(delimiter).map((folder) => join(folder, name));
  return candidates.find(isExecutable) ?? null;
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // whatever the reason, the shell would not run it either
  }
}

/** A failure that is told to the person at the terminal in one sentence, without a stack. */
export class Refusal extends Error {}

/** Runs `main`; a Refusal, or a flag that parseArgs() does not know, becomes its message on stderr and exit status 1. */
export function runMain(main) {
  main().catch((error) => {
    const isTheirs = error instanceof Refusal || error.code?.startsWith?.('ERR_PARSE_ARGS');
    process.stderr.write(`${isTheirs ? error.message : error.stack}\n`);
    process.exit(1);
  });
}
