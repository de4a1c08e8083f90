// registries.conf: which registries are asked for an image, and under which names.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parse } from 'smol-toml';
import {
  findSection,
  isShortName,
  mergeRegistriesConf,
  pullSources,
  RegistriesConfFault,
  resolveShortName,
} from '../../src/domain/policy/registries-conf.ts';
import { formatReference, parseReference } from '../../src/domain/reference.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

const read = (...texts: readonly string[]) =>
  mergeRegistriesConf(
    texts.map((text, index) => ({ path: `${index}.conf`, value: parse(text), isDropIn: index > 0 })),
    { takesVersion1: true },
  );

function sourcesOf(text: string, name: string): readonly string[] {
  const image = parseReference(name);
  assert.ok(image !== null);
  return pullSources(findSection(read(text), image), image).map((source) => formatReference(source.image));
}

describe('registries.conf', () => {
  const MANY = `
    [[registry]]
    prefix = "example.com/foo"
    location = "inside.example/bar"
    [[registry.mirror]]
    location = "one.example/mirror"
    [[registry.mirror]]
    location = "two.example"
    insecure = true
    pull-from-mirror = "digest-only"
    [[registry.mirror]]
    location = "three.example"
    pull-from-mirror = "tag-only"
    [[registry]]
    location = "example.com"
    [[registry]]
    prefix = "*.wild.example"
    [[registry]]
    prefix = "digests.example"
    location = "digests.example"
    mirror-by-digest-only = true
    [[registry.mirror]]
    location = "mirror.example"`;

  for (const [name, sources] of [
    [
      'example.com/foo/app:v1',
      ['one.example/mirror/app:v1', 'three.example/app:v1', 'inside.example/bar/app:v1'],
    ],
    [
      `example.com/foo/app@${DIGEST}`,
      [`one.example/mirror/app@${DIGEST}`, `two.example/app@${DIGEST}`, `inside.example/bar/app@${DIGEST}`],
    ],
    ['example.com/food/app:v1', ['example.com/food/app:v1']],
    ['a.b.wild.example/app:v1', ['a.b.wild.example/app:v1']],
    ['other.example/app:v1', ['other.example/app:v1']],
    ['digests.example/app:v1', ['digests.example/app:v1']],
    [`digests.example/app@${DIGEST}`, [`mirror.example/app@${DIGEST}`, `digests.example/app@${DIGEST}`]],
  ] as const) {
    test(`${name} is asked for at ${sources.join(', ')}`, () => {
      assert.deepEqual(sourcesOf(MANY, name), sources);
    });
  }

  test('a later file replaces the section of the same prefix, and the first of one file counts', () => {
    const conf = read(
      '[[registry]]\nlocation="a.example"\n[[registry]]\nprefix="a.example"\nlocation="second.example"',
      '[[registry]]\nprefix="a.example"\nlocation="b.example"\nblocked=true',
    );
    assert.equal(conf.sections.length, 1);
    assert.equal(conf.sections[0]?.location, 'b.example');
    assert.equal(conf.sections[0]?.isBlocked, true);
    assert.equal(conf.sections[0]?.file, '1.conf');
  });

  test('a section of version 1 is read, and only in the first file', () => {
    const text =
      "[registries.search]\nregistries=['a.example']\n[registries.insecure]\nregistries=['b.example']";
    const conf = read(text);
    assert.deepEqual(conf.search?.hosts, ['a.example']);
    assert.equal(conf.sections[0]?.isInsecure, true);
    assert.throws(() => read('', text), RegistriesConfFault);
  });

  for (const [what, text] of [
    ['a scheme', '[[registry]]\nlocation="https://a.example"'],
    ['no location', '[[registry]]\nprefix="a.example"'],
    ['neither', '[[registry]]\ninsecure=true'],
    ['a number', '[[registry]]\nlocation=5'],
    ['a flag in quotes', '[[registry]]\nlocation="a.example"\ninsecure="true"'],
    ['a wildcard with a path', '[[registry]]\nprefix="*.a.example/x"\nlocation="b"'],
    ['a mirror without location', '[[registry]]\nlocation="a.example"\n[[registry.mirror]]\ninsecure=true'],
    ['an unknown mode', 'short-name-mode="sometimes"'],
    ['an alias without host', '[aliases]\n"app"="team/app"'],
    ['an alias with a tag', '[aliases]\n"app"="a.example/app:v1"'],
    ['pull-from-mirror at the registry', '[[registry]]\nlocation="a.example"\npull-from-mirror="all"'],
    ['a search host with a path', 'unqualified-search-registries=["a.example/x"]'],
    ['registry that is no list', '[registry]\nlocation="a.example"'],
  ] as const) {
    test(`is refused for ${what}`, () => {
      assert.throws(() => read(text), RegistriesConfFault);
    });
  }

  test('a mirror that makes no name ends the pull, whichever would have answered', () => {
    const text = '[[registry]]\nlocation="a.example"\n[[registry.mirror]]\nlocation="Not A Name"';
    assert.throws(() => sourcesOf(text, 'a.example/app:v1'), RegistriesConfFault);
  });

  test('a short name is resolved by what podman recorded, by aliases, then by the hosts to search', () => {
    const conf = read(
      'unqualified-search-registries=["a.example","b.example"]\n[aliases]\n"app"="c.example/app"\n"gone"="c.example/gone"',
      '[aliases]\n"gone"=""',
    );
    const recorded = read('[aliases]\n"mine"="d.example/mine"').aliases;
    const images = (name: string) => {
      const resolved = resolveShortName(conf, recorded, name);
      return typeof resolved === 'string' ? resolved : resolved.images;
    };
    assert.deepEqual(images('app:v1'), ['c.example/app:v1']);
    assert.deepEqual(images('mine'), ['d.example/mine']);
    assert.deepEqual(images('gone'), ['a.example/gone', 'b.example/gone']);
    assert.deepEqual(images(`team/app@${DIGEST}`), [
      `a.example/team/app@${DIGEST}`,
      `b.example/team/app@${DIGEST}`,
    ]);
    const strict = read(
      'short-name-mode="enforcing"\nunqualified-search-registries=["a.example","b.example"]',
    );
    assert.equal(resolveShortName(strict, recorded, 'app'), 'ambiguous');
    assert.equal(resolveShortName(read(''), new Map(), 'app'), 'no-host');
  });

  test('a name with a host is not short', () => {
    for (const name of ['a.example/app', 'localhost/app', 'host:5000/app'])
      assert.equal(isShortName(name), false);
    for (const name of ['app', 'app:v1', 'team/app', `app@${DIGEST}`]) assert.equal(isShortName(name), true);
  });
});
