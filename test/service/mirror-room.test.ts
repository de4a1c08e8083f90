// What readers have asked a mirror for is noted, although the database takes it only later.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { AskedSet } from '../../src/domain/ports.ts';
import { createMirrorRoom } from '../../src/service/mirror-room.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';

test('which sets were read outlives a write that fails, and what is read meanwhile is written with the next', async () => {
  const written: (readonly AskedSet[])[] = [];
  const clock = createClock();
  let during: (() => void) | null = null;
  let isFull = true;
  let look: () => void = () => undefined;
  const room = createMirrorRoom({
    site: 'rh',
    maxBytes: 1,
    mirrors: {
      asked: async (sets) => {
        during?.();
        if (isFull) throw new LookasideError('DISK_FULL', 'no room');
        written.push(sets);
      },
      beyond: async () => null,
      setOf: async () => null,
      onDemand: async () => [],
      forget: async () => undefined,
    },
    letGo: async () => false,
    clock,
    wait: () =>
      new Promise<void>((resolve) => {
        look = resolve;
      }),
    log: createLog(),
  });
  const lookNow = async () => {
    room.grown(() => true);
    look();
    await new Promise((resolve) => setImmediate(resolve));
  };
  const readAt = clock.now();
  room.asked(imageOf('team/app'));
  await lookNow();
  assert.deepEqual(written, []);
  isFull = false;
  clock.pass(1000);
  during = () => room.asked(imageOf('team/other'));
  await lookNow();
  const first = { image: imageOf('team/app'), askedAt: readAt };
  assert.deepEqual(written.flat(), [first]);
  during = null;
  await room.stop();
  assert.deepEqual(written.flat(), [first, { image: imageOf('team/other'), askedAt: clock.now() }]);
});
