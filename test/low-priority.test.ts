// Which thread gives way to others, and that no other one does.
import assert from 'node:assert/strict';
import { getPriority } from 'node:os';
import { describe, test } from 'node:test';
import { threadOf } from '../src/low-priority.ts';
import { openVerifier } from '../src/openpgp/pool.ts';
import { LEAST, priorities } from './priorities.ts';

describe('a thread that nobody waits for', {
  skip: process.platform !== 'linux' && 'Linux alone has it',
}, () => {
  test('gives way to all others of the process, which keep their priority', async () => {
    const own = getPriority();
    // those of `nice -n 19` have nothing left to give
    const lower = Math.min(LEAST, own + 10);
    const verifier = openVerifier({ threads: 2 });
    try {
      const before = priorities();
      await verifier.examine(Buffer.of(1), new Date(), 'upload');
      await verifier.examine(Buffer.of(1), new Date(), 'background');
      assert.deepEqual([...new Set(priorities().values())], [own]);
      await verifier.examine(Buffer.of(1), new Date(), 'idle');
      await verifier.examine(Buffer.of(2), new Date(), 'idle');
      const lowered = [...priorities()].filter(([, priority]) => priority !== own);
      assert.deepEqual(
        lowered.map(([, priority]) => priority),
        lower === own ? [] : [lower],
      );
      for (const [thread] of lowered) assert.ok(!before.has(thread));
      assert.equal(getPriority(), own);
    } finally {
      await verifier.close();
    }
  });

  test('stays as it is where a single one has to do all', async () => {
    const verifier = openVerifier({ threads: 1 });
    try {
      await verifier.examine(Buffer.of(1), new Date(), 'idle');
      assert.deepEqual([...new Set(priorities().values())], [getPriority()]);
    } finally {
      await verifier.close();
    }
  });
});

test('a number of another /proc names no thread of ours', () => {
  assert.equal(threadOf('17/task/23', 17), 23);
  assert.equal(threadOf('4017/task/4023', 17), null);
  for (const link of ['', '17', '17/task/', '17/task/23/x', '/proc/17/task/23', 'a/task/b'])
    assert.equal(threadOf(link, 17), null, link);
});
