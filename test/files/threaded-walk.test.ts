// The thread that walks through a tree: what it hands over, and how it ends.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { foldersOf, unpackImages } from '../../src/domain/packed-images.ts';
import { toHex } from '../../src/domain/signed-note.ts';
import type { WalkBatch, WalkShare } from '../../src/domain/tree-walk.ts';
import { type QuickWalkOptions, walkQuickly } from '../../src/files/quick-walk.ts';
import { openThreadedWalk } from '../../src/files/threaded-walk.ts';
import { openFolderStamps } from '../../src/sqlite/folder-stamps.ts';
import { LEAST, priorities } from '../priorities.ts';
import { until } from '../sqlite/scratch.ts';
import { folderOf, layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { openStore, SITE } from '../store/open-store.ts';

const SCRIPT = new URL('../../src/compose/walk-thread.js', import.meta.url);

const ONE = signatureBytes('one');
const ALL = { number: 0, of: 1 };

const scriptOf = (code: string) => new URL(`data:text/javascript,${encodeURIComponent(code)}`);

async function batchesOf(
  root: string,
  index: string,
  script: URL,
  { signal, share = ALL }: { readonly signal?: AbortSignal; readonly share?: WalkShare } = {},
): Promise<AsyncIterable<WalkBatch>> {
  const batches = await openThreadedWalk({ root, index, script }).walk({
    site: SITE,
    share,
    mustLook: [],
    signal,
  });
  assert.ok(batches !== null);
  return batches;
}

async function walkAll(...walk: Parameters<typeof batchesOf>): Promise<WalkBatch[]> {
  const all = [];
  for await (const batch of await batchesOf(...walk)) all.push(batch);
  return all;
}

test('the thread gives way to those that answer', async () => {
  await using opened = await openStore({ kind: 'owned', isQuick: true });
  const { root, databases } = opened;
  for (let number = 0; number < 70; number += 1)
    await layImage(root, `team/v${number}`, signatureBytes(`${number}`, 8000));
  const before = priorities();
  const own = getPriority();
  for await (const _ of await batchesOf(root, databases.indexFile, SCRIPT)) {
    // it waits for us to take the batches that it has handed over
    const [walking, ...others] = [...priorities()].filter(
      ([thread, priority]) => !before.has(thread) && priority !== own,
    );
    assert.deepEqual(others, []);
    assert.equal(walking?.[1], own === LEAST ? undefined : Math.min(LEAST, own + 10));
    break;
  }
});

test('the thread reads what is new, batch by batch, and passes over what has its stamp', async () => {
  await using opened = await openStore({ kind: 'owned', isQuick: true, nowMs: () => Date.now() + 60_000 });
  const { root, databases, scanner } = opened;
  const bytesOf = (number: number) => signatureBytes(`${number}`, 8000); // few go into a batch
  for (let number = 0; number < 70; number += 1) await layImage(root, `team/v${number}`, bytesOf(number));
  const read = new Map<string, string>();
  let many = 0;
  for await (const { images, packed } of await batchesOf(root, databases.indexFile, SCRIPT)) {
    assert.deepEqual(images, []);
    many += 1;
    if (packed === null) continue;
    // their memory is written again afterwards
    for (const { folder, files } of unpackImages(packed))
      read.set(folder, files.map(({ sha256, bytes }) => `${toHex(sha256)} ${sha256Hex(bytes)}`).join());
  }
  assert.ok(many > 2, `${many} batches`);
  const wanted = Array.from({ length: 70 }, (_, number): [string, string] => {
    const hex = sha256Hex(bytesOf(number));
    return [folderOf(`team/v${number}`), `${hex} ${hex}`];
  });
  assert.deepEqual([...read], wanted.sort());
  await scanner.scan(SITE);
  const [again, ...more] = await walkAll(root, databases.indexFile, SCRIPT);
  assert.deepEqual(more, []);
  assert.deepEqual(again?.unchanged, { images: 70, signatures: 70 });
  assert.deepEqual(again?.images, []);
  assert.equal(again?.packed, null);
});

test('two walks side by side name each image once, and one of them what is no image', async () => {
  await using opened = await openStore({ kind: 'shared', isQuick: true, nowMs: () => Date.now() + 60_000 });
  const { root, databases, scanner } = opened;
  const [recorded, gone] = [
    await layImage(root, 'team/recorded', ONE),
    await layImage(root, 'team/gone', ONE),
  ];
  await scanner.scan(SITE);
  await rm(path.join(root, gone), { recursive: true });
  const others: string[] = [];
  for (let number = 0; number < 20; number += 1)
    others.push(await layImage(root, `team/v${number}`, signatureBytes(`${number}`)));
  const deep = Array.from({ length: 12 }, (_, at) => `${at}`.padEnd(20, 'x')).join('/');
  await mkdir(path.join(root, deep, 'y'.repeat(30)), { recursive: true });
  const walks = await Promise.all(
    [0, 1].map((number) => walkAll(root, databases.indexFile, SCRIPT, { share: { number, of: 2 } })),
  );
  const found = walks.map((batches) => ({
    unchanged: batches.reduce((sum, { unchanged }) => sum + unchanged.images, 0),
    // named to be looked at, or read in the walk
    others: batches.flatMap(({ images, packed }) => [
      ...images.map(({ folder }) => folder),
      ...(packed === null ? [] : foldersOf(packed)),
    ]),
    tooLong: batches.flatMap(({ tooLong }) => tooLong.map(({ path: first }) => first)),
  }));
  const [first, second] = found;
  assert.deepEqual(found.flatMap((one) => one.others).sort(), [...others, gone].sort());
  assert.equal((first?.unchanged ?? 0) + (second?.unchanged ?? 0), 1, recorded);
  assert.ok(found.every((one) => one.others.length > 3));
  assert.deepEqual(first?.tooLong, [`${deep}/${'y'.repeat(30)}`]);
  assert.deepEqual(second?.tooLong, []);
});

test('of two walks each keeps the names of its own images in memory, and together they name each that is gone', async () => {
  await using opened = await openStore({ kind: 'shared', isQuick: true, nowMs: () => Date.now() + 60_000 });
  const { root, databases, scanner } = opened;
  const there = [];
  for (let number = 0; number < 40; number += 1) there.push(await layImage(root, `v${number}`, ONE));
  await layImage(root, 'team/app', ONE);
  await scanner.scan(SITE);
  const gone = there.filter((_, number) => number % 2 === 0);
  for (const folder of gone) await rm(path.join(root, folder), { recursive: true });
  // it was recorded before paths had a limit
  const long = ['1', '2'].map((last) => `${'x'.repeat(200)}@sha256=${'0'.repeat(63)}${last}`);
  const stamps = openFolderStamps(databases.indexFile);
  const kept: number[] = [];
  const named: string[] = [];
  const outgrown: string[] = [];
  for (const number of [0, 1]) {
    const recorded: QuickWalkOptions['recorded'] = (folder, isWanted) => {
      const names = stamps.in(SITE, folder, isWanted);
      if (folder !== '') return names;
      kept.push([...names.keys()].length);
      return { ...names, keys: () => [...names.keys(), ...long.filter(isWanted)] };
    };
    const share = { number, of: 2 };
    for (const batch of walkQuickly({
      root,
      site: SITE,
      share,
      mustLook: new Set(),
      recorded,
      nowMs: Date.now,
    })) {
      named.push(...batch.images.map(({ folder }) => folder));
      outgrown.push(...batch.outgrown);
    }
  }
  stamps.close();
  assert.deepEqual(named.sort(), gone.sort());
  assert.deepEqual(outgrown.sort(), long);
  const [first = 0, second = 0] = kept;
  assert.equal(first + second, there.length + 2, 'both know the folder above images');
  assert.ok(first < there.length && second < there.length);
});

test('a thread that dies or meets an unusable index fails the walk', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const { root, databases } = opened;
  await assert.rejects(walkAll(root, databases.indexFile, scriptOf('process.exit(1)')), {
    code: 'STORE_UNAVAILABLE',
  });
  await assert.rejects(walkAll(root, `${databases.indexFile}-not`, SCRIPT), { code: 'STORE_UNAVAILABLE' });
});

