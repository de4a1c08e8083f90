// The thread that walks through a tree: what it hands over, and how it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WalkBatch } from '../../src/domain/tree-walk.ts';
import { openThreadedWalk } from '../../src/files/threaded-walk.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { openStore, SITE } from '../store/open-store.ts';

const SCRIPT = new URL('../../src/compose/walk-thread.js', import.meta.url);

const scriptOf = (code: string) => new URL(`data:text/javascript,${encodeURIComponent(code)}`);

async function walkAll(root: string, index: string, script: URL, signal?: AbortSignal): Promise<WalkBatch[]> {
  const batches = await openThreadedWalk({ root, index, script }).walk({ site: SITE, mustLook: [], signal });
  assert.ok(batches !== null);
  const all = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

test('the thread reads what is new, batch by batch, and passes over what has its stamp', async () => {
  await using opened = await openStore({ kind: 'owned', isQuick: true, nowMs: () => Date.now() + 60_000 });
  const { root, databases, scanner } = opened;
  for (let number = 0; number < 70; number += 1)
    await layImage(root, `team/v${number}`, signatureBytes(`${number}`));
  const found = await walkAll(root, databases.indexFile, SCRIPT);
  const images = found.flatMap((batch) => batch.images);
  assert.ok(found.length > 2);
  assert.deepEqual(
    images.map(({ folder }) => folder),
    Array.from({ length: 70 }, (_, n) => folderOf(`team/v${n}`)).sort(),
  );
  await scanner.scan(SITE);
  const [again, ...more] = await walkAll(root, databases.indexFile, SCRIPT);
  assert.deepEqual(more, []);
  assert.deepEqual(again?.unchanged, { images: 70, signatures: 70 });
  assert.deepEqual(again?.images, []);
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
  const walking = walkAll(opened.root, opened.databases.indexFile, scriptOf(waiting), stop.signal);
  stop.abort(new Error('enough'));
  await assert.rejects(walking, { message: 'enough' });
});

test('a tree whose stamps do not tell of every change is not walked through quickly', async () => {
  const walk = openThreadedWalk({ root: '/proc', index: '', script: SCRIPT });
  assert.equal(await walk.walk({ site: SITE, mustLook: [] }), null);
});
