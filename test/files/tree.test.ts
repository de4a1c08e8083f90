// The tree on a real file system: what it tells of links, odd files, changes and failures.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import {
  appendFile,
  mkdir,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { MAX_SIGNATURE_BYTES } from '../../src/domain/limits.ts';
import type { ImageFolder, Stamps } from '../../src/domain/tree.ts';
import { type OpenTree, openTree } from '../../src/files/tree.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import {
  folderOf,
  LONG_AGO,
  layFile,
  layImage,
  linkSignatures,
  sha256Hex,
  signatureBytes,
} from '../store/lay.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');
/** Types of statfs(2): ext, XFS, Btrfs, tmpfs, F2FS. */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0xf2f52010];

let temp: TempFolder;
let root: string;
let outside: string;
let tree: OpenTree;
/** What the tree takes for now. */
let nowMs: () => number;

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'root');
  outside = path.join(temp.path, 'outside');
  await mkdir(root);
  await mkdir(outside);
  nowMs = Date.now;
  tree = openTree({ root, nowMs: () => nowMs(), beingWrittenMs: 100, isWhole: isWholeSignature });
});

afterEach(() => temp[Symbol.asyncDispose]());

async function read(folder = FOLDER): Promise<ImageFolder> {
  const image = await tree.readImage(folder);
  assert.ok(image !== null, `${folder} is there`);
  return image;
}

async function faults(folder = FOLDER): Promise<(string | null)[]> {
  return (await read(folder)).files.map(({ fault }) => fault);
}

