// What every SignatureStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import type { ImageId } from '../../src/domain/image.ts';
import { MAX_SIGNATURE_BYTES } from '../../src/domain/limits.ts';
import type { SetEntry, SignatureAppender, SignatureSet, SignatureStore } from '../../src/domain/ports.ts';
import { createReader, type Reader } from '../../src/service/read.ts';
import { folderOf, sha256Hex, signatureBytes } from '../store/lay.ts';
import { imageIn, SITE, uploadOf } from '../store/open-store.ts';

/** A store, and the way in which its files come to be there. */
export interface StoreUnderTest {
  readonly store: SignatureStore;
  readonly appender: SignatureAppender;
  /** From now on the reader is told of changes, as the server's is. */
  tell(reader: Reader): void;
  /** Places files of an image's folder, by name; the store serves them from the next read on. */
  place(folder: string, files: Readonly<Record<string, Uint8Array>>): Promise<void>;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;

let made = 0;

/** A folder that no test has used before. */
function newFolder(repository = 'team/app'): string {
  made += 1;
  return folderOf(repository, `manifest ${made}`);
}

export function signatureStoreContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let under: StoreUnderTest;
    let store: SignatureStore;
    let appender: SignatureAppender;

    before(async () => {
      under = await open();
      store = under.store;
      appender = under.appender;
    });
    after(() => under?.close());

    const place = async (files: Readonly<Record<string, Uint8Array>>): Promise<ImageId> => {
      const folder = newFolder();
      await under.place(folder, files);
      return imageIn(folder);
    };

    it('has an empty set for an image that it does not hold', async () => {
      assert.deepEqual((await store.readSet(imageIn(newFolder()))).entries, []);
      assert.deepEqual((await store.readSet(imageIn(newFolder('never/there')))).entries, []);
    });

    it('tells of many images at once which are stored, and of none that is not', async () => {
      const image = await place({ 'signature-1': signatureBytes('one') });
      const hidden = await place({ 'signature-2': signatureBytes('one') });
      const absent = imageIn(newFolder());
      assert.equal((await store.readSet(image)).entries.length, 1);
      const [first = false, ...others] = (await store.areStored?.([image, hidden, absent])) ?? [];
      assert.ok(!others.includes(true));
      // a tree that others write to is read image by image
      assert.equal(first, name.includes('PostgreSQL') || name.includes('owned'));
    });

    it('makes the set of the files in numeric order, each with its size, time and SHA-256', async () => {
      const signatures = Array.from({ length: 12 }, (_, position) => signatureBytes(`${position}`, 300));
      const names = signatures.map((bytes, position) => [`signature-${position + 1}`, bytes] as const);
      const { entries } = await store.readSet(await place(Object.fromEntries(names)));
      assert.deepEqual(
        entries.map(({ sha256, sizeBytes }) => [sha256, sizeBytes]),
        signatures.map((bytes) => [sha256Hex(bytes), 300]),
      );
      for (const [position, { bytes, storedAt }] of entries.entries()) {
        assert.deepEqual(Buffer.from(bytes ?? []), signatures[position]);
        assert.ok(storedAt instanceof Date && !Number.isNaN(storedAt.getTime()));
      }
    });

    it('ends the set before the first missing number', async () => {
      const one = signatureBytes('one');
      const image = await place({ 'signature-1': one, 'signature-3': signatureBytes('three') });
      assert.deepEqual(hashes(await store.readSet(image)), [sha256Hex(one)]);
      assert.deepEqual((await store.readSet(await place({ 'signature-2': one }))).entries, []);
    });

    it('closes the ranks round what no client could read', async () => {
      const [one, five] = [signatureBytes('one'), signatureBytes('five')];
      const image = await place({
        'signature-1': Buffer.from('<html>'),
        'signature-2': one,
        'signature-3': Buffer.alloc(0),
        'signature-4': Buffer.from('-----BEGIN PGP MESSAGE-----'),
        'signature-5': five,
      });
      assert.deepEqual(hashes(await store.readSet(image)), [sha256Hex(one), sha256Hex(five)]);
    });

    it('never shows more than 127 signatures, the first ones', async () => {
      const signatures = Array.from({ length: 130 }, (_, position) => signatureBytes(`${position}.`, 50));
      const names = signatures.map((bytes, position) => [`signature-${position + 1}`, bytes] as const);
      const set = await store.readSet(await place(Object.fromEntries(names)));
      assert.deepEqual(hashes(set), signatures.slice(0, 127).map(sha256Hex));
    });

