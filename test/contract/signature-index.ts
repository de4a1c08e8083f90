// What every SignatureIndex promises, run over each implementation.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { type ImageId, imageFolder, parseImageFolder } from '../../src/domain/image.ts';
import type {
  FolderPage,
  RecordedImage,
  RecordedSignature,
  SignatureIndex,
  VerdictIndex,
} from '../../src/domain/ports.ts';

const SITE = 'default';
const STORED_AT = new Date('2026-11-22T10:00:00.123Z');

export interface IndexUnderTest {
  readonly index: SignatureIndex & VerdictIndex;
  close(): Promise<void>;
}

export function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** The image at `path` whose manifest is `manifest`; a path that ends in a slash, and '', are of the release layout. */
export function imageAt(path: string, manifest: string, site = SITE): ImageId {
  const name = path === '' || path.endsWith('/') ? path : `${path}@`;
  const image = parseImageFolder(site, `${name}sha256=${sha256(manifest)}`);
  assert.ok(image !== null);
  return image;
}

export function signature(number: number, content: string): RecordedSignature {
  const bytes = Buffer.from(content);
  return { number, sha256: sha256(bytes), sizeBytes: bytes.length, storedAt: STORED_AT, bytes };
}

export function recordedImage(image: ImageId, ...contents: readonly string[]): RecordedImage {
  return { image, signatures: contents.map((content, position) => signature(position + 1, content)) };
}

async function allNames(
  index: SignatureIndex,
  folder: string,
  limit: number,
  site = SITE,
): Promise<string[]> {
  const names: string[] = [];
  let after: string | null = null;
  do {
    const page: FolderPage = await index.listFolder(site, folder, after, limit);
    names.push(...page.names);
    after = page.next;
  } while (after !== null);
  return names;
}

function assertSame(rows: readonly RecordedSignature[], wanted: readonly RecordedSignature[]): void {
  const plain = (signatures: readonly RecordedSignature[]): unknown =>
    signatures.map(({ bytes, ...rest }) => ({ ...rest, bytes: bytes === null ? null : Buffer.from(bytes) }));
  assert.deepEqual(plain(rows), plain(wanted));
}

