import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import { createFailureLog } from '../../src/http/failure-log.ts';
import { createClock, createLog } from '../service/hand-driven.ts';

const diskFailed = () => new LookasideError('STORE_UNAVAILABLE', 'EIO', { cause: new Error('EIO') });

describe('requests that fail', () => {
  test('are told once a second for each kind, with how many there were', () => {
    const clock = createClock();
    const log = createLog();
    const { failed: tell } = createFailureLog(log, clock.monotonicMs);
    for (let request = 0; request < 5; request += 1) tell(diskFailed(), 'signature');
    tell(new TypeError('ours'), 'signature');
    clock.pass(1000);
    tell(diskFailed(), 'signature');
    assert.deepEqual(
      log.lines.map(({ level, fields }) => [level, fields.requests]),
      [
        ['error', 1],
        ['error', 1],
        ['error', 5],
      ],
    );
  });

  test('after their answer had begun are told as seldom', () => {
    const clock = createClock();
    const log = createLog();
    const { broke } = createFailureLog(log, clock.monotonicMs);
    for (let request = 0; request < 5; request += 1)
      broke(new Error('EPIPE'), 'search', 'answers were cut short');
    clock.pass(1000);
    broke(new Error('EPIPE'), 'search', 'answers were cut short');
    assert.deepEqual(
      log.lines.map(({ fields, message }) => [fields.requests, message]),
      [
        [1, 'answers were cut short'],
        [5, 'answers were cut short'],
      ],
    );
  });

  test('because of what was asked for are no matter for the log', () => {
    const log = createLog();
    const { failed: tell } = createFailureLog(log, createClock().monotonicMs);
    tell(new LookasideError('NOT_FOUND', 'no such page'), 'unknown');
    assert.deepEqual(log.lines, []);
  });
});
