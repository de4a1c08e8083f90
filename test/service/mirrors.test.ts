import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { imageFolder, imageName } from '../../src/domain/image.ts';
import { DEFAULT_MIRROR } from '../../src/domain/mirror.ts';
import type { FailedWalk } from '../../src/domain/ports.ts';
import { type Release, releasesAtOnce } from '../../src/domain/release-graph.ts';
import { walkFault } from '../../src/domain/walk.ts';
import type { Mirror } from '../../src/service/mirror.ts';
import type { Brought } from '../../src/service/mirror-bring.ts';
import { createMirrors } from '../../src/service/mirrors.ts';
import { openStore } from '../store/open-store.ts';
import { createClock, imageOf } from './hand-driven.ts';

const ACTOR = { kind: 'administrator', name: 'test' } as never; // only recorded

const SITE = imageOf('team/app').site;

function open(
  { databases }: Pick<Awaited<ReturnType<typeof openStore>>, 'databases'>,
  bring: Mirror['bring'],
  hasSet = true,
  areKnown = hasSet,
) {
  const store = databases.mirrors;
  const clock = createClock();
  const names = new Set([SITE]);
  const stored = {
    name: SITE,
    settings: { ...DEFAULT_MIRROR, upstreams: ['https://one.example/s'], views: [] },
    addedAt: clock.now(),
  };
  const has = async () => hasSet;
  const haveSome: Mirror['haveSome'] = async (images) => images.map(() => areKnown);
  let owed: readonly FailedWalk[] = [];
  const noteFailures = async () => {
    if (owed.length > 0) await store.failed(owed, clock.now());
    owed = [];
  };
  const mirror = { bring, has, haveSome, noteFailures } as Partial<Mirror> as Mirror; // a sync asks for no more
  const mirrors = createMirrors({
    store,
    open: () => (names.has(SITE) ? [{ stored, mirror, restingMs: () => 0, counts: async () => null }] : []),
    put: async () => undefined,
    take: async () => undefined,
    listHosted: async () => ({ names: [], next: null }),
    missed: async () => [],
    makeEvent: () => null as never, // nobody reads it
    appendEvent: async () => undefined,
    clock,
    wait: async (ms) => clock.pass(ms),
  });
  const owe = (walks: readonly FailedWalk[]) => {
    owed = walks;
  };
  return { mirrors, store, clock, names, name: SITE, owe };
}

test('a sync that tells of too many channels is refused, and nothing of it is stored', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const { mirrors, store, name } = open(opened, async () => walkFault('status', 'answered 500'));
  const channels = Array.from({ length: 200 }, (_, k) => `stable-4.${k}`);
  const releases = Array.from({ length: 501 }, (_, k) => {
    const digest = `sha256:${k.toString(16).padStart(64, '0')}`;
    return { digest, version: `4.18.${k}`, arch: 'amd64', channels };
  });
  const sync = (releases: readonly Release[]) =>
    mirrors.sync(name, { images: [], maxAgeMs: null, releases }, ACTOR);
  await assert.rejects(sync(releases), (error: unknown) => isLookasideError(error, 'REQUEST_INVALID'));
  assert.deepEqual(await store.releases('4.18.0', 10), []);
  // what the command sends of them
  const some = releasesAtOnce(releases);
  assert.equal(some.length, 500);
  await sync(some);
  assert.equal((await store.releases('stable-4.0', 1000)).length, 500);
});

test('a sync asks for what was checked by a clock that was wrong, in the future', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageOf('team/app');
  let walks = 0;
  const { mirrors, store, clock } = open(opened, async () => {
    walks += 1;
    return walkFault('status', 'answered 500');
  });
  for (const upstream of ['https://one.example/s', null]) {
    for (const [aheadMs, expected] of [
      [0, 0],
      [1, 1],
      [3_600_000, 1],
    ] as const) {
      const checkedAt = new Date(clock.now().getTime() + aheadMs);
      const listing = { upstream, gone: [], leftOut: [], sizeBytes: null };
      const row = { site: image.site, image: imageFolder(image), checkedAt, syncedAt: checkedAt };
      await store.checked([{ ...row, ...listing }]);
      walks = 0;
      await mirrors.sync(image.site, { images: [imageName(image)], maxAgeMs: 60_000 }, ACTOR);
      assert.equal(walks, expected, `${aheadMs} ms ahead`);
    }
  }
});

