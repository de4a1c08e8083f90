// A shared tree: what podman and rsync do in it is seen, half of it never, and the index follows.
import assert from 'node:assert/strict';
import { appendFile, mkdir, rename, rm, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Clock, SignatureSet } from '../../src/domain/ports.ts';
import { createReader, type Reader } from '../../src/service/read.ts';
import { folderOf, layFile, layImage, sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, kindsOf, type OpenedStore, openStore, SITE } from './open-store.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');
const IMAGE = imageIn(FOLDER);

let opened: OpenedStore;
/** What the reader and the listings take for the time that has passed. */
let elapsedMs = 0;
/** What happens while the store waits for a writer. */
let whileWaiting: () => Promise<void>;
/** Offset of the wall clock that the files' times are compared with. */
let wallMs: () => number;

beforeEach(async () => {
  whileWaiting = async () => undefined;
  // far from the files' times: nothing counts as being written, and stamps are settled
  wallMs = () => Date.now() + 60_000;
  opened = await openStore({
    kind: 'shared',
    nowMs: () => wallMs(),
    monotonicMs: () => elapsedMs,
    wait: () => whileWaiting(),
    // longer than a slow machine takes between two writes
    beingWrittenMs: 30_000,
  });
});

afterEach(() => opened[Symbol.asyncDispose]());

const file = (number: number) => path.join(opened.root, FOLDER, `signature-${number}`);

const contents = ({ entries }: SignatureSet) => entries.map(({ sha256 }) => sha256);
const hashes = (...all: readonly Uint8Array[]) => all.map(sha256Hex);

describe('a set of a shared tree that is older than a second', () => {
  let reader: Reader;

  beforeEach(async () => {
    const clock: Clock = { now: () => new Date(), monotonicMs: () => elapsedMs };
    reader = createReader({ store: opened.store, clock, cacheBytes: 1024 * 1024 });
    await layImage(opened.root, 'team/app', ONE, TWO);
  });

  const CHANGES: readonly [string, () => Promise<unknown>, () => readonly Uint8Array[]][] = [
    ['a signature more', () => writeFile(file(3), ONE), () => [ONE, TWO, ONE]],
    ['a signature rewritten in place', () => writeFile(file(1), TWO), () => [TWO, TWO]],
    [
      'a signature rewritten with the same size and time',
      async () => {
        await layFile(opened.root, `${FOLDER}/signature-1`, signatureBytes('new', ONE.length));
      },
      () => [signatureBytes('new', ONE.length), TWO],
    ],
    [
      'a signature renamed over another',
      async () => {
        await writeFile(path.join(opened.root, FOLDER, '.signature-1.Xy12'), TWO);
        await rename(path.join(opened.root, FOLDER, '.signature-1.Xy12'), file(1));
      },
      () => [TWO, TWO],
    ],
    ['the last signature deleted', () => unlink(file(2)), () => [ONE]],
    ['the first signature deleted', () => unlink(file(1)), () => []],
    ['the folder deleted', () => rm(path.join(opened.root, FOLDER), { recursive: true }), () => []],
    ['the whole repository deleted', () => rm(path.join(opened.root, 'team'), { recursive: true }), () => []],
    ['a signature that became unreadable to clients', () => writeFile(file(1), '<html>'), () => [TWO]],
  ];
  for (const [change, make, wanted] of CHANGES) {
    it(`shows ${change}, and one that is younger is answered from memory`, async () => {
      const before = await reader.readSet(IMAGE);
      assert.deepEqual(contents(before), hashes(ONE, TWO));
      await make();
      elapsedMs += 1000;
      assert.equal(await reader.readSet(IMAGE), before);
      elapsedMs += 1;
      const after = await reader.readSet(IMAGE);
      assert.deepEqual(contents(after), hashes(...wanted()));
      assert.ok(after.generation > before.generation);
    });
  }

  it('is the same set while nothing changed, and while only other files did', async () => {
    const before = await reader.readSet(IMAGE);
    await writeFile(path.join(opened.root, FOLDER, '.signature-3.tmp'), ONE);
    await writeFile(path.join(opened.root, FOLDER, 'signature-3.part'), ONE);
    await writeFile(path.join(opened.root, FOLDER, 'signature-03'), ONE);
    elapsedMs += 1001;
    assert.equal(await reader.readSet(IMAGE), before);
  });

  it('shows a signature where there was none', async () => {
    const other = imageIn(folderOf('team/later'));
    assert.deepEqual((await reader.readSet(other)).entries, []);
    await layImage(opened.root, 'team/later', ONE);
    elapsedMs += 1001;
    assert.deepEqual(contents(await reader.readSet(other)), hashes(ONE));
  });

  it('reads a large signature that was replaced since as the new one', async () => {
    const [old, next] = [signatureBytes('old', 9000), signatureBytes('next', 9000)];
    await layImage(opened.root, 'team/app', old);
    assert.deepEqual(Buffer.from((await reader.readSignature(IMAGE, 1))?.bytes ?? []), old);
    await writeFile(file(1), next);
    const signature = await reader.readSignature(IMAGE, 1);
    assert.deepEqual(Buffer.from(signature?.bytes ?? []), next);
    assert.equal(signature?.entry.sha256, sha256Hex(next));
  });

  it('is never told empty when the root has gone', async () => {
    await reader.readSet(IMAGE);
    await rename(opened.root, `${opened.root}-away`);
    elapsedMs += 1001;
    await assert.rejects(reader.readSet(IMAGE), { code: 'STORE_UNAVAILABLE' });
    await rename(`${opened.root}-away`, opened.root);
    assert.deepEqual(contents(await reader.readSet(IMAGE)), hashes(ONE, TWO));
  });
});

