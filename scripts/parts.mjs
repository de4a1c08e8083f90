// Which tests are of the fast part, and what these may run: nothing but Node.js and what every Linux has.
import { mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import process from 'node:process';
import { whereIs } from './run.mjs';

/** Tests here ask another program, break the machine below the server, or install the project. All others are fast. */
export const SLOW_FOLDERS = ['test/clients', 'test/faults', 'test/start'];

/** The files that take longest, longest first: begun last, one of them would run on alone while processors rest. */
export const LONGEST = [
  'test/clients/upload-corpus',
  'test/start/fresh-clone',
  'test/store/append',
  'test/store/append-beside',
  'test/clients/web-page',
  'test/clients/web-page-log-in',
  'test/clients/readme',
  'test/clients/upload',
  'test/clients/push',
  'test/faults/uploads',
  'test/clients/batches',
  'test/start/installed',
  'test/faults/lifecycle',
  'test/faults/damage',
  'test/clients/matrix',
  'test/clients/shared-tree',
  'test/faults/index-lost',
  'test/clients/base-url',
  'test/cli/import',
  'test/cli/field',
  'test/cli/commands',
  'test/faults/backup',
  'test/clients/uploads-together',
  'test/clients/gpg-certificates',
  'test/clients/client-config',
  'test/clients/generated-policies',
  'test/clients/policy-agreement',
  'test/faults/restarts',
  'test/faults/reads',
  'test/clients/verify',
  'test/faults/keys',
  'test/clients/postgres-nodes',
  'test/clients/postgres-signatures',
  'test/cli/push',
  'test/cli/administration',
  'test/clients/proxies',
  'test/faults/crash-loop',
  'test/clients/verify-agreement',
  'test/clients/tls',
  'test/compose/mirror',
];

/** These paths, relative to the project or to its dist/, with the LONGEST ahead of all others. */
export function longestFirst(paths) {
  return [...paths].sort((one, other) => rankOf(one) - rankOf(other));
}

function rankOf(path) {
  const slashed = path.split(sep).join('/');
  const at = LONGEST.indexOf(slashed.replace(/\.test\.[jt]s$/, ''));
  return at === -1 ? LONGEST.length : at;
}

/** What a process of its own is for: what a file shows of its process would be that of its neighbours too. */
const LOOKS_AT_ITS_PROCESS = /\/proc\/self|process\.memoryUsage|\bgc\(/;

/** More in one process would save little, and would leave one processor idle at the end. */
const MOST_IN_ONE_PROCESS = 12;

/**
 * The files of each process, in the order of `paths`: fast files of one folder share some, because a process that loads Node.js
 * and our code takes longer than most of them. The LONGEST, and those that look at their own process, are alone.
 * `read` gives the text of a file.
 */
export function processesFor(paths, read) {
  const processes = [];
  const filling = new Map();
  for (const path of paths) {
    const folder = dirname(path);
    const mayShare =
      isFast(path) && rankOf(path) === LONGEST.length && !LOOKS_AT_ITS_PROCESS.test(read(path));
    const open = mayShare ? filling.get(folder) : undefined;
    if (open !== undefined && open.length < MOST_IN_ONE_PROCESS) {
      open.push(path);
      continue;
    }
    const files = [path];
    processes.push(files);
    if (mayShare) filling.set(folder, files);
  }
  return processes;
}

/** What tests of the fast part may run beside Node.js. */
const EVERYWHERE = ['sh', 'cat', 'chmod', 'grep', 'mkdir', 'mkfifo', 'mv', 'rm', 'seq', 'touch', 'xargs'];

/** Root alone runs it, to be nobody for a while. */
const FOR_ROOT = ['setpriv'];

/** Whether a test is of the fast part; `path` is relative to the project or to its dist/. */
export function isFast(path) {
  const slashed = path.split(sep).join('/');
  return !SLOW_FOLDERS.some((folder) => slashed.startsWith(`${folder}/`));
}

/** Makes `folder`: as a PATH, it has this Node.js and what every Linux has, and no other program of this machine. */
export function layPath(folder) {
  mkdirSync(folder);
  symlinkSync(process.execPath, join(folder, 'node'));
  for (const name of [...EVERYWHERE, ...FOR_ROOT]) {
    const program = whereIs(name);
    if (program !== null) symlinkSync(program, join(folder, name));
  }
}
