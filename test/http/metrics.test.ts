import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from '../../src/http/metrics.ts';

test('while the index is made anew, metrics are told all the same, with the last known numbers', async () => {
  let counts: { images: number; signatures: number } | null = { images: 3, signatures: 5 };
  const metrics = createMetrics({
    version: '1.2.3',
    cache: () => ({ bytes: 0, sets: 0, hits: 0, misses: 0 }),
    accessBuffer: () => ({ rows: 0, dropped: 0 }),
    sites: [{ name: 'default', problems: () => new Map(), damaged: () => 0, counts: async () => counts }],
  });
  for (const now of [counts, null]) {
    counts = now;
    const { text } = await metrics.render();
    assert.match(text, /^lookaside_images\{site="default"\} 3$/m);
    assert.match(text, /^lookaside_signatures\{site="default"\} 5$/m);
  }
});