describe('a signature that is being written', () => {
  const half = TWO.subarray(0, 150);
  const rest = TWO.subarray(150);

  beforeEach(async () => {
    await layImage(opened.root, 'team/app', ONE);
    // the clock stands at the moment of the last write
    wallMs = () => Date.now();
  });

  it('is waited for, and then served whole', async () => {
    await writeFile(file(2), half);
    whileWaiting = () => appendFile(file(2), rest);
    assert.deepEqual(contents(await opened.store.readSet(IMAGE)), hashes(ONE, TWO));
  });

  it('in place of another is served as the old or the new, never as the half', async () => {
    const known = await opened.store.readSet(IMAGE);
    await writeFile(file(1), half);
    whileWaiting = () => appendFile(file(1), rest);
    assert.deepEqual(contents(await opened.store.readSet(IMAGE, known)), hashes(TWO));
  });

  it('and goes on being written is left out and reported, and served once it is whole', async () => {
    await writeFile(file(2), half);
    const set = await opened.store.readSet(IMAGE);
    assert.deepEqual(contents(set), hashes(ONE));
    assert.deepEqual(kindsOf(opened, FOLDER), ['being-written signature-2']);
    await appendFile(file(2), rest);
    assert.deepEqual(contents(await opened.store.readSet(IMAGE, set)), hashes(ONE, TWO));
    assert.deepEqual(kindsOf(opened, FOLDER), []);
  });

  it('is never served half, however often it is asked for in the meantime', async () => {
    const wholes = hashes(ONE, TWO);
    let isOver = false;
    const writer = (async () => {
      for (let round = 0; round < 40; round += 1) {
        for (const number of [1, 2]) {
          await writeFile(file(number), half);
          await appendFile(file(number), rest);
        }
        await unlink(file(2));
      }
    })().finally(() => {
      isOver = true;
    });
    let known: SignatureSet | undefined;
    while (!isOver) {
      known = await opened.store.readSet(IMAGE, known);
      for (const sha256 of contents(known)) assert.ok(wholes.includes(sha256), 'a served signature is whole');
    }
    await writer;
  });
});

describe('what no client could read', () => {
  it('is left out of the set, and reported with its kind', async () => {
    await layImage(opened.root, 'team/app', ONE, Buffer.alloc(0), Buffer.from('<html>'), TWO);
    await layFile(opened.root, `${FOLDER}/signature-5`, Buffer.alloc(4 * 1024 * 1024 + 1, 0x89));
    await layFile(opened.root, `${FOLDER}/signature-6`, Buffer.from('\0unknown-format\nx'));
    await layFile(opened.root, `${FOLDER}/signature-9`, ONE);
    assert.deepEqual(contents(await opened.store.readSet(IMAGE)), hashes(ONE, TWO));
    assert.deepEqual(kindsOf(opened, FOLDER), [
      'empty signature-2',
      'first-byte signature-3',
      'too-large signature-5',
      'format signature-6',
      'behind-gap signature-9',
    ]);
  });

  const many = (count: number) => Array.from({ length: count }, (_, k) => signatureBytes(`${k}`, 40));
  const reported = () =>
    (opened.reported.get(FOLDER) ?? []).map(({ kind, path: at, count = 1 }) => [
      kind,
      path.basename(at),
      count,
    ]);

  it('past the 127th signature is reported once, with how many there are', async () => {
    await layImage(opened.root, 'team/app', ...many(128));
    assert.equal((await opened.store.readSet(IMAGE)).entries.length, 127);
    assert.deepEqual(reported(), [['over-limit', 'signature-128', 1]]);
    await layImage(opened.root, 'team/app', ...many(140));
    assert.equal((await opened.store.readSet(IMAGE)).entries.length, 127);
    assert.deepEqual(reported(), [['over-limit', 'signature-128', 13]]);
  });

  it('leaves room for one more of the first 128 files, and for no file above them', async () => {
    await layImage(opened.root, 'team/app', ...many(140));
    for (const number of [5, 6]) await writeFile(file(number), '<html>');
    const { entries } = await opened.store.readSet(IMAGE);
    assert.equal(entries.length, 126);
    assert.equal(entries.at(-1)?.sha256, sha256Hex(many(128)[127] ?? Buffer.alloc(0)));
    assert.deepEqual(reported(), [
      ['first-byte', 'signature-5', 1],
      ['first-byte', 'signature-6', 1],
      ['over-limit', 'signature-129', 12],
    ]);
  });

  it('stands above 128 and behind a gap is reported as what stands behind it', async () => {
    await layImage(opened.root, 'team/app', ONE);
    for (const number of [500, 501, 128, 130]) await writeFile(file(number), TWO);
    assert.deepEqual(contents(await opened.store.readSet(IMAGE)), hashes(ONE));
    assert.deepEqual(reported(), [
      ['behind-gap', 'signature-128', 1],
      ['behind-gap', 'signature-130', 3],
    ]);
  });
});

