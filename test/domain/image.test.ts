import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  imageFolder,
  imageKey,
  imageName,
  isNamespaceFolder,
  knownImageKey,
  parseDigest,
  parseImageFolder,
  parseImageName,
  parseLongImageFolder,
  whyTooLong,
} from '../../src/domain/image.ts';
import { HEX, imageId, SITE } from './generators.ts';

const D = `sha256=${HEX.slice(0, 64)}`;

describe('the key of an image', () => {
  test('stays with the object alone: copies, comparisons and messages do not have it', () => {
    const image = Object.freeze({
      site: SITE,
      layout: 'repository',
      path: 'team/app',
      algorithm: 'sha256',
      hex: HEX.slice(0, 64),
    } as const);
    const other = { ...image };
    assert.equal(knownImageKey(image), undefined);
    const key = imageKey(image);
    assert.equal(imageKey(image), key);
    assert.equal(knownImageKey(image), key);
    const copy = { ...image, path: 'team/other' };
    assert.deepEqual(
      [copy, structuredClone(image)].map((one) => knownImageKey(one)),
      [undefined, undefined],
    );
    assert.equal(imageKey(copy), imageKey({ ...other, path: 'team/other' }));
    assert.deepEqual(Reflect.ownKeys(image), Reflect.ownKeys(other));
    assert.deepEqual(image, other);
  });
});

