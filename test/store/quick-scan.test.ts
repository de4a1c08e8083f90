// Scans that pass over what has not changed: they record, count and report what scans that look at everything do.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { mkdir, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it, test } from 'node:test';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import { MAX_FILE_NUMBER } from '../../src/domain/limits.ts';
import type { Problem, Tree } from '../../src/domain/tree.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf, LONG_AGO, layFile, layImage, linkSignatures, sha256Hex, signatureBytes } from './lay.ts';
import {
  eventOf,
  imageIn,
  kindsOf,
  type OpenedStore,
  openStore,
  SITE,
  type StoreOptions,
  uploadOf,
} from './open-store.ts';
import { createUploads } from './uploads.ts';

const KINDS = ['owned', 'shared'] as const;
const [ONE, TWO] = [signatureBytes('one'), signatureBytes('two')];

/** Everything was changed long before, so that stamps are believed. */
const later = () => Date.now() + 60_000;

type Opened = OpenedStore & { readonly looks: string[] };

/** `looks`: the folders of images that were read behind the walk. */
async function open(options: StoreOptions): Promise<Opened> {
  const looks: string[] = [];
  const noting = (tree: Tree): Tree => ({
    ...tree,
    readImage(folder, numbers) {
      looks.push(folder);
      return tree.readImage(folder, numbers);
    },
  });
  const opened = await openStore({
    nowMs: later,
    isQuick: true,
    between: (ports) => ({ ...ports, tree: noting(ports.tree) }),
    ...options,
  });
  return Object.assign(opened, { looks });
}

async function scan({ scanner, looks }: Opened) {
  looks.length = 0;
  return scanner.scan(SITE);
}

async function recordedOf({ databases }: OpenedStore, image: ImageId): Promise<string[]> {
  const recorded = await databases.index.recorded(image);
  return recorded.map(({ number, sha256 }) => `${number} ${sha256}`);
}

