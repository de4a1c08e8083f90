// `npm run bench`: makes the checkout ready, so that a fresh one can be measured and an old build is not; then bench/bench.mjs.
import './node-version.mjs';
import { makeReady } from './ready.mjs';
import { runMain } from './run.mjs';

runMain(async () => {
  await makeReady();
  await import('../bench/bench.mjs');
});
