import assert from 'node:assert/strict';
import { posix } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import {
  createTargetParser,
  parseSignatureName,
  parseTarget,
  type Target,
} from '../../src/domain/lookaside-path.ts';
import { RESERVED_SEGMENTS } from '../../src/domain/reserved-segments.ts';
import { HEX, imageId, SITE } from './generators.ts';

const D = `sha256=${HEX.slice(0, 64)}`;
const NOTHING: Target = { kind: 'nothing' };
const KINDS = ['signature', 'image-page', 'image', 'folder-page', 'own', 'nothing'];

const prefixes = fc.constantFrom('', '/sig', '/content/sigstore');

/** Any text at all, and texts made of the pieces that mean something in a target. */
const anyTarget = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc
    .array(
      fc.oneof(
        fc.constantFrom(
          '/',
          '//',
          '.',
          '..',
          '%2e',
          '%2F',
          '%2f',
          '%',
          '%00',
          '%C0%AE',
          '%E4',
          '\\',
          '?',
          '#',
        ),
        fc.constantFrom(
          '\0',
          '\n',
          '\u202e',
          ' ',
          ';',
          '@',
          '%40',
          '=',
          '%3d',
          D,
          D.toUpperCase(),
          'v2',
          'livez',
        ),
        fc.constantFrom(
          'signature-1',
          'signature-0',
          'signature-',
          'team',
          'app',
          'http://host',
          '.lookaside',
        ),
        fc.string({ unit: 'binary', maxLength: 4 }),
      ),
      { maxLength: 14 },
    )
    .map((pieces) => `/${pieces.join('')}`),
  fc.string({ maxLength: 3 }).map((text) => `/${text}`.repeat(9000)),
);

