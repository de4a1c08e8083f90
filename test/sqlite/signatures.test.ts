import assert from 'node:assert/strict';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { openIndexReadOnly } from '../../src/sqlite/databases.ts';
import {
  type IndexUnderTest,
  imageAt,
  recordedImage,
  sha256,
  signatureIndexContract,
} from '../contract/signature-index.ts';
import { verdictIndexContract } from '../contract/verdict-index.ts';
import { count } from '../faults/promise.ts';
import { type Cleanup, change, type Opened, open, temporaryFolder } from './scratch.ts';

const SITE = 'default';
const indexUnusable = (error: unknown): boolean => isLookasideError(error, 'INDEX_UNUSABLE');

let ofContracts: { readonly dataDir: string; readonly opened: Opened } | null = null;

/** Empty. One for all tests of a contract, as it takes a thread that starts to open one. */
async function openIndex(): Promise<IndexUnderTest> {
  const dataDir = ofContracts?.dataDir ?? mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  ofContracts ??= { dataDir, opened: await open(dataDir) };
  const { databases, reasons } = ofContracts.opened;
  return {
    index: databases.index,
    close: async () => {
      assert.deepEqual(reasons, []);
      await databases.index.reset();
    },
  };
}

after(async () => {
  if (ofContracts === null) return;
  await ofContracts.opened.databases.close();
  rmSync(ofContracts.dataDir, { recursive: true });
});

signatureIndexContract('the SQLite index', openIndex);
verdictIndexContract('the SQLite index', openIndex);

const SOME = Array.from({ length: 2000 }, (_, position) =>
  recordedImage(imageAt(`team/app${position % 20}`, String(position)), `one of ${position}`, 'x'.repeat(500)),
);
const FIRST = recordedImage(imageAt('team/app0', '0'), 'one of 0', 'x'.repeat(500));

const template = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
before(async () => {
  const { databases } = await open(template);
  await databases.index.record(SOME);
  await databases.index.markComplete(SITE);
  await databases.close();
});
after(() => rmSync(template, { recursive: true }));

/** A data directory whose index holds SOME and is complete. */
function filled(t: Cleanup): string {
  const dataDir = temporaryFolder(t);
  cpSync(template, dataDir, { recursive: true });
  return dataDir;
}

function overwrite(file: string, page: number, content: Buffer): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, content, 0, content.length, page * 4096);
  closeSync(descriptor);
}

describe('the index over a restart', () => {
  it('is what it was, and complete once its file was checked', async (t) => {
    const dataDir = filled(t);
    const { databases, reasons } = await open(dataDir);
    t.after(() => databases.close());
    assert.equal(databases.indexReplacedBecause, null);
    assert.equal(await databases.index.isComplete(SITE), false);
    assert.equal((await databases.index.recorded(FIRST.image)).length, 2);
    await databases.index.whenChecked();
    assert.equal(await databases.index.isComplete(SITE), true);
    assert.deepEqual(await databases.index.counts(SITE), { images: 2000, signatures: 4000 });
    assert.deepEqual(reasons, []);
  });

  it('leaves one file, without a journal', async (t) => {
    const dataDir = filled(t);
    assert.deepEqual(readdirSync(dataDir).sort(), ['index.db', 'reserve', 'state.db']);
  });

  it('is new and complete for no site when its file is gone', async (t) => {
    const dataDir = filled(t);
    rmSync(join(dataDir, 'index.db'));
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    assert.deepEqual(await databases.index.recorded(FIRST.image), []);
    assert.equal(await databases.index.isComplete(SITE), false);
    assert.equal(databases.indexReplacedBecause, null);
  });

  it('does not write when a scan records what is recorded already', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.index.record(SOME);
    const before = readFileSync(join(dataDir, 'index.db-wal'));
    await databases.index.record(SOME);
    assert.ok(before.equals(readFileSync(join(dataDir, 'index.db-wal'))));
  });
});

