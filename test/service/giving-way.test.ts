import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGivingWay, restingBetween } from '../../src/service/giving-way.ts';

const WALKS = 24;

/** Time passes as it is told, and reads come at a steady rate. */
function open() {
  let nowMs = 0;
  let answered = 0;
  let wake: (() => void) | null = null;
  let begun = 0;
  const now = { readsASecond: 1000, lateMs: 0 };
  const givingWay = createGivingWay({
    reads: () => Math.floor(answered),
    clock: { monotonicMs: () => nowMs },
    wait: (ms) =>
      new Promise<void>((resolve) => {
        begun += 1;
        wake = () => {
          const tookMs = ms + now.lateMs;
          nowMs += tookMs;
          answered += (now.readsASecond * tookMs) / 1000;
          resolve();
        };
      }),
  });
  /** With timers that are late by as much, of which one in `every`. */
  async function pass(ms: number, { lateMs = 0, every = 1 } = {}): Promise<void> {
    const untilMs = nowMs + ms;
    for (let turn = 1; nowMs < untilMs; turn += 1) {
      now.lateMs = turn % every === 0 ? lateMs : 0;
      wake?.();
      await new Promise(setImmediate);
    }
  }
  /** While nobody watches. */
  function passUnwatched(ms: number): void {
    nowMs += ms;
    answered += (now.readsASecond * ms) / 1000;
  }
  return { givingWay, now, pass, passUnwatched, waits: () => begun };
}

test('what nobody waits for is all under way while reads come at once', async () => {
  const { givingWay, pass } = open();
  const end = givingWay.watch(() => undefined);
  await pass(5000, { lateMs: 3 });
  assert.equal(givingWay.most(WALKS), WALKS);
  end();
});

test('it becomes less while reads wait, never nothing, and all again when they do not', async () => {
  const { givingWay, pass } = open();
  let told = 0;
  const end = givingWay.watch(() => {
    told += 1;
  });
  await pass(2600);
  await pass(270, { lateMs: 10, every: 5 });
  assert.equal(givingWay.most(WALKS), WALKS / 2);
  await pass(5000, { lateMs: 10, every: 5 });
  assert.equal(givingWay.most(WALKS), 2);
  assert.equal(givingWay.most(1), 1);
  const before = told;
  await pass(1200);
  const some = givingWay.most(WALKS);
  assert.ok(some > 4 && some < WALKS, `${some}`);
  await pass(1500);
  assert.equal(givingWay.most(WALKS), WALKS);
  assert.ok(told > before);
  end();
});

test('the first of a process begins with the least, and has all after one look without reads', async () => {
  const { givingWay, now, pass } = open();
  const end = givingWay.watch(() => undefined);
  assert.equal(givingWay.most(WALKS), 2);
  now.readsASecond = 0;
  await pass(300, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), WALKS);
  end();
});

test('where reads wait for a fifth of the time, it is the least at once', async () => {
  const { givingWay, pass } = open();
  const end = givingWay.watch(() => undefined);
  await pass(2600);
  assert.equal(givingWay.most(WALKS), WALKS);
  await pass(300, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), 2);
  end();
});

test('one read of a hundred that waits is enough, and one of hundreds costs little', async () => {
  const { givingWay, pass } = open();
  const end = givingWay.watch(() => undefined);
  await pass(5000, { lateMs: 12, every: 500 });
  assert.ok(givingWay.most(WALKS) >= WALKS / 2);
  await pass(3000, { lateMs: 12, every: 25 });
  assert.equal(givingWay.most(WALKS), 2);
  end();
});

test('where next to nobody reads, it gives way to nobody', async () => {
  const { givingWay, now, pass } = open();
  const end = givingWay.watch(() => undefined);
  await pass(3000, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), 2);
  now.readsASecond = 20;
  await pass(600, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), WALKS);
  end();
});

test('work that begins later begins with the least where reads come, and otherwise with all', async () => {
  const { givingWay, now, pass, passUnwatched } = open();
  const end = givingWay.watch(() => undefined);
  await pass(3000);
  end();
  await pass(600);
  passUnwatched(3_600_000);
  givingWay.watch(() => undefined)();
  assert.equal(givingWay.most(WALKS), 2);
  await pass(600);
  now.readsASecond = 1;
  passUnwatched(3_600_000);
  givingWay.watch(() => undefined);
  assert.equal(givingWay.most(WALKS), WALKS);
});

test('nothing is watched without such work, and then all of it is under way', async () => {
  const { givingWay, pass, waits } = open();
  assert.equal(waits(), 0);
  const end = givingWay.watch(() => undefined);
  const endOther = givingWay.watch(() => undefined);
  await pass(3000, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), 2);
  end();
  await pass(600, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), 2, 'the other goes on');
  endOther();
  await pass(600, { lateMs: 40 });
  assert.equal(givingWay.most(WALKS), WALKS);
  const before = waits();
  await new Promise(setImmediate);
  assert.equal(waits(), before);
  givingWay.watch(() => undefined);
  assert.equal(waits(), before + 1);
});

test('work that comes in pieces rests between them while reads wait, and its end is told', async () => {
  let nowMs = 0;
  let most = 4;
  let watchers = 0;
  const rests: number[] = [];
  const givingWay = {
    most: () => most,
    watch() {
      watchers += 1;
      return () => {
        watchers -= 1;
      };
    },
  };
  async function* pieces() {
    yield* [1, 2, 3, 4, 5];
  }
  const clock = { monotonicMs: () => nowMs };
  const wait = async (ms: number) => void rests.push(ms);
  for await (const piece of restingBetween(pieces(), givingWay, { clock, wait })) {
    assert.equal(watchers, 1);
    nowMs += piece === 4 ? 10_000 : 20;
    most = piece === 1 ? 4 : 1;
    if (piece === 3) most = 2;
    if (piece === 5) break;
  }
  assert.deepEqual(rests, [60, 20, 500]);
  assert.equal(watchers, 0);
});