for (const kind of KINDS) {
  describe(`a scan of a tree that is ${kind}`, () => {
    let opened: Opened;
    before(async () => {
      opened = await open({ kind });
    });
    after(() => opened[Symbol.asyncDispose]());

    /** How often the folder was read behind the walk. */
    async function looksAt(folder: string): Promise<number> {
      await scan(opened);
      return opened.looks.filter((looked) => looked === folder).length;
    }

    it('reads what is new in the walk, and nothing of what is as it was', async () => {
      const folders = [];
      for (let number = 0; number < 40; number += 1)
        folders.push(await layImage(opened.root, `team/app-${number % 3}/v${number}`, ONE, TWO));
      const counts = { images: 40, signatures: 80, problems: 0 };
      assert.deepEqual(await scan(opened), counts);
      assert.deepEqual(opened.looks, []);
      assert.equal((await recordedOf(opened, imageIn(folders[7] ?? ''))).length, 2);
      assert.deepEqual(await scan(opened), counts);
      assert.deepEqual(opened.looks, []);
    });

    const changes: Readonly<Record<string, (folder: string) => Promise<void>>> = {
      'a file written in its place': (folder) =>
        writeFile(path.join(folder, 'signature-1'), signatureBytes('other')),
      'a file written in its place, with its size and time': async (folder) => {
        await writeFile(path.join(folder, 'signature-1'), signatureBytes('eno'));
        await utimes(path.join(folder, 'signature-1'), LONG_AGO, LONG_AGO);
      },
      'a file renamed over another': async (folder) => {
        await writeFile(path.join(folder, '../new'), signatureBytes('new'));
        await rename(path.join(folder, '../new'), path.join(folder, 'signature-2'));
      },
      'one more': (folder) => writeFile(path.join(folder, 'signature-3'), signatureBytes('three')),
      'one fewer': (folder) => rm(path.join(folder, 'signature-2')),
      'a stranger': (folder) => writeFile(path.join(folder, 'notes'), 'a'),
      'a link in place of a file': async (folder) => {
        await rm(path.join(folder, 'signature-2'));
        await symlink('signature-1', path.join(folder, 'signature-2'));
      },
      'no folder': (folder) => rm(folder, { recursive: true }),
      'no folder above': (folder) => rm(path.dirname(folder), { recursive: true }),
      'another folder of its name': async (folder) => {
        await rename(folder, path.join(path.dirname(folder), 'aside'));
        await mkdir(folder);
        await writeFile(path.join(folder, 'signature-1'), TWO);
      },
    };
    it('finds whatever has changed, as one that looks at everything', async () => {
      await using quick = await open({ kind });
      await using slow = await open({ kind, isQuick: false });
      const folders = new Map<string, string>();
      for (const { root } of [quick, slow]) {
        for (const [number, name] of Object.keys(changes).entries())
          folders.set(name, await layImage(root, `team-${number}/app`, ONE, TWO));
        for (const tag of ['a', 'b']) await layImage(root, `other/${tag}`, ONE);
      }
      for (const opened of [quick, slow]) {
        await scan(opened);
        for (const [name, folder] of folders) await changes[name]?.(path.join(opened.root, folder));
      }
      assert.deepEqual(await scan(quick), await scan(slow));
      assert.deepEqual([...new Set(quick.looks)].sort(), [...folders.values()].sort());
      for (const [name, folder] of folders) {
        const reported = kindsOf(quick, folder);
        assert.deepEqual(reported, kindsOf(slow, folder), name);
        assert.deepEqual(
          await recordedOf(quick, imageIn(folder)),
          await recordedOf(slow, imageIn(folder)),
          name,
        );
        assert.ok(kind === 'shared' || name === 'one more' || reported.length > 0, name);
      }
    });

    it('looks each time at what something is wrong with', async () => {
      const folder = await layImage(opened.root, 'wrong/app', ONE);
      await writeFile(path.join(opened.root, folder, 'signature-3'), ONE);
      for (let time = 0; time < 3; time += 1) {
        assert.ok((await looksAt(folder)) > 0);
        assert.deepEqual(kindsOf(opened, folder), ['behind-gap signature-3']);
      }
    });

    it('looks at an image again whose rows have changed, though its files have not', async () => {
      const folder = await layImage(opened.root, 'rows/app', ONE, TWO);
      assert.equal(await looksAt(folder), 0);
      const image = imageIn(folder);
      const [first] = await opened.databases.index.recorded(image);
      assert.ok(first !== undefined);
      await opened.databases.index.record([{ image, signatures: [first] }]);
      assert.ok((await looksAt(folder)) > 0);
      if (kind === 'shared') assert.equal((await recordedOf(opened, image)).length, 2);
    });

    it('looks at an image of which something is withdrawn', async () => {
      const image = imageIn(folderOf('withdrawn/app'));
      for (const bytes of [ONE, TWO]) await opened.appender.append(uploadOf(image, bytes));
      await scan(opened);
      assert.equal(await looksAt(imageFolder(image)), 0);
      await opened.appender.withdraw({
        image,
        number: 2,
        by: 'administrator',
        reason: 'a test',
        until: null,
        event: (sha256) => eventOf(image, sha256, 'withdraw'),
      });
      for (let time = 0; time < 2; time += 1) assert.ok((await looksAt(imageFolder(image))) > 0);
    });
  });

  test(`over an unlucky tree that is ${kind}, scans find the same as those that look at everything`, async () => {
    await using temp = await openTempFolder();
    await using quick = await open({ kind });
    const { root } = quick;
    await layUnlucky(root, temp.path);
    await using slow = await openStore({
      kind,
      nowMs: later,
      isQuick: false,
      folder: path.dirname(root).concat('-slow'),
    });
    await rm(slow.root, { recursive: true });
    await symlink(root, slow.root);
    for (let time = 0; time < 2; time += 1) {
      const wanted = await slow.scanner.scan(SITE);
      const images = await slow.databases.index.images(SITE, null, 1000);
      assert.deepEqual(await scan(quick), wanted);
      assert.deepEqual(await quick.databases.index.images(SITE, null, 1000), images);
      for (const image of images) {
        assert.deepEqual(
          await quick.databases.index.recorded(image),
          await slow.databases.index.recorded(image),
        );
        assert.deepEqual(kindsOf(quick, imageFolder(image)), kindsOf(slow, imageFolder(image)));
      }
      const told = [...slow.reported].filter(([, problems]) => problems.length > 0);
      assert.deepEqual(
        new Map([...quick.reported].filter(([, problems]) => problems.length > 0)),
        new Map(told),
      );
      assert.deepEqual(quick.reportedFolders(), slow.reportedFolders());
    }
    await rm(slow.root);
    await rm(path.dirname(slow.root), { recursive: true });
  });
}

