// Sets that come from elsewhere, many together, over a real tree and a real index.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { TreeWriter } from '../../src/domain/tree.ts';
import type { Judgement } from '../../src/domain/verdict.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { createImageChanges } from '../../src/store/image-changes.ts';
import { createPublisher } from '../../src/store/publish.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf, layImage, sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, type OpenedStore, openStore, SITE } from './open-store.ts';

const UNJUDGED: Judgement | null = null;
const setOf = (name: string) => [
  { bytes: signatureBytes(`${name} 1`), judgement: UNJUDGED },
  { bytes: signatureBytes(`${name} 2`), judgement: UNJUDGED },
];

function publisherOf(store: OpenedStore, writer: TreeWriter, changes = createImageChanges()) {
  const { tree, databases } = store;
  return createPublisher({
    ...{ tree, writer, index: databases.index, tombstones: databases.tombstones, uploads: store.uploads },
    kind: 'owned',
    takesAll: true,
    changes,
    wait: () => new Promise<void>((resolve) => setImmediate(resolve)),
    report: () => undefined,
    sha256: sha256Hex,
    minFreeBytes: () => 0,
    onChanged: () => undefined,
    onRecorded: () => undefined,
    log: createLog(),
  });
}

test('what was stored together keeps its times when the index is built again', async () => {
  await using store = await openStore({ kind: 'owned' });
  const publisher = publisherOf(store, openTreeWriter({ root: store.root, nowMs: Date.now }));
  const images = Array.from({ length: 30 }, (_, number) => imageIn(folderOf(`team/app-${number}`)));
  const gathered = await Promise.all(images.map((image) => publisher.gather(image, setOf(image.path))));
  const published = await Promise.all(gathered.map(({ done }) => done));
  const { index } = store.databases;
  const before = await Promise.all(images.map((image) => index.recorded(image)));
  assert.deepEqual(
    before.map((rows) => rows.map(({ storedAt }) => storedAt)),
    published.map(({ entries }) => entries.map(({ storedAt }) => storedAt)),
  );
  await index.reset();
  await store.scanner.scan(SITE);
  assert.deepEqual(await Promise.all(images.map((image) => index.recorded(image))), before);
});

test('of sets that are placed together, one that fails leaves the others stored', async () => {
  await using store = await openStore({ kind: 'owned' });
  const writer = openTreeWriter({ root: store.root, nowMs: Date.now });
  const publisher = publisherOf(store, writer);
  // the folder above it is a file
  const good = imageIn(folderOf('team/good'));
  const bad = imageIn(folderOf('wall/bad'));
  await writeFile(path.join(store.root, 'wall'), 'a file');
  const gathered = await Promise.all([good, bad].map((image) => publisher.gather(image, setOf(image.path))));
  const [first, second] = await Promise.allSettled(gathered.map(({ done }) => done));
  assert.ok(first?.status === 'fulfilled');
  assert.deepEqual({ before: first.value.before, added: first.value.added }, { before: 0, added: 2 });
  assert.equal(second?.status, 'rejected');
  const file = path.join(store.root, folderOf('team/good'), 'signature-2');
  assert.deepEqual(await readFile(file), signatureBytes('team/good 2'));
});

test('a set that is in its place counts as stored only when its folder has reached the disk', async () => {
  await using store = await openStore({ kind: 'owned' });
  const real = openTreeWriter({ root: store.root, nowMs: Date.now });
  let fault: string | null = null;
  const publisher = publisherOf(store, {
    ...real,
    get fault() {
      return fault;
    },
    async placeNew(sets) {
      await real.placeNew(sets);
      fault = 'a write did not reach the disk';
      throw new LookasideError('STORE_UNAVAILABLE', fault);
    },
  });
  const { done } = await publisher.gather(imageIn(folderOf('team/app')), setOf('team/app'));
  await assert.rejects(done, { code: 'STORE_UNAVAILABLE' });
});

test('an image that the index lacks is not looked at before it is placed; what is there all the same keeps its number', async () => {
  await using store = await openStore({ kind: 'owned' });
  const changes = createImageChanges();
  const looked: string[] = [];
  const tree = {
    ...store.tree,
    readImage: (...asked: Parameters<typeof store.tree.readImage>) => {
      looked.push(asked[0]);
      return store.tree.readImage(...asked);
    },
  };
  const publisher = publisherOf(
    { ...store, tree },
    openTreeWriter({ root: store.root, nowMs: Date.now }),
    changes,
  );
  const images = ['team/fresh', 'team/laid'].map((name) => imageIn(folderOf(name)));
  await store.scanner.scan(SITE);
  changes.scanned();
  // somebody has put it there since
  await layImage(store.root, 'team/laid', signatureBytes('by hand'));
  const gathered = await Promise.all(images.map((image) => publisher.gather(image, setOf(image.path))));
  const [fresh, laid] = await Promise.all(gathered.map(({ done }) => done));
  assert.ok(!looked.includes(folderOf('team/fresh')), 'no look at what is new');
  assert.deepEqual([fresh?.before, fresh?.added], [0, 2]);
  assert.deepEqual([laid?.before, laid?.added], [1, 2]);
  const file = (number: number) =>
    readFile(path.join(store.root, folderOf('team/laid'), `signature-${number}`));
  assert.deepEqual(await file(1), signatureBytes('by hand'));
  assert.deepEqual(await file(3), signatureBytes('team/laid 2'));
});
