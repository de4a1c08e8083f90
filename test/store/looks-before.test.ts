// While the index of an owned tree is being built, reads look at the disk; what has not changed since the last look is not read again.
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { folderOf, LONG_AGO, layFile, layImage, sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, kindsOf, openStore, SITE, uploadOf } from './open-store.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');
const IMAGE = imageIn(FOLDER);

/** Over a tree with one image that was read and recorded, not scanned; seconds pass between reads. */
async function openRead(t: { after(act: () => unknown): void }) {
  let nowMs = 0;
  let looks = 0;
  const opened = await openStore({
    kind: 'owned',
    monotonicMs: () => nowMs,
    nowMs: () => Date.now() + 60_000, // what was laid now is at rest
    between: (ports) => ({
      ...ports,
      tree: {
        ...ports.tree,
        readImage(...image) {
          looks += 1;
          return ports.tree.readImage(...image);
        },
      },
    }),
  });
  t.after(() => opened[Symbol.asyncDispose]());
  await layImage(opened.root, 'team/app', ONE);
  const served = async () => {
    nowMs += 3000;
    looks = 0;
    const { entries } = await opened.reader.readSet(IMAGE);
    return { hashes: entries.map(({ sha256 }) => sha256), looks };
  };
  assert.deepEqual(await served(), { hashes: [sha256Hex(ONE)], looks: 1 });
  await opened.databases.index.forgetFolder(SITE, 'none'); // behind the row of that read
  assert.equal((await opened.databases.index.recorded(IMAGE)).length, 1);
  assert.equal(await opened.databases.index.isComplete(SITE), false);
  return { ...opened, served };
}

test('a folder that was read before the scan has ended is not read again as long as it is as it was', async (t) => {
  const { served, reader } = await openRead(t);
  for (let turn = 0; turn < 3; turn += 1)
    assert.deepEqual(await served(), { hashes: [sha256Hex(ONE)], looks: 0 });
  reader.forget(IMAGE);
  assert.deepEqual(await served(), { hashes: [sha256Hex(ONE)], looks: 0 });
});

test('a file that comes before the scan has ended is served, and then not read again either', async (t) => {
  const { served, root, databases } = await openRead(t);
  await layFile(root, `${FOLDER}/signature-2`, TWO);
  const both = [sha256Hex(ONE), sha256Hex(TWO)];
  assert.deepEqual((await served()).hashes, both);
  const [recorded] = await databases.index.recorded(IMAGE);
  assert.ok(recorded);
  await databases.index.record([
    {
      image: IMAGE,
      signatures: [
        recorded,
        { number: 2, sha256: sha256Hex(TWO), sizeBytes: TWO.length, storedAt: LONG_AGO, bytes: TWO },
      ],
    },
  ]);
  assert.deepEqual((await served()).hashes, both);
  assert.deepEqual(await served(), { hashes: both, looks: 0 });
});

test('a recorded file that changes or goes before the scan has ended is looked at, and served as recorded', async (t) => {
  const opened = await openRead(t);
  const { served, root } = opened;
  await layFile(root, `${FOLDER}/signature-1`, TWO);
  const changed = await served();
  assert.deepEqual(changed.hashes, [sha256Hex(ONE)]);
  assert.notEqual(changed.looks, 0);
  assert.deepEqual(kindsOf(opened, FOLDER), ['changed signature-1']);
  await rm(path.join(root, FOLDER), { recursive: true });
  assert.deepEqual((await served()).hashes, [sha256Hex(ONE)]);
  assert.deepEqual(kindsOf(opened, FOLDER), ['missing signature-1']);
});

test('rows that are not what was seen, and an upload, end what was seen before', async (t) => {
  const opened = await openRead(t);
  const { served, databases } = opened;
  await databases.index.record([
    {
      image: IMAGE,
      signatures: [
        { number: 1, sha256: sha256Hex(TWO), sizeBytes: TWO.length, storedAt: LONG_AGO, bytes: TWO },
      ],
    },
  ]);
  assert.notEqual((await served()).looks, 0);
  assert.deepEqual(kindsOf(opened, FOLDER), ['changed signature-1']);

  const other = await openRead(t);
  await other.appender.append(uploadOf(IMAGE, TWO));
  const both = await other.served();
  assert.deepEqual(both.hashes, [sha256Hex(ONE), sha256Hex(TWO)]);
  assert.notEqual(both.looks, 0);
});
