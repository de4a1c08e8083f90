// The root of a tree: turned, gone and back. Absence inside it is only believed while it is there.
import assert from 'node:assert/strict';
import { mkdir, readlink, rename, symlink } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { Tree } from '../../src/domain/tree.ts';
import { openTree } from '../../src/files/tree.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');

let temp: TempFolder;
let root: string;
let tree: Tree;

const open = (at: string) =>
  openTree({ root: at, nowMs: Date.now, beingWrittenMs: 100, isWhole: isWholeSignature });

const unavailable = (error: unknown) => isLookasideError(error, 'STORE_UNAVAILABLE');

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'root');
  await mkdir(root);
  tree = open(root);
});

afterEach(() => temp[Symbol.asyncDispose]());

describe('the root', () => {
  it('may be a link, which may be turned to another folder', async () => {
    const [old, next, link] = ['old', 'next', 'link'].map((name) => path.join(temp.path, name));
    assert.ok(old !== undefined && next !== undefined && link !== undefined);
    await layImage(old, 'team/app', ONE);
    await layImage(next, 'team/app', TWO);
    await symlink(old, link);
    tree = open(link);
    assert.deepEqual((await tree.readImage(FOLDER))?.files[0]?.bytes, ONE);
    await symlink(next, `${link}.new`);
    await rename(`${link}.new`, link);
    assert.deepEqual((await tree.readImage(FOLDER))?.files[0]?.bytes, TWO);
    assert.equal(await readlink(link), next);
  });

  it('that is gone is a failure of every look, never an absence', async () => {
    await layImage(root, 'team/app', ONE);
    const stamps = (await tree.readImage(FOLDER))?.stamps;
    assert.ok(stamps !== undefined);
    await rename(root, `${root}-away`);
    assert.equal(
      await tree.isUnchanged(FOLDER, { ...stamps, settled: true }),
      false,
      'so that it is read again',
    );
    const looks: readonly (() => Promise<unknown>)[] = [
      () => tree.readImage(FOLDER),
      () => tree.readImage(folderOf('never/was')),
      () => tree.readFile(FOLDER, 1),
      () => tree.statFolder('team'),
      () => tree.statFolder(''),
      () => tree.children(''),
      () => tree.check(),
    ];
    for (const look of looks) await assert.rejects(look(), unavailable, String(look));
    assert.equal(await tree.isWritable(), false);
    await rename(`${root}-away`, root);
    assert.deepEqual((await tree.readImage(FOLDER))?.files[0]?.bytes, ONE);
  });

  it('that goes away and comes back under a reader never makes a signature absent', async () => {
    await layImage(root, 'team/app', ONE, TWO);
    const answers = { whole: 0, unavailable: 0 };
    const look = async () => {
      try {
        assert.equal((await tree.readImage(FOLDER))?.files.length, 2);
        answers.whole += 1;
      } catch (error) {
        if (!unavailable(error)) throw error;
        answers.unavailable += 1;
      }
    };
    for (let round = 0; round < 200; round += 1) {
      await Promise.all([look(), rename(root, `${root}-away`)]);
      await Promise.all([look(), rename(`${root}-away`, root)]);
    }
    assert.ok(answers.whole > 0 && answers.unavailable > 0, JSON.stringify(answers));
  });
});
