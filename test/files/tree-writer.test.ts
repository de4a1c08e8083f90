// Adding signatures to a tree on a real file system: whole or absent, never over another file, never outside.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { TreeWriter } from '../../src/domain/tree.ts';
import { createDurableFolders, type DurableFolders } from '../../src/files/durable-folders.ts';
import { readIntents } from '../../src/files/intents.ts';
import { placeNew, takeAway } from '../../src/files/new-folders.ts';
import { placeRow } from '../../src/files/row.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import type { WayFolder } from '../../src/files/way.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, layFile, layImage, linkSignatures, signatureBytes } from '../store/lay.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');
const INTENT = '{"what":"an upload"}';
const UNKNOWN = '00000000-0000-4000-8000-000000000000';

let temp: TempFolder;
let root: string;
let outside: string;
let writer: TreeWriter;

const open = () => openTreeWriter({ root, nowMs: Date.now });
const prepared = () => path.join(root, '.lookaside/tmp');
const file = (number: number, folder = FOLDER) => path.join(root, folder, `signature-${number}`);

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'root');
  outside = path.join(temp.path, 'outside');
  await mkdir(root);
  await mkdir(outside);
  writer = open();
});

afterEach(() => temp[Symbol.asyncDispose]());

async function add(bytes: Uint8Array, folder = FOLDER, from = 1): Promise<number> {
  const pair = await writer.prepare(INTENT, bytes);
  try {
    return await writer.place(pair, folder, from);
  } finally {
    await writer.discard(pair);
  }
}

