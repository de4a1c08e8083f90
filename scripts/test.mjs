// `npm test [PART …]`: makes everything ready, the clients too, and runs the tests; those whose path has one of PARTs.
import './node-version.mjs';
import os from 'node:os';
import { join, relative } from 'node:path';
import process from 'node:process';
import { installClients, missingClients, whyNotInstalled } from './clients.mjs';
import { filesBelow, makeReady, ROOT, say } from './ready.mjs';
import { Refusal, run, runMain } from './run.mjs';

runMain(async () => {
  await makeReady();
  await provideClients();
  const files = testFiles(process.argv.slice(2));
  // At least two: the real clients and npm spend their time waiting for other programs.
  const concurrency = Math.max(2, os.availableParallelism());
  const flags = [
    '--test',
    '--test-reporter=spec',
    `--test-concurrency=${concurrency}`,
    '--test-timeout=600000',
  ];
  // Nothing is printed after it: the runner's counts are the last lines.
  process.exitCode = await run(process.execPath, [...flags, ...files], { cwd: ROOT, stdio: 'inherit' });
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

/** Built tests whose path below dist/ contains one of `parts`; all without parts. A folder fails on Node.js 22. */
function testFiles(parts) {
  const dist = join(ROOT, 'dist');
  const files = filesBelow(join(dist, 'test'), '.test.js').filter((file) => {
    return parts.length === 0 || parts.some((part) => relative(dist, file).includes(part));
  });
  if (files.length > 0) return files;
  throw new Refusal(
    parts.length === 0 ? 'there are no tests' : `no test file's path has ${parts.join(' or ')} in it`,
  );
}
