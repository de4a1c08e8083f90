import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Problem, ProblemKind } from '../../src/domain/tree.ts';
import { createProblemRegister } from '../../src/service/problems.ts';
import { createLog, imageOf } from './hand-driven.ts';

const APP = imageOf('team/app');

const problem = (kind: ProblemKind, path = 'team/app@sha256=…/signature-1'): Problem => ({ kind, path });

function open() {
  const log = createLog();
  return { register: createProblemRegister(log), log };
}

describe('the problems of the trees', () => {
  test('they are counted by kind, over all images', () => {
    const { register } = open();
    assert.deepEqual(register.counts(), new Map());
    register.report(APP, [problem('empty'), problem('first-byte', 'x')]);
    register.report(imageOf('other'), [problem('empty')]);
    assert.deepEqual(
      register.counts(),
      new Map([
        ['empty', 2],
        ['first-byte', 1],
      ]),
    );
    assert.equal(register.damaged, 0);
  });

  test('a report replaces the one before it, and an empty one ends them', () => {
    const { register } = open();
    register.report(APP, [problem('empty'), problem('missing')]);
    register.report(APP, [problem('changed')]);
    assert.deepEqual(register.counts(), new Map([['changed', 1]]));
    register.report(APP, []);
    assert.deepEqual(register.counts(), new Map());
    register.report(imageOf('never'), []);
    assert.deepEqual(register.counts(), new Map());
  });

  test('damaged are the files that are not what was recorded', () => {
    const { register } = open();
    register.report(APP, [
      problem('missing'),
      problem('changed', 'x'),
      problem('extra'),
      problem('too-large'),
    ]);
    register.report(imageOf('other'), [problem('missing')]);
    assert.equal(register.damaged, 3);
  });

  test('each is logged when it is first seen, damage as an error, with what to do', () => {
    const { register, log } = open();
    register.report(APP, [problem('empty', 'a'), problem('missing', 'b')]);
    register.report(APP, [problem('missing', 'b'), problem('empty', 'a')]);
    register.report(APP, [problem('empty', 'c'), problem('empty', 'a')]);
    assert.deepEqual(
      log.lines.map(({ level, fields }) => [level, fields.problem, fields.path]),
      [
        ['warn', 'empty', 'a'],
        ['error', 'missing', 'b'],
        ['warn', 'empty', 'c'],
      ],
    );
    assert.match(log.lines[1]?.message ?? '', /lookaside fsck --repair/);
  });

  test('one that went and came again is logged again', () => {
    const { register, log } = open();
    for (const problems of [[problem('empty')], [], [problem('empty')]]) register.report(APP, problems);
    assert.equal(log.lines.length, 2);
  });

  test('those of folders above images are logged once and counted too, whatever else there is', () => {
    const { register, log } = open();
    for (let number = 0; number < 10_000; number += 1)
      register.report(imageOf(`i${number}`), [problem('empty')]);
    const problems = [problem('too-long', 'c/c'), { ...problem('too-long', 'd'), count: 41 }];
    for (let scan = 0; scan < 3; scan += 1) register.reportFolders('default', problems);
    assert.deepEqual(
      log.lines.slice(10_000).map(({ fields, message }) => [fields.path, message.slice(0, 24)]),
      [
        ['c/c', 'the path is longer than '],
        ['d', 'this and 40 more: the pa'],
      ],
    );
    assert.equal(register.counts().get('too-long'), 2);
    register.reportFolders('default', []);
    assert.equal(register.counts().get('too-long'), undefined);
  });

  test('10,000 images are remembered; the problems of further ones are logged', () => {
    const { register, log } = open();
    for (let number = 0; number < 10_001; number += 1)
      register.report(imageOf(`i${number}`), [problem('missing')]);
    assert.equal(register.damaged, 10_000);
    assert.equal(log.lines.length, 10_001);
    register.report(imageOf('i0'), []);
    register.report(imageOf('i10000'), [problem('missing')]);
    assert.equal(register.damaged, 10_000);
  });
});
