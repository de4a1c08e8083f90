// A tree that is written by a thread of its own: it stores what the writer of the process stores, and its death loses nothing that
// was acknowledged.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { isLookasideError } from '../../src/domain/errors.ts';
import { PlaceUnknown } from '../../src/domain/tree.ts';
import { openThreadedWriter, type ThreadedWriter } from '../../src/files/threaded-writer.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, signatureBytes } from '../store/lay.ts';

const ONE = signatureBytes('one');
const INTENT = '{"what":"an upload"}';
const DYING = new URL('./dying-tree-thread.js', import.meta.url);

let temp: TempFolder;
let root: string;
let writer: ThreadedWriter;

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'root');
  await mkdir(root);
  writer = openThreadedWriter({ root, nowMs: Date.now });
});

afterEach(async () => {
  await writer.close();
  await temp[Symbol.asyncDispose]();
});

/** The same, by a thread that dies where it is asked to. */
async function openDying(): Promise<void> {
  await writer.close();
  writer = openThreadedWriter({ root, nowMs: Date.now, script: DYING });
}

async function add(bytes: Uint8Array, folder: string): Promise<number> {
  const pair = await writer.prepare(INTENT, bytes);
  try {
    return await writer.place(pair, folder, 1);
  } finally {
    await writer.discard(pair);
  }
}

const file = (folder: string, number: number) => path.join(root, folder, `signature-${number}`);
const prepared = () => readdir(path.join(root, '.lookaside/tmp'));
const isUnavailable = (error: unknown) => isLookasideError(error, 'STORE_UNAVAILABLE');

describe('a tree that is written by a thread', () => {
  it('gets each of many files that come at the same time, in one folder and in many', async () => {
    const all = Array.from({ length: 24 }, (_, number) => ({
      folder: folderOf(number % 2 === 0 ? 'team/app' : `team/app-${number}`),
      bytes: signatureBytes(`${number}`),
    }));
    const numbers = await Promise.all(all.map(({ bytes, folder }) => add(bytes, folder)));
    for (const [position, { folder, bytes }] of all.entries()) {
      assert.deepEqual(await readFile(file(folder, numbers[position] ?? 0)), bytes);
    }
    const ofOne = numbers.filter((_, position) => position % 2 === 0).sort((a, b) => a - b);
    assert.deepEqual(
      ofOne,
      ofOne.map((_, position) => position + 1),
    );
    assert.deepEqual(await prepared(), []);
  });

  it('is written on by another thread when the one before has ended, as it had nothing to do', async () => {
    await writer.close();
    writer = openThreadedWriter({ root, nowMs: Date.now, idleMs: 1 });
    for (const number of [1, 2, 3, 4, 5]) {
      assert.equal(await add(signatureBytes(`${number}`), folderOf('team/app')), number);
      await setTimeout(number);
    }
    assert.equal(writer.fault, null);
    assert.deepEqual(await prepared(), []);
  });

  it('gets new images that come at the same time as a group, which ends with the last of them', async () => {
    const folders = Array.from({ length: 24 }, (_, number) => folderOf(`team/app-${number}`));
    const added = await Promise.all(
      folders.map((folder, number) => writer.addNew(folder, INTENT, signatureBytes(`${number}`))),
    );
    for (const [number, folder] of folders.entries())
      assert.deepEqual(await readFile(file(folder, 1)), signatureBytes(`${number}`));
    for (const one of added) {
      assert.equal((await prepared()).length, 1);
      await writer.discard(one ?? '');
    }
    assert.deepEqual(await prepared(), []);
  });

  it('takes bytes that are a part of larger ones, and leaves them to their owner', async () => {
    const larger = Buffer.concat([Buffer.alloc(1000), ONE, Buffer.alloc(1000)]);
    const bytes = larger.subarray(1000, 1000 + ONE.length);
    await add(bytes, folderOf('team/app'));
    await writer.restore(folderOf('team/app'), 2, bytes);
    assert.deepEqual(await readFile(file(folderOf('team/app'), 2)), ONE);
    assert.deepEqual(bytes, ONE);
  });

  it('refuses in the same words as without a thread', async () => {
    await writeFile(path.join(root, 'team'), '');
    const here = openTreeWriter({ root, nowMs: Date.now });
    const pair = await here.prepare(INTENT, ONE);
    const said = async (act: Promise<unknown>) => {
      const error = await act.then(
        () => null,
        (thrown: unknown) => thrown,
      );
      assert.ok(isLookasideError(error));
      return { code: error.code, message: error.message };
    };
    assert.deepEqual(
      await said(writer.place(pair, folderOf('team/app'), 1)),
      await said(here.place(pair, folderOf('team/app'), 1)),
    );
  });

  it('has what was asked for when it is closed, and takes no more', async () => {
    const added = Promise.allSettled([add(ONE, folderOf('team/app'))]);
    const pair = await writer.prepare(INTENT, ONE);
    const last = writer.place(pair, folderOf('team/other'), 1);
    await writer.close();
    assert.equal(await last, 1);
    await added;
    await assert.rejects(writer.prepare(INTENT, ONE), isUnavailable);
  });
});