/** What a tree should not have, besides images of every layout. */
async function layUnlucky(root: string, outside: string): Promise<void> {
  const inTree = (name: string) => path.join(root, name);
  for (let number = 0; number < 5; number += 1) await layImage(root, `team/app-${number}`, ONE, TWO);
  await layFile(root, `releases/sha256=${'a'.repeat(64)}/signature-1`, ONE);
  await layFile(root, `team/wide@sha512=${'b'.repeat(128)}/signature-1`, TWO);
  const large = await layImage(root, 'team/large', signatureBytes('large', 20_000), ONE);
  await symlink(path.basename(large), inTree(large.replace('large@', 'linked@')));
  await layImage(root, 'team/empty', ONE, '' as never);
  await layImage(root, 'team/text', Buffer.from('<html>'), ONE);
  const fifo = await layImage(root, 'team/fifo', ONE);
  execFileSync('mkfifo', [inTree(`${fifo}/signature-2`)]);
  const full = await layImage(root, 'team/full', ONE);
  linkSignatures(root, full, 2, MAX_FILE_NUMBER + 3);
  const out = await layImage(root, 'team/out', ONE);
  await writeFile(path.join(outside, 'secret'), TWO);
  await symlink(path.join(outside, 'secret'), inTree(`${out}/signature-2`));
  await layImage(outside, 'elsewhere', ONE);
  await symlink(outside, inTree('leads-out'));
  await symlink('nowhere', inTree('dangling'));
  await symlink('loop', inTree('loop'));
  await symlink('..', inTree('team/circle'));
  await symlink('team', inTree('same'));
  await mkdir(inTree(folderOf('team/nothing')));
  await layImage(root, '.hidden/app', ONE);
  await layImage(root, `${'long-'.repeat(30)}/${'long-'.repeat(30)}`, ONE);
  await writeFile(inTree('a file'), 'a');
  await mkdir(Buffer.concat([Buffer.from(`${root}/bad-`), Buffer.from([0xff])]));
  await writeFile(inTree(folderOf('team/is-a-file')), ONE);
}

test('a scan looks once more at what changed just before, also when its times are set to the future', async () => {
  let nowMs = 0;
  await using opened = await open({ kind: 'owned', nowMs: () => nowMs });
  const folder = await layImage(opened.root, 'team/app', ONE);
  const file = path.join(opened.root, folder, 'signature-1');
  for (const seconds of [0, 3600]) {
    const time = new Date(Date.now() + 1000 * seconds);
    for (const name of [path.dirname(file), file]) await utimes(name, time, time);
    nowMs = (await stat(file)).ctimeMs + 10;
    for (let round = 0; round < 2; round += 1) {
      await scan(opened);
      assert.deepEqual([...new Set(opened.looks)], [folder], `${seconds} s ahead`);
    }
  }
  nowMs += 3000;
  await scan(opened);
  await scan(opened);
  assert.deepEqual(opened.looks, []);
});

test('a scan at each later start looks at damage that a read has met, though the stamps do not tell of it', async () => {
  let isDamaged = false;
  const decay = (tree: Tree): Tree => ({
    ...tree,
    readImage: async (folder, numbers) => {
      const read = await tree.readImage(folder, numbers);
      if (read === null || !isDamaged) return read;
      return { ...read, files: read.files.map((file) => ({ ...file, sha256: '0'.repeat(64) })) };
    },
  });
  await using opened = await open({
    kind: 'owned',
    between: (ports) => ({ ...ports, tree: decay(ports.tree) }),
  });
  const folder = await layImage(opened.root, 'team/app', ONE);
  const reported = opened.reported as Map<string, readonly Problem[]>;
  await scan(opened);
  isDamaged = true;
  assert.equal((await scan(opened)).problems, 0);
  reported.set(folder, [{ kind: 'changed', path: `${folder}/signature-1` }]);
  assert.equal((await scan(opened)).problems, 1);
  reported.clear(); // as a start does
  assert.equal((await scan(opened)).problems, 1);
});

test('a scan whose tree is moved away meanwhile records nothing of it as gone', async () => {
  await using opened = await open({ kind: 'shared' });
  const folder = await layImage(opened.root, 'team/app', ONE);
  await scan(opened);
  await rename(opened.root, `${opened.root}-aside`);
  await assert.rejects(scan(opened), { code: 'STORE_UNAVAILABLE' });
  assert.equal((await recordedOf(opened, imageIn(folder))).length, 1);
  await rename(`${opened.root}-aside`, opened.root);
});

