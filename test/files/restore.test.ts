// Putting a recorded signature back: durable, whole, and never outside the tree.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { Tree, TreeWriter } from '../../src/domain/tree.ts';
import { openTree } from '../../src/files/tree.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, layFile, layImage, signatureBytes } from '../store/lay.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');

let temp: TempFolder;
let root: string;
let outside: string;
let tree: Tree;
let writer: TreeWriter;

const open = (at: string) =>
  openTree({ root: at, nowMs: Date.now, beingWrittenMs: 100, isWhole: isWholeSignature });

const unavailable = (error: unknown) => isLookasideError(error, 'STORE_UNAVAILABLE');

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'root');
  outside = path.join(temp.path, 'outside');
  await mkdir(root);
  await mkdir(outside);
  tree = open(root);
  writer = openTreeWriter({ root, nowMs: Date.now });
});

afterEach(() => temp[Symbol.asyncDispose]());

describe('restoring a signature', () => {
  const file = () => path.join(root, FOLDER, 'signature-1');

  const PLACES: readonly [string, () => Promise<unknown>][] = [
    ['nothing', async () => undefined],
    ['other bytes', () => layImage(root, 'team/app', TWO)],
    [
      'a link out of the tree',
      async () => {
        await writeFile(path.join(outside, 'theirs'), TWO);
        await mkdir(path.dirname(file()), { recursive: true });
        await symlink(path.join(outside, 'theirs'), file());
      },
    ],
    ['an empty folder', () => mkdir(file(), { recursive: true })],
    ['a folder with files', () => layFile(root, `${FOLDER}/signature-1/theirs`, TWO)],
    [
      'a pipe',
      async () => {
        await mkdir(path.dirname(file()), { recursive: true });
        execFileSync('mkfifo', [file()]);
      },
    ],
  ];
  for (const [what, lay] of PLACES) {
    it(`puts the bytes where ${what} stood, and leaves no temporary file`, async () => {
      await lay();
      await writer.restore(FOLDER, 1, ONE);
      assert.deepEqual(await readFile(file()), ONE);
      assert.ok((await stat(file())).isFile());
      assert.equal((await tree.readImage(FOLDER))?.files[0]?.fault, null);
      assert.deepEqual(await readdir(path.join(root, '.lookaside/tmp')), []);
      for (const name of await readdir(outside))
        assert.deepEqual(await readFile(path.join(outside, name)), TWO);
    });
  }

  it('never writes through a link out of the tree, at whatever height it stands', async () => {
    await symlink(outside, path.join(root, 'team'));
    await mkdir(path.join(root, 'deep'));
    await symlink(outside, path.join(root, 'deep/er'));
    await symlink(outside, path.join(root, folderOf('top')));
    for (const folder of [FOLDER, folderOf('deep/er/and/more'), folderOf('top')]) {
      await assert.rejects(writer.restore(folder, 1, ONE), unavailable, folder);
    }
    assert.deepEqual(await readdir(outside), []);
  });

  it('never shows a reader anything but the old bytes or the new', async () => {
    await layImage(root, 'team/app', TWO);
    let isRestoring = true;
    const restoring = (async () => {
      for (let round = 0; round < 30; round += 1)
        await writer.restore(FOLDER, 1, round % 2 === 0 ? ONE : TWO);
      isRestoring = false;
    })();
    while (isRestoring) {
      const bytes = await tree.readFile(FOLDER, 1);
      assert.ok(bytes !== null && (ONE.equals(bytes) || TWO.equals(bytes)));
    }
    await restoring;
  });
});
