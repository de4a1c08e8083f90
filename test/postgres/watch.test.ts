// The question of each second, over a database that a test answers for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connections } from '../../src/postgres/connect.ts';
import { HeldSets } from '../../src/postgres/held-sets.ts';
import { Watch } from '../../src/postgres/watch.ts';

const NOW = { size: 0, writable: true, oldest: 0, keys: 1, tokens: 1, mirrors: 1 };

test('a database whose answer is still taken up, or cannot be, has answered', async () => {
  const unasked = () => assert.fail('this was not asked');
  const query = (async () => [NOW]) as Connections['query'];
  const seen: string[] = [];
  const watch = new Watch({
    connections: { query, take: unasked, dedicated: unasked, close: unasked },
    monotonicMs: () => 0,
    held: new HeldSets(),
    onImage: unasked,
    onAnswer: () => void seen.push('answer'),
    async onNumbers() {
      seen.push('numbers');
      throw new Error('the keys are too many');
    },
    onJudge: unasked,
    onLog: unasked,
    onWritable: unasked,
    onReachable: (isReachable) => void seen.push(isReachable ? 'reachable' : 'lost'),
  });
  await watch.ask();
  assert.deepEqual(seen, ['answer', 'numbers', 'lost']);
});