describe('a thread that writes a tree and dies', () => {
  it('while it wrote nothing has a successor that does the next write', async () => {
    await openDying();
    const pair = await writer.prepare(INTENT, ONE);
    await writer.discard('dies-before');
    assert.equal(await writer.place(pair, folderOf('team/app'), 1), 1);
    assert.deepEqual(await readFile(file(folderOf('team/app'), 1)), ONE);
    assert.equal(writer.fault, null);
  });

  it('while it wrote has none: an fsync may have failed, and nobody has heard of it', async () => {
    await openDying();
    const pair = await writer.prepare(INTENT, ONE);
    await assert.rejects(writer.makeDurable(folderOf('dies-before/app'), 1), isUnavailable);
    assert.match(writer.fault ?? '', /died while it wrote.*restart the server/);
    await assert.rejects(writer.place(pair, folderOf('team/app'), 1), isUnavailable);
    assert.deepEqual(await writer.leftOver(), [{ prepared: pair, intent: INTENT }]);
  });

  it('that cannot be started fails what was asked for, and the next write tries again', async () => {
    await writer.close();
    let script: URL | undefined = new URL('http://localhost/no-thread.js'); // refused at once, as a thread too many is
    writer = openThreadedWriter({
      root,
      nowMs: Date.now,
      get script() {
        return script as URL;
      },
    });
    const isRefused = (error: unknown) => isUnavailable(error) && !(error instanceof PlaceUnknown);
    await Promise.all([
      assert.rejects(writer.prepare(INTENT, ONE), isRefused),
      assert.rejects(writer.place('pair', folderOf('team/app'), 1), isRefused),
      writer.discard('pair'),
    ]);
    script = undefined;
    assert.equal(await add(ONE, folderOf('team/app')), 1);
    assert.equal(writer.fault, null);
  });

  for (const when of ['before', 'after']) {
    it(`${when} it has placed a file leaves the prepared pair, which tells whose the file is`, async () => {
      await openDying();
      const pair = await writer.prepare(INTENT, ONE);
      await assert.rejects(
        writer.place(pair, folderOf(`dies-${when}/app`), 1),
        (error) => error instanceof PlaceUnknown && error.code === 'STORE_UNAVAILABLE',
      );
      assert.deepEqual(await writer.leftOver(), [{ prepared: pair, intent: INTENT }]);
    });
  }

  for (const when of ['before', 'after']) {
    it(`${when} it has added a new image leaves what tells whose it is`, async () => {
      await openDying();
      await assert.rejects(
        writer.addNew(folderOf(`dies-${when}/app`), INTENT, ONE),
        (error) => error instanceof PlaceUnknown && error.code === 'STORE_UNAVAILABLE',
      );
      const left = await writer.leftOver();
      assert.deepEqual(
        left.map(({ intent }) => intent),
        when === 'after' ? [INTENT] : [],
      );
    });
  }

  it('after a lost write has no successor that writes', async () => {
    await openDying();
    await assert.rejects(writer.makeDurable(folderOf('loses/app'), 1), isUnavailable);
    assert.equal(writer.fault, 'a write did not reach the disk');
    await assert.rejects(writer.prepare(INTENT, ONE), isUnavailable);
  });

  it('after a lost write has none either for what waited to be sent', async () => {
    await openDying();
    await writer.discard('nothing'); // it runs
    const lost = assert.rejects(writer.makeDurable(folderOf('loses/app'), 1), isUnavailable);
    await new Promise((resolve) => setImmediate(resolve));
    const waiting = assert.rejects(writer.prepare(INTENT, ONE), {
      message: 'a write did not reach the disk',
    });
    const reportPath = path.join(root, 'told');
    while (!existsSync(reportPath)); // so that the answer comes before the next message is sent
    await Promise.all([lost, waiting]);
    assert.deepEqual(await writer.leftOver(), []);
  });
});
