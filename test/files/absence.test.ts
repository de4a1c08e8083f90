// Names that a listing proves absent, on a real file system: what was put there before the question is always found.
import assert from 'node:assert/strict';
import type { Dir } from 'node:fs';
import { mkdir, opendir, rename, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Absence, type AbsenceOptions, createAbsence } from '../../src/files/absence.ts';
import { stampOf } from '../../src/files/stamps.ts';
import { type OpenTree, openTree } from '../../src/files/tree.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';

const ONE = signatureBytes('one');
/** More than a folder of few names needs until it is listed. */
const MANY = 40;
const NEVER = { dev: 0n, ino: 0n, size: 0n, mtimeNs: 0n, ctimeNs: 0n };
// so that every folder counts as unchanged for long
const laterMs = () => Date.now() + 60_000;

let temp: TempFolder;
let root: string;

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'root');
  await layImage(root, 'team/app', ONE);
});

afterEach(() => temp[Symbol.asyncDispose]());

describe('a folder that was listed', () => {
  let absence: Absence;
  let looks: number;
  let nowMs: () => number;
  let changedAt: (ctimeMs: number) => number;
  let names: (folder: string) => Promise<Dir>;
  let peekIsStill: AbsenceOptions['peekIsStill'];

  beforeEach(async () => {
    looks = 0;
    nowMs = laterMs;
    changedAt = (ctimeMs) => ctimeMs;
    peekIsStill = () => false;
    names = (folder) => opendir(path.join(root, folder));
    absence = createAbsence({
      inFolder: (folder, act) =>
        act({
          async stat() {
            looks += 1;
            const stamped = await stat(path.join(root, folder), { bigint: true });
            return {
              id: `${stamped.ino}`,
              stamp: stampOf(stamped),
              stamped,
              changedAtMs: changedAt(Number(stamped.ctimeMs)),
            };
          },
          names: () => names(folder),
        }),
      peekIsStill: (...asked) => peekIsStill(...asked),
      nowMs: () => nowMs(),
    });
  });

  /** Looks for names until the root and `team` are listed. */
  async function learn(): Promise<void> {
    for (let turn = 0; turn < MANY; turn += 1) {
      absence.missed(folderOf(`team/none-${turn}`));
      await absence.idle();
    }
    looks = 0;
  }

  it('answers all who ask at the same time with two looks at it at most', async () => {
    await learn();
    const asked = Array.from({ length: 100 }, (_, turn) => absence.isProved(folderOf(`team/other-${turn}`)));
    assert.ok((await Promise.all(asked)).every((isProved) => isProved));
    assert.ok(looks <= 2, `${looks} looks`);
  });

  it('is looked at at once where that waits for nothing, and else as before', async () => {
    await learn();
    peekIsStill = () => true;
    assert.equal(await absence.isProved(folderOf('team/other')), true);
    assert.equal(looks, 0);
    peekIsStill = () => false;
    assert.equal(await absence.isProved(folderOf('team/other')), true);
    assert.equal(looks, 1);
  });

  it('proves at once only where the look waits for nothing and finds it unchanged', async () => {
    assert.equal(absence.peekProved(folderOf('team/other')), false);
    await learn();
    assert.equal(absence.peekProved(folderOf('team/other')), false);
    peekIsStill = () => false;
    assert.equal(absence.peekProved(folderOf('team/other')), false);
    peekIsStill = () => true;
    assert.equal(absence.peekProved(folderOf('team/other')), true);
    assert.equal(absence.peekProved(folderOf('team/app')), false);
    assert.equal(looks, 0);
  });

  it('is looked at at once for a whole round, and again for the next one', async () => {
    await learn();
    let looked = 0;
    let isStill = true;
    peekIsStill = () => {
      looked += 1;
      return isStill;
    };
    const round = Symbol('round');
    for (let name = 0; name < 100; name += 1)
      assert.equal(absence.peekProved(folderOf(`team/other-${name}`), round), true);
    assert.equal(looked, 1);
    assert.equal(absence.peekProved(folderOf('team/app'), round), false);
    isStill = false;
    assert.equal(absence.peekProved(folderOf('team/other'), Symbol('round')), false);
    assert.equal(absence.peekProved(folderOf('team/other')), false);
    assert.equal(looked, 3);
  });

  it('proves that what lies in an absent folder is absent', async () => {
    await learn();
    assert.equal(await absence.isProved(folderOf('never/was')), true);
  });

  it('proves nearly every name absent, so that few cost a look', async () => {
    for (let name = 0; name < 200; name += 1) await mkdir(path.join(root, 'team', `held-${name}`));
    for (let turn = 0; turn < 4; turn += 1) await learn();
    peekIsStill = () => true;
    let looked = 0;
    for (let name = 0; name < 20_000; name += 1)
      if (!absence.peekProved(folderOf(`team/other-${name}`))) looked += 1;
    assert.ok(looked < 10, `${looked} of 20,000 names seemed to be there`);
  });

  it('proves nothing of what it holds, be it named in other letters', async () => {
    await learn();
    assert.equal(await absence.isProved(folderOf('team/app')), false);
    assert.equal(await absence.isProved(folderOf('team/app').toUpperCase()), false);
  });

  it('proves nothing before it was listed, and none is listed for one name', async () => {
    absence.missed(folderOf('team/none'));
    await absence.idle();
    assert.equal(await absence.isProved(folderOf('team/none')), false);
    assert.equal(looks, 0);
  });

  it('proves nothing when it had changed within a tick of the clock as it was listed', async () => {
    const { ctimeMs } = await stat(root);
    nowMs = () => ctimeMs + 20;
    await learn();
    assert.equal(await absence.isProved(folderOf('never/was')), false);
  });

  it('proves nothing when its times are whole seconds and it had changed within two of them', async () => {
    changedAt = () => 1_700_000_000_000;
    nowMs = () => 1_700_000_001_900;
    await learn();
    assert.equal(await absence.isProved(folderOf('never/was')), false);
    nowMs = () => 1_700_000_002_100;
    await learn();
    assert.equal(await absence.isProved(folderOf('never/was')), true);
  });

  it('proves nothing when it holds a name that may be found by other letters', async () => {
    await mkdir(path.join(root, '\u212Aernel')); // begins with the sign for kelvin
    await learn();
    assert.equal(await absence.isProved(folderOf('never/was')), false);
  });

  it('proves nothing when a name came while it was listed', async () => {
    names = async (folder) => {
      const all = await opendir(path.join(root, folder));
      await mkdir(path.join(root, folder, 'new'));
      return all;
    };
    absence.missed(folderOf('never/was'));
    for (let turn = 0; turn < MANY / 2; turn += 1) {
      absence.missed(folderOf('never/was'));
      await absence.idle();
    }
    assert.equal(await absence.isProved(folderOf('never/was')), false);
  });
});

