// The fuzzer finds what is planted for it, and what it fuzzes withstands a short run.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isFull } from '../faults/promise.ts';
import { fuzz, type Target } from './fuzzer.ts';
import { createRandom } from './random.ts';
import { TARGETS } from './targets.ts';

/** Wrong on purpose behind four bytes that must be right one after the other. */
function planted(input: Uint8Array): void {
  if (input[0] !== 0xc0) return;
  if (input[1] !== 0xdf) return;
  if (input[2] !== 0x7f) return;
  if (input[3] === 0x80) throw new Error('found');
}

const PLANTED: Target = {
  name: 'planted',
  watched: ['/test/fuzz/fuzzer.test'],
  seeds: [Buffer.alloc(4)],
  words: [],
  run: planted,
};

describe('the fuzzer', () => {
  test('finds its way through four bytes, led by which of them ran new code', async () => {
    const most = 40_000;
    const { crash, kept } = await fuzz({
      target: PLANTED,
      corpus: [],
      seed: 1,
      isEnough: (executions) => executions > most,
    });
    assert.deepEqual(crash?.input.subarray(0, 4), Buffer.from([0xc0, 0xdf, 0x7f, 0x80]));
    assert.ok(kept >= 2, 'it was led by what it kept');
  });

  test('does the same again with the same seed', () => {
    const [one, other] = [createRandom(7), createRandom(7)];
    for (let k = 0; k < 100; k += 1) assert.equal(one.below(1000), other.below(1000));
  });
});

describe('what is fuzzed', () => {
  for (const target of TARGETS) {
    test(`withstands a short run: ${target.name}`, async () => {
      const most = isFull ? 20_000 : 100;
      const result = await fuzz({ target, corpus: [], seed: 1, isEnough: (executions) => executions > most });
      assert.equal(result.crash, null, String(result.crash?.error));
      assert.ok(result.charactersAfter >= result.charactersBefore && result.charactersBefore > 0);
    });
  }
});
