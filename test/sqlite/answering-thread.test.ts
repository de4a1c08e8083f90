// A thread that is started for one answer: it gives it, dies without, or is ended.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { answerOf } from '../../src/sqlite/answering-thread.ts';
import { until } from './scratch.ts';

const threadOf = (code: string) => ({
  name: 'one',
  script: new URL(`data:text/javascript,${encodeURIComponent(code)}`),
  data: { number: 41 },
});

test('a thread answers with what it sends', async () => {
  const code = `import { parentPort, workerData } from 'node:worker_threads'; parentPort.postMessage(workerData.number + 1);`;
  assert.equal(await answerOf(threadOf(code), new AbortController().signal), 42);
});

test('a thread that ends without an answer is named', async () => {
  const { signal } = new AbortController();
  await assert.rejects(answerOf(threadOf('process.exit(0)'), signal), /the thread one ended without/);
  await assert.rejects(answerOf(threadOf('throw new Error("broken")'), signal), /broken/);
});

test('a thread that works without end has ended once the signal has', async () => {
  const stop = new AbortController();
  const state = new Int32Array(new SharedArrayBuffer(4));
  const code = `import { workerData } from 'node:worker_threads'; for (;;) Atomics.add(workerData.state, 0, 1);`;
  const answer = answerOf({ ...threadOf(code), data: { state } }, stop.signal);
  await until(() => Atomics.load(state, 0) > 0);
  stop.abort(new Error('the server stops'));
  await assert.rejects(answer, /the server stops/);
  const last = state[0];
  await wait(20);
  assert.equal(state[0], last);
  await assert.rejects(answerOf(threadOf(code), stop.signal), /the server stops/);
});
