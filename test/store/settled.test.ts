// Sets of an owned tree are kept without another look at anything, until something changes them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import type { SignatureIndex } from '../../src/domain/ports.ts';
import { folderOf, layImage, sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, type OpenedStore, openStore, SITE, type StoreOptions, uploadOf } from './open-store.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const FOLDER = folderOf('team/app');
const IMAGE = imageIn(FOLDER);

/** Over a tree with one signature; hours pass between reads. */
async function open(t: { after(act: () => unknown): void }, options: Partial<StoreOptions> = {}) {
  let nowMs = 0;
  const opened = await openStore({ kind: 'owned', monotonicMs: () => nowMs, ...options });
  t.after(() => opened[Symbol.asyncDispose]());
  await layImage(opened.root, 'team/app', ONE);
  return { ...opened, later: () => (nowMs += 3_600_000) };
}

async function served({ reader }: Pick<OpenedStore, 'reader'>): Promise<readonly string[]> {
  return (await reader.readSet(IMAGE)).entries.map(({ sha256 }) => sha256);
}

test('a set is looked up again each second until the scan has ended, and then no more', async (t) => {
  const opened = await open(t);
  await served(opened);
  opened.later();
  assert.equal(opened.reader.peekSet(IMAGE), null);
  await opened.scanner.scan(SITE);
  await served(opened);
  opened.later();
  assert.notEqual(opened.reader.peekSet(IMAGE), null);
});

test('an upload is seen by the next read of a settled set', async (t) => {
  const opened = await open(t);
  await opened.scanner.scan(SITE);
  await served(opened);
  opened.later();
  await opened.appender.append(uploadOf(IMAGE, TWO));
  assert.deepEqual(await served(opened), [sha256Hex(ONE), sha256Hex(TWO)]);
  opened.later();
  await opened.appender.append(uploadOf(IMAGE, signatureBytes('three')));
  assert.equal((await served(opened)).length, 3);
});

test('rows that are recorded anew, and an index that starts again, are seen by the next read', async (t) => {
  const opened = await open(t);
  const { databases, scanner, reader } = opened;
  await scanner.scan(SITE);
  await served(opened);
  const recorded = await databases.index.recorded(IMAGE);
  const more = recorded.map((signature) => ({
    ...signature,
    number: 2,
    sha256: sha256Hex(TWO),
    bytes: TWO,
  }));
  await databases.index.record([{ image: IMAGE, signatures: [...recorded, ...more] }]);
  assert.deepEqual(await served(opened), [sha256Hex(ONE), sha256Hex(TWO)]);
  opened.later();
  await databases.index.reset();
  assert.equal(reader.peekSet(IMAGE), null);
  assert.deepEqual(await served(opened), [sha256Hex(ONE)]);
});

test('once the scan has ended, a set that is not in memory is told at once, and as a look-up tells it', async (t) => {
  const opened = await open(t);
  const { databases, scanner, store, reader, appender } = opened;
  assert.equal(store.peekSettled?.(IMAGE), null);
  await scanner.scan(SITE);
  const { entries } = await store.readSet(IMAGE);
  assert.deepEqual(store.peekSettled?.(IMAGE)?.entries, entries);
  assert.deepEqual(reader.peekSet(IMAGE)?.entries, entries);
  assert.deepEqual([reader.cache.sets, reader.cache.misses], [1, 1]);
  assert.equal(reader.peekSet(imageIn(folderOf('team/none'))), null, 'files may be copied in');
  await appender.append(uploadOf(IMAGE, TWO));
  assert.equal(reader.peekSet(IMAGE)?.entries.length, 2);
  await databases.index.reset();
  assert.equal(store.peekSettled?.(IMAGE), null);
});

test('a set is told at once neither while an upload of its image is not recorded nor from a damaged row', async (t) => {
  let isFailing = true;
  const opened = await open(t, {
    between: (ports) => ({
      ...ports,
      index: {
        ...methodsOf(ports.index),
        async record(images) {
          if (isFailing) throw new Error('the index takes nothing');
          await ports.index.record(images);
        },
      },
    }),
  });
  const { store, appender, scanner, data } = opened;
  isFailing = false;
  await scanner.scan(SITE);
  await store.readSet(IMAGE);
  assert.equal(store.peekSettled?.(IMAGE)?.entries.length, 1);
  isFailing = true;
  await appender.append(uploadOf(IMAGE, TWO)).catch(() => undefined);
  assert.equal(store.peekSettled?.(IMAGE), null);
  assert.deepEqual(await served(opened), [sha256Hex(ONE), sha256Hex(TWO)]);

  const other = imageIn(folderOf('team/other'));
  isFailing = false;
  await appender.append(uploadOf(other, TWO));
  assert.equal(store.peekSettled?.(other)?.entries.length, 1);
  const db = new Database(`${data}/index.db`);
  db.prepare('UPDATE signature SET bytes = zeroblob(size_bytes) WHERE path = ?').run('team/other');
  db.close();
  assert.equal(store.peekSettled?.(other), null);
  const [entry] = (await store.readSet(other)).entries;
  assert.deepEqual(Buffer.from(entry?.bytes ?? []), Buffer.from(TWO));
});