describe('an image and its folder', () => {
  test('a folder of the usual form is read as the grammar says, character by character', () => {
    const grammar =
      /^([A-Za-z0-9_][A-Za-z0-9._~+-]*(?:\/[A-Za-z0-9_][A-Za-z0-9._~+-]*)*)@sha256=([0-9a-f]{64})$/;
    const character = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
    const piece = fc.constantFrom('a', 'Z', '0', '_', '.', '-', '~', '+', '/', '@', 'team', '\u212a');
    const folder = fc
      .array(fc.oneof(piece, character), { maxLength: 8 })
      .map((path) => `${path.join('')}@${D}`);
    // any one character in the place of another, which are the digest's most of all
    const changed = fc.tuple(folder, fc.nat(), character).map(([text, at, put]) => {
      const place = at % text.length;
      return `${text.slice(0, place)}${put}${text.slice(place + 1)}`;
    });
    const usual = fc.tuple(fc.constant(`team/app@${D}`), fc.nat(80), character).map(([text, at, put]) => {
      return `${text.slice(0, at)}${put}${text.slice(at + 1)}`;
    });
    fc.assert(
      fc.property(fc.oneof(folder, changed, usual), (text) => {
        const [, path, hex] = grammar.exec(text) ?? [];
        const image = parseLongImageFolder(SITE, text);
        if (path === undefined) assert.notEqual(image?.layout, 'repository');
        else assert.deepEqual(image, { site: SITE, layout: 'repository', path, algorithm: 'sha256', hex });
      }),
      { numRuns: 2000 },
    );
  });

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

describe('the length of a path', () => {
  const LONGEST = `${'c/'.repeat(127)}c`;
  const DIGESTS = [D, `sha384=${HEX.slice(0, 96)}`, `sha512=${HEX}`];

  test('is 255 bytes at most, in 128 names or few, and longer ones are told from other names that do not do', () => {
    for (const path of [LONGEST, `${'c'.repeat(127)}/${'d'.repeat(119)}/eeeeeee`]) {
      assert.equal(path.length, 255);
      for (const end of DIGESTS.flatMap((digest) => [`@${digest}`, `/${digest}`])) {
        const folder = path + end;
        assert.equal(parseImageFolder(SITE, folder)?.path, path);
        assert.equal(whyTooLong(folder), null);
        assert.equal(parseImageFolder(SITE, `c${folder}`), null);
        assert.equal(parseLongImageFolder(SITE, `c${folder}`)?.path, `c${path}`);
        assert.match(whyTooLong(`c${folder}`) ?? '', /^the path "c.* has 256 bytes, and registries take 255/);
      }
      assert.ok(isNamespaceFolder(path));
      assert.ok(!isNamespaceFolder(`c${path}`));
      assert.match(whyTooLong(`c${path}`) ?? '', /has 256 bytes/);
      assert.equal(parseImageName(SITE, `${path}@sha256:${HEX.slice(0, 64)}`)?.path, path);
      assert.equal(parseImageName(SITE, `c${path}@sha256:${HEX.slice(0, 64)}`), null);
    }
  });

  test('is one thing, that of each name on disk another: with the digest 255 bytes too', () => {
    for (const digest of DIGESTS) {
      const name = `${'n'.repeat(255 - digest.length - 1)}@${digest}`;
      assert.equal(parseImageFolder(SITE, `team/${name}`)?.layout, 'repository');
      assert.equal(whyTooLong(name), null);
      assert.equal(parseImageFolder(SITE, `team/n${name}`), null);
      assert.match(
        whyTooLong(`team/n${name}`) ?? '',
        /^the folder "nn.* would have a name of 256 bytes, and file systems take 255/,
      );
    }
    assert.equal(parseImageFolder(SITE, `${'n'.repeat(255)}/${D}`)?.layout, 'release');
  });

  test('is no matter of what has no such form', () => {
    for (const folder of [
      '',
      '.'.repeat(300),
      `${'c/'.repeat(1900)}/c`,
      `${'c/'.repeat(1900)}@${D}`,
      'x'.repeat(255),
    ])
      assert.equal(whyTooLong(folder), null);
  });
});

describe('an image by its name', () => {
  test('the name of any image parses to the same image', () => {
    fc.assert(
      fc.property(imageId, (image) => {
        assert.deepEqual(parseImageName(SITE, imageName(image)), image);
      }),
    );
  });

  const HEX256 = HEX.slice(0, 64);
  const NAMES: readonly (readonly [name: string, path: string | null])[] = [
    [`team/app@sha256:${HEX256}`, 'team/app'],
    [`app@sha512:${HEX}`, 'app'],
    [`sha256:${HEX256}`, ''],
    [`openshift/release/sha256:${HEX256}`, 'openshift/release'],
    [`team/app@${D}`, null],
    [D, null],
    [`team/app@sha256:${HEX256}:x`, null],
    [`registry.example:5000/team/app@sha256:${HEX256}`, null],
    [`/team/app@sha256:${HEX256}`, null],
    [`team/../app@sha256:${HEX256}`, null],
    [`team/app:v1@sha256:${HEX256}`, null],
    [`team/app@sha256:${HEX256.toUpperCase()}`, null],
    [`team/app@sha256:${HEX256}\n`, null],
    ['team/app', null],
    ['', null],
  ];
  for (const [name, path] of NAMES) {
    test(`${JSON.stringify(name)} is the name of ${path === null ? 'no image' : 'an image'}`, () => {
      assert.equal(parseImageName(SITE, name)?.path ?? null, path);
    });
  }
});

describe('a manifest digest', () => {
  test('has 64, 96 or 128 lower-case hex digits, as its algorithm says', () => {
    for (const [algorithm, length] of Object.entries({ sha256: 64, sha384: 96, sha512: 128 })) {
      const hex = HEX.slice(0, length);
      assert.deepEqual(parseDigest(`${algorithm}:${hex}`), { algorithm, hex });
      for (const wrong of [hex.slice(1), `${hex}0`, hex.toUpperCase(), `${hex.slice(1)}g`, `${hex}\n`, ''])
        assert.equal(parseDigest(`${algorithm}:${wrong}`), null, wrong);
    }
  });

  test('with another algorithm or form is refused', () => {
    const hex = HEX.slice(0, 64);
    for (const text of [
      hex,
      D,
      `sha1:${HEX.slice(0, 40)}`,
      `SHA256:${hex}`,
      ` sha256:${hex}`,
      `sha256:${hex}:`,
      '',
    ])
      assert.equal(parseDigest(text), null, text);
  });
});