describe('placing prepared bytes', () => {
  it('makes the folders and the file, which readers may read, and leaves nothing else', async () => {
    assert.equal(await add(ONE), 1);
    assert.deepEqual(await readFile(file(1)), ONE);
    assert.equal((await stat(file(1))).mode & 0o444, 0o444 & ~process.umask());
    assert.equal((await stat(file(1))).nlink, 1);
    assert.deepEqual(await readdir(path.dirname(file(1))), ['signature-1']);
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('keeps the intent from other users of the machine', async () => {
    const pair = await writer.prepare(INTENT, ONE);
    assert.equal((await stat(path.join(prepared(), `${pair}.intent`))).mode & 0o777, 0o600);
    assert.equal((await stat(prepared())).mode & 0o077, 0);
  });

  it('takes the first free number from the given one on, and replaces nothing that stands there', async () => {
    await layImage(root, 'team/app', ONE, ONE);
    await mkdir(file(3));
    await symlink('/nowhere', file(4));
    assert.equal(await add(TWO, FOLDER, 2), 5);
    assert.deepEqual(await readFile(file(2)), ONE);
    assert.ok((await stat(file(3))).isDirectory());
    assert.deepEqual(await readFile(file(5)), TWO);
  });

  it('gives each of many at once a number of its own', async () => {
    const numbers = await Promise.all(Array.from({ length: 30 }, (_, k) => add(signatureBytes(`${k} `))));
    assert.deepEqual(
      numbers.toSorted((a, b) => a - b),
      Array.from({ length: 30 }, (_, k) => k + 1),
    );
  });

  it('goes through a link that stays inside the root, as readers do', async () => {
    await layImage(root, 'team/app', ONE);
    await symlink('team', path.join(root, 'alias'));
    assert.equal(await add(TWO, FOLDER.replace('team/', 'alias/')), 2);
    assert.deepEqual(await readFile(file(2)), TWO);
  });
});

describe('adding new images', () => {
  const other = folderOf('team/other');
  const release = `sha256=${'0'.repeat(64)}`;
  const aside = () => readdir(path.join(root, '.lookaside/batch'));
  const addNew = (...folders: readonly string[]) =>
    Promise.all(folders.map((folder) => writer.addNew(folder, `{"of":"${folder}"}`, ONE)));

  it('that begin together has each with its file, and one file of intents until the last is discarded', async () => {
    const folders = [FOLDER, other, release];
    const added = await addNew(...folders);
    for (const folder of folders) assert.deepEqual(await readFile(file(1, folder)), ONE);
    assert.equal((await stat(file(1))).mode & 0o444, 0o444 & ~process.umask());
    assert.deepEqual(await aside(), []);
    const [intents = '', ...more] = await readdir(prepared());
    assert.deepEqual(more, []);
    assert.equal((await stat(path.join(prepared(), intents))).mode & 0o777, 0o600);
    assert.deepEqual(
      await readIntents(root),
      folders.map((folder) => `{"of":"${folder}"}`),
    );
    for (const one of added.slice(1)) await writer.discard(one ?? '');
    await writer.discard(added[1] ?? ''); // a second time
    assert.deepEqual(await readdir(prepared()), [intents]);
    await writer.discard(added[0] ?? '');
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('leaves a folder alone that has a file, a link or a file in the place of a folder; an empty one is taken', async () => {
    await layFile(root, `${FOLDER}/signature-7`, TWO);
    await mkdir(path.join(root, other));
    const [linked, inTheWay] = [folderOf('team/linked'), folderOf('team/way')];
    await symlink(outside, path.join(root, linked));
    await layFile(root, inTheWay, 'theirs');
    const added = await addNew(FOLDER, other, linked, inTheWay);
    assert.deepEqual(
      added.map((one) => one !== null),
      [false, true, false, false],
    );
    assert.deepEqual(await readdir(path.join(root, FOLDER)), ['signature-7']);
    assert.deepEqual(await readFile(file(1, other)), ONE);
    assert.deepEqual(await readdir(outside), []);
    assert.deepEqual(await aside(), []);
    // the one that has come to its place is the last of its group
    await writer.discard(added[1] ?? '');
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('has one of two that ask for the same folder', async () => {
    const added = await addNew(FOLDER, FOLDER);
    assert.equal(added.filter((one) => one !== null).length, 1);
    assert.deepEqual(await readdir(path.join(root, FOLDER)), ['signature-1']);
    for (const one of added) await writer.discard(one ?? UNKNOWN);
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('leaves one whose way is refused to be refused by itself, and stores the others', async () => {
    await symlink(outside, path.join(root, 'away'));
    const tooLong = folderOf(`${'deep/'.repeat(820)}app`);
    const added = await addNew(folderOf('away/app'), tooLong, FOLDER);
    assert.deepEqual(
      added.map((one) => one !== null),
      [false, false, true],
    );
    assert.deepEqual(await readdir(outside), []);
    assert.deepEqual(await aside(), []);
    await assert.rejects(writer.addNew(folderOf('away/app'), INTENT, ONE), {
      code: 'STORE_UNAVAILABLE',
      message: /a link leads out/,
    });
    assert.equal((await readdir(prepared())).length, 1);
  });

  it('makes files of intents of a bounded size, which are read again', async () => {
    const folders = Array.from({ length: 150 }, (_, position) => folderOf(`team/app-${position}`));
    const long = JSON.stringify({ reason: 'x'.repeat(2000) });
    await Promise.all(folders.map((folder) => writer.addNew(folder, long, ONE)));
    const names = await readdir(prepared());
    assert.ok(names.length > 3 && names.length < 10, `${names.length} files`);
    assert.deepEqual(
      await readIntents(root),
      folders.map(() => long),
    );
  });

  it('tells after a crash of each that was begun, also when the last intent is cut short', async () => {
    const added = await addNew(FOLDER, other);
    const [intents = ''] = await readdir(prepared());
    const text = await readFile(path.join(prepared(), intents), 'utf8');
    await writeFile(path.join(prepared(), intents), text.slice(0, -5));
    const later = open();
    const left = await later.leftOver();
    assert.deepEqual(
      left.map(({ intent }) => intent),
      [`{"of":"${FOLDER}"}`, `{"of":"${other}"}`.slice(0, -5)],
    );
    assert.equal(added.length, left.length);
    for (const one of left) {
      assert.deepEqual(await readdir(prepared()), [intents]);
      await later.discard(one.prepared);
    }
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('throws away at the next start what had no place yet, and its intents lead to nothing', async () => {
    await addNew(FOLDER);
    await layFile(root, `.lookaside/batch/${UNKNOWN}/signature-1`, TWO);
    await layFile(root, `.lookaside/tmp/${UNKNOWN}.intents`, '');
    const left = await open().leftOver();
    assert.deepEqual(await aside(), []);
    assert.deepEqual(left[0], { prepared: `${UNKNOWN}.1.1`, intent: '' });
    await writer.discard(left[0]?.prepared ?? '');
    assert.equal((await readdir(prepared())).length, 1);
  });
});

describe('placing a row', () => {
  it('shows all of it or nothing, and brings nothing into line that a crash has left behind', async () => {
    const three = signatureBytes('three');
    // as a crash leaves it that came before the first file was linked
    await layFile(root, `${FOLDER}/signature-2`, three);
    await layFile(root, `${FOLDER}/signature-3`, three);
    assert.equal(await writer.placeRow(FOLDER, 1, [ONE, TWO]), true);
    assert.deepEqual(await readFile(file(1)), ONE);
    assert.deepEqual(await readFile(file(2)), TWO);
    assert.deepEqual((await readdir(path.dirname(file(1)))).sort(), ['signature-1', 'signature-2']);
    assert.equal(await writer.placeRow(FOLDER, 2, [three, three]), false);
    assert.deepEqual(await readFile(file(2)), TWO);
    assert.deepEqual((await readdir(path.dirname(file(1)))).sort(), ['signature-1', 'signature-2']);
    assert.deepEqual(await readdir(prepared()), []);
  });
});

describe('placing many new folders', () => {
  const folders = () => readdir(path.join(root, '.lookaside/batch'));

  it('shows each as a whole, below a repository and in the root, and leaves nothing else', async () => {
    const release = `sha256=${'0'.repeat(64)}`;
    const sets = [
      { folder: FOLDER, row: [ONE, TWO] },
      { folder: folderOf('team/other'), row: [TWO] },
      { folder: release, row: [ONE] },
    ];
    const placed = await writer.placeNew(sets);
    assert.deepEqual(
      placed.map((times) => times?.length),
      [2, 1, 1],
    );
    const { mtimeMs } = await stat(file(2), { bigint: true });
    assert.deepEqual(placed[0]?.[1], new Date(Number(mtimeMs)));
    assert.deepEqual(await readFile(file(1)), ONE);
    assert.deepEqual(await readFile(file(2)), TWO);
    assert.deepEqual(await readFile(file(1, folderOf('team/other'))), TWO);
    assert.deepEqual(await readFile(file(1, release)), ONE);
    assert.equal((await stat(path.dirname(file(1)))).mode & 0o555, 0o555 & ~process.umask());
    assert.deepEqual(await folders(), []);
  });

  it('leaves what is there alone, and takes the place of an empty folder', async () => {
    await layImage(root, 'team/app', ONE);
    await mkdir(path.join(root, folderOf('team/empty')), { recursive: true });
    await symlink(outside, path.join(root, folderOf('team/link')));
    const named = ['team/app', 'team/empty', 'team/link'].map((name) => folderOf(name));
    const sets = named.map((folder) => ({ folder, row: [TWO, TWO] }));
    const placed = await writer.placeNew(sets);
    assert.deepEqual(
      placed.map((times) => times !== null),
      [false, true, false],
    );
    assert.deepEqual(await readFile(file(1)), ONE);
    assert.deepEqual(await readdir(path.dirname(file(1))), ['signature-1']);
    assert.deepEqual(await readFile(file(2, folderOf('team/empty'))), TWO);
    assert.deepEqual(await readdir(outside), []);
    assert.deepEqual(await folders(), []);
  });

  it('goes through no link that leads out of the tree', async () => {
    await symlink(outside, path.join(root, 'team'));
    const released = `sha256=${'0'.repeat(64)}`;
    const placed = await writer.placeNew([
      { folder: released, row: [TWO] },
      { folder: FOLDER, row: [ONE] },
    ]);
    // the others are placed all the same, and this one's own failure is told where it is placed by itself
    assert.deepEqual(
      placed.map((times) => times !== null),
      [true, false],
    );
    assert.deepEqual(await readFile(file(1, released)), TWO);
    await assert.rejects(writer.placeRow(FOLDER, 1, [ONE]), { code: 'STORE_UNAVAILABLE' });
    assert.deepEqual(await readdir(outside), []);
    assert.deepEqual(await folders(), []);
  });

  it('throws away at a start what a crash has left', async () => {
    const left = path.join(root, '.lookaside/batch', UNKNOWN);
    await mkdir(left, { recursive: true });
    await writeFile(path.join(left, 'signature-1'), ONE);
    assert.deepEqual(await open().leftOver(), []);
    assert.deepEqual(await folders(), []);
  });
});

describe('a folder whose sync cannot even begin, as too many files are open', () => {
  /** Nothing but the folder above is synced well. */
  function failing(name: string): DurableFolders {
    const durable = createDurableFolders({ root, checkRoot: async () => root });
    const unless = (folder: WayFolder) => {
      if (path.basename(folder.where) === name)
        throw new LookasideError('STORE_UNAVAILABLE', 'EMFILE: too many open files');
      return folder;
    };
    return {
      ...durable,
      syncFolder: async (folder) => durable.syncFolder(unless(folder)),
      openForSync: async (folder) => durable.openForSync(unless(folder)),
    };
  }

  it('gets none of many new sets: one that is found there would count as stored', async () => {
    const released = `sha256=${'0'.repeat(64)}`;
    const sets = [
      { folder: FOLDER, row: [ONE] },
      { folder: released, row: [TWO] },
    ];
    const placed = await placeNew(root, failing('team'), sets);
    assert.deepEqual(
      placed.map((times) => times !== null),
      [false, true],
    );
    assert.deepEqual(await readdir(path.join(root, 'team')), []);
    assert.deepEqual(await readdir(path.join(root, '.lookaside/batch')), []);
  });

  it('gets nothing of a row', async () => {
    const durable = failing(path.basename(FOLDER));
    const displace = async () => assert.fail('nothing is there');
    const placing = durable.inOwnFolder('.lookaside/tmp', 0o700, (tmp) =>
      durable.inFolder(FOLDER, 0o755, (last) =>
        placeRow({ root, tmp, last, durable, displace }, 1, [ONE, TWO]),
      ),
    );
    await assert.rejects(placing, { code: 'STORE_UNAVAILABLE' });
    assert.deepEqual(await readdir(path.join(root, FOLDER)), []);
    assert.deepEqual(await readdir(prepared()), []);
  });
});

describe('a folder that was taken away and is made again', () => {
  it('is not taken for the one before, whose inode it may have: its entry is synced anew', async () => {
    const durable = createDurableFolders({ root, checkRoot: async () => root });
    const folder = () => durable.inFolder(FOLDER, 0o755, async (last) => last);
    const before = await folder();
    assert.equal(durable.isLasting(before), true);
    await takeAway(root, durable, FOLDER);
    assert.equal(durable.isLasting(before), false);
    const after = await folder();
    assert.equal(durable.isLasting(after), true);
  });
});

describe('a tree that cannot take a signature', () => {
  const CASES: readonly [string, () => Promise<unknown>, string, RegExp][] = [
    [
      'because the repository is a link out of it',
      () => symlink(outside, path.join(root, 'team')),
      'STORE_UNAVAILABLE',
      /a link leads out of/,
    ],
    [
      'because the image is a link out of it',
      async () => {
        await mkdir(path.join(root, 'team'));
        await symlink(outside, path.join(root, FOLDER));
      },
      'STORE_UNAVAILABLE',
      /a link leads out of/,
    ],
    [
      'because the image is a link into the private folder',
      async () => {
        await mkdir(path.join(root, '.lookaside'));
        await mkdir(path.join(root, 'team'));
        await symlink('../.lookaside', path.join(root, FOLDER));
      },
      'STORE_UNAVAILABLE',
      /a link leads out of/,
    ],
    [
      'because a file stands where a folder must be',
      () => writeFile(path.join(root, 'team'), 'x'),
      'STORE_UNAVAILABLE',
      /team.* a file stands where a folder must be; move it away/,
    ],
    [
      'because the private folder is a link out of it',
      () => symlink(outside, path.join(root, '.lookaside')),
      'STORE_UNAVAILABLE',
      /\.lookaside is a link.*remove the link/,
    ],
    [
      'because the folder of prepared files is a link out of it',
      async () => {
        await mkdir(path.join(root, '.lookaside'));
        await symlink(outside, path.join(root, '.lookaside/tmp'));
      },
      'STORE_UNAVAILABLE',
      /tmp is a link.*remove the link/,
    ],
    [
      'because the root has gone',
      () => rename(root, path.join(temp.path, 'away')),
      'STORE_UNAVAILABLE',
      /the root/,
    ],
  ];
  for (const [why, lay, code, message] of CASES) {
    it(`${why} says so, and nothing is written anywhere`, async () => {
      await lay();
      await assert.rejects(add(ONE), { code, message });
      assert.deepEqual(await readdir(outside), []);
      const left = await readdir(prepared()).catch(() => []);
      assert.deepEqual(left, []);
      assert.equal(writer.fault, null);
    });
  }

  it('does not make a root anew that has gone', async () => {
    await rename(root, path.join(temp.path, 'away'));
    await assert.rejects(add(ONE));
    await assert.rejects(stat(root), { code: 'ENOENT' });
  });

  it('because a name is too long says that the path is wrong', async () => {
    const folder = folderOf('a'.repeat(250));
    await assert.rejects(add(ONE, folder), { code: 'PATH_INVALID', message: /longer than the file system/ });
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('because the whole path is too long says so, and no part of it is made', async () => {
    const folder = folderOf(`${'deep/'.repeat(820)}app`);
    await assert.rejects(add(ONE, folder), { code: 'PATH_INVALID', message: /longer than/ });
    assert.deepEqual(await readdir(root), ['.lookaside']);
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('because each number that is looked at is taken says what to do, and takes no number above', async () => {
    await layFile(root, `${FOLDER}/signature-1`, ONE);
    linkSignatures(root, FOLDER, 2, 127);
    assert.equal(await add(ONE), 128);
    await assert.rejects(add(ONE), {
      code: 'TOO_MANY_SIGNATURES',
      message: /has a file at each number from 1 to 128, and none above is looked at; delete/,
    });
    assert.equal((await readdir(path.join(root, FOLDER))).length, 128);
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('leaks no file descriptor over 200 refusals', async () => {
    await symlink(outside, path.join(root, 'team'));
    await assert.rejects(add(ONE));
    const before = (await readdir('/proc/self/fd')).length;
    for (let round = 0; round < 200; round += 1) await assert.rejects(add(ONE));
    assert.equal((await readdir('/proc/self/fd')).length, before);
  });

  it('takes the next one as soon as the reason is gone', async () => {
    await symlink(outside, path.join(root, 'team'));
    await assert.rejects(add(ONE));
    await rm(path.join(root, 'team'));
    assert.equal(await add(ONE), 1);
  });
});

describe('what a crash left behind', () => {
  it('is told with its intent, until it is discarded', async () => {
    const pair = await writer.prepare(INTENT, ONE);
    const later = open();
    assert.deepEqual(await later.leftOver(), [{ prepared: pair, intent: INTENT }]);
    await later.discard(pair);
    assert.deepEqual(await later.leftOver(), []);
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('without an intent is told too, and goes when it is discarded', async () => {
    await layFile(root, `.lookaside/tmp/${UNKNOWN}.signature`, ONE);
    const other = UNKNOWN.replace('0000-4', '1111-4');
    await layFile(root, `.lookaside/tmp/${other}`, ONE);
    assert.deepEqual(await writer.leftOver(), [
      { prepared: UNKNOWN, intent: null },
      { prepared: other, intent: null },
    ]);
    for (const { prepared: pair } of await writer.leftOver()) await writer.discard(pair);
    assert.deepEqual(await readdir(prepared()), []);
  });

  it('is nothing but what bears our names: other files stay', async () => {
    const theirs = ['notes.txt', `${UNKNOWN}.part`, 'x.intent', '.hidden'];
    for (const name of theirs) await layFile(root, `.lookaside/tmp/${name}`, 'theirs');
    await mkdir(path.join(prepared(), `${UNKNOWN}.signature`));
    await symlink(outside, path.join(prepared(), `${UNKNOWN}.intent`));
    assert.deepEqual(await writer.leftOver(), []);
  });

  it('is nothing behind a link in the place of our folders, and nothing there is discarded', async () => {
    const theirs = `${UNKNOWN}.intent`;
    await layFile(outside, `tmp/${theirs}`, INTENT);
    await symlink(outside, path.join(root, '.lookaside'));
    assert.deepEqual(await writer.leftOver(), []);
    assert.deepEqual(await readIntents(root), []);
    await writer.discard(UNKNOWN);
    assert.deepEqual(await readdir(path.join(outside, 'tmp')), [theirs]);
    await rm(path.join(root, '.lookaside'));
    await mkdir(path.join(root, '.lookaside'));
    await symlink(path.join(outside, 'tmp'), prepared());
    assert.deepEqual(await writer.leftOver(), []);
    assert.deepEqual(await readIntents(root), []);
    await writer.discard(UNKNOWN);
    assert.deepEqual(await readdir(path.join(outside, 'tmp')), [theirs]);
  });

  it('is nothing where nothing was ever prepared', async () => {
    assert.deepEqual(await writer.leftOver(), []);
  });
});

it('a discard of what is not there, or cannot be removed, fails nobody', async () => {
  await writer.discard(UNKNOWN);
  await layFile(root, `.lookaside/tmp/${UNKNOWN}.intent/x`, 'a folder');
  await chmod(prepared(), 0o500);
  await writer.discard(UNKNOWN);
  await chmod(prepared(), 0o700);
});

it('the free bytes of the root’s file system are told, and a root that has gone is no empty disk', async () => {
  assert.ok((await writer.freeBytes()) > 0);
  await rename(root, path.join(temp.path, 'away'));
  await assert.rejects(writer.freeBytes(), { code: 'STORE_UNAVAILABLE' });
});

it('a file that others wrote is made to survive a power cut where it is', async () => {
  await layImage(root, 'team/app', ONE);
  await writer.makeDurable(FOLDER, 1);
  assert.deepEqual(await readFile(file(1)), ONE);
  await assert.rejects(writer.makeDurable(FOLDER, 2), { code: 'STORE_UNAVAILABLE' });
});

describe('what others put in the place of a file that is to survive', () => {
  const CASES: readonly [string, () => Promise<unknown>][] = [
    ['a pipe', async () => execFileSync('mkfifo', [file(2)])],
    ['a folder', () => mkdir(file(2))],
    [
      'a link out of the tree',
      async () => {
        await layFile(outside, 'signature-1', ONE);
        await symlink(path.join(outside, 'signature-1'), file(2));
      },
    ],
  ];
  for (const [what, lay] of CASES) {
    it(`${what} is refused, and is no write that was lost: the next upload is taken`, async () => {
      await layImage(root, 'team/app', ONE);
      await lay();
      await assert.rejects(writer.makeDurable(FOLDER, 2), {
        code: 'STORE_UNAVAILABLE',
        message: /is not a file of the tree any more/,
      });
      assert.equal(writer.fault, null);
      assert.equal(await add(TWO), 3);
    });
  }

  it('a link to a file inside the tree is followed', async () => {
    await layImage(root, 'team/app', ONE);
    await symlink('signature-1', file(2));
    await writer.makeDurable(FOLDER, 2);
  });
});