test('a sync asks for a set that is noted as young and is not stored', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageOf('team/app');
  for (const [hasSet, areKnown] of [
    [true, true],
    [true, false],
    [false, false],
  ]) {
    let walks = 0;
    const bring = async () => {
      walks += 1;
      return walkFault('status', 'answered 500');
    };
    const { mirrors, store, clock } = open(opened, bring, hasSet, areKnown);
    const noted = { upstream: 'https://one.example/s', gone: [], leftOut: [], sizeBytes: null };
    const row = {
      site: image.site,
      image: imageFolder(image),
      checkedAt: clock.now(),
      syncedAt: clock.now(),
    };
    await store.checked([{ ...row, ...noted }]);
    const answer = await mirrors.sync(image.site, { images: [imageName(image)], maxAgeMs: 60_000 }, ACTOR);
    assert.equal(walks, hasSet ? 0 : 1);
    assert.equal(answer.images[0]?.result, hasSet ? 'unchanged' : 'failed');
  }
});

test('a sync asks again for what was checked lately and has failed since', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageOf('team/app');
  let walks = 0;
  const { mirrors, store, clock } = open(opened, async () => {
    walks += 1;
    return walkFault('status', 'answered 500');
  });
  const checkedAt = clock.now();
  const noted = { upstream: 'https://one.example/s', gone: [], leftOut: [], sizeBytes: null };
  const row = { site: image.site, image: imageFolder(image), checkedAt, syncedAt: checkedAt };
  await store.checked([{ ...row, ...noted }]);
  const sync = () => mirrors.sync(image.site, { images: [imageName(image)], maxAgeMs: 3_600_000 }, ACTOR);
  clock.pass(2000);
  await sync();
  assert.equal(walks, 0);
  await store.failed([{ image, begunAt: clock.now() }], clock.now());
  await sync();
  assert.equal(walks, 1);
});

test('a sync asks again for what has failed while nothing could be noted', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageOf('team/app');
  let walks = 0;
  const { mirrors, store, clock, owe } = open(opened, async () => {
    walks += 1;
    return walkFault('status', 'answered 500');
  });
  const checkedAt = clock.now();
  const noted = { upstream: 'https://one.example/s', gone: [], leftOut: [], sizeBytes: null };
  const row = { site: image.site, image: imageFolder(image), checkedAt, syncedAt: checkedAt };
  await store.checked([{ ...row, ...noted }]);
  clock.pass(2000);
  owe([{ image, begunAt: clock.now() }]);
  await mirrors.sync(image.site, { images: [imageName(image)], maxAgeMs: 3_600_000 }, ACTOR);
  assert.equal(walks, 1);
});

test('a sync whose mirror is removed meanwhile leaves no last run to a later mirror of that name', async () => {
  await using opened = await openStore({ kind: 'owned' });
  let removeIt = () => {};
  const { mirrors, store, names } = open(opened, async () => {
    removeIt();
    return walkFault('resting', 'the mirror is being changed');
  });
  const sync = () => mirrors.sync(SITE, { images: [imageName(imageOf('team/app'))], maxAgeMs: null }, ACTOR);
  removeIt = () => names.clear();
  assert.equal((await sync()).counts.failed, 1);
  assert.equal(await store.lastRun(SITE), null);
  names.add(SITE);
  removeIt = () => {};
  await sync();
  assert.equal((await store.lastRun(SITE))?.counts.failed, 1);
});

