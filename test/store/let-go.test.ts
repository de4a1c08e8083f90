// What reads alone have brought to a mirror is kept within its size, over a real tree, index and state.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import type { CheckedSet } from '../../src/domain/ports.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { createMirrorRoom } from '../../src/service/mirror-room.ts';
import { BEYOND, ON_DEMAND_RANGE } from '../../src/sqlite/mirror-rows.ts';
import { OF_CHANNEL, OF_VERSION } from '../../src/sqlite/mirrors.ts';
import { createImageChanges } from '../../src/store/image-changes.ts';
import { createLetGo } from '../../src/store/let-go.ts';
import { createGate } from '../gate.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf, layImage, signatureBytes } from './lay.ts';
import { eventOf, imageIn, openStore, SITE } from './open-store.ts';

const SET_BYTES = 8192;

test('sets that were asked for longest ago go, and synced or irreplaceable ones never', async () => {
  await using store = await openStore({ kind: 'owned' });
  const { mirrors, index, tombstones } = store.databases;
  const writer = openTreeWriter({ root: store.root, nowMs: Date.now });
  const changed: string[] = [];
  const image = (name: string) => imageIn(folderOf(name));
  // from the oldest to the youngest
  const names = [
    'a/synced',
    'b/gone-upstream',
    'c/failing',
    'd/old',
    'e/withdrawn',
    'f/old',
    'f/resting',
    'g/young',
    'h/young',
  ];
  for (const [position, name] of names.entries()) {
    await layImage(store.root, name, signatureBytes(name));
    const row: CheckedSet = {
      site: SITE,
      image: folderOf(name),
      checkedAt: new Date(position * 1000),
      upstream: `https://${name.includes('resting') ? 'resting' : 'upstream'}.example/`,
      gone: name.includes('gone') ? ['0'.repeat(64)] : [],
      leftOut: [],
      syncedAt: name.includes('synced') ? new Date(0) : null,
      sizeBytes: SET_BYTES,
    };
    await mirrors.checked([row]);
    if (name === 'c/failing')
      await mirrors.failed([{ image: image(name), begunAt: new Date(8000) }], new Date(9000));
  }
  // one of which nothing is kept stays so
  await mirrors.failed([{ image: image('never/seen'), begunAt: new Date(8000) }], new Date(9000));
  assert.equal(await mirrors.setOf(image('never/seen')), null);
  assert.deepEqual((await mirrors.setOf(image('c/failing')))?.failingSince, new Date(9000));
  await store.scanner.scan(SITE);
  const isWithdrawn = (one: ImageId) => one.path === 'e/withdrawn';
  const letGo = createLetGo({
    writer,
    index,
    tombstones: { ofImage: async (one) => (isWithdrawn(one) ? [{} as never] : tombstones.ofImage(one)) }, // only their number counts
    changes: createImageChanges(),
    onChanged: (one) => void changed.push(one.path),
  });
  const log = createLog();
  const pause = createGate();
  const clock = { now: () => new Date(3500) };
  const common = { site: SITE, mirrors, letGo, log, clock };
  const room = createMirrorRoom({ ...common, maxBytes: 2 * SET_BYTES, wait: () => pause.promise });
  const upstreams = new Set<string | null>();
  room.grown((_, upstream) => {
    upstreams.add(upstream);
    return upstream !== 'https://resting.example/';
  });
  pause.open();
  await pause.promise;
  await Promise.resolve();
  await lookedAt(() => log.lines.length > 0);
  assert.deepEqual(changed.sort(), ['d/old', 'f/old']);
  assert.ok(upstreams.has('https://upstream.example/'));
  const there = async (name: string) => readdir(path.join(store.root, folderOf(name))).catch(() => []);
  for (const name of names) {
    const isLeft = !['d/old', 'f/old'].includes(name);
    assert.deepEqual(await there(name), isLeft ? ['signature-1'] : [], name);
    assert.equal((await index.recorded(image(name))).length, isLeft ? 1 : 0, name);
    assert.equal((await store.store.readSet(image(name))).entries.length, isLeft ? 1 : 0, name);
  }
  assert.equal(await mirrors.setOf(image('d/old')), null);
  // which upstream it came from is still known: sets of two are never mixed
  assert.notEqual(await mirrors.setOf(image('e/withdrawn')), null);
  assert.deepEqual(await readdir(path.join(store.root, '.lookaside/batch')), []);
  await room.stop();
  // a whole walk ends what was noted of failures
  const after = await mirrors.setOf(image('c/failing'));
  assert.ok(after !== null);
  const checkedAt = new Date(10_000);
  await mirrors.checked([{ ...after, checkedAt }]);
  const failing = async (begunMs: number, ms: number) => {
    await mirrors.failed([{ image: image('c/failing'), begunAt: new Date(begunMs) }], new Date(ms));
    return (await mirrors.setOf(image('c/failing')))?.failingSince;
  };
  assert.equal(await failing(9000, 11_000), null, 'it began before that walk and ended behind it');
  assert.deepEqual(await failing(10_500, 12_000), new Date(12_000));
  assert.deepEqual(await failing(12_500, 13_000), new Date(12_000), 'the first tells');
  // a check in the future was by a clock that was wrong
  await mirrors.checked([{ ...after, checkedAt }]);
  assert.deepEqual(await failing(8000, 9000), new Date(9000));
});