describe('a broken index', () => {
  it('is noticed by the check after the start, told once, and works again after a reset', async (t) => {
    const dataDir = filled(t);
    // behind the pages of the schema, whose damage is noticed at the opening already
    for (let page = 60; page < 100; page += 1) {
      overwrite(join(dataDir, 'index.db'), page, Buffer.alloc(4096, sha256(String(page))));
    }
    const { databases, reasons } = await open(dataDir);
    t.after(() => databases.close());
    const { index } = databases;
    await index.whenChecked();
    assert.equal(reasons.length, 1);
    assert.equal(await index.isComplete(SITE), false);
    await assert.rejects(index.recorded(FIRST.image), indexUnusable);
    await assert.rejects(index.listFolder(SITE, '', null, 10), indexUnusable);
    await assert.rejects(index.hasChild(SITE, '', 'team'), indexUnusable);
    await assert.rejects(index.images(SITE, null, 10), indexUnusable);
    await assert.rejects(index.counts(SITE), indexUnusable);
    await assert.rejects(index.record([FIRST]), indexUnusable);
    await assert.rejects(index.markComplete(SITE), indexUnusable);
    assert.notEqual(databases.health().index.unusable, null);

    await Promise.all([index.reset(), index.reset()]);
    assert.deepEqual(await index.counts(SITE), { images: 0, signatures: 0 });
    await index.record(SOME);
    await index.markComplete(SITE);
    assert.equal(await index.isComplete(SITE), true);
    assert.equal((await index.recorded(FIRST.image)).length, 2);
    assert.equal(reasons.length, 1);
    assert.equal(databases.health().index.unusable, null);
  });

  const spoilt: readonly (readonly [string, (file: string) => void])[] = [
    ['whose header is damaged', (file) => overwrite(file, 0, Buffer.alloc(4096, 'damage'))],
    [
      'that is no database',
      (file) => writeFileSync(file, 'not a database, but longer than its header'.repeat(9)),
    ],
    ['of a newer version', (file) => change(file, 'PRAGMA user_version = 99')],
    ['that lacks a table', (file) => change(file, 'DROP TABLE folder_entry')],
  ];
  for (const [what, spoil] of spoilt) {
    it(`${what} is begun anew at the start`, async (t) => {
      const dataDir = filled(t);
      spoil(join(dataDir, 'index.db'));
      const { databases, reasons } = await open(dataDir);
      t.after(() => databases.close());
      assert.notEqual(databases.indexReplacedBecause, null);
      assert.equal(await databases.index.isComplete(SITE), false);
      assert.deepEqual(await databases.index.recorded(FIRST.image), []);
      await databases.index.record([FIRST]);
      assert.equal((await databases.index.recorded(FIRST.image)).length, 2);
      assert.deepEqual(reasons, []);
    });
  }

  it('that is empty is begun anew at the start', async (t) => {
    const dataDir = filled(t);
    writeFileSync(join(dataDir, 'index.db'), '');
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.index.whenChecked();
    assert.equal(await databases.index.isComplete(SITE), false);
    await databases.index.record([FIRST]);
  });

  it("is begun anew beside another application's database of that name, which is kept", async (t) => {
    const dataDir = filled(t);
    const file = join(dataDir, 'index.db');
    rmSync(file);
    change(file, 'CREATE TABLE theirs (x)');
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    assert.match(databases.indexReplacedBecause ?? '', /not a lookaside index database/);
    const kept = connectDatabase(`${file}.not-ours`, { readonly: true });
    t.after(() => void kept.close());
    assert.deepEqual(kept.prepare('SELECT * FROM theirs').all(), []);
  });

  it('is noticed by a look-up that meets bytes other than those of their SHA-256', async (t) => {
    const dataDir = filled(t);
    const { databases, reasons } = await open(dataDir);
    t.after(() => databases.close());
    await databases.index.whenChecked();
    const other = connectDatabase(join(dataDir, 'index.db'));
    other
      .prepare(`UPDATE signature SET bytes = zeroblob(size_bytes) WHERE digest = ? AND number = 2`)
      .run(Buffer.from(FIRST.image.hex, 'hex'));
    other.close();
    await assert.rejects(databases.index.recorded(FIRST.image), indexUnusable);
    await assert.rejects(databases.index.recorded(FIRST.image), indexUnusable);
    assert.equal(reasons.length, 1);
    assert.equal(await databases.index.isComplete(SITE), false);
    await databases.index.reset();
    assert.deepEqual(await databases.index.recorded(FIRST.image), []);
  });

  it('is noticed by a write when its file was removed or replaced', async (t) => {
    const dataDir = filled(t);
    const { databases, reasons } = await open(dataDir);
    t.after(() => databases.close());
    rmSync(join(dataDir, 'index.db'));
    await assert.rejects(databases.index.forgetFolder(SITE, 'team'), indexUnusable);
    assert.equal(reasons.length, 1);
    await assert.rejects(databases.index.recorded(FIRST.image), indexUnusable);
    await databases.index.reset();
    await databases.index.record([FIRST]);
    assert.equal(existsSync(join(dataDir, 'index.db')), true);
    assert.equal((await databases.index.recorded(FIRST.image)).length, 2);
  });
});

/** Some pages full. */
const IMAGES = count(20_000, 5000);

