import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from '../../src/http/metrics.ts';
import { gatherRequestCounts } from '../../src/http/request-counts.ts';

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

test('what reader processes have counted is gathered ahead of each answer, and added once', async () => {
  const elsewhere = gatherRequestCounts();
  const metrics = createMetrics({
    version: '1.2.3',
    cache: () => ({ bytes: 0, sets: 0, hits: 0, misses: 0 }),
    accessBuffer: () => ({ rows: 0, dropped: 0 }),
    readers: {
      gather: async () => metrics.add(elsewhere.take()),
      counts: () => ({ serving: 2, ended: 1 }),
    },
    expiringKeys: async () => [],
    mirrors: async () => [],
    sites: [],
  });
  const answered = { route: 'signature', method: 'GET', status: 200 };
  metrics.request({ ...answered, durationMs: 0.1 });
  elsewhere.request({ ...answered, durationMs: 0.1 });
  elsewhere.request({ ...answered, status: 404, durationMs: 3 });
  elsewhere.read('default', 'hit');
  for (const _ of ['first', 'second']) {
    const { text } = await metrics.render();
    assert.match(text, /^lookaside_http_requests_total\{route="signature",method="GET",status="200"\} 2$/m);
    assert.match(text, /^lookaside_http_requests_total\{route="signature",method="GET",status="404"\} 1$/m);
    assert.match(text, /^lookaside_signature_reads_total\{site="default",result="hit"\} 1$/m);
    assert.match(text, /_bucket\{le="0.0005",route="signature"\} 2$/m);
    assert.match(text, /_bucket\{le="\+Inf",route="signature"\} 3$/m);
    assert.match(text, /^lookaside_readers 2$/m);
    assert.match(text, /^lookaside_readers_ended_total 1$/m);
  }
});
