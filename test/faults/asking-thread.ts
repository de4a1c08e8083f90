// Started by asking.ts in a thread of its own: asks, waits for the whole answer, pauses, and asks again until it is told to end.
import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { sha256Hex } from '../store/lay.ts';
import { ask } from './ask.ts';
import type { Asked, Question } from './asking.ts';

const { port, target, pauseMs } = workerData as Question; // asking.ts starts nothing else with this
assert.ok(parentPort !== null);
const asker = parentPort;
const agent = new Agent({ keepAlive: true });

let isOver = false;
asker.once('message', () => {
  isOver = true;
});

const all: Asked[] = [];
while (!isOver) {
  const askedMs = performance.now();
  const { status, body } = await ask(port, target, agent);
  all.push({ status, sha256: sha256Hex(body), tookMs: performance.now() - askedMs });
  await pause(pauseMs);
}
agent.destroy();
asker.postMessage(all);
asker.close();
