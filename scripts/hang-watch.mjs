// Loaded ahead of a test file: ends its process, with the names of the tests that run, once none has begun or ended for two
// minutes. From a thread of its own, because a test may also hang without ever letting go of the main one.
import { writeSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import process from 'node:process';
import { afterEach, beforeEach } from 'node:test';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

/** The longest test takes 23 s on two processors with nothing else to do. */
const LIMIT_MS = 120_000;
/** On a machine where each processor has more to do than this, a test has so many times the limit. */
const MUCH_LOAD = 3;
const TIMES_UNDER_LOAD = 3;
/** How long a process may take to end what it has started. */
const END_MS = 5000;

if (parentPort !== null && workerData?.isHangWatch) watch();
else if (isMainThread && process.env.NODE_TEST_CONTEXT !== undefined) startWatch();

function startWatch() {
  const limitMs = Number(process.env.TEST_LIMIT_MS ?? LIMIT_MS);
  const watcher = new Worker(new URL(import.meta.url), {
    workerData: { isHangWatch: true, file: process.argv[1], limitMs },
    execArgv: [],
  });
  watcher.unref();
  const running = new Set();
  let last = 'none at all';
  beforeEach(({ name }) => {
    running.add(`"${name}"`);
    watcher.postMessage({ running: [...running], last });
  });
  afterEach(({ name }) => {
    running.delete(`"${name}"`);
    last = `"${name}"`;
    watcher.postMessage({ running: [...running], last });
  });
}

function watch() {
  let state = { running: [], last: 'none at all' };
  let times = 0;
  const timer = setTimeout(look, workerData.limitMs);
  parentPort.on('message', (now) => {
    state = now;
    times = 0;
    timer.refresh();
  });

  function look() {
    times += 1;
    const isLoaded = loadavg()[0] > MUCH_LOAD * availableParallelism();
    if (isLoaded && times < TIMES_UNDER_LOAD) timer.refresh();
    else giveUp();
  }

  function giveUp() {
    const what =
      state.running.length > 0
        ? `${state.running.join(', ')} hangs`
        : `none runs, and the last that did is ${state.last}`;
    // not by the main thread, which may be what hangs
    const { file, limitMs } = workerData;
    const seconds = (times * limitMs) / 1000;
    writeSync(2, `no test of ${file} has begun or ended for ${seconds} s: ${what}\n`);
    process.kill(process.pid, 'SIGTERM');
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), END_MS);
  }
}