test('a run waits for an upstream that is left alone after it has answered, and not for ever; nor for a mirror that stops', async () => {
  await using opened = await openStore({ kind: 'owned' });
  let answers: Brought[] = [];
  const dead = walkFault('resting', 'left alone', 30_000);
  const { mirrors, clock } = open(opened, async () => answers.shift() ?? dead);
  const images = ['team/a', 'team/b', 'team/c'].map((path) => imageName(imageOf(path)));
  const run = async (given: Brought[]) => {
    answers = given;
    const startMs = clock.monotonicMs();
    const { counts } = await mirrors.sync(SITE, { images, maxAgeMs: null }, ACTOR);
    return { failed: counts.failed, waitedMs: clock.monotonicMs() - startMs };
  };
  const none: Brought = { kind: 'empty', leftOut: [] };
  assert.deepEqual(await run([none, dead, dead, dead, none, none]), { failed: 0, waitedMs: 3000 });
  const { failed, waitedMs } = await run([none]);
  assert.equal(failed, 2);
  assert.ok(waitedMs > 60_000 && waitedMs <= 100_000, `${waitedMs} ms`);
  assert.deepEqual(await run([]), { failed: 3, waitedMs: 0 });
  const stopped = walkFault('resting', 'the server stops');
  assert.deepEqual(await run([none, stopped, stopped]), { failed: 2, waitedMs: 0 });
});

test('a sync passes over what is young and stored, and begins no more walks than find room', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const images = Array.from({ length: 1200 }, (_, k) => imageOf(`team/app-${k}`));
  const fresh = new Set(images.filter((_, k) => k % 3 === 2).map(imageName));
  const walking: { image: string; end: () => void; walked: () => void }[] = [];
  const walked: string[] = [];
  const bring: Mirror['bring'] = (image, onWalked = () => undefined) =>
    new Promise((resolve) => {
      const end = () => resolve({ kind: 'empty', leftOut: [] });
      walking.push({ image: imageName(image), end, walked: onWalked });
      walked.push(imageName(image));
    });
  const { mirrors, store, clock } = open(opened, bring);
  const noted = { upstream: 'https://one.example/s', gone: [], leftOut: [], sizeBytes: null };
  const times = { checkedAt: clock.now(), syncedAt: clock.now() };
  const young = images.filter((image) => !fresh.has(imageName(image)));
  await store.checked(
    young.map((image) => ({ site: image.site, image: imageFolder(image), ...times, ...noted })),
  );
  const progress: number[] = [];
  const onProgress = ({ done }: { readonly done: number }) => void progress.push(done);
  const syncing = mirrors.sync(SITE, { images: images.map(imageName), maxAgeMs: 60_000, onProgress }, ACTOR);
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  await settled();
  assert.equal(walking.length, 32, 'those that wait for an answer');
  // walked is enough to let others begin, while the sets wait for the disk
  for (const one of [...walking]) one.walked();
  await settled();
  assert.equal(walking.length, 64);
  while (walked.length < fresh.size) {
    for (const one of walking.splice(0)) one.end();
    await settled();
  }
  for (const one of walking) one.end();
  const { counts } = await syncing;
  assert.deepEqual(counts, { new: 0, unchanged: 800, missing: 400, refused: 0, failed: 0 });
  assert.deepEqual(new Set(walked), fresh);
  assert.equal(walked.length, fresh.size);
  assert.equal(progress.at(-1), 1200);
});

test('a sync whose result the database does not take tells what it has fetched, and what could not be kept', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageOf('team/app');
  const { mirrors, store, name } = open(opened, async () => ({ kind: 'empty', leftOut: [] }), false);
  const full = async () => Promise.reject(new LookasideError('DISK_FULL', 'database or disk is full'));
  const { ran, putReleases } = store;
  Object.assign(store, { ran: full, putReleases: full });
  const release = { digest: `sha256:${'a'.repeat(64)}`, version: '4.18.1', arch: 'amd64', channels: [] };
  const request = { images: [imageName(image)], maxAgeMs: null };
  const answer = await mirrors.sync(name, { ...request, releases: [release] }, ACTOR);
  assert.equal(answer.counts.missing, 1);
  assert.equal(
    answer.unrecorded,
    'what the graphs say of releases and the result of this run could not be kept: database or disk is full',
  );
  Object.assign(store, { ran, putReleases });
  assert.equal((await mirrors.sync(name, request, ACTOR)).unrecorded, null);
});