describe('what a target names', () => {
  test('any text has an answer', () => {
    fc.assert(
      fc.property(prefixes, anyTarget, (prefix, target) => {
        assert.ok(KINDS.includes(parseTarget(SITE, prefix, target).kind));
      }),
      { numRuns: 2000 },
    );
  });

  test('a signature is found however its address is written', () => {
    const spelling = fc.record({
      prefix: prefixes,
      image: imageId,
      number: fc.integer({ min: 1, max: 999_999_999 }),
      choices: fc.infiniteStream(fc.nat({ max: 11 })),
      query: fc.constantFrom('', '?', '?token=s3cr%20et&x=1', '?x=/../%2F', '?%zz'),
      authority: fc.constantFrom('', 'http://lookaside.example', 'HTTPS://[::1]:8000'),
    });
    fc.assert(
      fc.property(spelling, ({ prefix, image, number, choices, query, authority }) => {
        const path = `${prefix}/${imageFolder(image)}/signature-${number}`;
        const written = [...path].map((character) => spell(character, choices.next().value)).join('');
        const target = parseTarget(SITE, prefix, `${authority}${written}${query}`);
        assert.deepEqual(target, { kind: 'signature', image, number });
      }),
    );
  });

  test('an image is found under its folder: its page with a slash at the end, the place to upload to without', () => {
    fc.assert(
      fc.property(prefixes, imageId, fc.constantFrom('', '/'), (prefix, image, end) => {
        const path = `/${imageFolder(image)}${end}`;
        const isReserved = RESERVED_SEGMENTS.has(imageFolder(image).split('/', 1)[0] ?? '');
        const kind = end === '/' ? 'image-page' : 'image';
        assert.deepEqual(
          parseTarget(SITE, prefix, prefix + path),
          isReserved ? { kind: 'own', path, image } : { kind, image },
        );
      }),
    );
  });

  test('nothing that is named lies outside the tree or in a hidden folder', () => {
    const root = '/srv/sigstore';
    fc.assert(
      fc.property(prefixes, anyTarget, (prefix, text) => {
        const target = parseTarget(SITE, prefix, text);
        const folder = folderOf(target);
        if (folder === null || folder === '') return;
        const path = `${root}/${folder}`;
        assert.equal(posix.normalize(path), path);
        assert.ok(posix.join(root, folder).startsWith(`${root}/`));
        for (const component of folder.split('/')) assert.match(component, /^[^.\0]/);
      }),
      { numRuns: 5000 },
    );
  });

  test('an encoded slash anywhere in the path names nothing', () => {
    const target = fc.oneof(
      anyTarget.map((text) => text.replace(/[?#].*$/s, '')),
      imageId.map((image) => `/${imageFolder(image)}/signature-1`),
    );
    const slash = fc.constantFrom('%2F', '%2f');
    fc.assert(
      fc.property(target, fc.nat(), slash, (text, at, encoded) => {
        const position = at % (text.length + 1);
        // cut inside an escape, the text would say something else
        fc.pre(!/%.?$/.test(text.slice(0, position)) && !text.slice(0, position).includes('?'));
        const spoilt = text.slice(0, position) + encoded + text.slice(position);
        fc.pre(!spoilt.split('?', 1)[0]?.startsWith('http'));
        assert.deepEqual(parseTarget(SITE, '', spoilt), NOTHING);
      }),
      { numRuns: 1000 },
    );
  });

  test('equal resources have equal answers: what was decoded once is not decoded again', () => {
    for (const twice of ['%2540', '%253D', '%252e%252e', '%25', '%252F'])
      assert.deepEqual(parseTarget(SITE, '', `/team/app${twice}${D}/signature-1`), NOTHING);
  });
});

describe('names of signatures', () => {
  const NUMBERS: readonly (readonly [name: string, number: number | null])[] = [
    ['signature-1', 1],
    ['signature-2', 2],
    ['signature-9', 9],
    ['signature-10', 10],
    ['signature-128', 128],
    ['signature-999999999', 999_999_999],
    ['signature-1000000000', null],
    ['signature-99999999999999999999999', null],
    ['signature-0', null],
    ['signature-00', null],
    ['signature-01', null],
    ['signature--1', null],
    ['signature-+1', null],
    ['signature-1.0', null],
    ['signature-1e0', null],
    ['signature-0x1', null],
    ['signature-1 ', null],
    ['signature- 1', null],
    ['signature-1\n', null],
    ['signature-१', null],
    ['signature-１', null],
    ['signature-', null],
    ['signature', null],
    ['Signature-1', null],
    ['signature-1.tmp', null],
    ['signature-1~', null],
    ['.signature-1', null],
    ['xsignature-1', null],
    ['index.json', null],
    ['', null],
  ];
  for (const [name, number] of NUMBERS) {
    test(`${JSON.stringify(name)} has ${number === null ? 'no number' : `the number ${number}`}`, () => {
      assert.equal(parseSignatureName(name), number);
      if (name === '') return;
      const target = parseTarget(SITE, '', `/app@${D}/${encodeURIComponent(name)}`);
      assert.equal(target.kind, 'signature');
      assert.equal(target.kind === 'signature' ? target.number : undefined, number);
    });
  }
});

describe('the forms of a target', () => {
  const image: ImageId = {
    site: SITE,
    layout: 'repository',
    path: 'team/app',
    algorithm: 'sha256',
    hex: HEX.slice(0, 64),
  };
  const release: ImageId = { ...image, layout: 'release', path: '' };
  const signature = (of: ImageId): Target => ({ kind: 'signature', image: of, number: 1 });
  const own = (path: string, of: ImageId | null = null): Target => ({ kind: 'own', path, image: of });
  const folder = (path: string): Target => ({ kind: 'folder-page', folder: path });

  const TARGETS: readonly (readonly [prefix: string, target: string, wanted: Target])[] = [
    ['', `/team/app@${D}/signature-1`, signature(image)],
    ['', `//team/app@${D}/signature-1`, signature(image)],
    ['', `/${D}/signature-1`, signature(release)],
    ['', `/openshift/release/${D}/signature-1`, signature({ ...release, path: 'openshift/release' })],
    ['', `/a/b/c/${D}/signature-1`, signature({ ...release, path: 'a/b/c' })],
    ['', `/team/app@${D}/`, { kind: 'image-page', image }],
    ['', `/${D}/`, { kind: 'image-page', image: release }],
    ['', `/team/app@${D}`, { kind: 'image', image }],
    ['', `//team//app%40${D}?force=1`, { kind: 'image', image }],
    ['', `/${D}`, { kind: 'image', image: release }],
    ['', `/openshift/release/${D}`, { kind: 'image', image: { ...release, path: 'openshift/release' } }],
    ['', `/team/app@${D}0`, NOTHING],
    ['', `/team/app@${D.toUpperCase()}`, NOTHING],
    ['', `/team/app:${D}`, NOTHING],
    ['', `/.lookaside/app@${D}`, NOTHING],
    ['', `/team/app@${D}//`, { kind: 'image-page', image }],
    ['', `/team/app@${D}/signature-1/`, NOTHING],
    ['', `/team/app@${D}/signature-1/x`, NOTHING],
    ['', '/', folder('')],
    ['', '///', folder('')],
    ['', '/?after=x', folder('')],
    ['', '/team/', folder('team')],
    ['', '/team//sub//', folder('team/sub')],
    ['', '/team', NOTHING],
    ['', '/.hidden/', NOTHING],
    ['', '/team/.hidden/', NOTHING],
    ['', '/../', NOTHING],
    ['', '/team/../', NOTHING],
    ['', '/%2e%2e/', NOTHING],
    ['', '/./', NOTHING],
    ['', '/te am/', NOTHING],
    ['', '', NOTHING],
    ['', '*', NOTHING],
    ['', 'team/', NOTHING],
    ['', '?', NOTHING],
    ['', 'host:443', NOTHING],
    ['', 'http://host', folder('')],
    ['', 'http://host/', folder('')],
    ['', 'http://host?x', folder('')],
    ['', `http://host//team/app@${D}/signature-1`, signature(image)],
    ['', 'ftp://host/team/', NOTHING],
    ['', 'http:///team/', NOTHING],
    ['', '/livez', own('/livez')],
    ['', '//livez', own('/livez')],
    ['', '/live%7a', own('/livez')],
    ['', '/livez?x=1', own('/livez')],
    ['', '/livezx', NOTHING],
    ['', '/LIVEZ', NOTHING],
    ['/sig', `/sig/team/app@${D}/signature-1`, signature(image)],
    ['/sig', `/sig/team/app@${D}`, { kind: 'image', image }],
    ['/sig', `/team/app@${D}`, NOTHING],
    ['/sig', `/sig//team/app@${D}/signature-1`, signature(image)],
    ['/sig', `//sig/team/app@${D}/signature-1`, signature(image)],
    ['/sig', `/%73ig/team/app@${D}/signature-1`, signature(image)],
    ['/sig', `http://host/sig/team/app@${D}/signature-1`, signature(image)],
    ['/sig', `/sigx/team/app@${D}/signature-1`, NOTHING],
    ['/sig', `/team/app@${D}/signature-1`, NOTHING],
    ['/sig', `/SIG/team/app@${D}/signature-1`, NOTHING],
    ['/sig', `/sig/sig/team/app@${D}/signature-1`, signature({ ...image, path: 'sig/team/app' })],
    ['/sig', '/sig', NOTHING],
    ['/sig', '/sig/', folder('')],
    ['/sig', '/sig?x', NOTHING],
    ['/sig', '/sig/livez', own('/livez')],
    ['/sig', '/livez', NOTHING],
    ['/sig', '/', NOTHING],
    ['/a/b', '/a/b/team/', folder('team')],
    ['/a/b', '/a/team/', NOTHING],
  ];
  for (const [prefix, target, wanted] of TARGETS) {
    const below = prefix === '' ? '' : ` below ${prefix}`;
    test(`${JSON.stringify(target.replace(D, '<digest>'))}${below} names ${describeTarget(wanted)}`, () => {
      assert.deepEqual(parseTarget(SITE, prefix, target), wanted);
    });
  }

  describe('with several sites', () => {
    const sites = ['', '/rh', '/rh/beta', '/rhel'].map((prefix) => ({ name: `at${prefix}`, prefix }));
    const APP_1 = `app@${D}/signature-1`;
    const PLACES: readonly (readonly [target: string, site: string | null, path: string | null])[] = [
      [`/${APP_1}`, 'at', 'app'],
      [`/rh/${APP_1}`, 'at/rh', 'app'],
      [`/rh/beta/${APP_1}`, 'at/rh/beta', 'app'],
      [`/rh/betas/${APP_1}`, 'at/rh', 'betas/app'],
      [`/rhel/${APP_1}`, 'at/rhel', 'app'],
      [`/rhe/${APP_1}`, 'at', 'rhe/app'],
      [`//rh///beta/${APP_1}`, 'at/rh/beta', 'app'],
      [`/%72h/beta/${APP_1}`, 'at/rh/beta', 'app'],
      [`/RH/${APP_1}`, 'at', 'RH/app'],
      [`/rh@${D}/signature-1`, 'at', 'rh'],
      [`/rh%2Fbeta/${APP_1}`, null, null],
      [`/rh/keys/${APP_1}`, 'at/rh', 'keys/app'],
      ['/rh/', 'at/rh', ''],
      ['/rh', 'at', null],
      ['/rh/keys/', 'at/rh', 'keys'],
      ['/rh/livez', 'at/rh', null],
    ];
    for (const server of ['', '/sig']) {
      test(`the longest prefix names the site, and what is below it is its own${server && ` (${server})`}`, () => {
        const parse = createTargetParser(sites, server);
        for (const [target, name, path] of PLACES) {
          const { site, target: parsed } = parse(server + target);
          assert.equal(site?.name ?? null, name, target);
          if (parsed.kind === 'folder-page') assert.equal(parsed.folder, path, target);
          else if (parsed.kind === 'signature')
            assert.deepEqual([parsed.image.site, parsed.image.path], [name, path]);
          else assert.deepEqual([parsed, path], [NOTHING, null], target);
        }
        assert.deepEqual(parse(`${server}/livez`).target, own('/livez'));
        if (server !== '') assert.equal(parse(`/rh/${APP_1}`).site, null);
      });
    }
  });

  test("every one of the server's own segments is its own, alone and with more behind it", () => {
    for (const segment of RESERVED_SEGMENTS) {
      for (const path of [`/${segment}`, `/${segment}/`, `/${segment}/a/b`])
        assert.deepEqual(parseTarget(SITE, '', path), own(path));
      assert.deepEqual(
        parseTarget(SITE, '', `/x/${segment}/`).kind,
        segment.startsWith('.') ? 'nothing' : 'folder-page',
      );
    }
  });

  test("a signature is served even where its repository is named like one of the server's own segments", () => {
    for (const segment of RESERVED_SEGMENTS) {
      if (segment.startsWith('.')) continue;
      for (const path of [segment, `${segment}/app`])
        assert.deepEqual(parseTarget(SITE, '', `/${path}@${D}/signature-1`), signature({ ...image, path }));
      assert.deepEqual(
        parseTarget(SITE, '', `/${segment}/${D}/signature-1`),
        signature({ ...release, path: segment }),
      );
    }
  });

  test("an image there is one of the server's own routes, which knows the image", () => {
    for (const segment of RESERVED_SEGMENTS) {
      if (segment.startsWith('.')) continue;
      for (const end of ['', '/']) {
        assert.deepEqual(
          parseTarget(SITE, '', `/${segment}/app@${D}${end}`),
          own(`/${segment}/app@${D}${end}`, { ...image, path: `${segment}/app` }),
        );
        assert.deepEqual(
          parseTarget(SITE, '', `/${segment}/${D}${end}`),
          own(`/${segment}/${D}${end}`, { ...release, path: segment }),
        );
      }
    }
  });

  test('a target of 8 KiB is looked at, a longer one names nothing', () => {
    const longest = `/app@${D}/signature-1?`.padEnd(8 * 1024, 'x');
    assert.equal(parseTarget(SITE, '', longest).kind, 'signature');
    assert.deepEqual(parseTarget(SITE, '', `${longest}x`), NOTHING);
  });

  test('a path that is too long names nothing, and is told from what never was a path', () => {
    const path = 'c/'.repeat(127);
    for (const end of [`c@${D}`, `c/${D}`]) {
      for (const below of ['', '/', '/signature-1', '/x']) {
        for (const first of ['c', 'api/v', 'livez/']) {
          const parsed = parseTarget(SITE, '', `/${first}${path}${end}${below}`);
          assert.match(
            (parsed.kind === 'nothing' && parsed.tooLong) || '',
            /^the path .* has 2[56][0-9] bytes/,
          );
        }
        assert.notEqual(parseTarget(SITE, '', `/${path}${end}${below}`).kind, 'nothing');
      }
    }
    const name = parseTarget(SITE, '/sig', `/sig/team/${'n'.repeat(184)}@${D}/signature-1`);
    assert.match((name.kind === 'nothing' && name.tooLong) || '', /a name of 256 bytes/);
    for (const target of [`/${path}c/c/`, `/${path}/../c@${D}/signature-1`, `/${path}c@${D}0/signature-1`])
      assert.deepEqual(parseTarget(SITE, '', target), NOTHING);
    assert.deepEqual(parseTarget(SITE, '', `/${path}c/`), folder(`${path}c`));
  });
});

/** The character as it may stand in a target: as it is, doubled if a slash, or as an escape in either case. */
function spell(character: string, choice: number): string {
  if (character === '/') return choice === 0 ? '//' : '/';
  if (choice > 2) return character;
  const escaped = `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  return choice === 0 ? escaped.toUpperCase() : escaped;
}

function folderOf(target: Target): string | null {
  switch (target.kind) {
    case 'signature':
    case 'image-page':
    case 'image':
      return imageFolder(target.image);
    case 'folder-page':
      return target.folder;
    case 'own':
      return target.image === null ? null : imageFolder(target.image);
    case 'nothing':
      return null;
  }
}

function describeTarget(target: Target): string {
  const folder = folderOf(target);
  const rest = folder === null ? '' : ` ${JSON.stringify(folder.replace(D, '<digest>'))}`;
  return `${target.kind === 'nothing' ? '' : 'the '}${target.kind}${rest}`;
}
