// What names in staging folders say: tables of names as clients make them, properties for all others.
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { imageFolder } from '../../src/domain/image.ts';
import {
  digestOfFolderName,
  folderMeaning,
  isDirImagePart,
  looksLikeImageFolder,
  parseStagedName,
  pathKey,
} from '../../src/domain/staged-place.ts';
import { escapeTerminal } from '../../src/domain/text.ts';
import { component, HEX, imageId, SITE } from './generators.ts';

const SHA256 = HEX.slice(0, 64);
const SHA384 = HEX.slice(0, 96);
const SHA512 = HEX.slice(0, 128);

const NAMES: readonly (readonly [name: string, expected: string | null])[] = [
  ['signature-1', ' 1'],
  ['signature-127', ' 127'],
  [`${SHA256}.signature-2`, `sha256:${SHA256} 2`],
  [`sha512-${SHA512}.signature-1`, `sha512:${SHA512} 1`],
  [`sha384-${SHA384}.signature-3`, `sha384:${SHA384} 3`],
  [`4.18.1-x86_64-sha256-${SHA256}`, `sha256:${SHA256} 1 of a release`],
  [`v1-sha256-${SHA256}.asc`, null],
  [`-sha256-${SHA256}`, null],
  [`sha256-${SHA256}`, null],
  [`4.18.1-sha256-${SHA256.slice(1)}`, null],
  [`4.18.1-sha512-${SHA512}`, null],
  ['signature-0', null],
  ['signature-01', null],
  ['signature-1\n', null],
  ['signature-1.asc', null],
  ['.signature-1', null],
  [`${SHA256}.signature-0`, null],
  [`${SHA256.slice(1)}.signature-1`, null],
  [`${SHA256.toUpperCase()}.signature-1`, null],
  [`sha512-${SHA256}.signature-1`, null],
  [`md5-${HEX.slice(0, 32)}.signature-1`, null],
  [`x${SHA256}.signature-1`, null],
  ['', null],
];
for (const [name, expected] of NAMES) {
  test(`the file name ${JSON.stringify(name.replace(HEX.slice(3, 63), '…'))} ${expected === null ? 'is no signature’s' : 'is a signature’s'}`, () => {
    const parsed = parseStagedName(name);
    const digest = parsed?.digest ?? null;
    const text = digest === null ? '' : `${digest.algorithm}:${digest.hex}`;
    const layout = parsed?.isRelease === true ? ' of a release' : '';
    assert.equal(parsed === null ? null : `${text} ${parsed.number}${layout}`, expected);
  });
}

const MISNAMED: readonly (readonly [folder: string, sentence: RegExp])[] = [
  [`team/app@sha256=${SHA256.toUpperCase()}`, /is not a digest: expected sha256=.*lower-case/],
  [`team/app@sha256=${SHA256.slice(1)}`, /is not a digest/],
  [`team/app@SHA256=${SHA256}`, /is not a digest/],
  [`team/app@sha512=${SHA256}`, /is not a digest/],
  [`team/app@sha256:${SHA256}`, /colon before the digits/],
  [`my team/app@sha256=${SHA256}`, /"my team\/app" is not a repository path/],
  [`../app@sha256=${SHA256}`, /"\.\.\/app" is not a repository path/],
  [`.hidden/sha256=${SHA256}`, /"\.hidden" is not a repository path/],
  [`@sha256=${SHA256}`, /"" is not a repository path/],
  [`${'c/'.repeat(1900)}sha256=${SHA256}`, /has 3799 bytes, and registries take 255/],
  [`team/${'n'.repeat(200)}@sha256=${SHA256}`, /name of 272 bytes, and file systems take 255/],
  [`team/\u001b[31m@sha256=${SHA256}`, /"team\/\\u001b\[31m" is not a repository path/],
];
describe('a folder whose name is nearly an image’s', () => {
  for (const [folder, sentence] of MISNAMED) {
    it(`is told what is wrong with ${JSON.stringify(folder.replaceAll(HEX.slice(3, 63), '…'))}`, () => {
      const meaning = folderMeaning(SITE, folder);
      assert.equal(meaning.kind, 'no-image-name');
      assert.match(meaning.kind === 'no-image-name' ? meaning.message : '', sentence);
    });
  }
});

test('an image’s folder is the image of its path, and its name alone tells the digest', () => {
  fc.assert(
    fc.property(imageId, (image) => {
      const folder = imageFolder(image);
      assert.deepEqual(folderMeaning(SITE, folder), { kind: 'image', image });
      const name = folder.slice(folder.lastIndexOf('/') + 1);
      assert.ok(looksLikeImageFolder(name));
      const { algorithm, hex } = image;
      assert.deepEqual(digestOfFolderName(SITE, name), { algorithm, hex });
    }),
  );
});

const hostileName = fc.oneof(
  component,
  fc.string({ unit: 'binary', maxLength: 255 }),
  fc.constantFrom(
    '..',
    '.',
    '.lookaside',
    `app@sha256=${SHA256}`,
    `sha256=${SHA256}`,
    'a@b',
    '\ufffd',
    'a\nb',
  ),
);

test('whatever folders are called, what is taken for an image stays below the root and is found again by its path', () => {
  fc.assert(
    fc.property(fc.array(hostileName, { minLength: 1, maxLength: 6 }), (names) => {
      const relative = names.join('/');
      const meaning = folderMeaning(SITE, relative);
      if (meaning.kind !== 'image') return;
      assert.equal(imageFolder(meaning.image), relative);
      assert.ok(relative.split('/').every((name) => /^[A-Za-z0-9_]/.test(name)));
    }),
    { numRuns: 300 },
  );
});

test('no name is too odd to be judged', () => {
  fc.assert(
    fc.property(hostileName, (name) => {
      parseStagedName(name);
      isDirImagePart(name);
      digestOfFolderName(SITE, name);
      const meaning = folderMeaning(SITE, name);
      if (meaning.kind === 'no-image-name') assert.equal(escapeTerminal(meaning.message), meaning.message);
    }),
    { numRuns: 300 },
  );
});

test('a dir: image has its manifest, its version, its blobs and the manifests of a list', () => {
  const parts = ['manifest.json', 'version', SHA256, `sha512-${SHA512}`, `${SHA256}.manifest.json`];
  assert.deepEqual(
    parts.map(isDirImagePart),
    parts.map(() => true),
  );
  assert.ok(!['index.json', 'signature-1', SHA256.slice(1), `${SHA256}.txt`].some(isDirImagePart));
});

test('folders come in natural order, each before those in it', () => {
  const paths = ['app-10', 'app-2/x', 'app-2', 'app-2.1', '', 'app'];
  const sorted = paths.toSorted((a, b) => (pathKey(a) < pathKey(b) ? -1 : 1));
  assert.deepEqual(sorted, ['', 'app', 'app-2', 'app-2/x', 'app-2.1', 'app-10']);
});
