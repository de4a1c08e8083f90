// The feed of audit events: each once, in order, from wherever the reader left off.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import type { FedEvent } from '../../src/domain/records.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { createFeed } from '../../src/service/feed.ts';
import { serveOver } from '../http/served.ts';
import { createClock } from './hand-driven.ts';

const ACTOR = { name: 'siem', address: '192.0.2.9', requestId: null };

function fed(seq: number): FedEvent {
  const none = {
    image: null,
    signatureSha256: null,
    fingerprint: null,
    since: null,
    address: null,
    requestId: null,
    reason: null,
  };
  return {
    seq,
    at: new Date(seq),
    action: 'upload',
    site: 'default',
    result: 'created',
    count: 1,
    actor: 'ci',
    ...none,
    leaf: `{"seq":${seq}}`,
  };
}

/** A log that grows by what each wait brings. */
function open(begin: number, growth: readonly number[]) {
  const clock = createClock();
  const stored = Array.from({ length: begin }, (_, k) => fed(k + 1));
  const appended: NewAuditEvent[] = [];
  const waits = growth[Symbol.iterator]();
  const state = { isEnded: false };
  const feed = createFeed({
    audit: {
      append: async (event) => appended.push(event),
      after: async (seq, limit) => stored.filter((one) => one.seq > seq).slice(0, limit),
    },
    makeEvent: createEventMaker({ clock, randomBytes: (length) => new Uint8Array(length) }),
    clock,
    async wait(ms) {
      clock.pass(ms);
      const more = waits.next();
      state.isEnded = more.done === true;
      for (let k = 0; k < (more.value ?? 0); k += 1) stored.push(fed(stored.length + 1));
    },
  });
  const read = async (after: number, isFollowed = true) => {
    const seqs: number[] = [];
    for await (const page of feed.events({
      after,
      isFollowed,
      actor: ACTOR,
      isWanted: () => !state.isEnded,
    })) {
      for (const { seq } of page ?? []) seqs.push(seq);
    }
    return seqs;
  };
  return { feed, read, appended, state, clock };
}

test('a reader who comes back with the last number gets each event once and in order', async () => {
  const growth = fc.array(fc.nat(700), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.nat(1200), growth, fc.nat(2000), async (begin, more, after) => {
      const total = begin + more.reduce((sum, one) => sum + one, 0);
      const seqs = await open(begin, more).read(after);
      assert.deepEqual(
        seqs,
        Array.from({ length: Math.max(0, total - after) }, (_, k) => after + k + 1),
      );
    }),
    { numRuns: 30 },
  );
});

test('who reads the feed is an audit event, once an hour, and a quiet feed gives signs of life', async () => {
  const { read, appended, feed, clock } = open(3, []);
  assert.deepEqual(await read(0, false), [1, 2, 3]);
  assert.deepEqual(await read(3, false), []);
  assert.deepEqual([await feed.has(1), await feed.has(3), await feed.has(4)], [true, true, false]);
  assert.deepEqual(
    appended.map(({ action, private: { actor, reason } }) => [action, actor, reason]),
    [['export', 'siem', 'events after=0']],
  );
  clock.pass(3_600_000);
  const pages = feed.events({ after: 3, isFollowed: true, actor: ACTOR, isWanted: () => true });
  assert.deepEqual(await pages.next(), { done: false, value: null });
  assert.equal(appended.length, 2);
  await pages.return(undefined);
});

test('the feed comes as lines of JSON or as server-sent events, which go on from the last one that came', async () => {
  const asked: { after: number; isFollowed: boolean }[] = [];
  await using served = await serveOver({
    feed: {
      has: async (seq) => seq <= 40,
      async *events({ after, isFollowed }) {
        asked.push({ after, isFollowed });
        yield [fed(after + 1), fed(after + 2)];
        yield null;
      },
    },
  });
  const get = (
    query: string,
    headers: Record<string, string> = {},
    role: 'auditor' | 'uploader' = 'auditor',
  ) =>
    fetch(`${served.url}/api/v1/events${query}`, {
      headers: { authorization: `Bearer ${served.tokens[role]}`, ...headers },
    });
  const lines = await get('?after=7');
  assert.equal(lines.headers.get('content-type'), 'application/jsonl');
  const rows = (await lines.text()).split('\n').filter((line) => line !== '');
  assert.deepEqual(
    rows.map((line) => [JSON.parse(line).seq, JSON.parse(line).leaf]),
    [
      [8, '{"seq":8}'],
      [9, '{"seq":9}'],
    ],
  );
  const stream = await get('?after=7', { accept: 'text/event-stream', 'last-event-id': '40' });
  assert.equal(stream.headers.get('content-type'), 'text/event-stream');
  const text = await stream.text();
  assert.match(text, /\nid: 41\nevent: audit\ndata: \{"seq":41,[^\n]+\}\n\nid: 42\n/);
  assert.match(text, /\n: nothing new\n\n$/);
  assert.deepEqual(asked, [
    { after: 7, isFollowed: false },
    { after: 40, isFollowed: true },
  ]);
  assert.equal((await get('?after=-1')).status, 400);
  for (const headers of [{}, { accept: 'text/event-stream' }]) {
    const ahead = await get('?after=41', headers);
    assert.equal(ahead.status, 400);
    assert.match(await ahead.text(), /the log has no event of that number: it may have been set back/);
  }
  assert.equal((await get('', {}, 'uploader')).status, 403);
  assert.equal((await fetch(`${served.url}/api/v1/events`)).status, 401);
  assert.equal(asked.length, 2);
});
