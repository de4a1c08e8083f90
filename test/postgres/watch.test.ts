// The question of each second, over a database that a test answers for.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type pg from 'pg';
import type { Connections } from '../../src/postgres/connect.ts';
import { HeldSets } from '../../src/postgres/held-sets.ts';
import { Watch } from '../../src/postgres/watch.ts';
import { eventually } from '../clients/eventually.ts';

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

test('a session that is at a standby while others are at the primary is ended, and says of no set that it holds', async () => {
  const unasked = () => assert.fail('this was not asked');
  const held = new HeldSets();
  let isPrimary = false;
  let isEnded = false;
  const session = Object.assign(new EventEmitter(), {
    connect: async () => undefined,
    query: async () => ({ rows: [{ standby: true, key: null, generation: null }] }),
    async end() {
      isEnded = true;
      session.emit('end');
    },
  });
  const watch = new Watch({
    connections: {
      query: (async () => [{ ...NOW, writable: isPrimary }]) as Connections['query'],
      take: unasked,
      dedicated: () => session as unknown as pg.Client,
      close: unasked,
    },
    monotonicMs: () => 0,
    held,
    onImage: unasked,
    onAnswer: () => undefined,
    onNumbers: async () => undefined,
    onJudge: unasked,
    onLog: () => undefined,
    onWritable: () => undefined,
    onReachable: () => undefined,
  });
  try {
    await watch.start();
    assert.equal(held.newest, 0);
    isPrimary = true;
    await watch.ask();
    await eventually(() => assert.ok(isEnded));
    assert.equal(held.newest, null);
  } finally {
    await watch.stop();
  }
});
