// `node --import` of this has a server of ours note how long its main thread was busy at a time. On SIGUSR2 it writes that into the file
// BENCH_LOOP_DELAY names, and begins anew.
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  process.on('SIGUSR2', () => {
    const ms = (ns) => ns / 1e6;
    const noted = { p99Ms: ms(delays.percentile(99)), mostMs: ms(delays.max) };
    delays.reset();
    writeFileSync(process.env.BENCH_LOOP_DELAY, JSON.stringify(noted));
  });
}
