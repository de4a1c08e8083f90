import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { imageFolder, imageKey, isNamespaceFolder, parseImageFolder } from '../../src/domain/image.ts';
import { HEX, imageId, SITE } from './generators.ts';

const D = `sha256=${HEX.slice(0, 64)}`;

describe('an image and its folder', () => {
  test('the folder of any image parses to the same image', () => {
    fc.assert(
      fc.property(imageId, (image) => {
        assert.deepEqual(parseImageFolder(SITE, imageFolder(image)), image);
      }),
    );
  });

  test('a text that is the folder of an image is the folder of that image alone', () => {
    const text = fc.oneof(fc.string(), imageId.map(imageFolder), fc.stringMatching(/^[a-z./@=-]{0,20}$/));
    const folders = fc
      .tuple(text, fc.constantFrom('', '/', '@', `@${D}`, `/${D}`))
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(folders, (folder) => {
        const image = parseImageFolder(SITE, folder);
        assert.equal(image === null ? folder : imageFolder(image), folder);
      }),
    );
  });

  test('images of different sites, layouts, paths and digests have different keys', () => {
    fc.assert(
      fc.property(imageId, imageId, fc.constantFrom('default', 'mirror'), (one, other, site) => {
        const isSame = JSON.stringify(one) === JSON.stringify({ ...other, site });
        assert.equal(imageKey(one) === imageKey({ ...other, site }), isSame);
      }),
    );
  });

  const FOLDERS: readonly (readonly [
    folder: string,
    layout: 'repository' | 'release' | null,
    path?: string,
  ])[] = [
    [`team/app@${D}`, 'repository', 'team/app'],
    [`app@${D}`, 'repository', 'app'],
    [`a/b/c/d/e/f/g@${D}`, 'repository', 'a/b/c/d/e/f/g'],
    [`my__repo.x-y--z@${D}`, 'repository', 'my__repo.x-y--z'],
    [`~app@${D}`, null],
    [`Team/App~1+2@${D}`, 'repository', 'Team/App~1+2'],
    [`_/app@${D}`, 'repository', '_/app'],
    [`a..b@${D}`, 'repository', 'a..b'],
    [`a.@${D}`, 'repository', 'a.'],
    [D, 'release', ''],
    [`openshift/release/${D}`, 'release', 'openshift/release'],
    [`@${D}`, null],
    [`/${D}`, null],
    [`/app@${D}`, null],
    [`app/@${D}`, null],
    [`team//app@${D}`, null],
    [`app@@${D}`, null],
    [`app@x@${D}`, null],
    [`.app@${D}`, null],
    [`team/.app@${D}`, null],
    [`./app@${D}`, null],
    [`../app@${D}`, null],
    [`team/../app@${D}`, null],
    [`..@${D}`, null],
    [`-app@${D}`, null],
    [`äpp@${D}`, null],
    [`app @${D}`, null],
    [`app\\x@${D}`, null],
    [`app:5000/x@${D}`, null],
    [`app@${D}\n`, null],
    [`\napp@${D}`, null],
    [`app@${D}/`, null],
    [`${D}/${D}`, null],
    [`app@${D}/${D}`, null],
    ['app', null],
    ['', null],
    [`app@${D.replace('sha256', 'SHA256')}`, null],
    [`app@${D.toUpperCase()}`, null],
    [`app@${D.slice(0, -1)}`, null],
    [`app@${D}0`, null],
    [`app@${D.slice(0, -1)}g`, null],
    [`app@${D.replace('=', ':')}`, null],
    [`app@sha384=${HEX.slice(0, 96)}`, 'repository', 'app'],
    [`app@sha384=${HEX.slice(0, 64)}`, null],
    [`app@sha384=${HEX}`, null],
    [`app@sha512=${HEX}`, 'repository', 'app'],
    [`app@sha512=${HEX.slice(0, 64)}`, null],
    [`app@sha256=${HEX}`, null],
    [`app@sha1=${HEX.slice(0, 40)}`, null],
    [`app@md5=${HEX.slice(0, 32)}`, null],
    [`app@=${HEX.slice(0, 64)}`, null],
    ['app@sha256=', null],
  ];

  for (const [folder, layout, path] of FOLDERS) {
    const meaning = layout === null ? 'no image' : `an image in the ${layout} layout`;
    test(`${JSON.stringify(folder.replace(D, '<digest>'))} is the folder of ${meaning}`, () => {
      const image = parseImageFolder(SITE, folder);
      assert.equal(image?.layout ?? null, layout);
      assert.equal(image?.path, path);
    });
  }

  test('a folder above images has no empty, hidden or odd component', () => {
    for (const folder of ['team', 'a/b/c', 'A~1', '_', 'sha256', 'a..b'])
      assert.ok(isNamespaceFolder(folder), folder);
    for (const folder of [
      '',
      '/',
      '/a',
      'a/',
      'a//b',
      '.',
      '..',
      'a/..',
      '.lookaside',
      'a/.b',
      'a\n',
      'a@b',
      D,
    ])
      assert.ok(!isNamespaceFolder(folder), folder);
  });
});