test('a first scan fails as a whole when one of its walks does, or when it is to end', async () => {
  await using opened = await open({ kind: 'shared', imagesAPack: 2 });
  for (let number = 0; number < 40; number += 1) await layImage(opened.root, `team/v${number}`, ONE);
  const { scanner, root, databases } = opened;
  let isMoved = false;
  const moving = scanner.scan(SITE, {
    onProgress() {
      if (!isMoved) renameSync(root, `${root}-aside`);
      isMoved = true;
    },
  });
  await assert.rejects(moving, { code: 'STORE_UNAVAILABLE', message: /moved or replaced|the root/ });
  renameSync(`${root}-aside`, root);
  assert.equal(await databases.index.isComplete(SITE), false);
  const stop = new AbortController();
  const ending = scanner.scan(SITE, {
    signal: stop.signal,
    onProgress: () => stop.abort(new Error('enough')),
  });
  await assert.rejects(ending, { message: 'enough' });
  assert.equal(await databases.index.isComplete(SITE), false);
  assert.deepEqual(await scan(opened), { images: 40, signatures: 40, problems: 0 });
  assert.equal(await databases.index.isComplete(SITE), true);
});

test('an upload beside a walk that has read the image before it is recorded as it was uploaded', async () => {
  await using opened = await open({ kind: 'owned' });
  const image = imageIn(await layImage(opened.root, 'team/app', ONE));
  const { scanner, appender } = opened;
  const scanning = scanner.scan(SITE);
  const { appended } = { appended: appender.append(uploadOf(image, TWO)) };
  await Promise.all([scanning, appended]);
  await scan(opened);
  assert.equal((await recordedOf(opened, image)).length, 2);
});

test('a folder that is moved while it is scanned keeps no other out of the index', async () => {
  await using opened = await open({ kind: 'shared', imagesAPack: 10 });
  for (let number = 0; number < 70; number += 1) await layImage(opened.root, `first/v${number}`, ONE);
  const other = await layImage(opened.root, 'second/app', ONE);
  const inTree = (name: string) => path.join(opened.root, name);
  let isMoved = false;
  const moving = opened.scanner.scan(SITE, {
    onProgress() {
      if (!isMoved) renameSync(inTree('first'), inTree('third'));
      isMoved = true;
    },
  });
  await assert.rejects(moving, { code: 'STORE_UNAVAILABLE', message: /moved or replaced/ });
  assert.equal((await recordedOf(opened, imageIn(other))).length, 1);
  assert.equal((await scan(opened)).images, 71);
});

test('a scan of an index that was lost takes what was uploaded as it was uploaded, and each other file as it is', async () => {
  const uploads = createUploads();
  await using opened = await open({ kind: 'owned', uploads });
  const uploaded = imageIn(folderOf('team/uploaded'));
  await opened.appender.append(uploadOf(uploaded, ONE));
  const withdrawn = imageIn(folderOf('team/withdrawn'));
  for (const bytes of [ONE, TWO]) await opened.appender.append(uploadOf(withdrawn, bytes));
  await opened.appender.withdraw({
    image: withdrawn,
    number: 1,
    by: 'administrator',
    reason: 'a test',
    until: null,
    event: (sha256) => eventOf(withdrawn, sha256, 'withdraw'),
  });
  const copied = await layImage(opened.root, 'team/copied', ONE, TWO);
  const recorded = await opened.databases.index.recorded(uploaded);
  const left = await recordedOf(opened, withdrawn);
  await opened.databases.index.reset();
  assert.deepEqual(await scan(opened), { images: 3, signatures: 5, problems: 0 });
  assert.deepEqual(await opened.databases.index.recorded(uploaded), recorded);
  assert.deepEqual(await recordedOf(opened, withdrawn), left);
  assert.equal((await recordedOf(opened, imageIn(copied))).length, 2);
  await scan(opened);
  assert.deepEqual([...new Set(opened.looks)], [imageFolder(withdrawn)]);
});

