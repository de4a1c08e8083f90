import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  behindGap,
  NumberGatherer,
  type SignatureNumbers,
  withinLimit,
} from '../../src/domain/signature-names.ts';

function signatureNumbers(names: Iterable<string>, wanted: readonly number[] = []): SignatureNumbers {
  const gatherer = new NumberGatherer(wanted);
  for (const name of names) gatherer.add(name);
  return gatherer.numbers();
}

const names = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 14 }).map((number) => `signature-${number}`) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 999_999_999 }).map((number) => `signature-${number}`) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        'signature-0',
        'signature-01',
        'signature-1~',
        '.signature-2.tmp',
        'signature-3 ',
        'index.json',
        'SIGNATURE-1',
        '',
      ),
    },
    { weight: 1, arbitrary: fc.string() },
  ),
  { maxLength: 30 },
);

describe('the numbers of the files in a folder', () => {
  test('those from 1 to the first gap are dense, those behind it hidden, and each is there once in order', () => {
    fc.assert(
      fc.property(names, (listed) => {
        const { dense, hidden, beyond } = signatureNumbers(listed);
        assert.deepEqual(
          dense,
          dense.map((_, position) => position + 1),
        );
        const numbers = [...dense, ...hidden];
        const all = listed
          .filter((name) => /^signature-[1-9]\d{0,8}$/.test(name))
          .map((name) => Number(name.slice('signature-'.length)));
        const wanted = new Set(all.filter((number) => number <= 128));
        assert.deepEqual(new Set(numbers), wanted);
        assert.equal(numbers.length, wanted.size);
        const above = all.filter((number) => number > 128);
        const expected = above.length === 0 ? null : { count: above.length, lowest: Math.min(...above) };
        assert.deepEqual(beyond, expected);
        assert.deepEqual(
          numbers,
          [...numbers].sort((a, b) => a - b),
        );
        assert.notEqual(hidden[0], dense.length + 1, 'the first hidden one is not the next one');
      }),
    );
  });

  test('the order in which a folder lists its files changes nothing', () => {
    fc.assert(
      fc.property(
        names.chain((listed) =>
          fc.tuple(fc.constant(listed), fc.shuffledSubarray(listed, { minLength: listed.length })),
        ),
        ([listed, shuffled]) => assert.deepEqual(signatureNumbers(shuffled), signatureNumbers(listed)),
      ),
    );
  });

  const FOLDERS: readonly (readonly [
    names: string[],
    dense: number[],
    hidden: number[],
    strangers: string[],
  ])[] = [
    [[], [], [], []],
    [['signature-1'], [1], [], []],
    [['signature-2'], [], [2], []],
    [['signature-1', 'signature-3'], [1], [3], []],
    [['signature-10', 'signature-2', 'signature-1'], [1, 2], [10], []],
    [['signature-128', 'signature-1'], [1], [128], []],
    [['signature-1', 'signature-1'], [1], [], []],
    [['signature-0', 'signature-1', 'signature-02'], [1], [], ['signature-0', 'signature-02']],
    [['x', 'signature-1', '.signature-2.tmp'], [1], [], ['.signature-2.tmp', 'x']],
  ];
  for (const [listed, dense, hidden, strangers] of FOLDERS) {
    test(`[${listed}] holds [${dense}] and hides [${hidden}]`, () => {
      assert.deepEqual(signatureNumbers(listed), { dense, hidden, beyond: null, strangers });
    });
  }

  const upTo = (last: number) => Array.from({ length: last }, (_, position) => position + 1);
  const named = (numbers: readonly number[]) => numbers.map((number) => `signature-${number}`);

  test('above 128 are counted, and found only when they are asked for', () => {
    const names = named([...upTo(1000).reverse(), 70_000]);
    const beyond = { count: 873, lowest: 129 };
    assert.deepEqual(signatureNumbers(names), { dense: upTo(128), hidden: [], beyond, strangers: [] });
    assert.deepEqual(signatureNumbers(names, [3, 129, 500, 2000]), {
      dense: upTo(128),
      hidden: [129, 500],
      beyond: { count: 871, lowest: 130 },
      strangers: [],
    });
  });

  test('and the names that are none of a signature’s take no more memory, however many there are', () => {
    const gatherer = new NumberGatherer();
    for (let position = 200_000; position > 0; position -= 1) gatherer.add(`.signature-1.${position}`);
    const { strangers } = gatherer.numbers();
    assert.deepEqual(strangers.slice(0, 3), ['.signature-1.1', '.signature-1.10', '.signature-1.100']);
    assert.equal(strangers.length, 20);
  });

  test('behind the first that is missing are those that clients do not come to', () => {
    assert.deepEqual(behindGap([]), []);
    assert.deepEqual(behindGap([1, 2, 3]), []);
    assert.deepEqual(behindGap([1, 2, 4, 5, 500]), [4, 5, 500]);
    assert.deepEqual(behindGap([2]), [2]);
  });

  test('no set shows a 128th signature', () => {
    const all = Array.from({ length: 200 }, (_, position) => position);
    assert.deepEqual(withinLimit(all.slice(0, 127)), all.slice(0, 127));
    assert.deepEqual(withinLimit(all.slice(0, 128)), all.slice(0, 127));
    assert.deepEqual(withinLimit(all), all.slice(0, 127));
    assert.deepEqual(withinLimit([]), []);
  });
});
