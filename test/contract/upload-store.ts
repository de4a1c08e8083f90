// What every UploadStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import type { NewUpload, UploadStore } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { imageAt, sha256 } from './signature-index.ts';
import { testOver } from './under-test.ts';

export interface UploadStoreUnderTest {
  readonly uploads: UploadStore;
  /** The same uploads as another start finds them. */
  reopen(): Promise<UploadStore>;
  close(): Promise<void>;
}

const STORED_AT = new Date('2026-11-22T10:00:00.123Z');

export function uploadOf(image: ImageId, content: string, overrides: Partial<NewUpload> = {}): NewUpload {
  return {
    image,
    sha256: sha256(content),
    sizeBytes: Buffer.byteLength(content),
    uploader: 'alice',
    storedAt: STORED_AT,
    bytes: null,
    remap: null,
    ...overrides,
  };
}

/** `atOnce`: as many uploads as the store takes within its time on a machine with much to do, in fifties. */
export function uploadStoreContract(
  name: string,
  open: () => Promise<UploadStoreUnderTest>,
  atOnce = 1000,
): void {
  const test = testOver(open);

  describe(name, () => {
    test("an image's uploads are there in their order once added, and after another start", async (under) => {
      const image = imageAt('team/app', 'a');
      const wanted = [];
      for (const content of ['one', 'two', 'three']) {
        const uploader = `token of ${content}`;
        const remap = content === 'two' ? 'mirror/quay=quay.io' : null;
        const provenance = { uploader, remap };
        const { auditSeq } = await under.uploads.add(uploadOf(image, content, provenance), auditEvent());
        wanted.push({ sha256: sha256(content), uploader, storedAt: STORED_AT, auditSeq, remap });
        assert.deepEqual(await under.uploads.ofImage(image), wanted);
      }
      const reopened = await under.reopen();
      assert.deepEqual(await reopened.ofImage(image), wanted);
    });

    test('the same bytes for the same image again change nothing and have the first number', async ({
      uploads,
    }) => {
      const image = imageAt('team/app', 'a');
      const first = await uploads.add(uploadOf(image, 'one'), auditEvent());
      const again = uploadOf(image, 'one', { uploader: 'bob', bytes: Buffer.from('one') });
      assert.deepEqual(await uploads.add(again, auditEvent()), first);
      assert.deepEqual(await uploads.ofImage(image), [
        { sha256: sha256('one'), uploader: 'alice', storedAt: STORED_AT, ...first, remap: null },
      ]);
      assert.equal(await uploads.bytesOf(image, sha256('one')), null);
      const next = await uploads.add(uploadOf(image, 'two'), auditEvent());
      assert.equal(next.auditSeq, first.auditSeq + 1);
    });

    test('images with uploads are listed in pages, each once, and each site alone', async ({ uploads }) => {
      const images = [
        imageAt('', 'a'),
        imageAt('team/app', 'a'),
        imageAt('team/app', 'b'),
        imageAt('zoo', 'a'),
      ];
      for (const image of [...images].reverse()) {
        await uploads.add(uploadOf(image, 'one'), auditEvent());
        await uploads.add(uploadOf(image, 'two'), auditEvent());
      }
      await uploads.add(uploadOf(imageAt('team/other', 'a', 'mirror'), 'one'), auditEvent());
      const sorted = [...images].sort((a, b) => (imageFolder(a) < imageFolder(b) ? -1 : 1));
      assert.deepEqual(await uploads.images('default', null, 3), sorted.slice(0, 3));
      assert.deepEqual(await uploads.images('default', sorted[2] ?? null, 3), sorted.slice(3));
      assert.deepEqual(await uploads.images('default', sorted[3] ?? null, 3), []);
    });

    test('images, sites and layouts are kept apart', async ({ uploads }) => {
      const images = [
        imageAt('team/app', 'a'),
        imageAt('team/app', 'b'),
        imageAt('team/app/', 'a'),
        imageAt('team', 'a'),
        imageAt('', 'a'),
        imageAt('team/app', 'a', 'mirror'),
      ];
      const seqs = [];
      for (const image of images)
        seqs.push((await uploads.add(uploadOf(image, 'one'), auditEvent())).auditSeq);
      assert.equal(new Set(seqs).size, images.length);
      for (const [position, image] of images.entries()) {
        const kept = await uploads.ofImage(image);
        assert.deepEqual(
          kept.map(({ auditSeq }) => auditSeq),
          [seqs[position]],
        );
      }
      assert.deepEqual(await uploads.ofImage(imageAt('never/there', 'a')), []);
    });

    test('bytes that are to be kept are, up to 4 MiB and out of a larger buffer, and others are null', async (under) => {
      const image = imageAt('team/app', 'a');
      const large = Buffer.alloc(4 * 1024 * 1024, 'x');
      const part = Buffer.alloc(100_000, 'ab').subarray(1001, 1011);
      for (const bytes of [large, part, Buffer.alloc(0)]) {
        const upload = { ...uploadOf(image, ''), sha256: sha256(bytes), sizeBytes: bytes.length, bytes };
        await under.uploads.add(upload, auditEvent());
        assert.deepEqual(Buffer.from((await under.uploads.bytesOf(image, sha256(bytes))) ?? 'none'), bytes);
      }
      await under.uploads.add(uploadOf(image, 'not kept'), auditEvent());
      assert.equal(await under.uploads.bytesOf(image, sha256('not kept')), null);
      assert.equal(await under.uploads.bytesOf(image, sha256('never uploaded')), null);
      assert.equal(await under.uploads.bytesOf(imageAt('team/app', 'b'), sha256(large)), null);
      const again = await under.reopen();
      assert.deepEqual(Buffer.from((await again.bytesOf(image, sha256(part))) ?? 'none'), part);
    });

    test(`${atOnce} uploads at once, 50 of each image, have numbers without a hole`, async ({ uploads }) => {
      const images = Array.from({ length: atOnce / 50 }, (_, n) => imageAt(`team/app${n}`, 'a'));
      const added = images.flatMap((image) =>
        Array.from({ length: 50 }, (_, n) => uploads.add(uploadOf(image, `signature ${n}`), auditEvent())),
      );
      const seqs = (await Promise.all(added)).map(({ auditSeq }) => auditSeq).toSorted((a, b) => a - b);
      assert.deepEqual(
        seqs,
        Array.from({ length: atOnce }, (_, n) => n + 1),
      );
      for (const image of images) assert.equal((await uploads.ofImage(image)).length, 50);
    });

    test('the same upload 50 times at once is one', async ({ uploads }) => {
      const image = imageAt('team/app', 'a');
      const added = await Promise.all(
        Array.from({ length: 50 }, () => uploads.add(uploadOf(image, 'one'), auditEvent())),
      );
      assert.deepEqual(new Set(added.map(({ auditSeq }) => auditSeq)), new Set([1]));
      assert.equal((await uploads.ofImage(image)).length, 1);
      assert.equal((await uploads.add(uploadOf(image, 'two'), auditEvent())).auditSeq, 2);
    });
  });
}
