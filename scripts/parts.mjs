// Which tests are of the fast part, and what these may run: nothing but Node.js and what every Linux has.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join, sep } from 'node:path';
import process from 'node:process';
import { whereIs } from './run.mjs';

/** Tests here ask another program, break the machine below the server, or install the project. All others are fast. */
export const SLOW_FOLDERS = ['test/clients', 'test/faults', 'test/start'];

/** The files that take longest, longest first: begun last, one of them would run on alone while processors rest. */
export const LONGEST = [
  'test/start/fresh-clone',
  'test/faults/damage',
  'test/faults/uploads',
  'test/clients/push',
  'test/faults/backup',
  'test/store/append',
  'test/clients/batches',
  'test/faults/hostile',
  'test/faults/store-failed',
  'test/faults/restarts',
  'test/cli/import',
  'test/faults/reads',
  'test/cli/commands',
  'test/cli/push',
  'test/clients/uploads-together',
  'test/faults/lifecycle',
  'test/faults/keys',
  'test/cli/questions',
];

/** These paths, relative to the project or to its dist/, with the LONGEST ahead of all others. */
export function longestFirst(paths) {
  const rank = (path) => {
    const at = LONGEST.indexOf(
      path
        .split(sep)
        .join('/')
        .replace(/\.test\.[jt]s$/, ''),
    );
    return at === -1 ? LONGEST.length : at;
  };
  return [...paths].sort((one, other) => rank(one) - rank(other));
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
