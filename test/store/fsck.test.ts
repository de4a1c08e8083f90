// What fsck finds is known to health and metrics, as what reads and scans find.
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { folderOf, layImage, signatureBytes } from './lay.ts';
import { eventOf, imageIn, kindsOf, type OpenedStore, openStore, SITE } from './open-store.ts';

const FOLDER = folderOf('team/app');

async function fsck({ scanner }: OpenedStore): Promise<number> {
  let count = 0;
  for await (const _ of scanner.findProblems(SITE)) count += 1;
  return count;
}

test('damage that fsck finds is reported, and no more once it is mended', async (t) => {
  const opened = await openStore({ kind: 'owned' });
  t.after(() => opened[Symbol.asyncDispose]());
  await layImage(opened.root, 'team/app', signatureBytes('one'), signatureBytes('two'));
  await opened.scanner.scan(SITE);
  const [one, two] = [
    path.join(opened.root, FOLDER, 'signature-1'),
    path.join(opened.root, FOLDER, 'signature-2'),
  ];
  const bytes = await readFile(one);
  await rm(one);
  await writeFile(two, signatureBytes('another'));
  assert.equal(await fsck(opened), 2);
  assert.deepEqual(kindsOf(opened, FOLDER), ['missing signature-1', 'changed signature-2']);
  await writeFile(one, bytes);
  assert.equal(await fsck(opened), 1);
  assert.deepEqual(kindsOf(opened, FOLDER), ['changed signature-2']);
});

test('what was wrong with an image that is gone is no longer reported after fsck', async (t) => {
  const opened = await openStore({ kind: 'owned' });
  t.after(() => opened[Symbol.asyncDispose]());
  await layImage(opened.root, 'team/app', Buffer.from('<html>'));
  assert.equal(await fsck(opened), 1);
  assert.deepEqual(kindsOf(opened, FOLDER), ['first-byte signature-1']);
  await rm(path.join(opened.root, FOLDER), { recursive: true });
  assert.equal(await fsck(opened), 0);
  assert.deepEqual(kindsOf(opened, FOLDER), []);
});

test('what fsck alone calls a problem is left to the scan, which takes it in', async (t) => {
  const opened = await openStore({ kind: 'owned' });
  t.after(() => opened[Symbol.asyncDispose]());
  await opened.scanner.scan(SITE);
  await layImage(opened.root, 'team/app', signatureBytes('one'));
  assert.equal(await fsck(opened), 1);
  assert.deepEqual(kindsOf(opened, FOLDER), []);
});

test('a withdrawal that fsck or a scan comes upon is reported as damage by neither', async (t) => {
  for (const walk of ['fsck', 'scan'] as const) {
    let onLook = () => {};
    let beforeRemoval = async () => {};
    const opened = await openStore({
      kind: 'owned',
      between: (ports) => ({
        ...ports,
        tree: {
          ...ports.tree,
          async readImage(folder, numbers) {
            const read = await ports.tree.readImage(folder, numbers);
            onLook();
            return read;
          },
        },
        writer: {
          ...ports.writer,
          async remove(folder, number) {
            await beforeRemoval();
            return ports.writer.remove(folder, number);
          },
        },
      }),
    });
    t.after(() => opened[Symbol.asyncDispose]());
    await layImage(opened.root, 'team/app', signatureBytes('one'), signatureBytes('two'));
    await opened.scanner.scan(SITE);
    const image = imageIn(FOLDER);
    let walking: Promise<unknown> | null = null;
    beforeRemoval = () =>
      new Promise((resolve) => {
        let looks = 0;
        onLook = () => {
          looks += 1;
          if (looks === (walk === 'fsck' ? 2 : 1)) setImmediate(resolve);
        };
        walking = walk === 'fsck' ? fsck(opened) : opened.scanner.scan(SITE);
      });
    await opened.appender.withdraw({
      image,
      number: 2,
      by: 'administrator',
      reason: 'a test',
      until: null,
      event: (sha256) => eventOf(image, sha256, 'withdraw'),
    });
    assert.ok(walking !== null);
    const found: unknown = await walking;
    assert.deepEqual(found, walk === 'fsck' ? 0 : { images: 1, signatures: 1, problems: 0 });
    assert.deepEqual(kindsOf(opened, FOLDER), [], walk);
  }
});
