// How many log-ins through OpenID providers an address may have under way or in vain.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { createLogInAttempts } from '../../src/http/log-in-attempts.ts';

test('two hundred at once ask the provider thirty times; who gets in makes room for the next one', () => {
  let nowMs = 0;
  const attempts = createLogInAttempts(() => nowMs);
  const begin = () => {
    try {
      return attempts.begin('192.0.2.1');
    } catch (error) {
      assert.ok(isLookasideError(error, 'SLOW_DOWN'), String(error));
      return null;
    }
  };
  const begun = Array.from({ length: 200 }, begin).filter((succeed) => succeed !== null);
  assert.equal(begun.length, 30);
  assert.doesNotThrow(() => attempts.begin('198.51.100.1'), 'another network');
  begun[0]?.();
  assert.notEqual(begin(), null);
  assert.equal(begin(), null);
  nowMs = 60_000;
  assert.notEqual(begin(), null);
});