export function signatureIndexContract(name: string, open: () => Promise<IndexUnderTest>): void {
  const test = (title: string, act: (index: SignatureIndex) => Promise<void>): void => {
    it(title, async () => {
      const { index, close } = await open();
      try {
        await act(index);
      } finally {
        await close();
      }
    });
  };

  describe(`${name}: signatures`, () => {
    test('what was recorded of an image is found again, by number', async (index) => {
      const image = imageAt('team/app', 'a');
      const signatures = [signature(1, 'one'), signature(3, 'three'), signature(12, '')];
      await index.record([{ image, signatures: signatures.toReversed() }]);
      assertSame(await index.recorded(image), signatures);
    });

    test('a signature over 8 KiB is recorded without its bytes', async (index) => {
      const image = imageAt('team/app', 'a');
      const large = { ...signature(1, 'x'.repeat(9000)), bytes: null };
      await index.record([{ image, signatures: [large] }]);
      assertSame(await index.recorded(image), [large]);
    });

    test('a small Buffer out of a large one is recorded as it is', async (index) => {
      const image = imageAt('team/app', 'a');
      const whole = Buffer.alloc(100_000, 'ab');
      const bytes = whole.subarray(1001, 1011);
      const wanted = { ...signature(1, ''), bytes, sha256: sha256(bytes), sizeBytes: 10 };
      await index.record([{ image, signatures: [wanted] }]);
      assertSame(await index.recorded(image), [wanted]);
    });

    test('of many images at once it tells of which something is recorded', async (index) => {
      const [one, other] = [imageAt('team/app', 'many 1'), imageAt('team/app', 'many 2')];
      await index.record([recordedImage(one, 'a', 'b')]);
      const images = [other, one, imageAt('team/other', 'many 1'), imageAt('', 'many 1'), one];
      assert.deepEqual(await index.areRecorded?.(images), [false, true, false, false, true]);
    });

    test('an image that nothing was recorded of has no signatures', async (index) => {
      await index.record([recordedImage(imageAt('team/app', 'a'), 'one')]);
      for (const other of [imageAt('team/app', 'b'), imageAt('team', 'a'), imageAt('team/app/', 'a')]) {
        assert.deepEqual(await index.recorded(other), []);
      }
      assert.deepEqual(await index.recorded(imageAt('team/app', 'a', 'mirror')), []);
    });

    test('recording an image replaces all that was recorded of it', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one', 'two', 'three')]);
      const now = [signature(2, 'two'), signature(4, 'four')];
      await index.record([{ image, signatures: now }]);
      assertSame(await index.recorded(image), now);
      assert.deepEqual(await index.counts(SITE), { images: 1, signatures: 2 });
    });

    test('takes the last set of an image that is named twice in one call', async (index) => {
      const image = imageAt('team/app', 'a');
      await index.record([recordedImage(image, 'one')]);
      await index.record([recordedImage(image, 'two'), recordedImage(image, 'one')]);
      assertSame(await index.recorded(image), [signature(1, 'one')]);
    });

    test('takes the last of the calls that are made at once for one image', async (index) => {
      const image = imageAt('team/app', 'a');
      const contents = Array.from({ length: 20 }, (_, n) => [`one ${n}`, `two ${n}`].slice(n % 2));
      await Promise.all(contents.map((some) => index.record([recordedImage(image, ...some)])));
      assertSame(await index.recorded(image), recordedImage(image, ...(contents.at(-1) ?? [])).signatures);
    });

    test('a call that fails changes nothing, and the next one works', async (index) => {
      const sound = recordedImage(imageAt('team/app', 'a'), 'one');
      const twice = {
        image: imageAt('team/app', 'b'),
        signatures: [signature(1, 'one'), signature(1, 'two')],
      };
      await assert.rejects(index.record([sound, twice]));
      assert.deepEqual(await index.recorded(sound.image), []);
      assert.deepEqual((await index.listFolder(SITE, '', null, 10)).names, []);
      assert.deepEqual(await index.counts(SITE), { images: 0, signatures: 0 });
      await index.record([sound]);
      assertSame(await index.recorded(sound.image), sound.signatures);
    });

    test('sites, layouts and digest algorithms are kept apart', async (index) => {
      const hex = 'ab'.repeat(64);
      const folders = ['team/app@sha512=', 'team/app/sha512=', 'sha512=', 'app@sha512='].map((f) => f + hex);
      folders.push(`team/app@sha256=${hex.slice(0, 64)}`, `team/app@sha384=${hex.slice(0, 96)}`);
      const images = folders.flatMap((folder) =>
        [SITE, 'mirror'].map((site) => {
          const image = parseImageFolder(site, folder);
          assert.ok(image !== null);
          return recordedImage(image, `${site} ${folder}`);
        }),
      );
      await index.record(images);
      for (const { image, signatures } of images) assertSame(await index.recorded(image), signatures);
      assert.deepEqual(await index.counts(SITE), { images: 6, signatures: 6 });
      const walked = (await index.images('mirror', null, 10)).map(imageFolder);
      assert.deepEqual(walked.toSorted(), folders.toSorted());
    });

    test('a walk in pages meets each image of the site once, in one order', async (index) => {
      const paths = ['b', 'a/b', 'a', 'a-x', '', 'a/', 'z/y/x'];
      const images = paths.flatMap((path) => ['1', '2', '3'].map((manifest) => imageAt(path, manifest)));
      await index.record(images.map((image) => recordedImage(image, 'one', 'two')));
      await index.record([recordedImage(imageAt('a', '1', 'mirror'), 'one')]);
      const whole = await index.images(SITE, null, 100);
      assert.equal(new Set(whole.map(imageFolder)).size, 21);
      for (const limit of [1, 4, 7, 21]) {
        const walked: ImageId[] = [];
        for (let page = await index.images(SITE, null, limit); page.length > 0; ) {
          walked.push(...page);
          page = await index.images(SITE, page.at(-1) ?? null, limit);
        }
        assert.deepEqual(walked, whole);
      }
    });

    test('a site is complete once it was marked so, and no other with it', async (index) => {
      assert.equal(await index.isComplete(SITE), false);
      await index.record([recordedImage(imageAt('team/app', 'a'), 'one')]);
      assert.equal(await index.isComplete(SITE), false);
      await index.markComplete(SITE);
      assert.equal(await index.isComplete(SITE), true);
      assert.equal(await index.isComplete('mirror'), false);
      assert.deepEqual(await index.counts(SITE), { images: 1, signatures: 1 });
    });

    test('after a reset nothing is recorded and no site is complete', async (index) => {
      const one = recordedImage(imageAt('team/app', 'a'), 'one');
      await index.record([one]);
      await index.markComplete(SITE);
      await index.reset();
      assert.deepEqual(await index.recorded(one.image), []);
      assert.deepEqual(await index.counts(SITE), { images: 0, signatures: 0 });
      assert.equal(await index.isComplete(SITE), false);
      await index.record([one]);
      assertSame(await index.recorded(one.image), one.signatures);
    });
  });

  describe(`${name}: folders`, () => {
    test('a folder lists its images and folders in the order that people expect of numbers', async (index) => {
      const names = ['v1', 'v2', 'v10', 'v010', 'v9', 'app', 'App', 'v1-x'];
      const images = names.map((path) => recordedImage(imageAt(`${path}/app`, 'a'), 'one'));
      await index.record(images);
      const listed = await index.listFolder(SITE, '', null, 100);
      assert.deepEqual(listed, {
        names: ['App', 'app', 'v1', 'v1-x', 'v2', 'v9', 'v010', 'v10'],
        next: null,
      });
      assert.deepEqual(await allNames(index, 'v10', 10), [`app@sha256=${sha256('a')}`]);
    });

    test('pages meet each name once, also when the last one is exactly full', async (index) => {
      const images = Array.from({ length: 12 }, (_, position) => imageAt(`f/n${position}/app`, 'a'));
      await index.record(images.map((image) => recordedImage(image, 'one')));
      const wanted = images.map((_, position) => `n${position}`);
      for (const limit of [1, 3, 4, 5, 11, 12, 13])
        assert.deepEqual(await allNames(index, 'f', limit), wanted);
      assert.equal((await index.listFolder(SITE, 'f', null, 12)).next, null);
      assert.equal((await index.listFolder(SITE, 'f', null, 11)).next, 'n10');
      assert.deepEqual(await index.listFolder(SITE, 'f', 'n11', 5), { names: [], next: null });
      assert.deepEqual(await index.listFolder(SITE, 'f', 'n7', 2), { names: ['n8', 'n9'], next: 'n9' });
    });

    test('a cursor whose name is gone goes on where it stood', async (index) => {
      const images = ['n1', 'n2', 'n3'].map((name) => imageAt(`${name}/app`, 'a'));
      await index.record(images.map((image) => recordedImage(image, 'one')));
      await index.forgetFolder(SITE, 'n2');
      assert.deepEqual((await index.listFolder(SITE, '', 'n2', 5)).names, ['n3']);
    });

    test('a folder stands as long as an image is somewhere below it', async (index) => {
      const first = imageAt('a/b/c', '1');
      const second = imageAt('a/b/c', '2');
      await index.record([recordedImage(first, 'one'), recordedImage(second, 'one', 'two')]);
      assert.equal(await index.hasChild(SITE, '', 'a'), true);
      assert.equal(await index.hasChild(SITE, 'a/b', `c@sha256=${first.hex}`), true);
      await index.record([{ image: first, signatures: [] }]);
      assert.equal(await index.hasChild(SITE, 'a/b', `c@sha256=${first.hex}`), false);
      assert.equal(await index.hasChild(SITE, 'a', 'b'), true);
      await index.record([{ image: second, signatures: [] }]);
      assert.deepEqual(await allNames(index, '', 10), []);
      assert.deepEqual(await allNames(index, 'a', 10), []);
      assert.deepEqual(await index.counts(SITE), { images: 0, signatures: 0 });
    });

    test('an image that changes its number of signatures is counted once', async (index) => {
      const image = imageAt('a/b', '1');
      await index.record([recordedImage(image, 'one')]);
      await index.record([recordedImage(image, 'one', 'two')]);
      await index.record([recordedImage(image, 'two')]);
      await index.record([{ image, signatures: [] }]);
      assert.equal(await index.hasChild(SITE, '', 'a'), false);
    });

    const neighbours = [
      'team/app',
      'team/app/x',
      'team/',
      'team/sub/',
      'team',
      'team2/app',
      'team-x/app',
      'team.x/app',
      'teal/app',
      'team_/app',
      'Team/app',
      'x/team/app',
      '',
    ];

    async function left(index: SignatureIndex, forget: string): Promise<string[]> {
      await index.record(neighbours.map((path) => recordedImage(imageAt(path, 'a'), 'one', 'two')));
      await index.record([recordedImage(imageAt('team/app', 'a', 'mirror'), 'one')]);
      await index.forgetFolder(SITE, forget);
      assert.equal((await index.recorded(imageAt('team/app', 'a', 'mirror'))).length, 1);
      const kept: string[] = [];
      for (const path of neighbours) {
        if ((await index.recorded(imageAt(path, 'a'))).length > 0) kept.push(path);
      }
      assert.deepEqual(await index.counts(SITE), { images: kept.length, signatures: 2 * kept.length });
      return kept;
    }

    test('forgetting a folder forgets what is below it and nothing beside it', async (index) => {
      const below = ['team/app', 'team/app/x', 'team/', 'team/sub/'];
      assert.deepEqual(
        await left(index, 'team'),
        neighbours.filter((path) => !below.includes(path)),
      );
      assert.equal(await index.hasChild(SITE, '', 'team'), false);
      assert.equal(await index.hasChild(SITE, '', 'team2'), true);
      assert.equal(await index.hasChild(SITE, '', `team@sha256=${sha256('a')}`), true);
    });

    test('forgetting a deeper folder keeps the image of the same name', async (index) => {
      assert.deepEqual(
        await left(index, 'team/app'),
        neighbours.filter((path) => path !== 'team/app/x'),
      );
    });

    test('forgetting an image folder forgets that image alone', async (index) => {
      assert.deepEqual(
        await left(index, `team/app@sha256=${sha256('a')}`),
        neighbours.filter((path) => path !== 'team/app'),
      );
    });

    test('forgetting an image folder of the release layout forgets that image alone', async (index) => {
      assert.deepEqual(
        await left(index, `team/sha256=${sha256('a')}`),
        neighbours.filter((path) => path !== 'team/'),
      );
    });

    test('forgetting the top forgets the site', async (index) => {
      assert.deepEqual(await left(index, ''), []);
      assert.deepEqual(await allNames(index, '', 10), []);
    });

    test('forgetting what is not there changes nothing', async (index) => {
      assert.deepEqual(await left(index, 'tea'), neighbours);
    });
  });
}
