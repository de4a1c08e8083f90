// When one process answers so much more than the others that it ends connections.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBalance, createRate, type Traffic } from '../../src/readers/balance.ts';

const of = (requestsPerSecond: number, connections: number): Traffic => ({ requestsPerSecond, connections });

/** What is to be ended at the last of so many turns that were all the same. */
function after(turns: number, all: readonly Traffic[]): readonly number[] {
  const surplusOf = createBalance();
  for (let turn = 1; turn < turns; turn += 1)
    assert.deepEqual(
      surplusOf(all),
      all.map(() => 0),
    );
  return surplusOf(all);
}

const CASES: readonly (readonly [string, readonly Traffic[], readonly number[]])[] = [
  ['all connections are with one of two', [of(20_000, 16), of(0, 0)], [8, 0]],
  ['a new process has none yet', [of(12_000, 10), of(12_000, 10), of(0, 0)], [3, 3, 0]],
  ['no more than sixteen at once', [of(20_000, 1000), of(0, 0)], [16, 0]],
  ['even', [of(20_000, 8), of(20_000, 8)], [0, 0]],
  ['nearly even', [of(22_500, 9), of(17_500, 7)], [0, 0]],
  ['one has two connections too many', [of(25_000, 10), of(15_000, 6)], [2, 0]],
  ['a single connection, which only another process would have then', [of(20_000, 1), of(0, 0)], [0, 0]],
  ['the processor of one is far from being used up', [of(4000, 16), of(0, 0)], [0, 0]],
  ['nothing is asked', [of(0, 0), of(0, 0)], [0, 0]],
];

for (const [what, all, wanted] of CASES) {
  test(`connections that are ended: ${what}`, () => assert.deepEqual(after(3, all), wanted));
}

test('what is uneven for a moment ends no connection, and after some were ended there is a pause', () => {
  const surplusOf = createBalance();
  const uneven = [of(20_000, 16), of(0, 0)];
  const even = [of(10_000, 8), of(10_000, 8)];
  const ended = [uneven, uneven, even, uneven, uneven, uneven, uneven, uneven, uneven].map(
    (all) => surplusOf(all)[0],
  );
  assert.deepEqual(ended, [0, 0, 0, 0, 0, 8, 0, 0, 8]);
});

test('processes that are ahead by turns end no connection', () => {
  const surplusOf = createBalance();
  const [one, other] = [
    [of(20_000, 8), of(14_000, 8)],
    [of(14_000, 8), of(20_000, 8)],
  ];
  for (const all of [one, other, one, other, other, one, one]) assert.deepEqual(surplusOf(all), [0, 0]);
  assert.deepEqual(surplusOf(one), [1, 0]);
});

test('a process that has come makes the count begin again', () => {
  const surplusOf = createBalance();
  const alone = [of(20_000, 16), of(0, 0)];
  assert.deepEqual(
    [surplusOf(alone), surplusOf(alone)],
    [
      [0, 0],
      [0, 0],
    ],
  );
  const [first = 0] = surplusOf([...alone, of(0, 0)]);
  assert.equal(first, 0);
});

test('a rate is that of the time since it was asked for last', () => {
  let nowMs = 1000;
  const rateOf = createRate(() => nowMs);
  nowMs = 1500;
  assert.equal(rateOf(100), 200);
  nowMs = 3500;
  assert.equal(rateOf(100), 0);
  assert.equal(rateOf(100), 0);
});