test('a walk that is to end ends though its thread tells nothing', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const stop = new AbortController();
  const waiting = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)';
  const walking = walkAll(opened.root, opened.databases.indexFile, scriptOf(waiting), {
    signal: stop.signal,
  });
  stop.abort(new Error('enough'));
  await assert.rejects(walking, { message: 'enough' });
});

test('a walk that is to end does so though the disk does not answer its thread, and the next one waits for the disk', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const { root, databases } = opened;
  const [fifo, began] = [path.join(root, 'fifo'), path.join(root, 'began')];
  execFileSync('mkfifo', [fifo]);
  const stop = new AbortController();
  // one call that nothing ends from outside, as on a network disk that is gone
  const code = `import { execFileSync } from 'node:child_process';
    execFileSync('sh', ['-c', 'echo > ${began}; read line < ${fifo}']);`;
  const threaded = openThreadedWalk({ root, index: databases.indexFile, script: scriptOf(code), endMs: 100 });
  const request = { site: SITE, share: ALL, mustLook: [] };
  const batches = await threaded.walk({ ...request, signal: stop.signal });
  assert.ok(batches !== null);
  const walking = (async () => {
    for await (const _ of batches) assert.fail('it tells nothing');
  })();
  await until(() => existsSync(began));
  stop.abort(new Error('enough'));
  await assert.rejects(walking, { message: 'enough' });
  await assert.rejects(threaded.walk(request), {
    code: 'STORE_UNAVAILABLE',
    message: /has not answered a walk/,
  });
  await writeFile(fifo, '\n');
  await until(async () => (await threaded.walk(request).catch(() => null)) !== null);
});

test('a tree whose stamps do not tell of every change is not walked through quickly', async () => {
  const walk = openThreadedWalk({ root: '/proc', index: '', script: SCRIPT });
  assert.equal(await walk.walk({ site: SITE, share: ALL, mustLook: [] }), null);
});