    it('hands the same set object back while nothing changed', async () => {
      const image = await place({ 'signature-1': signatureBytes('one') });
      const first = await store.readSet(image);
      for (let round = 0; round < 5; round += 1) assert.equal(await store.readSet(image, first), first);
      const none = imageIn(newFolder());
      const empty = await store.readSet(none);
      assert.equal(await store.readSet(none, empty), empty);
    });

    it('gives each new set a generation that no set before had', async () => {
      let newest = 0;
      for (let round = 0; round < 5; round += 1) {
        const { generation } = await store.readSet(await place({ 'signature-1': signatureBytes('x') }));
        assert.ok(generation > newest, `${generation} after ${newest}`);
        newest = generation;
      }
    });

    it('makes one set for readers that ask at the same time', async () => {
      const image = await place({
        'signature-1': signatureBytes('one'),
        'signature-2': signatureBytes('two'),
      });
      const sets = await Promise.all(Array.from({ length: 20 }, () => store.readSet(image)));
      assert.equal(new Set(sets).size, 1);
    });

    it('keeps bytes up to 8 KiB in the set, and reads larger ones by their SHA-256', async () => {
      const [small, large] = [signatureBytes('s', 8192), signatureBytes('l', 8193)];
      const image = await place({ 'signature-1': small, 'signature-2': large });
      const { entries } = await store.readSet(image);
      assert.deepEqual(
        entries.map(({ bytes }) => bytes === null),
        [false, true],
      );
      for (const bytes of [small, large]) {
        const blob = await store.readBlob(image, sha256Hex(bytes));
        assert.ok(blob !== null && bytes.equals(blob));
      }
    });

    it('has no bytes for a SHA-256 that the image does not hold', async () => {
      const image = await place({ 'signature-1': signatureBytes('one') });
      assert.equal(await store.readBlob(image, sha256Hex(signatureBytes('two'))), null);
      assert.equal(await store.readBlob(imageIn(newFolder()), sha256Hex(signatureBytes('one'))), null);
    });

    it('lists every folder on the way to a signature, and nothing that holds none', async () => {
      const folder = newFolder('deep/in/the/tree');
      await under.place(folder, { 'signature-1': signatureBytes('one') });
      await under.place(newFolder('hollow/app'), { 'readme.txt': Buffer.from('x') });
      assert.ok((await names('')).includes('deep'));
      assert.ok(!(await names('')).includes('hollow'));
      assert.deepEqual(await names('deep'), ['in']);
      assert.deepEqual(await names('deep/in/the'), [folder.slice('deep/in/the/'.length)]);
      assert.deepEqual(await names('hollow'), []);
      assert.deepEqual(await names('no/such/folder'), []);
    });

    it('lists in natural order, page by page, each name once', async () => {
      const repositories = ['v1', 'v2', 'v9', 'v10', 'v11', 'v100'];
      for (const repository of repositories.toReversed()) {
        await under.place(folderOf(`pages/${repository}/app`), { 'signature-1': signatureBytes('one') });
      }
      for (const limit of [1, 2, 3, 6, 7, 1000]) {
        assert.deepEqual(await names('pages', limit), repositories, `pages of ${limit}`);
      }
      const last = await store.listFolder(SITE, 'pages', 'v11', 1);
      assert.deepEqual(last, { names: ['v100'], next: null });
      assert.deepEqual((await store.listFolder(SITE, 'pages', 'v100', 10)).names, []);
      assert.deepEqual((await store.listFolder(SITE, 'pages', 'v10a', 10)).names, ['v11', 'v100']);
    });

    it('serves of any folder what the rules say', async () => {
      await fc.assert(
        fc.asyncProperty(files, async (content) => {
          const image = await place(content);
          assert.deepEqual(hashes(await store.readSet(image)), model(content));
        }),
        { numRuns: 20 }, // of each kind of store
      );
    });

    it('appends with dense numbers, and every read after sees it', async () => {
      const image = imageIn(newFolder());
      const signatures = Array.from({ length: 9 }, (_, k) => signatureBytes(`append ${k} `));
      for (const [position, bytes] of signatures.entries()) {
        const { outcome, number, sha256, auditSeq } = await appender.append(uploadOf(image, bytes));
        assert.deepEqual([outcome, number, sha256], ['created', position + 1, sha256Hex(bytes)]);
        assert.ok(auditSeq !== null && auditSeq > 0);
        const set = await store.readSet(image);
        assert.deepEqual(hashes(set), signatures.slice(0, position + 1).map(sha256Hex));
      }
    });

    it('appends behind what was there, and counts only what clients get', async () => {
      const [one, two, three] = [signatureBytes('one'), signatureBytes('two'), signatureBytes('three')];
      const image = await place({ 'signature-1': one, 'signature-2': Buffer.from('<html>') });
      assert.equal((await appender.append(uploadOf(image, two))).number, 2);
      assert.equal((await appender.append(uploadOf(image, three, { number: 3 }))).number, 3);
      assert.deepEqual(hashes(await store.readSet(image)), [one, two, three].map(sha256Hex));
    });