test('sets behind many that may not go are found, and that the mirror stays too large is told once', async () => {
  await using store = await openStore({ kind: 'owned' });
  const { mirrors } = store.databases;
  const rows = Array.from({ length: 1100 }, (_, k): CheckedSet => {
    const image = folderOf(`${k < 1050 ? 'failing' : 'old'}/app-${k}`);
    const checkedAt = new Date(k - (k % 3)); // several at once
    const noted = { gone: [], leftOut: [], syncedAt: null, sizeBytes: SET_BYTES };
    return { site: SITE, image, checkedAt, upstream: 'https://upstream.example/', ...noted };
  });
  await mirrors.checked(rows);
  const log = createLog();
  const went: string[] = [];
  const room = createMirrorRoom({
    ...{ site: SITE, mirrors, log, maxBytes: 5 * SET_BYTES, clock: { now: () => new Date() } },
    async letGo(image, { mayGo, onGone }) {
      assert.equal(await mayGo(), true);
      went.push(image.path);
      await onGone();
      return true;
    },
    wait: async () => undefined,
  });
  const warnings = () => log.lines.filter(({ level }) => level === 'warn');
  room.grown(({ path: repository }) => repository.startsWith('old/'));
  await lookedAt(() => warnings().length > 0);
  assert.equal(went.length, 45);
  assert.deepEqual(warnings()[0]?.fields, { site: SITE, sets: 1050, maxBytes: 5 * SET_BYTES });
  room.grown(() => false);
  await room.stop();
  assert.equal(warnings().length, 1);
});

test('what graphs have said of a removed mirror is forgotten, and a version is looked up by its index', async () => {
  await using store = await openStore({ kind: 'owned' });
  const { mirrors } = store.databases;
  const release = { digest: `sha256:${'a'.repeat(64)}`, version: '4.18.1', arch: null };
  const published = { releases: [{ ...release, channels: ['stable-4.18'] }], wholeChannels: [] };
  await mirrors.putReleases('one', published);
  await mirrors.putReleases('other', published);
  assert.equal((await mirrors.releases('stable-4.18', 10)).length, 2);
  await mirrors.remove('one', eventOf(imageIn(folderOf('a/b')), '', 'mirror-remove'));
  assert.deepEqual(await mirrors.releases('4.18.1', 10), [release]);
  assert.equal((await mirrors.releases('stable-4.18', 10)).length, 1);
  const db = new Database(path.join(store.data, 'state.db'), { readonly: true });
  const plan = db.prepare<unknown[], { detail: string }>(`EXPLAIN QUERY PLAN ${OF_VERSION}`).all('4.18.1', 1);
  assert.match(plan[0]?.detail ?? '', /USING INDEX mirror_release_version/);
  const steps = db
    .prepare<unknown[], { detail: string }>(`EXPLAIN QUERY PLAN ${OF_CHANNEL}`)
    .all('stable-4.18', 1);
  assert.deepEqual(
    steps.map(({ detail }) => detail.replace(/^(SEARCH \S+).*/, '$1')),
    ['SEARCH mirror_release_channel', 'SEARCH mirror_release'],
  );
  db.close();
});