describe('a large index', () => {
  const shapes: readonly (readonly [string, (position: number) => string])[] = [
    ['in one folder', () => 'flat/app'],
    [
      'in nested folders',
      (position) => `flat/n${position % 10}/m${position % 1000}/k${position % 10_000}/app`,
    ],
  ];
  for (const [where, pathOf] of shapes) {
    it(`of ${IMAGES} images ${where} lists its folders in pages`, async (t) => {
      const { databases } = await open(temporaryFolder(t));
      t.after(() => databases.close());
      const { index } = databases;
      const images = Array.from({ length: IMAGES }, (_, n) => imageAt(pathOf(n), String(n)));
      for (let start = 0; start < images.length; start += 10_000) {
        const part = images.slice(start, start + 10_000);
        await index.record(part.map((image) => recordedImage(image, image.hex)));
      }
      assert.deepEqual(await index.counts(SITE), { images: IMAGES, signatures: IMAGES });

      let listed = 0;
      let slowestMs = 0;
      const folders = ['flat'];
      for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
        let after: string | null = null;
        do {
          const startedMs = performance.now();
          const page = await index.listFolder(SITE, folder, after, 1000);
          slowestMs = Math.max(slowestMs, performance.now() - startedMs);
          for (const name of page.names) {
            if (name.includes('@')) listed += 1;
            else folders.push(`${folder}/${name}`);
          }
          after = page.next;
        } while (after !== null);
      }
      assert.equal(listed, IMAGES);
      t.diagnostic(`slowest page: ${slowestMs.toFixed(1)} ms`);
    });
  }
});

describe('images without rows', () => {
  const turnOfLoop = () => new Promise((resolve) => setImmediate(resolve));
  const freshAt = (at: number) =>
    recordedImage(imageAt('team/fresh', `fresh ${at}`), `one of fresh ${at}`, 'x');
  const noneAt = (at: number) => imageAt('team/none', `none ${at}`);

  it('are told at once after many questions, and those with rows never are', async (t) => {
    const { databases } = await open(filled(t));
    t.after(() => databases.close());
    const { index } = databases;
    assert.equal(index.peekLacks(noneAt(0)), false);
    const written = Array.from({ length: 40 }, (_, at) => freshAt(at));
    const writes: Promise<void>[] = [];
    let questions = 0;
    let asked = 1;
    while (!index.peekLacks(noneAt(questions))) {
      questions += 1;
      asked += 1 + writes.length;
      assert.ok(questions < 10_000, 'never told');
      const one = questions % 20 === 0 ? written[writes.length] : undefined;
      if (one !== undefined) writes.push(index.record([one]));
      for (const { image } of written.slice(0, writes.length)) assert.equal(index.peekLacks(image), false);
      if (questions % 10 === 0) await turnOfLoop();
    }
    assert.ok(asked >= SOME.length / 4, `${asked} questions`);
    await Promise.all(writes);
    for (const { image } of [...SOME, ...written.slice(0, writes.length)])
      assert.equal(index.peekLacks(image), false);
    const lacking = Array.from({ length: 1000 }, (_, at) => noneAt(at)).filter((one) => index.peekLacks(one));
    assert.ok(lacking.length > 990, `${lacking.length} of 1,000`);

    const late = freshAt(1000);
    assert.equal(index.peekLacks(late.image), true);
    const recording = index.record([late]);
    assert.equal(index.peekLacks(late.image), false);
    await recording;
    assert.equal(index.peekLacks(late.image), false);
    await index.reset();
    assert.equal(index.peekLacks(noneAt(0)), false);
  });

  it('are told of an index without any', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    for (let at = 0; at < 200; at += 1) {
      databases.index.peekLacks(noneAt(at));
      await turnOfLoop();
    }
    assert.equal(databases.index.peekLacks(noneAt(0)), true);
  });
});

describe('the index of another process', () => {
  it('is read while a server writes it', async (t) => {
    const dataDir = filled(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const reader = openIndexReadOnly(dataDir);
    assert.ok(reader !== null);
    t.after(() => reader.close());
    assert.equal((await reader.recorded(FIRST.image)).length, 2);
    assert.equal(await reader.isComplete(SITE), true);
    await databases.index.record([{ image: FIRST.image, signatures: [] }]);
    assert.deepEqual(await reader.recorded(FIRST.image), []);
    assert.deepEqual(await reader.counts(SITE), { images: 1999, signatures: 3998 });
    assert.equal((await reader.images(SITE, null, 5)).length, 5);
    assert.deepEqual(await reader.listFolder(SITE, '', null, 5), { names: ['team'], next: null });
    assert.equal(await reader.hasChild(SITE, '', 'team'), true);
  });

  it('is read when no server runs', async (t) => {
    const reader = openIndexReadOnly(filled(t));
    assert.ok(reader !== null);
    t.after(() => reader.close());
    assert.equal((await reader.counts(SITE)).images, 2000);
  });

  it('is null when there is none, and INDEX_UNUSABLE when it is damaged', async (t) => {
    assert.equal(openIndexReadOnly(temporaryFolder(t)), null);
    const dataDir = filled(t);
    overwrite(join(dataDir, 'index.db'), 0, Buffer.alloc(4096, 'damage'));
    assert.throws(() => openIndexReadOnly(dataDir), indexUnusable);
  });
});
