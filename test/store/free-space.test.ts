import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createFreeSpaceCheck } from '../../src/store/free-space.ts';

const GIB = 1024 * 1024 * 1024;

describe('free space', () => {
  function openCheck(freeBytes: number) {
    const state = { nowMs: 0, freeBytes, reserveBytes: 100, looks: 0 };
    const check = createFreeSpaceCheck({
      disks: [
        {
          holds: 'the tree',
          async freeBytes() {
            state.looks += 1;
            return state.freeBytes;
          },
        },
        { holds: 'the data directory', freeBytes: async () => 100 * GIB },
      ],
      minFreeBytes: () => state.reserveBytes,
      monotonicMs: () => state.nowMs,
    });
    return { state, check };
  }
  const isFull = { code: 'DISK_FULL', message: /bytes are free for the tree.*LOOKASIDE_MIN_FREE/ };

  test('is looked at anew for each upload where little is left', async () => {
    const { state, check } = openCheck(GIB + 99);
    await check();
    await check();
    assert.equal(state.looks, 2);
    state.freeBytes = 99;
    await assert.rejects(check(), isFull);
  });

  test('where much is left, one look serves a tenth of a second', async () => {
    const { state, check } = openCheck(GIB + 100);
    await check();
    state.freeBytes = 99;
    state.nowMs = 99;
    await check();
    assert.equal(state.looks, 1);
    state.nowMs = 100;
    await assert.rejects(check(), isFull);
  });

  test('a greater reserve counts at once', async () => {
    const { state, check } = openCheck(2 * GIB);
    await check();
    state.reserveBytes = 3 * GIB;
    await assert.rejects(check(), isFull);
  });
});
