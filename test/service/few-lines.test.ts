import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createFewLines } from '../../src/service/few-lines.ts';
import { createGate } from '../gate.ts';
import { createLog } from './hand-driven.ts';

/** Waits end when the test says so, all of them that have begun by then. */
function open() {
  const log = createLog();
  const waits: { readonly ms: number; readonly end: () => void }[] = [];
  const few = createFewLines({
    log,
    wait: (ms) => new Promise<void>((end) => waits.push({ ms, end })),
  });
  /** Ends them, and lets what waited for them do its work. */
  async function passAll(): Promise<readonly number[]> {
    const ended = waits.splice(0);
    for (const { end } of ended) end();
    await new Promise(setImmediate);
    return ended.map(({ ms }) => ms);
  }
  return { log, few, passAll };
}

const sums = (log: ReturnType<typeof createLog>) =>
  log.lines.flatMap(({ fields }) => (typeof fields.more === 'number' ? [fields.more] : []));

describe('lines that may come once for each file', () => {
  test('the first ten are written, the others are one line at the end of the work', async () => {
    const { log, few } = open();
    const bad = few.listedBy('lookaside fsck');
    const scanned = createGate();
    const scan = few.during(scanned.promise);
    for (let file = 0; file < 100_000; file += 1) bad.warn({ path: `${file}` }, 'it does not verify');
    assert.equal(log.lines.length, 10);
    scanned.open();
    await scan;
    assert.deepEqual(
      log.lines.slice(9).map(({ level, fields, message }) => [level, fields, message]),
      [
        ['warn', { path: '9' }, 'it does not verify'],
        [
          'warn',
          { more: 99_990 },
          '99990 more lines left out: it does not verify; all of them: lookaside fsck',
        ],
      ],
    );
    bad.warn({ path: 'next scan' }, 'it does not verify');
    assert.equal(log.lines.length, 12, 'the next work names its own');
  });

  test('without a work there is a line after a minute, two, four … an hour, and no name again while they come', async () => {
    const { log, few, passAll } = open();
    const seen = new Set<number>();
    for (let round = 0; round < 10; round += 1) {
      for (let line = 0; line < 20; line += 1) few.error({ line }, 'the tree cannot be read');
      for (const ms of await passAll()) seen.add(ms / 60_000);
    }
    assert.equal(log.lines.filter(({ fields }) => 'line' in fields).length, 10);
    assert.deepEqual(sums(log), [10, ...Array(9).fill(20)]);
    assert.deepEqual([...seen], [1, 2, 4, 8, 16, 32, 60]);
  });

  test('what has not come for a while is named again', async () => {
    const { log, few, passAll } = open();
    for (let line = 0; line < 10; line += 1) few.warn({ line }, 'x');
    for (let quiet = 0; quiet < 3; quiet += 1) await passAll();
    few.warn({ line: 'again' }, 'x');
    assert.equal(log.lines.at(-1)?.fields.line, 'again');
  });

  test('each kind has its own ten: another message, level or code of its error', () => {
    const { log, few } = open();
    for (let line = 0; line < 12; line += 1) {
      few.warn({}, 'a');
      few.error({}, 'a');
      few.warn({ err: { code: 'ENOSPC' } }, 'b');
      few.warn({ err: { code: 'EIO' } }, 'b');
    }
    assert.equal(log.lines.length, 40);
    few.sumUp();
    assert.deepEqual(sums(log), [2, 2, 2, 2]);
    few.sumUp();
    assert.equal(log.lines.length, 44);
  });

  test('what tells of the work itself is always written', () => {
    const { log, few } = open();
    for (let line = 0; line < 50; line += 1) few.info({}, 'the tree was scanned');
    assert.equal(log.lines.length, 50);
  });
});
