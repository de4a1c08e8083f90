import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLookasideError } from '../../src/domain/errors.ts';
import { createWrongTokens } from '../../src/http/wrong-tokens.ts';
import { createClock } from '../service/hand-driven.ts';

function isTaken(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    assert.ok(isLookasideError(error, 'SLOW_DOWN'), String(error));
    return false;
  }
}

describe('wrong tokens', () => {
  test('ten in a minute are noted, the eleventh is too many, and the wait is told', () => {
    const clock = createClock();
    const wrong = createWrongTokens(clock.monotonicMs);
    for (let k = 0; k < 10; k += 1) {
      wrong.note('192.0.2.1');
      clock.pass(1000);
    }
    assert.throws(
      () => wrong.note('192.0.2.1'),
      (error) => isLookasideError(error, 'SLOW_DOWN') && error.detail?.retryAfterSeconds === 50,
    );
    clock.pass(49_999);
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      false,
    );
    clock.pass(1);
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      true,
    );
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      false,
    );
  });

  test('never are more than ten taken within any minute, and one address does not count for another', () => {
    const gaps = fc.array(fc.tuple(fc.constantFrom('192.0.2.1', '192.0.2.2'), fc.nat({ max: 20_000 })), {
      maxLength: 120,
    });
    fc.assert(
      fc.property(gaps, (notes) => {
        const clock = createClock();
        const wrong = createWrongTokens(clock.monotonicMs);
        const taken = new Map<string, number[]>([
          ['192.0.2.1', []],
          ['192.0.2.2', []],
        ]);
        for (const [address, gapMs] of notes) {
          clock.pass(gapMs);
          const nowMs = clock.monotonicMs();
          const times = taken.get(address) ?? assert.fail();
          const recent = times.filter((atMs) => nowMs - atMs < 60_000).length;
          const isNoted = isTaken(() => wrong.note(address));
          assert.equal(isNoted, recent < 10);
          if (isNoted) times.push(nowMs);
        }
      }),
    );
  });

  test('tokens that have ended are counted by their signer, sixty in a minute, beside the guesses of an address', () => {
    const clock = createClock();
    const wrong = createWrongTokens(clock.monotonicMs);
    for (let k = 0; k < 60; k += 1) wrong.noteEnded('ci');
    assert.throws(
      () => wrong.noteEnded('ci'),
      (error) =>
        isLookasideError(error, 'SLOW_DOWN') &&
        error.detail?.retryAfterSeconds === 60 &&
        error.message.includes('of the signer "ci"') &&
        error.message.includes('lookaside token list') &&
        error.message.includes('lookaside signer enable ci') &&
        !error.message.includes('try again'),
    );
    wrong.noteEnded('another');
    wrong.note('ci');
    clock.pass(60_000);
    wrong.noteEnded('ci');
  });

  test('of more addresses than are remembered, the latest are', () => {
    const clock = createClock();
    const wrong = createWrongTokens(clock.monotonicMs);
    const fill = (address: string) => {
      for (let k = 0; k < 10; k += 1) wrong.note(address);
    };
    fill('192.0.2.1');
    for (let k = 0; k < 10_000; k += 1) wrong.note(`10.0.${k >> 8}.${k & 255}`);
    fill('192.0.2.1');
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      false,
    );
  });
});
