import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageFolder, imageName } from '../../src/domain/image.ts';
import { DEFAULT_MIRROR } from '../../src/domain/mirror.ts';
import { walkFault } from '../../src/domain/walk.ts';
import type { Mirror } from '../../src/service/mirror.ts';
import { createMirrors } from '../../src/service/mirrors.ts';
import { openStore } from '../store/open-store.ts';
import { createClock, imageOf } from './hand-driven.ts';

const ACTOR = { kind: 'administrator', name: 'test' } as never; // only recorded

test('a sync asks for what was checked by a clock that was wrong, in the future', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const { mirrors: store } = opened.databases;
  const clock = createClock();
  const image = imageOf('team/app');
  const stored = {
    name: image.site,
    settings: { ...DEFAULT_MIRROR, upstreams: ['https://one.example/s'], views: [] },
    addedAt: clock.now(),
  };
  let walks = 0;
  const mirror = {
    async bring() {
      walks += 1;
      return walkFault('status', 'answered 500');
    },
  } as Partial<Mirror> as Mirror; // a sync asks for no more
  const mirrors = createMirrors({
    store,
    open: () => [{ stored, mirror, restingMs: () => 0, counts: async () => null }],
    put: async () => undefined,
    take: async () => undefined,
    listHosted: async () => ({ names: [], next: null }),
    missed: async () => [],
    makeEvent: () => null as never, // nobody reads it
    appendEvent: async () => undefined,
    clock,
  });
  for (const upstream of ['https://one.example/s', null]) {
    for (const [aheadMs, expected] of [
      [0, 0],
      [1, 1],
      [3_600_000, 1],
    ] as const) {
      const checkedAt = new Date(clock.now().getTime() + aheadMs);
      const found = { upstream, gone: [], leftOut: [], sizeBytes: null };
      const row = { site: image.site, image: imageFolder(image), checkedAt, syncedAt: checkedAt };
      await store.checked([{ ...row, ...found }]);
      walks = 0;
      await mirrors.sync(image.site, { images: [imageName(image)], maxAgeMs: 60_000 }, ACTOR);
      assert.equal(walks, expected, `${aheadMs} ms ahead`);
    }
  }
});
