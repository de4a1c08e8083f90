// The thread that looks at images in the place of the pool: it tells the same, or leaves the look to the pool.
import assert from 'node:assert/strict';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import type { ImageFolder } from '../../src/domain/tree.ts';
import type { ReadImage } from '../../src/files/image-reader.ts';
import { openThreadedLooks, type ThreadedLooks } from '../../src/files/threaded-looks.ts';
import { openTree } from '../../src/files/tree.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf, layFile, layImage, signatureBytes } from '../store/lay.ts';

const [ONE, TWO] = [signatureBytes('one'), signatureBytes('two', 9000)];
const beingWrittenMs = 1000;

/** Lets each turn of the event loop end, so that what is asked is no burst. */
const turn = () => new Promise(setImmediate);

const scriptOf = (code: string) =>
  new URL(
    `data:text/javascript,${encodeURIComponent(`import { parentPort } from 'node:worker_threads'; const tell = (answers, tookMs = 0) => parentPort.postMessage({ answers, tookMs }); ${code}; tell([]);`)}`,
  );

const MANY = 16;

/** Asks so often in one turn that the thread starts, until it takes a question; what it tells of that. */
async function askUntilTaken(looks: ThreadedLooks, folder: string): Promise<ReadImage | null | undefined> {
  for (let count = 1; ; count += 1) {
    const asked = looks.read(folder, []);
    if (asked !== undefined) return asked;
    if (count % MANY === 0) await turn();
  }
}

/** Without the kind of the memory that holds the bytes. */
function plain(image: ImageFolder | null | undefined) {
  if (image === null || image === undefined) return image;
  const files = image.files.map(({ bytes, ...file }) => ({
    ...file,
    bytes: bytes === null ? null : Buffer.from(bytes).toString('hex'),
  }));
  return { ...image, files };
}

test('the thread tells of each folder what the pool tells', async () => {
  await using temp = await openTempFolder();
  const root = path.join(temp.path, 'root');
  const outside = path.join(temp.path, 'outside');
  const folders = [
    await layImage(root, 'team/one', ONE),
    await layImage(root, 'team/more', ONE, TWO, ONE),
    await layImage(root, 'team/gap', ONE),
    await layImage(root, 'team/links', ONE),
    folderOf('team/absent'),
    folderOf('team/empty'),
    folderOf('team/out'),
    folderOf('linked/one'),
    folderOf('team/text'),
  ];
  await layFile(root, `${folders[2]}/signature-3`, TWO);
  await layFile(root, `${folders[2]}/notes.txt`, 'by hand');
  await symlink(
    path.join(root, folders[0] ?? '', 'signature-1'),
    path.join(root, `${folders[3]}/signature-2`),
  );
  await layFile(outside, 'secret', ONE);
  await symlink(path.join(outside, 'secret'), path.join(root, `${folders[3]}/signature-3`));
  await mkdir(path.join(root, `${folders[3]}/signature-4`));
  await mkdir(path.join(root, folders[5] ?? ''), { recursive: true });
  await layImage(outside, 'team/out', ONE);
  await symlink(path.join(outside, folders[6] ?? ''), path.join(root, folders[6] ?? ''));
  await layImage(outside, 'linked/one', ONE);
  await symlink(path.join(outside, 'linked'), path.join(root, 'linked'));
  await layFile(root, `${folders[8]}/signature-1`, 'no signature');
  const looks = openThreadedLooks({ root, beingWrittenMs });
  const pool = openTree({ root, nowMs: Date.now, beingWrittenMs, isWhole: isWholeSignature });
  // no stamp may be too young to be settled in one look and not in the other
  await new Promise((resolve) => setTimeout(resolve, 60));
  await askUntilTaken(looks, folders[0] ?? '');
  for (const folder of folders) {
    for (const numbers of [[], [3]]) {
      const told = await looks.read(folder, numbers);
      assert.notEqual(told, undefined, folder);
      assert.deepEqual(
        plain(told === null ? null : told?.image),
        plain(await pool.readImage(folder, numbers)),
        folder,
      );
    }
  }
});

test('what may be half-written, and what fails, is left to the pool', async () => {
  await using temp = await openTempFolder();
  const root = path.join(temp.path, 'root');
  const folder = await layImage(root, 'team/fresh');
  await mkdir(path.join(root, folder), { recursive: true });
  await writeFile(path.join(root, folder, 'signature-1'), ONE);
  const looks = openThreadedLooks({ root, beingWrittenMs: 600_000 });
  assert.equal(await askUntilTaken(looks, folder), undefined);
  const tree = openTree({ root, nowMs: Date.now, beingWrittenMs: 600_000, isWhole: isWholeSignature, looks });
  assert.deepEqual(
    (await tree.readImage(folder))?.files.map(({ fault }) => fault),
    [null],
  );
  await rename(root, `${root}-away`);
  assert.equal(await looks.read(folder, []), undefined);
  await assert.rejects(tree.readImage(folder), { code: 'STORE_UNAVAILABLE' });
});

