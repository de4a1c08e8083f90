// What every SignatureStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import type { ImageId } from '../../src/domain/image.ts';
import { MAX_SIGNATURE_BYTES } from '../../src/domain/limits.ts';
import type { SetEntry, SignatureSet, SignatureStore } from '../../src/domain/ports.ts';
import { folderOf, sha256Hex, signatureBytes } from '../store/lay.ts';
import { imageIn, SITE } from '../store/open-store.ts';

/** A store, and the way in which its files come to be there. */
export interface StoreUnderTest {
  readonly store: SignatureStore;
  /** Places files of an image's folder, by name; the store serves them from the next read on. */
  place(folder: string, files: Readonly<Record<string, Uint8Array>>): Promise<void>;
  close(): Promise<void>;
}

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

    before(async () => {
      under = await open();
      store = under.store;
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
        const found = await store.readBlob(image, sha256Hex(bytes));
        assert.ok(found !== null && bytes.equals(found));
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
        { numRuns: 60 },
      );
    });

    const names = async (folder: string, limit = 1000): Promise<string[]> => {
      const found: string[] = [];
      for (let after: string | null = null; ; ) {
        const page = await store.listFolder(SITE, folder, after, limit);
        assert.ok(page.names.length <= limit);
        found.push(...page.names);
        after = page.next;
        if (after === null) return found;
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
