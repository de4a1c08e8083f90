// The checker of histories itself: what it must accept, and what it must find.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Append, findFault, type Get, type Operation, type Withdraw } from './history.ts';

const allowed = () => 100;

type Times = readonly [node: number, startMs: number, endMs: number];

const at = ([node, startMs, endMs]: Times) => ({ image: 'app', node, startMs, endMs });
const append = (value: string, answer: number | Append['answer'], ...times: Times): Append => ({
  ...{ kind: 'append', value, ...at(times) },
  answer: typeof answer === 'number' ? { number: answer, created: true } : answer,
});
const withdraw = (value: string, number: number, answer: Withdraw['answer'], ...times: Times): Withdraw => ({
  ...{ kind: 'withdraw', value, number, answer, ...at(times) },
});
const get = (number: number, seen: string | null, ...times: Times): Get => ({
  ...{ kind: 'get', number, seen, ...at(times) },
});

const GROWN = [append('a', 1, 0, 0, 10), append('b', 2, 1, 20, 30), append('c', 3, 2, 40, 50)];
const WITHDRAWN = [...GROWN, withdraw('a', 1, 'done', 0, 60, 70)];

const right: readonly (readonly [what: string, history: readonly Operation[]])[] = [
  ['a set that grows', [...GROWN, get(3, 'c', 0, 60, 70), get(4, null, 0, 60, 70)]],
  [
    'a read while an append is under way, with it or without',
    [get(1, 'a', 0, 1, 5), get(1, null, 1, 2, 6), append('a', 1, 2, 0, 9)],
  ],
  ['a read behind another node by as much as is allowed', [...GROWN, get(3, null, 0, 120, 130)]],
  [
    'two uploads at once in either order',
    [append('a', 2, 0, 0, 10), append('b', 1, 1, 0, 10), get(1, 'b', 2, 200, 210)],
  ],
  [
    'an upload of unknown outcome that happened',
    [append('a', 'unknown', 0, 0, 10), get(1, null, 1, 200, 210), get(1, 'a', 1, 300, 310)],
  ],
  [
    'an upload of unknown outcome that did not',
    [append('a', 'unknown', 0, 0, 10), append('b', 1, 1, 20, 30)],
  ],
  ['the same bytes again', [append('a', 1, 0, 0, 10), append('a', { number: 1, created: false }, 1, 20, 30)]],
  [
    'a filler in the place of what was withdrawn',
    [...WITHDRAWN, get(1, 'b', 1, 200, 210), get(3, 'c', 1, 200, 210)],
  ],
  [
    'the end of a set whose last one was withdrawn',
    [...GROWN, withdraw('c', 3, 'done', 0, 60, 70), append('d', 3, 1, 80, 90)],
  ],
  [
    'a filler that stays when all behind it are withdrawn',
    [
      ...GROWN,
      withdraw('b', 2, 'done', 0, 60, 70),
      withdraw('c', 3, 'done', 0, 71, 75),
      append('d', 3, 1, 80, 90),
    ],
  ],
  [
    'a refusal of what was withdrawn',
    [...WITHDRAWN, append('a', 'withdrawn', 2, 80, 90), withdraw('a', 1, 'absent', 1, 95, 99)],
  ],
  [
    'an image that begins anew',
    [append('a', 1, 0, 0, 10), withdraw('a', 1, 'done', 1, 20, 30), append('b', 1, 2, 40, 50)],
  ],
];

const wrong: readonly (readonly [what: string, history: readonly Operation[]])[] = [
  ['an acknowledged upload that is gone', [...GROWN, get(3, null, 0, 200, 210)]],
  ['a read behind what its own node has acknowledged', [...GROWN, get(3, null, 2, 51, 60)]],
  [
    'a node that shows something and then not',
    [append('a', 1, 0, 0, 10), get(1, 'a', 1, 20, 30), get(1, null, 1, 40, 50)],
  ],
  ['a number given twice', [append('a', 1, 0, 0, 10), append('b', 1, 1, 0, 10)]],
  ['a hole in the numbers', [append('a', 1, 0, 0, 10), append('b', 3, 1, 20, 30)]],
  ['bytes that nobody uploaded', [append('a', 1, 0, 0, 10), get(1, 'x', 0, 20, 30)]],
  ['bytes seen before they were uploaded', [get(1, 'a', 1, 0, 10), append('a', 1, 0, 20, 30)]],
  ['what was withdrawn and is served still', [...WITHDRAWN, get(1, 'a', 1, 200, 210)]],
  ['a number that moved with a withdrawal', [...WITHDRAWN, get(2, 'c', 1, 200, 210)]],
  ['the same bytes stored twice', [append('a', 1, 0, 0, 10), append('a', 2, 1, 20, 30)]],
  ['withdrawn bytes that were taken again', [...WITHDRAWN, append('a', 4, 2, 80, 90)]],
  ['an absent one that was there', [...GROWN, withdraw('b', 2, 'absent', 0, 60, 70)]],
];

describe('the search for an order of a history', () => {
  for (const [what, history] of right) {
    test(`finds one for ${what}`, () => assert.equal(findFault(history, allowed), null));
  }
  for (const [what, history] of wrong) {
    test(`finds none for ${what}`, () =>
      assert.match(findFault(history, allowed) ?? '', /no order explains/));
  }

  test('keeps images apart, and says of what is left what it was', () => {
    const other = GROWN.map((one) => ({ ...one, image: 'other' }));
    assert.equal(findFault([...GROWN, ...other], allowed), null);
    const fault = findFault([...other, ...GROWN, get(3, null, 0, 200, 210)], allowed);
    assert.match(
      fault ?? '',
      /after 3 of them the image is a b c \|.*app\/3 was absent \(node 0, 200 to 210 ms\)/,
    );
  });
});