describe('the bytes of one signature', () => {
  it('are read where it stood last, and looked for where it went since', async () => {
    const looks: string[] = [];
    await using own = await openStore({
      kind: 'shared',
      between: (ports) => ({
        ...ports,
        tree: {
          ...ports.tree,
          readImage(folder, ...numbers) {
            looks.push(folder);
            return ports.tree.readImage(folder, ...numbers);
          },
        },
      }),
    });
    const [one, two] = [signatureBytes('one', 9000), signatureBytes('two', 9000)];
    await layImage(own.root, 'team/app', one, two);
    await own.scanner.scan(SITE);
    looks.length = 0;
    const read = async (bytes: Uint8Array) => {
      const blob = await own.store.readBlob(IMAGE, sha256Hex(bytes));
      return blob === null ? null : sha256Hex(blob);
    };
    assert.equal(await read(one), sha256Hex(one));
    assert.equal(await read(two), sha256Hex(two));
    assert.deepEqual(looks, []);
    await layImage(own.root, 'team/app', two, one);
    assert.equal(await read(one), sha256Hex(one));
    assert.equal(await read(two), sha256Hex(two));
    assert.deepEqual(looks, [FOLDER, FOLDER]);
    await layImage(own.root, 'team/app', two, two);
    assert.equal(await read(one), null);
  });
});

describe('the index of a shared tree', () => {
  const names = async (folder: string) => (await opened.store.listFolder(SITE, folder, null, 1000)).names;
  const name = (repository: string) => path.basename(folderOf(repository));

  beforeEach(async () => {
    await layImage(opened.root, 'team/app', ONE);
    await opened.scanner.scan(SITE);
    elapsedMs += 1001;
  });

  it('lists an image that came without a scan, in a folder known or new', async () => {
    assert.deepEqual(await names(''), ['team']);
    await layImage(opened.root, 'team/later', TWO);
    await layImage(opened.root, 'new/deep/app', TWO);
    elapsedMs += 1001;
    assert.deepEqual(await names('team'), [name('team/app'), name('team/later')]);
    assert.deepEqual(await names(''), ['new', 'team']);
    assert.deepEqual(await names('new/deep'), [name('new/deep/app')]);
  });

  it('no longer lists a folder that has gone', async () => {
    await layImage(opened.root, 'other/app', ONE);
    elapsedMs += 1001;
    assert.deepEqual(await names(''), ['other', 'team']);
    await rm(path.join(opened.root, 'team'), { recursive: true });
    elapsedMs += 1001;
    assert.deepEqual(await names(''), ['other']);
    assert.deepEqual(await names('team'), []);
  });

  it('lists an image whose first signature came after its folder was seen empty', async () => {
    await mkdir(path.join(opened.root, folderOf('team/later')), { recursive: true });
    elapsedMs += 1001;
    assert.deepEqual(await names('team'), [name('team/app')]);
    await layImage(opened.root, 'team/later', TWO);
    elapsedMs += 1001;
    assert.deepEqual(await names('team'), [name('team/app'), name('team/later')]);
  });

  it('learns what a read saw', async () => {
    await writeFile(file(2), TWO);
    await opened.store.readSet(IMAGE);
    await unlink(file(1));
    await unlink(file(2));
    assert.deepEqual(contents(await opened.store.readSet(IMAGE)), []);
    await opened.databases.index.record([]); // the queue is in order: what was queued before is written
    assert.deepEqual(await opened.databases.index.recorded(IMAGE), []);
    assert.deepEqual(await names('team'), []);
  });

  it('learns of the rest by a scan', async () => {
    await layImage(opened.root, 'team/app', ONE, TWO);
    await layImage(opened.root, 'new/app', ONE);
    await rm(path.join(opened.root, folderOf('team/gone')), { recursive: true, force: true });
    const counts = await opened.scanner.scan(SITE);
    assert.deepEqual(counts, { images: 2, signatures: 3, problems: 0 });
    assert.deepEqual(await opened.databases.index.counts(SITE), { images: 2, signatures: 3 });
    await rm(path.join(opened.root, 'team'), { recursive: true });
    await opened.scanner.scan(SITE);
    assert.deepEqual(await opened.databases.index.counts(SITE), { images: 1, signatures: 1 });
  });
});