    it('keeps signatures over 8 KiB as they were uploaded', async () => {
      const image = imageIn(newFolder());
      const large = signatureBytes('large', 60_000);
      await appender.append(uploadOf(image, large));
      assert.equal((await store.readSet(image)).entries[0]?.bytes, null);
      assert.deepEqual(Buffer.from((await store.readBlob(image, sha256Hex(large))) ?? []), large);
    });

    it('lists an image as soon as its first signature was uploaded', async () => {
      const folder = newFolder('fresh/upload');
      await appender.append(uploadOf(imageIn(folder), signatureBytes('one')));
      assert.deepEqual(await names('fresh'), [folder.slice('fresh/'.length)]);
    });

    it('stores the same bytes once, whoever brings them and at whatever number', async () => {
      const [one, two] = [signatureBytes('one'), signatureBytes('two')];
      const image = await place({ 'signature-1': one });
      const there = await appender.append(uploadOf(image, one, { number: 7 }));
      assert.deepEqual(there, { outcome: 'exists', number: 1, sha256: sha256Hex(one), auditSeq: null });
      const { auditSeq } = await appender.append(uploadOf(image, two));
      const again = await Promise.all(
        Array.from({ length: 50 }, (_, k) => appender.append(uploadOf(image, two, { number: k + 1 }))),
      );
      for (const answer of again) {
        assert.deepEqual(answer, { outcome: 'exists', number: 2, sha256: sha256Hex(two), auditSeq });
      }
      assert.deepEqual(hashes(await store.readSet(image)), [one, two].map(sha256Hex));
    });

    it('makes one of the same new bytes that come fifty times at once', async () => {
      const image = imageIn(newFolder());
      const upload = uploadOf(image, signatureBytes('once'));
      const answers = await Promise.all(Array.from({ length: 50 }, () => appender.append(upload)));
      assert.equal(answers.filter(({ outcome }) => outcome === 'created').length, 1);
      assert.equal(new Set(answers.map(({ auditSeq }) => auditSeq)).size, 1);
      assert.equal((await store.readSet(image)).entries.length, 1);
    });

    it('gives one number to one of fifty different uploads, and the others the next number', async () => {
      const image = await place({ 'signature-1': signatureBytes('one') });
      const signatures = Array.from({ length: 50 }, (_, k) => signatureBytes(`rival ${k} `));
      const results = await Promise.allSettled(
        signatures.map((bytes) => appender.append(uploadOf(image, bytes, { number: 2 }))),
      );
      const winners = signatures.filter((_, k) => results[k]?.status === 'fulfilled');
      assert.equal(winners.length, 1);
      for (const result of results) {
        if (result.status === 'fulfilled') continue;
        assert.equal(result.reason.code, 'NUMBER_TAKEN');
        assert.deepEqual(result.reason.detail, { next: 3 });
      }
      const set = await store.readSet(image);
      assert.deepEqual(hashes(set).slice(1), winners.map(sha256Hex));
    });

    it('refuses a number that would leave a gap, and says which is next', async () => {
      const image = imageIn(newFolder());
      for (const number of [2, 9, 127, 128, 999_999_999]) {
        await assert.rejects(appender.append(uploadOf(image, signatureBytes('one'), { number })), {
          code: 'NUMBER_NOT_NEXT',
          detail: { next: 1 },
        });
      }
      assert.deepEqual((await store.readSet(image)).entries, []);
    });

    it('refuses the 128th signature, whatever its number', async () => {
      const signatures = Array.from({ length: 127 }, (_, position) => signatureBytes(`${position}.`, 50));
      const entries = signatures.map((bytes, position) => [`signature-${position + 1}`, bytes] as const);
      const image = await place(Object.fromEntries(entries));
      for (const number of [null, 127, 128, 129]) {
        const upload = uploadOf(image, signatureBytes('128th'), { number });
        await assert.rejects(appender.append(upload), { code: 'TOO_MANY_SIGNATURES' });
      }
      assert.equal((await appender.append(uploadOf(image, signatures[3] ?? Buffer.alloc(0)))).number, 4);
      assert.deepEqual(hashes(await store.readSet(image)), signatures.map(sha256Hex));
    });

