// What counts as a yes to a question at the terminal.
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { isConfirmed } from '../../src/cli/confirm.ts';

/** What is typed, and then nothing more: `isEnd` when the input ends there. */
async function answer(typed: string, isEnd = false) {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const confirmed = isConfirmed('Revoke the key?', { input, output });
  if (isEnd) input.end(typed);
  else input.write(typed);
  const isYes = await confirmed;
  output.end();
  return { isYes, printed: await text(output) };
}

describe('a question at the terminal', () => {
  for (const typed of ['y', 'Y', 'yes', ' YES ']) {
    test(`is confirmed by ${JSON.stringify(typed)}`, async () => {
      assert.deepEqual(await answer(`${typed}\n`), { isYes: true, printed: 'Revoke the key? [y/N] ' });
    });
  }
  for (const typed of ['', 'n', 'no', 'yy', 'yesterday', 'ok', 'n\ny']) {
    test(`is not confirmed by ${JSON.stringify(typed)}`, async () => {
      assert.equal((await answer(`${typed}\n`)).isYes, false);
    });
  }

  test('is not confirmed when the input ends before an answer, as by Ctrl-D', async () => {
    const { isYes, printed } = await answer('', true);
    assert.equal(isYes, false);
    assert.match(
      printed,
      /^Revoke the key\? \[y\/N\] \r?\n$/,
      'what is said next stands on a line of its own',
    );
  });
});