test('a row whose size is not that of its bytes is told by nobody', async (t) => {
  const { store, scanner, data } = await open(t);
  await scanner.scan(SITE);
  assert.equal((await store.readSet(IMAGE)).entries.length, 1);
  const db = new Database(`${data}/index.db`);
  db.pragma('ignore_check_constraints = ON'); // as a damaged disk does
  db.prepare('UPDATE signature SET size_bytes = size_bytes + 1').run();
  db.close();
  assert.equal(store.peekSettled?.(IMAGE), null);
  const [entry] = (await store.readSet(IMAGE)).entries;
  assert.deepEqual([entry?.sizeBytes, Buffer.from(entry?.bytes ?? [])], [ONE.length, Buffer.from(ONE)]);
});

test('that an image holds nothing is looked up again: files may be copied in', async (t) => {
  const opened = await open(t);
  await opened.scanner.scan(SITE);
  const other = folderOf('team/other');
  assert.deepEqual((await opened.reader.readSet(imageIn(other))).entries, []);
  await layImage(opened.root, 'team/other', TWO);
  opened.later();
  assert.equal((await opened.reader.readSet(imageIn(other))).entries.length, 1);
});

for (const kind of ['owned', 'shared'] as const) {
  test(`names that are not in the ${kind} tree are told from memory, and one that comes is seen by its next read`, async (t) => {
    // a folder that was just changed is not listed yet
    const opened = await open(t, { kind, nowMs: () => Date.now() + 1000 });
    const { reader, root, databases, appender } = opened;
    const nameOf = (turn: number) => `team/none-${turn}`;
    const imageAt = (turn: number) => imageIn(folderOf(nameOf(turn)));
    await opened.scanner.scan(SITE);
    let turn = 0;
    while (reader.peekSet(imageAt(turn)) === null) {
      assert.ok(turn < 2000, 'never told from memory');
      await reader.readSet(imageAt(turn));
      await new Promise((resolve) => setImmediate(resolve));
      turn += 1;
    }
    const { misses } = reader.cache;
    for (let other = turn; other < turn + 100; other += 1)
      assert.notEqual(reader.peekSet(imageAt(other)), null);
    assert.equal(reader.cache.misses, misses);
    assert.equal(reader.peekSet(IMAGE)?.entries.length ?? 1, 1);

    await layImage(root, nameOf(turn), ONE);
    assert.equal(reader.peekSet(imageAt(turn)), null);
    assert.equal((await reader.readSet(imageAt(turn))).entries.length, 1);
    await appender.append(uploadOf(imageAt(turn + 1), TWO));
    assert.equal((await reader.readSet(imageAt(turn + 1))).entries.length, 1);

    // its file is lost: an owned tree has the bytes in its index
    const recorded = await databases.index.recorded(imageAt(turn + 1));
    await databases.index.record([{ image: imageAt(turn + 2), signatures: recorded }]);
    const { entries } = await reader.readSet(imageAt(turn + 2));
    assert.equal(entries.length, kind === 'owned' ? 1 : 0);
  });
}

test('a read that begins after rows have changed shares no look-up from before', async (t) => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  let reached = () => {};
  const asked = new Promise<void>((resolve) => {
    reached = resolve;
  });
  let isHolding = false;
  const opened = await open(t, {
    between: (ports) => ({
      ...ports,
      index: {
        ...methodsOf(ports.index),
        async recorded(image) {
          const rows = await ports.index.recorded(image);
          if (isHolding) {
            isHolding = false;
            reached();
            await held;
          }
          return rows;
        },
      },
    }),
  });
  await opened.scanner.scan(SITE);
  isHolding = true;
  const early = opened.reader.readSet(IMAGE);
  await asked;
  const recorded = await opened.databases.index.recorded(IMAGE);
  const more = recorded.map((signature) => ({ ...signature, number: 2, sha256: sha256Hex(TWO), bytes: TWO }));
  await opened.databases.index.record([{ image: IMAGE, signatures: [...recorded, ...more] }]);
  const late = opened.reader.readSet(IMAGE);
  release();
  await early;
  assert.equal((await late).entries.length, 2);
  opened.later();
  assert.equal((await served(opened)).length, 2);
});

/** Those that a store asks, of a class whose methods a spread would lose. */
function methodsOf(index: SignatureIndex): SignatureIndex {
  return {
    recorded: (image) => index.recorded(image),
    listFolder: (...page) => index.listFolder(...page),
    hasChild: (...child) => index.hasChild(...child),
    images: (...page) => index.images(...page),
    counts: (site) => index.counts(site),
    treeOf: (site) => index.treeOf(site),
    isComplete: (site) => index.isComplete(site),
    record: (images) => index.record(images),
    forgetFolder: (...folder) => index.forgetFolder(...folder),
    markComplete: (site) => index.markComplete(site),
    bind: (...tree) => index.bind(...tree),
    reset: () => index.reset(),
    peekWrites: () => index.peekWrites(),
    peekRecorded: (image) => index.peekRecorded?.(image) ?? null,
  };
}

test('a shared tree is looked at again each second, scanned or not', async (t) => {
  const opened = await open(t, { kind: 'shared' });
  await opened.scanner.scan(SITE);
  await served(opened);
  opened.later();
  assert.equal(opened.reader.peekSet(IMAGE), null);
});
