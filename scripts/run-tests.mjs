// `node --import HANG-WATCH scripts/run-tests.mjs CONCURRENCY FILES …`: runs test files in this order. FILES is a file that has a
// process of its own, or several, with colons between them, that share one. `node --test` has the same runner, but sorts the files
// by name.
import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join, relative } from 'node:path';
import process from 'node:process';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { pathToFileURL } from 'node:url';

const [concurrency, ...processes] = process.argv.slice(2);
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => stop.abort());

// the runner listens once for each file, and more than ten listeners look like a leak
setMaxListeners(0, stop.signal);

const folder = mkdtempSync(join(tmpdir(), 'lookaside-tests-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const files = processes.map((names, index) => {
  const shared = names.split(delimiter);
  return shared.length === 1 ? shared[0] : writeEntry(shared, index);
});

const tests = run({ files, concurrency: Number(concurrency), signal: stop.signal });
tests.on('test:fail', () => {
  process.exitCode = 1;
});
tests.compose(spec).pipe(process.stdout);

/** A file that runs those as suites, one after the other: hooks that a file has outside its own suites stay its own. */
function writeEntry(shared, index) {
  const entry = join(folder, `${index}-${basename(dirname(shared[0]))}.mjs`);
  const suites = shared.map((file) => {
    const name = JSON.stringify(relative(process.cwd(), file));
    return `describe(${name}, async () => { await import(${JSON.stringify(pathToFileURL(file))}); });`;
  });
  writeFileSync(entry, `import { describe } from 'node:test';\n${suites.join('\n')}\n`);
  return entry;
}