it('a folder whose name is turned at each look proves of another nothing but what that other lacks', async () => {
  const folders = ['first', 'second'].map((id) => ({ id, names: [{ name: `in-${id}` }] }));
  let turn = 0;
  let looked = '';
  const absence = createAbsence({
    async inFolder(_, act) {
      const { id, names } = folders[turn++ % 2] ?? assert.fail();
      looked = id;
      return act({
        stat: async () => ({ id, stamp: id, stamped: NEVER, changedAtMs: 1 }),
        names: async () => Readable.from(names),
      });
    },
    peekIsStill: () => false,
    nowMs: laterMs,
  });
  for (let ask = 0; ask < 4 * MANY; ask += 1) {
    absence.missed('in-none');
    await absence.idle();
    for (const { id } of folders)
      if (await absence.isProved(`in-${id}`)) assert.notEqual(looked, id, `in-${id} was there`);
  }
});

describe('an image that comes into a tree whose folders are listed', () => {
  let tree: OpenTree;

  beforeEach(async () => {
    tree = openTree({ root, nowMs: laterMs, beingWrittenMs: 100, isWhole: isWholeSignature });
    for (let turn = 0; turn < MANY; turn += 1) {
      assert.equal(await tree.readImage(folderOf(`team/none-${turn}`)), null);
      await tree.idle();
    }
  });

  async function assertThere(name: string): Promise<void> {
    assert.deepEqual((await tree.readImage(folderOf(name)))?.files[0]?.bytes, ONE);
  }

  it('is found at once, beside another', async () => {
    await layImage(root, 'team/none-1', ONE);
    await assertThere('team/none-1');
  });

  it('is found at once in a new folder', async () => {
    assert.equal(await tree.readImage(folderOf('never/was')), null);
    await layImage(root, 'never/was', ONE);
    await assertThere('never/was');
  });

  it('is found at once behind a link that is turned', async () => {
    const aside = path.join(temp.path, 'aside');
    await layImage(aside, 'team/none-1', ONE);
    await rename(path.join(aside, 'team'), path.join(root, 'next'));
    await rename(path.join(root, 'team'), path.join(root, 'old'));
    await symlink('next', path.join(root, 'team'));
    await assertThere('team/none-1');
  });

  it('and goes again is absent', async () => {
    await layImage(root, 'team/none-1', ONE);
    await assertThere('team/none-1');
    await rm(path.join(root, folderOf('team/none-1')), { recursive: true });
    assert.equal(await tree.readImage(folderOf('team/none-1')), null);
  });

  it('cannot be asked for while the root is away: that is a failure, never an absence', async () => {
    await rename(root, `${root}-away`);
    await assert.rejects(tree.readImage(folderOf('team/none-1')), { code: 'STORE_UNAVAILABLE' });
  });
});