    it('shows readers who walk 1, 2, 3 … while twenty are appended no hole, no part and no change', async () => {
      const image = imageIn(newFolder());
      // some looks are a cache's, some the store's own
      let nowMs = 0;
      const monotonicMs = () => {
        nowMs += 300;
        return nowMs;
      };
      const reader = createReader({ store, clock: { now: () => new Date(), monotonicMs }, cacheBytes: MIB });
      under.tell(reader);
      const signatures = Array.from({ length: 20 }, (_, k) => signatureBytes(`walked ${k} `));
      const seen: Buffer[] = [];
      let isOver = false;
      const walk = async () => {
        const atLeast = seen.length;
        for (let number = 1; ; number += 1) {
          const signature = await reader.readSignature(image, number);
          if (signature === null) {
            assert.ok(number > atLeast, `${number - 1} signatures after ${atLeast}`);
            return;
          }
          const before = seen[number - 1];
          if (before === undefined) seen.push(Buffer.from(signature.bytes));
          else assert.ok(before.equals(signature.bytes), `signature-${number} has other bytes now`);
        }
      };
      const walking = (async () => {
        while (!isOver) {
          await walk();
          await setImmediate(); // a store that answers from memory would leave no time to append
        }
        nowMs += 1000;
        await walk();
      })();
      const answers = await Promise.all(
        signatures.map((bytes) => appender.append(uploadOf(image, bytes))),
      ).finally(() => {
        isOver = true;
      });
      await walking;
      assert.equal(seen.length, 20);
      for (const [k, { number, sha256 }] of answers.entries()) {
        assert.equal(sha256, sha256Hex(signatures[k] ?? Buffer.alloc(0)));
        assert.deepEqual(seen[number - 1], signatures[k]);
      }
    });

    it('appends to many images at once, each with numbers of its own', async () => {
      const images = Array.from({ length: 10 }, () => imageIn(newFolder('many/app')));
      const appended = await Promise.all(
        images.flatMap((image) =>
          ['a', 'b', 'c'].map((text) => appender.append(uploadOf(image, signatureBytes(text)))),
        ),
      );
      assert.deepEqual(
        appended.map(({ number }) => number).toSorted(),
        [1, 2, 3].flatMap((number) => images.map(() => number)),
      );
      for (const image of images) assert.equal((await store.readSet(image)).entries.length, 3);
    });

    const names = async (folder: string, limit = 1000): Promise<string[]> => {
      const paths: string[] = [];
      for (let after: string | null = null; ; ) {
        const page = await store.listFolder(SITE, folder, after, limit);
        assert.ok(page.names.length <= limit);
        paths.push(...page.names);
        after = page.next;
        if (after === null) return paths;
      }
    };
  });
}

function hashes({ entries }: SignatureSet): string[] {
  return entries.map(({ sha256 }: SetEntry) => sha256);
}

// The rules as plainly as may be: count up from 1 until a file is missing; keep what clients read.
function model(content: Readonly<Record<string, Uint8Array>>): string[] {
  const served: string[] = [];
  for (let number = 1; ; number += 1) {
    const bytes = content[`signature-${number}`];
    if (bytes === undefined) return served.slice(0, 127);
    const isReadable = bytes.length > 0 && bytes.length <= MAX_SIGNATURE_BYTES && FIRST_BYTES.has(bytes[0]);
    if (isReadable) served.push(sha256Hex(bytes));
  }
}

// containers/image, internal/signature/signature.go; without the tagged form, which openpgp's tests have
const FIRST_BYTES: ReadonlySet<number | undefined> = new Set([
  0xa0, 0xa1, 0xa2, 0xa3, 0xc8, 0x90, 0x91, 0x92, 0x3d, 0xc4, 0x88, 0x89, 0x8a, 0x8b, 0xc2,
]);

const bytes = fc.oneof(
  { weight: 5, arbitrary: fc.uint8Array({ minLength: 4, maxLength: 400 }).map((tail) => framed(tail)) },
  // a NUL begins the tagged form, of which the model knows nothing
  fc.uint8Array({ maxLength: 40 }).filter(([first]) => first !== 0),
  fc.constant(new Uint8Array(0)),
);

const files = fc
  .tuple(
    fc.array(bytes, { maxLength: 12 }),
    fc.dictionary(
      fc.oneof(
        fc.integer({ min: 0, max: 20 }).map((number) => `signature-${number}`),
        fc.constantFrom('signature-01', 'signature-', 'signature-1.tmp', 'Signature-1', 'index.json', '.x'),
        fc.stringMatching(/^[a-z]{1,8}$/),
      ),
      bytes,
      { maxKeys: 6 },
    ),
  )
  .map(([dense, others]) => ({
    ...Object.fromEntries(dense.map((content, position) => [`signature-${position + 1}`, content])),
    ...others,
  }));

function framed(tail: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([0x89, tail.length >> 8, tail.length & 0xff]), tail]);
}
