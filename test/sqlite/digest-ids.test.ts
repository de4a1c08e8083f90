import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DigestIds, NO_ID, wordsOf } from '../../src/sqlite/digest-ids.ts';

/** Digests that often differ in one byte alone, first or last. */
const digest = fc
  .tuple(fc.nat(40), fc.nat(2), fc.nat(2))
  .map(([first, middle, last]) => Buffer.alloc(32, middle).fill(first, 0, 1).fill(last, 31));

test('an id is found by its number and its whole digest, and by nothing else', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(2), digest), { maxLength: 300 }), (asked) => {
      const ids = new DigestIds();
      const model = new Map<string, number>();
      for (const [group, bytes] of asked) {
        const key = `${group} ${bytes.toString('hex')}`;
        assert.equal(ids.find(group, wordsOf(bytes), 0), model.get(key) ?? NO_ID);
        if (model.has(key)) continue;
        model.set(key, model.size + 1);
        ids.add(group, wordsOf(bytes), 0, model.size);
      }
      assert.equal(ids.size, model.size);
    }),
  );
});

test('ids are found among many, and none once they are cleared', () => {
  const many = 5000;
  const bytes = Buffer.alloc(32 * many);
  for (let number = 0; number < many; number += 1) bytes.writeUInt32BE(number, 32 * number + 12);
  const words = wordsOf(bytes);
  const ids = new DigestIds();
  for (let number = 0; number < many; number += 1) ids.add(number % 2, words, 8 * number, number + 1);
  const got = Array.from({ length: many }, (_, number) => ids.find(number % 2, words, 8 * number));
  assert.deepEqual(
    got,
    Array.from({ length: many }, (_, number) => number + 1),
  );
  assert.equal(ids.find(1, words, 0), NO_ID);
  ids.clear();
  assert.equal(ids.size, 0);
  assert.equal(ids.find(0, words, 0), NO_ID);
});

test('bytes that begin at an odd place are read as those that do not', () => {
  const [even, odd] = [Buffer.alloc(32, 'abc'), Buffer.alloc(33, 'abc', 'latin1')];
  odd.set(even, 1);
  assert.deepEqual([...wordsOf(odd.subarray(1))], [...wordsOf(even)]);
});
