import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { signatureNumbers, withinLimit } from '../../src/domain/signature-names.ts';

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
        const { dense, hidden } = signatureNumbers(listed);
        assert.deepEqual(
          dense,
          dense.map((_, position) => position + 1),
        );
        const found = [...dense, ...hidden];
        const wanted = new Set(listed.filter((name) => /^signature-[1-9]\d{0,8}$/.test(name)));
        assert.deepEqual(new Set(found.map((number) => `signature-${number}`)), wanted);
        assert.equal(found.length, wanted.size);
        assert.deepEqual(
          found,
          [...found].sort((a, b) => a - b),
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
    [['signature-1', 'signature-1'], [1], [], []],
    [['signature-0', 'signature-1', 'signature-02'], [1], [], ['signature-0', 'signature-02']],
    [['x', 'signature-1', '.signature-2.tmp'], [1], [], ['.signature-2.tmp', 'x']],
  ];
  for (const [listed, dense, hidden, strangers] of FOLDERS) {
    test(`[${listed}] holds [${dense}] and hides [${hidden}]`, () => {
      assert.deepEqual(signatureNumbers(listed), { dense, hidden, strangers });
    });
  }

  test('no set shows a 128th signature', () => {
    const all = Array.from({ length: 200 }, (_, position) => position);
    assert.deepEqual(withinLimit(all.slice(0, 127)), all.slice(0, 127));
    assert.deepEqual(withinLimit(all.slice(0, 128)), all.slice(0, 127));
    assert.deepEqual(withinLimit(all), all.slice(0, 127));
    assert.deepEqual(withinLimit([]), []);
  });
});