test('a release leaves a channel that its graph names no more, and stays in those that the graph does not tell of', async () => {
  await using store = await openStore({ kind: 'owned' });
  const { mirrors } = store.databases;
  const releaseOf = (letter: string, arch: string, channels: readonly string[]) => {
    return { digest: `sha256:${letter.repeat(64)}`, version: `4.18.${letter}`, arch, channels };
  };
  const [a, b] = [
    releaseOf('1', 'amd64', ['stable-4.18', 'fast-4.18']),
    releaseOf('2', 'amd64', ['stable-4.18']),
  ];
  const other = releaseOf('3', 's390x', ['stable-4.18']);
  await mirrors.putReleases('one', { releases: [a, b, other], wholeChannels: [] });
  await mirrors.putReleases('two', { releases: [b], wholeChannels: [] });
  const of = async (channel: string) => {
    const known = await mirrors.releases(channel, 10);
    return known.map(({ version }) => version.slice(-1)).join('');
  };
  assert.deepEqual([await of('stable-4.18'), await of('fast-4.18')], ['1223', '1']);
  // the graph of one channel, whose nodes list no channels: the others are as they were
  const wholeChannels = [{ channel: 'stable-4.18', arch: 'amd64' }];
  const still = [{ ...a, channels: ['stable-4.18'] }];
  await mirrors.putReleases('one', { releases: still, wholeChannels });
  assert.deepEqual([await of('stable-4.18'), await of('fast-4.18')], ['123', '1']);
  // nodes that list them, of two graphs: together they are all of them
  const listed = (channel: string) => ({ ...a, channels: [channel], hasAllChannels: true });
  await mirrors.putReleases('one', {
    releases: [listed('eus-4.18'), listed('stable-4.18')],
    wholeChannels: [],
  });
  assert.deepEqual([await of('stable-4.18'), await of('fast-4.18'), await of('eus-4.18')], ['123', '', '1']);
  assert.equal((await mirrors.releases('4.18.2', 10)).length, 2, 'what is known of it stays');
});

test('a set that was read lately stays though it was walked for longest ago, after a restart too', async () => {
  await using store = await openStore({ kind: 'owned' });
  const { mirrors } = store.databases;
  const names = ['a/read', 'b/not-read', 'c/not-read', 'd/young'];
  for (const [position, name] of names.entries()) {
    const noted = { gone: [], leftOut: [], syncedAt: null, sizeBytes: SET_BYTES };
    const checkedAt = new Date(position * 1000);
    const upstream = 'https://upstream.example/';
    await mirrors.checked([{ site: SITE, image: folderOf(name), checkedAt, upstream, ...noted }]);
  }
  const went: string[] = [];
  const open = (maxBytes: number | null) =>
    createMirrorRoom({
      ...{ site: SITE, mirrors, log: createLog(), maxBytes, clock: { now: () => new Date(9000) } },
      async letGo(image, { onGone }) {
        went.push(image.path);
        await onGone();
        return true;
      },
      wait: async () => undefined,
    });
  const unlimited = open(null);
  assert.equal(unlimited.askedEveryMs, null);
  unlimited.asked(imageIn(folderOf('b/not-read')));
  await unlimited.stop();
  const before = open(2 * SET_BYTES);
  assert.equal(before.askedEveryMs, 60_000);
  before.asked(imageIn(folderOf('a/read')));
  // never stored: nothing is noted of it
  before.asked(imageIn(folderOf('never/seen')));
  await before.stop();
  assert.equal(await mirrors.setOf(imageIn(folderOf('never/seen'))), null);
  const room = open(2 * SET_BYTES);
  room.grown(() => true);
  await lookedAt(() => went.length === 2);
  await room.stop();
  assert.deepEqual(went.sort(), ['b/not-read', 'c/not-read']);
});

test('the look for what has to go stays in its index', async () => {
  await using store = await openStore({ kind: 'owned' });
  const db = new Database(path.join(store.data, 'state.db'), { readonly: true });
  for (const query of [BEYOND, ON_DEMAND_RANGE]) {
    const steps = db.prepare<unknown[], { detail: string }>(`EXPLAIN QUERY PLAN ${query}`);
    const plan = steps.all(...Array.from(query.matchAll(/\?/g), () => null)).map(({ detail }) => detail);
    const reads = plan.filter((step) => /mirror_set/.test(step));
    assert.equal(reads.length, 1, plan.join('; '));
    assert.match(reads[0] ?? '', /USING COVERING INDEX mirror_set_on_demand/);
  }
  db.close();
});

test('a set that somebody has fetched anew meanwhile stays', async () => {
  await using store = await openStore({ kind: 'owned' });
  await layImage(store.root, 'team/app', signatureBytes('team/app'));
  const writer = openTreeWriter({ root: store.root, nowMs: Date.now });
  const { index, tombstones } = store.databases;
  const changes = createImageChanges();
  const letGo = createLetGo({ writer, index, tombstones, changes, onChanged: () => undefined });
  const image = imageIn(folderOf('team/app'));
  const onGone = async () => assert.fail('it is there');
  assert.equal(await letGo(image, { mayGo: async () => false, onGone }), false);
  assert.deepEqual(await readdir(path.join(store.root, imageFolder(image))), ['signature-1']);
});

async function lookedAt(isOver: () => boolean): Promise<void> {
  while (!isOver()) await new Promise((resolve) => setImmediate(resolve));
}
