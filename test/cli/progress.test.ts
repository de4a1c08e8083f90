// The bar of a push, where the output is no terminal.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createProgressBar, formatBytes, formatProgress } from '../../src/cli/progress.ts';

const HALF = { done: 500, total: 1000, sentBytes: 1_500_000 };

describe('the bar', () => {
  it('tells count, share, rate and what was sent, and is never wider than the terminal', () => {
    const wide = formatProgress('pushing', HALF, { elapsedMs: 2000, columns: 120 });
    assert.equal(wide, `pushing [${'#'.repeat(20)}${' '.repeat(20)}] 500/1000  50%  250/s  1.4 MiB sent`);
    for (const columns of [40, 50, 60, 70, 80]) {
      const text = formatProgress('pushing', HALF, { elapsedMs: 2000, columns });
      assert.ok(text.length < columns || columns === 40, text);
      assert.match(text, /500\/1000/);
    }
    assert.doesNotMatch(formatProgress('pushing', HALF, { elapsedMs: 2000, columns: 40 }), /\[/);
  });

  it('is full when there is nothing to do', () => {
    const text = formatProgress('asking', { done: 0, total: 0, sentBytes: 0 }, { elapsedMs: 0, columns: 80 });
    assert.match(text, /^asking \[#+\] 0\/0 100% {2}0\/s {2}0 B sent$/);
  });

  it('is drawn ten times a second at most, and gives way to lines', () => {
    let nowMs = 0;
    const written: string[] = [];
    const output = { isTTY: true, columns: 80, write: (text: string) => written.push(text) > 0 };
    const bar = createProgressBar({ what: 'pushing', output, nowMs: () => nowMs });
    bar.show(HALF);
    bar.show(HALF);
    assert.equal(written.length, 1);
    nowMs = 100;
    bar.show(HALF);
    bar.clear();
    bar.clear();
    assert.deepEqual(written.slice(2), ['\r\u001b[K']);
    bar.say('looking: 7 signatures found');
    assert.equal(written.at(-1), '\r\u001b[Klooking: 7 signatures found');
  });

  it('is not there where the output is no terminal', () => {
    const written: string[] = [];
    const output = { isTTY: false, columns: 80, write: (text: string) => written.push(text) > 0 };
    const bar = createProgressBar({ what: 'pushing', output, nowMs: () => 0 });
    bar.show(HALF);
    bar.clear();
    assert.deepEqual(written, []);
  });
});

it('bytes are told in the unit that keeps them short', () => {
  const CASES: readonly [number, string][] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1_500_000, '1.4 MiB'],
    [5 * 1024 ** 3, '5.0 GiB'],
  ];
  for (const [bytes, text] of CASES) assert.equal(formatBytes(bytes), text);
});
