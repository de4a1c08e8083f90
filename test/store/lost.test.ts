// Uploads that are recorded in state.db alone: fsck names each.
import assert from 'node:assert/strict';
import { mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { imageFolder } from '../../src/domain/image.ts';
import { problemText } from '../../src/domain/tree.ts';
import { sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, type OpenedStore, openStore, SITE, uploadOf } from './open-store.ts';

const imageOf = (repository: string) => imageIn(`${repository}@sha256=${'a'.repeat(64)}`);
const [ONE, TWO, THREE] = ['one', 'two', 'three'].map((text) => signatureBytes(text)) as [
  Buffer,
  Buffer,
  Buffer,
];

async function problemsOf({ scanner }: OpenedStore) {
  const problems = [];
  for await (const problem of scanner.findProblems(SITE)) problems.push(problem);
  return problems;
}

/** An index that was made anew over what the tree has now. */
async function reindex({ databases, scanner }: OpenedStore): Promise<void> {
  await databases.index.reset();
  await scanner.scan(SITE);
}

test('an upload that neither the tree nor the index has is lost: who uploaded it and when is told, and what to do', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageOf('team/app');
  for (const bytes of [ONE, TWO, THREE]) await opened.appender.append(uploadOf(image, bytes));
  await opened.appender.append(uploadOf(imageOf('team/other'), ONE));
  assert.deepEqual(await problemsOf(opened), []);
  const folder = path.join(opened.root, imageFolder(image));
  await rm(path.join(folder, 'signature-3'));
  assert.deepEqual(
    (await problemsOf(opened)).map(({ kind }) => kind),
    ['missing'], // the index has it
  );
  await reindex(opened);
  const [lost, ...more] = await problemsOf(opened);
  assert.deepEqual(more, []);
  assert.ok(lost !== undefined);
  const [, , third] = await opened.uploads.ofImage(image);
  assert.ok(third !== undefined);
  const { sha256, uploader, storedAt } = third;
  assert.equal(sha256, sha256Hex(THREE));
  const upload = { sha256, uploader, storedAt };
  assert.deepEqual(lost, { kind: 'lost', path: imageFolder(image), upload, image, isDamage: false });
  assert.equal(
    problemText(lost),
    `the signature with SHA-256 ${sha256}, uploaded by ci at ${storedAt.toISOString()}: neither the tree nor the index has it any more, so it is not served. Push it again, or restore the data directory from a backup`,
  );
  assert.equal(await opened.scanner.repair(lost), false);
  await opened.appender.append(uploadOf(image, THREE));
  assert.deepEqual(await problemsOf(opened), []);
});

test('of an image whose folder is gone all uploads are lost, and what stands behind a gap is not', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const [gone, moved] = [imageOf('team/gone'), imageOf('team/moved')];
  for (const image of [gone, moved]) {
    for (const bytes of [ONE, TWO]) await opened.appender.append(uploadOf(image, bytes));
  }
  await rm(path.join(opened.root, imageFolder(gone)), { recursive: true });
  const folder = path.join(opened.root, imageFolder(moved));
  await rename(path.join(folder, 'signature-2'), path.join(folder, 'signature-5'));
  await opened.databases.index.reset(); // as fsck finds it where there is none
  assert.deepEqual(
    (await problemsOf(opened))
      .filter(({ kind }) => kind === 'lost')
      .map(({ kind, path: file, upload }) => [kind, file, upload?.sha256]),
    [
      ['lost', imageFolder(gone), sha256Hex(ONE)],
      ['lost', imageFolder(gone), sha256Hex(TWO)],
    ],
  );
});

test('in a shared tree, an upload that its owner has deleted is not lost', async () => {
  await using opened = await openStore({ kind: 'shared' });
  const image = imageOf('team/app');
  await opened.appender.append(uploadOf(image, ONE));
  await rm(path.join(opened.root, imageFolder(image)), { recursive: true });
  assert.deepEqual(await problemsOf(opened), []);
});

test('lost uploads of many images are found page by page', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const images = Array.from({ length: 201 }, (_, n) => imageOf(`team/app${String(n).padStart(3, '0')}`));
  for (const image of images) {
    const { event, bytes, uploader, remap } = uploadOf(image, ONE);
    const upload = { image, sha256: sha256Hex(bytes), sizeBytes: bytes.length, bytes: null };
    await opened.uploads.add({ ...upload, uploader, remap, storedAt: event.at }, event);
  }
  await mkdir(opened.root, { recursive: true });
  const problems = await problemsOf(opened);
  assert.deepEqual(
    problems.map(({ kind, path: file }) => `${kind} ${file}`),
    images.map((image) => `lost ${imageFolder(image)}`),
  );
});
