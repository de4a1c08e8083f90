import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createLru } from '../../src/domain/lru.ts';

const MAX = 20;

type Step =
  | { readonly act: 'set'; readonly key: string; readonly value: number }
  | { readonly act: 'get' | 'delete'; readonly key: string }
  | { readonly act: 'clear' };

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ act: fc.constant('set' as const), key, value: fc.nat({ max: 25 }) }) },
  { weight: 5, arbitrary: fc.record({ act: fc.constant('get' as const), key }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('delete' as const), key }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('clear' as const) }) },
);

/** The same map as a plain list, the one used longest ago first. */
function createModel() {
  let entries: (readonly [key: string, value: number])[] = [];
  const weight = () => entries.reduce((sum, [, value]) => sum + value, 0);
  const without = (gone: string) => entries.filter(([key]) => key !== gone);
  return {
    get(wanted: string): number | undefined {
      const entry = entries.find(([key]) => key === wanted);
      if (entry !== undefined) entries = [...without(wanted), entry];
      return entry?.[1];
    },
    set(key: string, value: number): void {
      entries = without(key);
      if (value > MAX) return;
      entries.push([key, value]);
      while (weight() > MAX) entries.shift();
    },
    delete(key: string): void {
      entries = without(key);
    },
    clear(): void {
      entries = [];
    },
    weight,
    keys: () => entries.map(([key]) => key),
  };
}

describe('a map bounded by weight', () => {
  test('it holds what was used last, as far as the weight goes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const lru = createLru<string, number>(MAX, (value) => value);
        const model = createModel();
        for (const taken of steps) {
          if (taken.act === 'get') assert.equal(lru.get(taken.key), model.get(taken.key));
          else if (taken.act === 'set') {
            lru.set(taken.key, taken.value);
            model.set(taken.key, taken.value);
          } else if (taken.act === 'delete') {
            lru.delete(taken.key);
            model.delete(taken.key);
          } else {
            lru.clear();
            model.clear();
          }
          assert.equal(lru.weight, model.weight());
          assert.ok(lru.weight <= MAX);
          assert.equal(lru.size, model.keys().length);
        }
        for (const kept of model.keys()) assert.notEqual(lru.get(kept), undefined);
      }),
      { numRuns: 500 },
    );
  });

  test('a value that is too heavy is not held, and its older value neither', () => {
    const lru = createLru<string, number>(MAX, (value) => value);
    lru.set('a', 5);
    lru.set('b', 5);
    lru.set('a', MAX + 1);
    assert.equal(lru.get('a'), undefined);
    assert.equal(lru.get('b'), 5);
    assert.equal(lru.weight, 5);
  });
});
