// Keys that the server refreshes by itself: whom it asks, what it merges, and that a failure stops nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { KeyRefresh } from '../../src/domain/key-source.ts';
import { createKeyRefresher } from '../../src/service/key-refresh.ts';
import { createLog } from './hand-driven.ts';
import { keyOf } from './signature-memory.ts';

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
  const actor = { name: 'anna', address: null, requestId: null };
  assert.deepEqual(await refresher.refreshNow(ONE, actor), [
    { from: 'wkd', results: [], problem: 'away' },
    { from: 'https://x', results: [], problem: null },
  ]);
  assert.deepEqual(merged.at(-1), ['newer', ONE, 'anna']);
  refresher.stop();
  go();
});