describe('a folder with 20,000 files of an image', () => {
  const FILES = 20_000;
  const SIZE = 60_000;

  beforeEach(async () => {
    await layImage(root, 'team/app', signatureBytes('large', SIZE));
    linkSignatures(root, FOLDER, 2, FILES);
  });

  /** Files that were read while `act` went on, all of one size. */
  async function filesRead(act: () => Promise<unknown>): Promise<number> {
    const readBytes = () => Number(/^rchar: ([0-9]+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
    const before = readBytes();
    await act();
    return Math.floor((readBytes() - before) / SIZE);
  }

  it('has the first 128 read, and the others counted', async () => {
    const images: ImageFolder[] = [];
    assert.equal(await filesRead(async () => images.push(await read())), 128);
    const { files, hidden, beyond, stamps } = images[0] ?? assert.fail();
    assert.deepEqual([files.length, files.at(-1)?.number, stamps.files.length], [128, 128, 128]);
    assert.deepEqual({ hidden, beyond }, { hidden: [], beyond: { count: FILES - 128, lowest: 129 } });
  });

  it('has none read behind a gap but those that are asked for', async () => {
    await unlink(path.join(root, FOLDER, 'signature-1'));
    const { files, hidden, beyond } = await read();
    assert.deepEqual([files.length, hidden.length, beyond?.count], [0, 127, FILES - 128]);
    assert.equal(await filesRead(() => tree.readImage(FOLDER)), 0);
    assert.equal(await filesRead(() => tree.readImage(FOLDER, hidden)), 127);
    assert.equal(await filesRead(() => tree.readImage(FOLDER, [200, 19_000])), 2);
  });
});

describe('a link in the place of a signature', () => {
  beforeEach(() => layImage(root, 'team/app', ONE));

  const second = () => path.join(root, FOLDER, 'signature-2');

  it('is followed to a file inside the tree', async () => {
    await layFile(root, `${folderOf('team/other')}/signature-1`, TWO);
    await symlink(`../${path.basename(folderOf('team/other'))}/signature-1`, second());
    const { files } = await read();
    assert.deepEqual(files[1]?.bytes, TWO);
    assert.equal(files[1]?.fault, null);
    assert.deepEqual(await tree.readFile(FOLDER, 2), TWO);
  });

  const LEADS: readonly [string, () => Promise<string>][] = [
    [
      'to a file outside',
      async () => {
        await writeFile(path.join(outside, 'signature-1'), TWO);
        return path.join(outside, 'signature-1');
      },
    ],
    ['to nothing', async () => 'signature-99'],
    ['to itself', async () => 'signature-2'],
    [
      'into the private folder',
      async () => {
        await layFile(root, '.lookaside/tmp/signature-1', TWO);
        return path.join(root, '.lookaside/tmp/signature-1');
      },
    ],
    [
      'to a folder beside the root whose name begins like the root’s',
      async () => {
        await layFile(`${root}-more`, 'signature-1', TWO);
        return path.join(`${root}-more`, 'signature-1');
      },
    ],
  ];
  for (const [where, makeTarget] of LEADS) {
    it(`that leads ${where} is not followed, and is reported`, async () => {
      await symlink(await makeTarget(), second());
      assert.deepEqual(await faults(), [null, 'link-outside']);
      assert.equal(await tree.readFile(FOLDER, 2), null);
    });
  }
});

describe('a folder that is a link', () => {
  it('inside the tree is read through', async () => {
    await layImage(root, 'team/app', ONE);
    await symlink('team', path.join(root, 'alias'));
    assert.deepEqual((await read(FOLDER.replace('team/', 'alias/'))).files[0]?.bytes, ONE);
  });

  it('out of the tree is not there', async () => {
    await layImage(outside, 'team/app', ONE);
    await symlink(path.join(outside, 'team'), path.join(root, 'team'));
    assert.equal(await tree.readImage(FOLDER), null);
    assert.equal(await tree.statFolder('team'), null);
    assert.equal(await tree.children('team'), null);
    assert.equal(await tree.readFile(FOLDER, 1), null);
  });

  it('in a circle ends, and has one identity under all its names', async () => {
    await layImage(root, 'team/app', ONE);
    await symlink('..', path.join(root, 'team/up'));
    assert.equal((await tree.statFolder('team/up/team/up/team'))?.id, (await tree.statFolder('team'))?.id);
    await symlink('loop', path.join(root, 'loop'));
    assert.equal(await tree.statFolder('loop'), null);
  });
});

describe('a folder that is replaced while it is read', () => {
  it('by a turned link, and deleted, is the old one or the new one, and never empty', async () => {
    const link = path.join(root, 'team');
    const release = (round: number) => path.join(root, `release-${round}`);
    const lay = (round: number) => layFile(release(round), `${path.basename(FOLDER)}/signature-1`, ONE);
    await lay(0);
    await symlink('release-0', link);
    for (let round = 1; round <= 60; round += 1) {
      await lay(round);
      await symlink(`release-${round}`, `${link}.new`);
      const reads = Promise.all(Array.from({ length: 4 }, () => read()));
      // as far as it comes with its calls of the system
      for (let turn = 0; turn < round % 10; turn += 1) await new Promise(setImmediate);
      const old = path.join(temp.path, 'old');
      renameSync(`${link}.new`, link);
      renameSync(release(round - 1), old);
      rmSync(old, { recursive: true });
      for (const { files } of await reads) assert.deepEqual(files[0]?.bytes, ONE);
    }
  });
});

it('no descriptor stays open, whatever is read and however many read at once', async () => {
  await layImage(root, 'team/app', ONE, TWO);
  await mkdir(path.join(root, FOLDER, 'signature-3'));
  await symlink('signature-1', path.join(root, FOLDER, 'signature-4'));
  await symlink('/etc/passwd', path.join(root, FOLDER, 'signature-5'));
  await symlink(outside, path.join(root, 'out'));
  const { stamps } = await read();
  const readAll = () =>
    Promise.all(
      [FOLDER, 'out', 'team', 'absent', FOLDER.replace('team', 'out')].flatMap((folder) => [
        tree.readImage(folder),
        tree.isUnchanged(folder, { ...stamps, settled: true }),
        ...[1, 3, 4, 5, 6].map((number) => tree.readFile(folder, number)),
        tree.statFolder(folder),
      ]),
    );
  await readAll();
  const before = (await readdir('/proc/self/fd')).length;
  await Promise.all(Array.from({ length: 30 }, readAll));
  await tree.idle();
  assert.equal((await readdir('/proc/self/fd')).length, before);
});

describe('what is no regular file in the place of a signature', () => {
  it('is reported, be it a folder, a pipe or a socket, directly or behind a link', async () => {
    await layImage(root, 'team/app', ONE);
    const at = (number: number) => path.join(root, FOLDER, `signature-${number}`);
    await mkdir(at(2));
    execFileSync('mkfifo', [at(3)]);
    // a socket's name has room for 107 bytes, but it may be renamed
    const socket = path.join(temp.path, 'socket');
    const server = createServer().listen(socket);
    await once(server, 'listening');
    await rename(socket, at(4));
    try {
      for (const number of [2, 3, 4]) await symlink(`signature-${number}`, at(number + 3));
      await layFile(root, `${FOLDER}/signature-8`, TWO);
      assert.deepEqual(await faults(), [null, ...Array<string>(6).fill('no-file'), null]);
    } finally {
      server.close();
    }
  });
});

describe('the size of a signature', () => {
  it('of 4 MiB is read and of one byte more is not', async () => {
    const most = Buffer.alloc(MAX_SIGNATURE_BYTES, 0x89);
    await layImage(root, 'team/app', most, Buffer.concat([most, Buffer.from('x')]));
    const { files } = await read();
    assert.deepEqual(
      files.map(({ fault, sizeBytes }) => [fault, sizeBytes]),
      [
        [null, MAX_SIGNATURE_BYTES],
        ['too-large', MAX_SIGNATURE_BYTES + 1],
      ],
    );
    assert.equal(files[0]?.sha256, sha256Hex(most));
    assert.equal((await tree.readFile(FOLDER, 1))?.length, MAX_SIGNATURE_BYTES);
  });

  it('up to 8 KiB comes with the bytes, above without', async () => {
    await layImage(root, 'team/app', signatureBytes('a', 8192), signatureBytes('b', 8193));
    const { files } = await read();
    assert.deepEqual(
      files.map(({ bytes }) => bytes?.length ?? null),
      [8192, null],
    );
  });

  it('is never another than that of the bytes, while the file grows', async () => {
    // a slow machine may take longer than 100 ms between two writes
    tree = openTree({ root, nowMs, beingWrittenMs: 30_000, isWhole: isWholeSignature });
    await layImage(root, 'team/app', ONE);
    const file = path.join(root, FOLDER, 'signature-1');
    await writeFile(file, ONE);
    let isWriting = true;
    const writer = (async () => {
      for (let round = 0; round < 200; round += 1) {
        await writeFile(file, ONE);
        await appendFile(file, TWO);
      }
      isWriting = false;
    })();
    const wholes = new Set([sha256Hex(ONE), sha256Hex(Buffer.concat([ONE, TWO]))]);
    while (isWriting) {
      for (const { fault, sha256 } of (await read()).files) {
        if (fault === null) assert.ok(wholes.has(sha256 ?? ''), 'a served file is whole');
        else assert.equal(fault, 'being-written');
      }
    }
    await writer;
  });
});

describe('a file that was changed lately', () => {
  const HALF = ONE.subarray(0, 150);

  it('and is not whole is being written for 100 ms, then it is what it is', async () => {
    await layFile(root, `${FOLDER}/signature-1`, HALF);
    for (const [ageMs, fault] of [
      [0, 'being-written'],
      [99, 'being-written'],
      [100, null],
    ] as const) {
      nowMs = () => LONG_AGO.getTime() + ageMs;
      assert.deepEqual(await faults(), [fault], `${ageMs} ms after the last write`);
    }
  });

  it('and is whole is served at once', async () => {
    await layFile(root, `${FOLDER}/signature-1`, ONE);
    nowMs = () => LONG_AGO.getTime();
    assert.deepEqual(await faults(), [null]);
  });

  it('and is empty is being written first, and empty later', async () => {
    await layFile(root, `${FOLDER}/signature-1`, '');
    nowMs = () => LONG_AGO.getTime();
    assert.deepEqual(await faults(), ['being-written']);
    nowMs = Date.now;
    assert.deepEqual(await faults(), ['empty']);
  });
});

describe('the stamps of an image', () => {
  /** The folder as if it had been read long after its last change. */
  const readSettled = async () => {
    nowMs = () => Date.now() + 60_000;
    const { stamps } = await read();
    assert.equal(stamps.settled, true);
    return stamps;
  };
  const file = () => path.join(root, FOLDER, 'signature-1');

  /** Until the tree knows that it may look at once, which it finds out beside its answers. False: never, on this file system. */
  async function learnToPeek(stamps: Stamps): Promise<boolean> {
    const { type } = await statfs(root);
    for (let turn = 0; turn < 200; turn += 1) {
      assert.equal(await tree.isUnchanged(FOLDER, stamps), true);
      if (tree.peekUnchanged(FOLDER, stamps)) return true;
    }
    assert.ok(!LOCAL.includes(type), 'a local file system is looked at at once');
    return false;
  }

  beforeEach(() => layImage(root, 'team/app', ONE, TWO));

  it('hold as long as nothing changes', async () => {
    const stamps = await readSettled();
    assert.equal(await tree.isUnchanged(FOLDER, stamps), true);
  });

  it('are compared at once behind a link to the root, and never where a link on the way leads through another kind of file system', async (t) => {
    if (!(await learnToPeek(await readSettled())))
      return t.skip('the file system is none that is looked at at once');
    await symlink(root, path.join(temp.path, 'direct'));
    // from there on by a link of /proc, which stands for a link on NFS
    await symlink(`/proc/self/root${root}`, path.join(temp.path, 'detour'));
    await symlink('detour', path.join(temp.path, 'longer'));
    for (const [name, expected] of [
      ['direct', true],
      ['detour', false],
      ['longer', false],
    ] as const) {
      const linked = path.join(temp.path, name);
      tree = openTree({ root: linked, nowMs: () => nowMs(), beingWrittenMs: 100, isWhole: isWholeSignature });
      const stamps = await readSettled();
      let isPeeked = false;
      for (let turn = 0; turn < 200 && !isPeeked; turn += 1) {
        assert.equal(await tree.isUnchanged(FOLDER, stamps), true);
        isPeeked = tree.peekUnchanged(FOLDER, stamps);
      }
      assert.equal(isPeeked, expected, name);
    }
  });

  it('are compared at once only for ten seconds after a look', async (t) => {
    const stamps = await readSettled();
    if (!(await learnToPeek(stamps))) return t.skip('the file system is none that is looked at at once');
    let laterMs = 0;
    nowMs = () => Date.now() + 60_000 + laterMs;
    laterMs = 11_000;
    assert.equal(tree.peekUnchanged(FOLDER, stamps), false);
    assert.equal(await learnToPeek(stamps), true);
  });

  it('never hold after a change that came during the read, a clock tick before its end', async () => {
    const changed = path.join(root, FOLDER, 'signature-2');
    let isChanged = true;
    for (let change = 1; isChanged; change += 1) {
      let asked = 0;
      isChanged = false;
      nowMs = () => {
        asked += 1;
        if (isChanged) return statSync(changed).ctimeMs + 20;
        if (asked === change) {
          writeFileSync(changed, signatureBytes(`${change}`, TWO.length));
          isChanged = true;
        }
        return Date.now() - 60_000;
      };
      const { stamps } = await read();
      assert.ok(asked > 0);
      if (isChanged)
        assert.equal(await tree.isUnchanged(FOLDER, stamps), false, `changed at look ${change} at the clock`);
    }
  });

  it('are not settled within a clock tick of a change, and then never hold', async () => {
    const ctimeMs = Math.floor((await stat(path.join(root, FOLDER, 'signature-2'))).ctimeMs);
    nowMs = () => ctimeMs + 50;
    const { stamps } = await read();
    assert.equal(stamps.settled, false);
    nowMs = () => ctimeMs + 60_000;
    assert.equal(await tree.isUnchanged(FOLDER, stamps), false);
  });

  const CHANGES: readonly [string, () => Promise<unknown>][] = [
    [
      'other bytes of the same size under the same time',
      async () => {
        await writeFile(file(), signatureBytes('new', ONE.length));
        await utimes(file(), LONG_AGO, LONG_AGO);
      },
    ],
    [
      'another file renamed over it with the same size and time',
      async () => {
        await layFile(root, 'other', signatureBytes('new', ONE.length));
        await rename(path.join(root, 'other'), file());
      },
    ],
    ['a file more', () => layFile(root, `${FOLDER}/signature-3`, ONE)],
    ['a file less', () => unlink(path.join(root, FOLDER, 'signature-2'))],
    ['the folder gone', () => rm(path.join(root, FOLDER), { recursive: true })],
    [
      'the folder replaced by a link out of the tree',
      async () => {
        await rename(path.join(root, FOLDER), path.join(outside, 'app'));
        await symlink(path.join(outside, 'app'), path.join(root, FOLDER));
      },
    ],
    [
      'the folder above replaced by a link out of the tree',
      async () => {
        await rename(path.join(root, 'team'), path.join(outside, 'team'));
        await symlink(path.join(outside, 'team'), path.join(root, 'team'));
      },
    ],
    [
      'a file replaced by a link to the same bytes',
      async () => {
        await rename(file(), path.join(root, 'moved'));
        await symlink(path.join(root, 'moved'), file());
      },
    ],
  ];
  for (const [change, make] of CHANGES) {
    it(`no longer hold after ${change}`, async () => {
      const stamps = await readSettled();
      await learnToPeek(stamps);
      await make();
      assert.equal(tree.peekUnchanged(FOLDER, stamps), false);
      assert.equal(await tree.isUnchanged(FOLDER, stamps), false);
    });
  }

  it('of a link change with the file behind it', async () => {
    await layFile(root, 'behind', ONE);
    await symlink(path.join(root, 'behind'), path.join(root, FOLDER, 'signature-3'));
    const stamps = await readSettled();
    assert.equal(await tree.isUnchanged(FOLDER, stamps), true);
    // where it leads may be another disk
    assert.equal(tree.peekUnchanged(FOLDER, stamps), false);
    await layFile(root, 'behind', signatureBytes('new', ONE.length));
    assert.equal(await tree.isUnchanged(FOLDER, stamps), false);
  });

  it('of a link change with a folder above the file behind it that is moved out of the tree, and linked there', async () => {
    await layFile(root, 'common/behind', ONE);
    await symlink(path.join(root, 'common/behind'), path.join(root, FOLDER, 'signature-3'));
    const stamps = await readSettled();
    assert.equal(await tree.isUnchanged(FOLDER, stamps), true);
    await rename(path.join(root, 'common'), path.join(outside, 'common'));
    await symlink(path.join(outside, 'common'), path.join(root, 'common'));
    assert.equal(await tree.isUnchanged(FOLDER, stamps), false);
  });

  const FAULTY_LINKS: readonly (readonly [what: string, lay: () => Promise<void>])[] = [
    ['to nothing', async () => {}],
    ['to a folder', async () => void (await mkdir(path.join(root, 'behind')))],
    ['out of the tree', async () => symlink(outside, path.join(root, 'behind'))],
  ];
  for (const [what, lay] of FAULTY_LINKS) {
    it(`of a link ${what} do not hide the file that comes behind it`, async () => {
      await lay();
      await symlink(path.join(root, 'behind'), path.join(root, FOLDER, 'signature-3'));
      const stamps = await readSettled();
      assert.equal(tree.peekUnchanged(FOLDER, stamps), false);
      await rm(path.join(root, 'behind'), { recursive: true, force: true });
      await layFile(root, 'behind', ONE);
      assert.equal(tree.peekUnchanged(FOLDER, stamps), false);
      assert.equal(await tree.isUnchanged(FOLDER, stamps), false);
    });
  }
});

describe('a name', () => {
  it('too long for the file system is absent', async () => {
    const long = 'x'.repeat(300);
    assert.equal(await tree.readImage(`${long}@sha256=${'a'.repeat(64)}`), null);
    assert.equal(await tree.statFolder(`${long}/${long}`), null);
    assert.equal(await tree.children('y/'.repeat(3000).slice(0, -1)), null);
  });

  it('of a file is no folder, and of a folder in a file is absent', async () => {
    await layFile(root, 'team', 'a file');
    assert.equal(await tree.statFolder('team'), null);
    assert.equal(await tree.children('team'), null);
    assert.equal(await tree.readImage(FOLDER), null);
  });

  it('that begins with a dot is no child', async () => {
    await layFile(root, '.lookaside/tmp/x', '');
    await layFile(root, '.hidden', '');
    await layImage(root, 'team/app', ONE);
    await symlink('team', path.join(root, 'alias'));
    await symlink(outside, path.join(root, 'out'));
    await layFile(root, 'readme.txt', '');
    const children = await tree.children('');
    assert.ok(children !== null);
    const contents = new Map<string, string>();
    for await (const { name, kind } of children) contents.set(name, kind);
    assert.deepEqual([...contents].sort(), [
      ['alias', 'folder'],
      ['out', 'other'],
      ['readme.txt', 'other'],
      ['team', 'folder'],
    ]);
  });
});
