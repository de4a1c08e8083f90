// A server that is not root: permissions mean nothing to root.
import { spawnSync } from 'node:child_process';
import { chown, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Argv } from '../clients/command.ts';

/** nobody, by number: it needs no account. */
export const NOBODY = 65_534;

const PREFIX = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'] as const;
const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

/** Runs the program as nobody; as it is when we are no root ourselves. */
export function asNobody(argv: Argv): Argv {
  return isRoot() ? [...PREFIX, ...argv] : argv;
}

/** The option for node:test that skips, with the reason, where no process can be nobody. @throws Error with CI=true */
export function needsNobody(): { readonly skip: string | false } {
  if (!isRoot()) return { skip: false };
  const [program, ...args] = asNobody([process.execPath, MAIN, '--version']);
  const attempt = spawnSync(program, args, { encoding: 'utf8' });
  if (attempt.status === 0) return { skip: false };
  const reason = `nobody cannot run the server here: ${attempt.error?.message ?? attempt.stderr.trim()}`;
  if (process.env.CI === 'true') throw new Error(reason);
  return { skip: reason };
}

/** Gives the folder and all below it to nobody. */
export async function giveToNobody(folder: string): Promise<void> {
  if (!isRoot()) return;
  await chown(folder, NOBODY, NOBODY);
  for (const entry of await readdir(folder, { recursive: true })) {
    await chown(path.join(folder, entry), NOBODY, NOBODY);
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
