// `node --import HANG-WATCH scripts/run-tests.mjs CONCURRENCY FILE …`: runs test files in this order, each in a process of its
// own. `node --test` has the same runner, but sorts the files by name.
import { setMaxListeners } from 'node:events';
import process from 'node:process';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [concurrency, ...files] = process.argv.slice(2);
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => stop.abort());

// the runner listens once for each file, and more than ten listeners look like a leak
setMaxListeners(0, stop.signal);

const tests = run({ files, concurrency: Number(concurrency), signal: stop.signal });
tests.on('test:fail', () => {
  process.exitCode = 1;
});
tests.compose(spec).pipe(process.stdout);
