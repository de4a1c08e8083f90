import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { SignatureSet } from '../../src/domain/ports.ts';
import { walkFault } from '../../src/domain/walk.ts';
import { createMirror } from '../../src/service/mirror.ts';
import type { Brought } from '../../src/service/mirror-bring.ts';
import { createGate } from '../../src/service/mirror-gate.ts';
import { createGate as createPromise } from '../gate.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';

const IMAGE = imageOf('team/app');
const NO_SET: SignatureSet = { generation: 0, entries: [] };
const entry = { sha256: '1'.repeat(64), sizeBytes: 1, storedAt: new Date(0), bytes: Buffer.from('1') };
const SET: SignatureSet = { generation: 1, entries: [entry] };
const BROUGHT: Brought = { kind: 'set', set: SET, added: 1, leftOut: [], unstored: null };

function open(bring: () => Promise<Brought>, stored: () => SignatureSet = () => NO_SET) {
  const clock = createClock();
  const waits = createPromise();
  let walks = 0;
  const mirror = createMirror({
    settings: { onDemand: null, onUpstreamFailure: '503', maxAgeMs: 3_600_000 },
    store: {
      readSet: async () => stored(),
      readBlob: async () => null,
      listFolder: async () => ({ names: [], next: null }),
    },
    bringer: {
      bring: () => {
        walks += 1;
        return bring();
      },
      held: () => undefined,
      heldBlob: () => null,
    },
    mirrors: { setOf: async () => null },
    restingMs: () => 0,
    clock,
    wait: () => waits.promise,
    log: createLog(),
  });
  return { mirror, clock, readerGivesUp: waits.open, walks: () => walks };
}

test('who waits for a walk that takes too long gets a fault, and the walk goes on', async () => {
  const walk = createPromise<Brought>();
  const { mirror, readerGivesUp } = open(() => walk.promise);
  const read = mirror.store.readSet(IMAGE);
  readerGivesUp();
  await assert.rejects(read, (error: unknown) => {
    assert.ok(error instanceof LookasideError);
    assert.equal(error.code, 'UPSTREAM_UNAVAILABLE');
    assert.deepEqual(error.detail, { retryAfterSeconds: 5 });
    return true;
  });
  walk.open(BROUGHT);
  await mirror.stop();
  assert.equal(mirror.walks.set, 1);
});

test('that an image has no signatures is remembered for five minutes', async () => {
  const { mirror, clock, walks } = open(async () => ({ kind: 'empty', leftOut: [] }));
  for (let read = 0; read < 3; read += 1) assert.equal(await readOf(mirror), 0);
  assert.equal(walks(), 1);
  clock.pass(299_000);
  await readOf(mirror);
  assert.equal(walks(), 1);
  clock.pass(2000);
  await readOf(mirror);
  assert.equal(walks(), 2);
});

test('what is stored never waits for the upstream, and is asked for again when it is old', async () => {
  const walk = createPromise<Brought>();
  const { mirror, clock, walks } = open(
    () => walk.promise,
    () => SET,
  );
  assert.equal(await readOf(mirror), 1);
  walk.open(walkFault('status', 'answered 500'));
  await turn();
  assert.equal(walks(), 1);
  for (let read = 0; read < 3; read += 1) assert.equal(await readOf(mirror), 1);
  await turn();
  assert.equal(walks(), 1);
  clock.pass(31_000);
  assert.equal(await readOf(mirror), 1);
  await turn();
  assert.equal(walks(), 2);
  await mirror.stop();
});

test('readers begin fifty walks a second at most, sixteen run at once, and too many are turned away', async () => {
  const clock = createClock();
  const waits: number[] = [];
  const gate = createGate({
    atOnce: 16,
    perSecond: 50,
    maxWaiting: 10,
    clock,
    wait: async (ms) => void waits.push(ms),
  });
  const hold = createPromise();
  let running = 0;
  const results = Array.from({ length: 30 }, () =>
    gate.pass('read', async () => {
      running += 1;
      await hold.promise;
      return true;
    }),
  );
  await turn();
  assert.equal(running, 16);
  hold.open();
  const passed = await Promise.all(results);
  assert.equal(passed.filter((one) => one === true).length, 26);
  assert.equal(passed.filter((one) => one === null).length, 4);
  assert.equal(Math.max(...waits), 25 * 20);
});

async function readOf({ store }: Pick<ReturnType<typeof createMirror>, 'store'>): Promise<number> {
  return (await store.readSet(IMAGE)).entries.length;
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
