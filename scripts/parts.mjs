// Which tests are of the fast part, and what these may run: nothing but Node.js and what every Linux has.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join, sep } from 'node:path';
import process from 'node:process';
import { whereIs } from './run.mjs';

/** Tests here ask another program, break the machine below the server, or install the project. All others are fast. */
export const SLOW_FOLDERS = ['test/clients', 'test/faults', 'test/start'];

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
