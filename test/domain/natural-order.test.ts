import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { naturalKey } from '../../src/domain/natural-order.ts';

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
const inOrder = (a: string, b: string) => compare(naturalKey(a), naturalKey(b));

const digits = fc.oneof(
  fc.constantFrom('0', '00', '1', '01', '2', '9', '10', '010', '99', '100'),
  fc.stringMatching(/^[0-9]{1,40}$/),
  fc.constant('9'.repeat(128)),
);
const words = fc.stringMatching(/^[a-zA-Z._@=~+-]{1,6}$/);
const name = fc.array(fc.oneof(digits, words), { maxLength: 6 }).map((parts) => parts.join(''));

/** The order said in another way: character by character, runs of digits by their value. */
function naturally(a: string, b: string): number {
  const [ofA, ofB] = [a, b].map((text) => text.match(/[0-9]+|[^0-9]/g) ?? []);
  for (let at = 0; ; at += 1) {
    const [one, other] = [ofA?.[at], ofB?.[at]];
    if (one === undefined || other === undefined) return compare(one ?? '', other ?? '');
    const areNumbers = /[0-9]/.test(one) && /[0-9]/.test(other);
    const order = areNumbers
      ? Number(BigInt(one) > BigInt(other)) - Number(BigInt(one) < BigInt(other))
      : compare(/[0-9]/.test(one) ? '0' : one, /[0-9]/.test(other) ? '0' : other);
    if (order !== 0) return order;
  }
}

describe('the order of names', () => {
  test('runs of digits go by their value, of any length, and all else by its characters', () => {
    fc.assert(
      fc.property(name, name, (a, b) => {
        assert.equal(inOrder(a, b), naturally(a, b));
        assert.equal(inOrder(a, b) + inOrder(b, a), 0);
      }),
      { numRuns: 2000 },
    );
  });

  test('a key has the length of each run in front of it, and indexes that exist have such keys', () => {
    const keyOf = (text: string) =>
      text.replace(/[0-9]+/g, (run) => {
        const significant = run.replace(/^0+(?=.)/, '');
        return `0${String(significant.length).padStart(3, '0')}${significant}`;
      });
    assert.equal(naturalKey('app-0@sha256=00a7'), 'app-00010@sha0003256=00010a00017');
    fc.assert(fc.property(name, (text) => assert.equal(naturalKey(text), keyOf(text))));
  });

  test('the order has no circle', () => {
    fc.assert(
      fc.property(name, name, name, (a, b, c) => {
        if (inOrder(a, b) <= 0 && inOrder(b, c) <= 0) assert.ok(inOrder(a, c) <= 0);
      }),
    );
  });

  test('names tie only when they differ in nothing but leading zeros', () => {
    fc.assert(
      fc.property(name, name, (a, b) => {
        const plain = (text: string) => text.replace(/[0-9]+/g, (run) => String(BigInt(run)));
        assert.equal(inOrder(a, b) === 0, plain(a) === plain(b));
      }),
    );
  });

  test('lower-case names come as a collator that counts would put them', () => {
    // without punctuation, which a collator orders by rules of its own
    const simple = fc
      .array(fc.oneof(fc.stringMatching(/^[0-9]{1,12}$/), fc.stringMatching(/^[a-z]{1,4}$/)), {
        maxLength: 5,
      })
      .map((parts) => parts.join(''));
    const collator = new Intl.Collator('en', { numeric: true });
    fc.assert(
      fc.property(simple, simple, (a, b) => {
        assert.equal(inOrder(a, b), Math.sign(collator.compare(a, b)));
      }),
    );
  });

  const ORDERED: readonly (readonly string[])[] = [
    ['signature-1', 'signature-2', 'signature-9', 'signature-10', 'signature-11', 'signature-100'],
    ['v1', 'v1-x', 'v1.0', 'v1.1', 'v1.9', 'v1.10', 'v1a', 'v2', 'v10'],
    ['a', 'a-b', 'a.b', 'a0', 'a1', 'aa', 'b'],
    ['', '0', '1', 'A', '_', 'a'],
    [`n${2 ** 53}`, 'n9007199254740993', 'n9007199254740994', `n1${'0'.repeat(40)}`],
  ];
  for (const names of ORDERED) {
    test(`${names.slice(0, 6).join(' < ')}`, () => {
      assert.deepEqual([...names].reverse().sort(inOrder), names);
    });
  }
});