test('many looks in one turn start the thread, few do not, and it ends when nothing is asked', async () => {
  await using temp = await openTempFolder();
  const folder = await layImage(temp.path, 'team/one', ONE);
  const looks = openThreadedLooks({ root: temp.path, beingWrittenMs, idleMs: 1 });
  for (let asked = 0; asked < 100; asked += 1) {
    assert.equal(looks.read(folder, []), undefined);
    await turn();
  }
  assert.equal((await askUntilTaken(looks, folder))?.image.files.length, 1);
  const untilMs = Date.now() + 10_000;
  while (looks.read(folder, []) !== undefined) {
    assert.ok(Date.now() < untilMs, 'it has not ended');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

test('what is asked in one turn comes in parts, each with its own answer', async () => {
  await using temp = await openTempFolder();
  const folders = [];
  for (let number = 0; number < 40; number += 1)
    folders.push(await layImage(temp.path, `team/v${number}`, signatureBytes(`${number}`)));
  const looks = openThreadedLooks({ root: temp.path, beingWrittenMs });
  await askUntilTaken(looks, folders[0] ?? '');
  const told = await Promise.all(
    folders.map((folder) => looks.read(folder, []) ?? askUntilTaken(looks, folder)),
  );
  const bytes = told.map((read) => Buffer.from(read?.image.files[0]?.bytes ?? []));
  assert.deepEqual(
    bytes,
    folders.map((_, number) => signatureBytes(`${number}`)),
  );
});

test('a thread that hangs holds nobody up: the pool looks until it has answered all', async () => {
  const looks = openThreadedLooks({
    root: '/nowhere',
    beingWrittenMs,
    script: scriptOf(`
      let hangMs = 600;
      parentPort.on('message', (questions) => {
        setTimeout(tell, hangMs, questions.map(({ id }) => ({ id, read: null })));
        hangMs = 0;
      })`),
  });
  assert.equal(await askUntilTaken(looks, 'one'), undefined, 'nobody waits for its answer');
  assert.equal(looks.read('two', []), undefined, 'it is asked no more');
  assert.equal(await askUntilTaken(looks, 'three'), null, 'it is asked again, once it has answered');
});

test('what comes behind much work of a slow disk goes to the pool', async () => {
  const looks = openThreadedLooks({
    root: '/nowhere',
    beingWrittenMs,
    script: scriptOf(`
      parentPort.on('message', (questions) => tell(questions.map(({ id }) => ({ id, read: null })), 1000 * questions.length))`),
  });
  assert.equal(await askUntilTaken(looks, 'one'), null);
  assert.notEqual(looks.read('two', []), undefined);
  assert.equal(looks.read('three', []), undefined);
});

test('what was asked before the thread knew that its disk is slow goes to the pool too', async () => {
  const looks = openThreadedLooks({
    root: '/nowhere',
    beingWrittenMs,
    // never late, but 6 ms a look
    script: scriptOf(`
      parentPort.on('message', async (questions) => {
        for (let at = 0; at < questions.length; at += 16) {
          const part = questions.slice(at, at + 16);
          if (questions.length > 1) await new Promise((resolve) => setTimeout(resolve, 40));
          tell(part.map(({ id }) => ({ id, read: null })), questions.length > 1 ? 96 : 0.1);
        }
      })`),
  });
  assert.equal(await askUntilTaken(looks, 'one'), null);
  const answers = await Promise.all(Array.from({ length: 320 }, (_, number) => looks.read(`${number}`, [])));
  const byThread = answers.filter((answer) => answer === null).length;
  assert.ok(byThread >= 16 && byThread < 100, `${byThread} of 320 waited for the thread`);
});

test('a thread that dies or cannot start leaves all looks to the pool', async () => {
  const dying = openThreadedLooks({
    root: '/nowhere',
    beingWrittenMs,
    script: scriptOf(`parentPort.on('message', () => process.exit(1))`),
  });
  assert.equal(await askUntilTaken(dying, 'one'), undefined);
  const missing = openThreadedLooks({
    root: '/nowhere',
    beingWrittenMs,
    script: new URL('file:///nowhere.js'),
  });
  // one that was started again would be ready by then, and take a question
  const untilMs = Date.now() + 300;
  while (Date.now() < untilMs) {
    for (let count = 0; count < MANY; count += 1) {
      assert.equal(dying.read('two', []), undefined);
      assert.equal(missing.read('one', []), undefined);
    }
    await turn();
  }
});
