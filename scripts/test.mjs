// `npm test [PART …]`: makes everything ready, the clients too, and runs the tests; those whose path has one of PARTs.
// `npm run test:fast [PART …]`: the fast part of them alone, without clients.
import './node-version.mjs';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import { delimiter, join, relative } from 'node:path';
import process from 'node:process';
import { installClients, missingClients, whyNotInstalled } from './clients.mjs';
import { isFast, layPath, longestFirst, processesFor } from './parts.mjs';
import { filesBelow, makeReady, ROOT, say } from './ready.mjs';
import { Refusal, run, runMain } from './run.mjs';

runMain(async () => {
  const [first, ...rest] = process.argv.slice(2);
  const onlyFast = first === '--fast';
  const parts = onlyFast || first === undefined ? rest : [first, ...rest];
  await makeReady();
  if (!onlyFast) await provideClients();
  const processes = testProcesses(parts, onlyFast);
  const env = onlyFast ? { ...process.env, PATH: pathWithoutClients() } : process.env;
  // Two more than there are processors: whatever starts a server, a client or npm waits for other programs and for the disk. With
  // four more, what has a time limit of its own failed.
  const concurrency = os.availableParallelism() + 2;
  const flags = ['--import', new URL('hang-watch.mjs', import.meta.url).href];
  const argv = [...flags, join(ROOT, 'scripts/run-tests.mjs'), `${concurrency}`, ...processes];
  // Nothing is printed after it: the runner's counts are the last lines.
  process.exitCode = await run(process.execPath, argv, { cwd: ROOT, env, stdio: 'inherit' });
});

async function provideClients() {
  const wanted = missingClients();
  if (wanted.length === 0) return;
  const obstacle = whyNotInstalled();
  if (obstacle === null) {
    say(`installing ${wanted.join(', ')} …`);
    await installClients(wanted);
  }
  const missing = missingClients();
  if (missing.length === 0) return;
  const sentence = `not on this machine: ${missing.join(', ')} (${obstacle === null ? 'apt-get failed' : obstacle})`;
  if (process.env.CI === 'true') throw new Refusal(`${sentence}; with CI=true no test may be skipped`);
  say(`${sentence}; tests that need one are skipped, marked # SKIP`);
}

/** A PATH on which a test of the fast part finds no client, so that it fails here if it asks one. Gone when we end. */
function pathWithoutClients() {
  const folder = mkdtempSync(join(os.tmpdir(), 'lookaside-test-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true })); // run() ends the process on a signal
  const path = join(folder, 'bin');
  layPath(path);
  return path;
}

/** For each process its built tests, of those whose path below dist/ contains one of `parts`; all without parts. */
function testProcesses(parts, onlyFast) {
  const dist = join(ROOT, 'dist');
  const paths = filesBelow(join(dist, 'test'), '.test.js').map((file) => relative(dist, file));
  const wanted = paths.filter((path) => {
    if (onlyFast && !isFast(path)) return false;
    return parts.length === 0 || parts.some((part) => path.includes(part));
  });
  if (wanted.length > 0) {
    const read = (path) => readFileSync(join(dist, path), 'utf8');
    const processes = processesFor(longestFirst(wanted), read);
    return processes.map((files) => files.map((path) => join(dist, path)).join(delimiter));
  }
  throw new Refusal(
    parts.length === 0
      ? 'there are no tests'
      : `no test file${onlyFast ? ' of the fast part' : ''} has ${parts.join(' or ')} in its path`,
  );
}
