import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from '../../src/http/metrics.ts';

test('while the index is made anew, metrics are told all the same, with the last known numbers', async () => {
  let counts: { images: number; signatures: number } | null = { images: 3, signatures: 5 };
  const metrics = createMetrics({
    version: '1.2.3',
    cache: () => ({ bytes: 0, sets: 0, hits: 0, misses: 0 }),
    accessBuffer: () => ({ rows: 0, dropped: 0 }),
    expiringKeys: async () => [],
    mirrors: async () => [],
    sites: [{ name: 'default', problems: () => new Map(), damaged: () => 0, counts: async () => counts }],
  });
  for (const now of [counts, null]) {
    counts = now;
    const { text } = await metrics.render();
    assert.match(text, /^lookaside_images\{site="default"\} 3$/m);
    assert.match(text, /^lookaside_signatures\{site="default"\} 5$/m);
  }
});

test('keys that expire soon are counted by days, and the last known numbers stay while they cannot be read', async () => {
  let isReadable = true;
  const metrics = createMetrics({
    version: '1.2.3',
    cache: () => ({ bytes: 0, sets: 0, hits: 0, misses: 0 }),
    accessBuffer: () => ({ rows: 0, dropped: 0 }),
    async expiringKeys() {
      if (!isReadable) throw new Error('no disk');
      return [
        { days: 30, count: 2 },
        { days: 1, count: 0 },
      ];
    },
    mirrors: async () => [],
    sites: [],
  });
  for (isReadable of [true, false]) {
    const { text } = await metrics.render();
    assert.match(text, /^lookaside_keys_expiring\{days="30"\} 2$/m);
    assert.match(text, /^lookaside_keys_expiring\{days="1"\} 0$/m);
  }
});