test('what a read has recorded just as the walk has read it is not read again', async () => {
  const looked = new Set<string>();
  await using opened = await open({
    kind: 'owned',
    imagesAPack: 2,
    isQuick: true,
    between: (ports) => ({
      ...ports,
      tree: {
        ...ports.tree,
        readImage(folder, ...numbers) {
          looked.add(folder);
          return ports.tree.readImage(folder, ...numbers);
        },
      },
    }),
  });
  const folders: string[] = [];
  for (const tag of 'abcdefghijkl') folders.push(await layImage(opened.root, `team/${tag}`, ONE));
  const { index } = opened.databases;
  const image = imageIn(folders.at(-1) ?? '');
  const own = { number: 1, sha256: sha256Hex(ONE), sizeBytes: ONE.length, storedAt: LONG_AGO, bytes: ONE };
  let recording: Promise<void> | null = null;
  const counts = await opened.scanner.scan(SITE, {
    onProgress() {
      recording ??= index.record([{ image, signatures: [own] }]);
    },
  });
  assert.ok(recording !== null);
  assert.deepEqual([counts.images, counts.signatures, counts.problems], [12, 12, 0]);
  assert.equal(looked.has(imageFolder(image)), false);
  assert.deepEqual(await recordedOf(opened, image), [`1 ${sha256Hex(ONE)}`]);
});

test('what a read has recorded while the walk went on is kept as it is', async () => {
  await using opened = await open({ kind: 'owned', imagesAPack: 2 });
  const folders = [];
  // so many that the last one is in no walk's first pack
  for (const tag of 'abcdefghijkl') folders.push(await layImage(opened.root, `team/${tag}`, ONE));
  const { index } = opened.databases;
  const image = imageIn(folders.at(-1) ?? '');
  const signature = {
    number: 2,
    sha256: sha256Hex(TWO),
    sizeBytes: TWO.length,
    storedAt: LONG_AGO,
    bytes: TWO,
  };
  let recording: Promise<void> | null = null;
  await opened.scanner.scan(SITE, {
    onProgress() {
      recording ??= index.record([{ image, signatures: [signature] }]);
    },
  });
  assert.ok(recording !== null);
  // the record is the truth of an owned tree: its file is missing, and the other one was not read into its place
  assert.ok(kindsOf(opened, imageFolder(image)).includes('missing signature-2'));
  assert.ok((await recordedOf(opened, image)).includes(`2 ${sha256Hex(TWO)}`));
});

for (const kind of KINDS) {
  test(`what is withdrawn while a scan goes on, and put back by hand, is not taken in by it: a tree that is ${kind}`, async () => {
    let meanwhile = async () => {};
    const pausing = (tree: Tree): Tree => ({
      ...tree,
      async readImage(folder, numbers) {
        const read = await tree.readImage(folder, numbers);
        if (read?.strangers.length === 1) await meanwhile();
        return read;
      },
    });
    await using opened = await open({
      kind,
      imagesAPack: 1,
      between: (ports) => ({ ...ports, tree: pausing(ports.tree) }),
    });
    // those of one folder are read in the order of their names
    const looked = await layImage(opened.root, 'team/a', ONE);
    await layFile(opened.root, `${looked}/notes`, 'a');
    for (const name of ['b', 'c', 'd', 'e']) await layImage(opened.root, `team/${name}`, ONE);
    const folder = await layImage(opened.root, 'team/z', TWO);
    const image = imageIn(folder);
    let isWithdrawn = false;
    meanwhile = async () => {
      meanwhile = async () => {};
      await opened.appender.withdraw({
        image,
        number: 1,
        by: 'administrator',
        reason: 'a test',
        until: null,
        event: (sha256) => eventOf(image, sha256, 'withdraw'),
      });
      await layFile(opened.root, `${folder}/signature-1`, TWO);
      isWithdrawn = true;
    };
    await scan(opened);
    assert.ok(isWithdrawn);
    assert.deepEqual(await recordedOf(opened, image), []);
    assert.deepEqual(kindsOf(opened, folder), ['withdrawn signature-1']);
    assert.deepEqual((await opened.store.readSet(image)).entries, []);
  });
}

test('what was wrong with an image that is gone is no longer reported after a scan', async () => {
  for (const kind of KINDS) {
    await using opened = await open({ kind });
    await layImage(opened.root, 'team/app', ONE);
    const folder = await layImage(opened.root, 'team/text', Buffer.from('<html>'));
    assert.equal((await scan(opened)).problems, 1);
    assert.deepEqual(kindsOf(opened, folder), ['first-byte signature-1']);
    await rm(path.join(opened.root, folder), { recursive: true });
    assert.deepEqual(await scan(opened), { images: 1, signatures: 1, problems: 0 });
    assert.deepEqual(kindsOf(opened, folder), []);
  }
});
