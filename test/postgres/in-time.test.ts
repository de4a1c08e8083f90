// Few acts at once, each within its bound of time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause, setImmediate } from 'node:timers/promises';
import { isLookasideError } from '../../src/domain/errors.ts';
import { createFewInTime, createPatience, createWhileAnswering, inTime } from '../../src/postgres/in-time.ts';

const late = (name: string) => new Error(`${name} is late`);

test('few acts go on at once, in the order of asking, and one that fails gives its place to the next', async () => {
  const fewInTime = createFewInTime({ atOnce: 2, longestMs: 60_000, late, monotonicMs: () => 0 });
  const begun: string[] = [];
  const ends = new Map<string, (error: Error | null) => void>();
  const ask = (name: string) =>
    fewInTime(name, (lastMs) => {
      begun.push(name);
      assert.equal(lastMs, 60_000);
      return new Promise<string>((resolve, reject) => {
        ends.set(name, (error) => (error === null ? resolve(name) : reject(error)));
      });
    });
  const asked = ['one', 'two', 'three', 'four'].map(ask);
  const outcomes = Promise.allSettled(asked);
  await setImmediate();
  assert.deepEqual(begun, ['one', 'two']);
  const broken = new Error('broken');
  ends.get('two')?.(broken);
  await assert.rejects(asked[1] ?? assert.fail(), broken);
  assert.deepEqual(begun, ['one', 'two', 'three']);
  ends.get('one')?.(null);
  await setImmediate();
  for (const name of ['three', 'four']) ends.get(name)?.(null);
  assert.deepEqual(
    (await outcomes).map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : 'refused')),
    ['one', 'refused', 'three', 'four'],
  );
});

test('who has no place in time is late, and is never begun', async () => {
  let nowMs = 0;
  const fewInTime = createFewInTime({ atOnce: 1, longestMs: 10, late, monotonicMs: () => nowMs });
  let end: () => void = () => undefined;
  const first = fewInTime('one', () => {
    return new Promise<void>((resolve) => {
      end = resolve;
    });
  });
  const second = fewInTime('two', () => assert.fail('it is begun'));
  await Promise.all([assert.rejects(first, late('one')), assert.rejects(second, late('two'))]);
  nowMs = 11;
  end();
  assert.equal(await fewInTime('three', async () => 'done'), 'done');
});

// a short one ends just after the time of what is asked
for (const pausedMs of [90, 1200])
  test(`what came while the process was paused for ${pausedMs} ms is read before anything is late`, async () => {
    const pauseProcess = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pausedMs);
    const patience = createPatience({
      monotonicMs: () => performance.now(),
      answeredAtMs: () => null,
      longestMs: 20,
    })();
    const asked = inTime(pause(60, 'an answer'), () => late('it'), 20);
    const waited = patience.wait(pause(60, 'a part'));
    pauseProcess();
    assert.equal(await asked, 'an answer');
    assert.equal(await waited, 'a part');
    assert.equal(await patience.wait(pause(60, 'the next part')), 'the next part');
    await assert.rejects(
      inTime(never(), () => late('it'), 20),
      late('it'),
    );
  });

test('a part that was late leaves nothing for the next one', async () => {
  let fastestMs = Number.POSITIVE_INFINITY;
  // a machine that does other work makes some of them late
  for (let n = 0; n < 5 && fastestMs > 500; n += 1) {
    const patience = createPatience({
      monotonicMs: () => performance.now(),
      answeredAtMs: () => null,
      longestMs: 20,
    })();
    await assert.rejects(patience.wait(never()), isUnavailable);
    const startMs = performance.now();
    await assert.rejects(patience.wait(never()), isUnavailable);
    fastestMs = Math.min(fastestMs, performance.now() - startMs);
  }
  assert.ok(fastestMs < 500, `the next one was given ${fastestMs} ms`);
});

const isUnavailable = (error: unknown) => isLookasideError(error, 'STORE_UNAVAILABLE');
const never = () => new Promise<never>(() => undefined);

test('the parts of a request share its time, and each request has its own', async () => {
  let nowMs = 0;
  const patience = createPatience({ monotonicMs: () => nowMs, answeredAtMs: () => 0, longestMs: 50 });
  const request = patience();
  const first = request.wait(
    setImmediate().then(() => {
      nowMs = 49;
      return 'first';
    }),
  );
  assert.equal(await first, 'first');
  await assert.rejects(request.wait(never()), isUnavailable);
  nowMs = 100;
  // nothing is left, and what is there already is not lost
  assert.equal(await request.wait(Promise.resolve('there')), 'there');
  assert.equal(await patience().wait(Promise.resolve('another')), 'another');
});

test('a long wait ends when the database answers nobody, and no sooner', async () => {
  let [nowMs, lastMs] = [0, 0];
  let looks = 0;
  const whileAnswering = createWhileAnswering({
    monotonicMs: () => nowMs,
    answeredAtMs() {
      looks += 1;
      nowMs += 10;
      if (looks <= 3) lastMs = nowMs - 5; // others were answered meanwhile
      return lastMs;
    },
    longestMs: 6,
  });
  await assert.rejects(
    whileAnswering(never(), () => late('it')),
    late('it'),
  );
  assert.equal(looks, 4);
  assert.equal(await whileAnswering(Promise.resolve('answer'), () => late('it')), 'answer');
});

test('a long wait has no end where nobody looks whether the database answers', async () => {
  const whileAnswering = createWhileAnswering({
    monotonicMs: () => 0,
    answeredAtMs: () => null,
    longestMs: 1,
  });
  let end: (value: string) => void = () => undefined;
  const waiting = whileAnswering(
    new Promise<string>((resolve) => {
      end = resolve;
    }),
    () => late('it'),
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  end('answer');
  assert.equal(await waiting, 'answer');
});
