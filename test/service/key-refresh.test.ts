// Keys that the server refreshes by itself: whom it asks, what it merges, and that a failure stops nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { KeyRefresh } from '../../src/domain/key-source.ts';
import { createKeyRefresher } from '../../src/service/key-refresh.ts';
import { createLog } from './hand-driven.ts';
import { keyOf } from './signature-memory.ts';

const actor = { name: 'anna', address: null, requestId: null };

test('each source is asked for each registered key, a failure stops no other, and the next round comes in time', async () => {
  const [ONE, TWO] = ['A'.repeat(40), 'B'.repeat(40)] as const;
  const asked: string[] = [];
  const merged: (readonly string[])[] = [];
  const log = createLog();
  const waits: number[] = [];
  let schedule: KeyRefresh | null = null;
  let isLeader = true;
  let next: () => void = () => undefined;
  const rounds = () =>
    new Promise<void>((resolve) => {
      next = resolve;
    });
  let go: () => void = () => undefined;
  const refresher = createKeyRefresher({
    keys: {
      list: async () => [keyOf(ONE), keyOf(TWO)],
      find: async () => keyOf(ONE),
      async refresh(untrusted, names, actor) {
        merged.push([Buffer.from(untrusted).toString(), ...names, actor.name]);
        return { results: [], ignored: 0 };
      },
    },
    schedule: () => schedule,
    isLeader: () => isLeader,
    async fetch(source, { fingerprint }) {
      asked.push(`${source.kind} ${fingerprint[0]}`);
      if (source.kind === 'wkd') throw new LookasideError('UPSTREAM_UNAVAILABLE', 'away');
      return fingerprint === ONE ? Buffer.from('newer') : null;
    },
    log,
    wait(ms) {
      waits.push(ms);
      next();
      return new Promise<void>((resolve) => {
        go = resolve;
      });
    },
  });
  const first = rounds();
  refresher.start();
  await first;
  assert.deepEqual([asked, waits], [[], [3_600_000]], 'nobody is asked unless that is set');
  schedule = { everyMs: 7_200_000, sources: [{ kind: 'wkd' }, { kind: 'hkp', url: 'https://x' }] };
  const second = rounds();
  go();
  await second;
  assert.deepEqual(asked, ['wkd A', 'wkd B', 'hkp A', 'hkp B']);
  assert.deepEqual(merged, [['newer', ONE, 'server']]);
  assert.deepEqual(waits, [3_600_000, 7_200_000]);
  assert.equal(log.lines.filter(({ level }) => level === 'warn').length, 2);
  // a process that leaves the schedule to another one asks for who asks it
  isLeader = false;
  const third = rounds();
  go();
  await third;
  assert.equal(asked.length, 4);
  assert.deepEqual(await refresher.refreshNow(ONE, actor), [
    { from: 'wkd', results: [], problem: 'away' },
    { from: 'https://x', results: [], problem: null },
  ]);
  assert.deepEqual(merged.at(-1), ['newer', ONE, 'anna']);
  refresher.stop();
  go();
});

test('all sources are asked at once, one that is too slow is left out, and any refusal stays with its source', async () => {
  const ONE = 'A'.repeat(40);
  const hosts = ['slow', 'full', 'good'] as const;
  const asked: string[] = [];
  let merging = 0;
  const refresher = createKeyRefresher({
    keys: {
      list: async () => [],
      find: async () => keyOf(ONE),
      async refresh(untrusted) {
        merging += 1;
        assert.equal(merging, 1, 'one merge at a time');
        await Promise.resolve();
        merging -= 1;
        if (Buffer.from(untrusted).toString() === 'https://full')
          throw new LookasideError('DISK_FULL', 'the disk is full');
        return { results: [], ignored: 0 };
      },
    },
    schedule: () => ({
      everyMs: 7_200_000,
      sources: hosts.map((host) => ({ kind: 'hkp', url: `https://${host}` })),
    }),
    isLeader: () => true,
    fetch(source) {
      const url = source.kind === 'hkp' ? source.url : '';
      asked.push(url);
      return url === 'https://slow' ? new Promise(() => undefined) : Promise.resolve(Buffer.from(url));
    },
    log: createLog(),
    async wait(ms) {
      assert.equal(ms, 20_000);
      assert.equal(asked.length, hosts.length, 'the time begins when all are asked');
      await new Promise((resolve) => setImmediate(resolve));
    },
  });
  assert.deepEqual(await refresher.refreshNow(ONE, actor), [
    { from: 'https://slow', results: [], problem: 'it does not answer within 20 seconds; ask again later' },
    { from: 'https://full', results: [], problem: 'the disk is full' },
    { from: 'https://good', results: [], problem: null },
  ]);
});
