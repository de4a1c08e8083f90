// What the bench says of its targets: bench/targets.mjs. A target that is missed must not look as if it was reached.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const { reachedOf } = await import(new URL('../../bench/targets.mjs', import.meta.url).href);

/** Whether each target of such a row is reached by these figures. */
function reached(row: object, figures: object): readonly (boolean | null)[] {
  const lines: readonly { isReached: boolean | null }[] = reachedOf({ ...row, figures });
  return lines.map(({ isReached }) => isReached);
}

test('a ratio of costs is wanted at most, and one of speeds at least', () => {
  for (const unit of ['× nginx', '× without', '× quiet p99', '× 10000 images']) {
    assert.deepEqual(reached({ unit, target: 2 }, { ratio: 2 }), [true], unit);
    assert.deepEqual(reached({ unit, target: 2 }, { ratio: 2.01 }), [false], unit);
  }
  for (const unit of ['× one process', '× curl']) {
    assert.deepEqual(reached({ unit, target: 1.7 }, { ratio: 1.7 }), [true], unit);
    assert.deepEqual(reached({ unit, target: 1.7 }, { ratio: 1.69 }), [false], unit);
  }
});

test('a row without a ratio is wanted as often a second at least', () => {
  assert.deepEqual(reached({ target: 500 }, { perSecond: 500 }), [true]);
  assert.deepEqual(reached({ unit: 'a second', target: 500 }, { perSecond: 499.9 }), [false]);
});

test('each of several targets stands by itself, and what was not measured is neither', () => {
  const targets = [
    { figure: 'startMs', unit: 'ms', most: 1000 },
    { figure: 'rssMiB', unit: 'MiB', most: 250 },
    { figure: 'timesLoop', unit: '×', least: 5 },
  ];
  assert.deepEqual(reached({ targets }, { startMs: 999, rssMiB: 251 }), [true, false, null]);
});

test('a row without a target has nothing to reach', () => {
  assert.deepEqual(reached({ target: null }, { ratio: 9 }), []);
  assert.deepEqual(reached({}, { ratio: 9 }), []);
});
