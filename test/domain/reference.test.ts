import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatReference, parseReference, whyReferenceTooLong } from '../../src/domain/reference.ts';
import { HEX } from './generators.ts';

const HEX256 = HEX.slice(0, 64);
const DIGEST = `sha256:${HEX256}`;

type Expected = readonly [domain: string, path: string, tag?: string | null, digest?: string | null];

const PARSED: readonly (readonly [text: string, expected: Expected])[] = [
  ['busybox', ['docker.io', 'library/busybox']],
  ['busybox:1.36', ['docker.io', 'library/busybox', '1.36']],
  [`busybox@${DIGEST}`, ['docker.io', 'library/busybox', null, DIGEST]],
  [`busybox:1.36@${DIGEST}`, ['docker.io', 'library/busybox', '1.36', DIGEST]],
  [DIGEST, ['docker.io', 'library/sha256', HEX256]],
  ['team/app', ['docker.io', 'team/app']],
  ['a/b/c', ['docker.io', 'a/b/c']],
  ['docker.io/busybox', ['docker.io', 'library/busybox']],
  ['docker.io/busybox:1', ['docker.io', 'library/busybox', '1']],
  [`docker.io/busybox@${DIGEST}`, ['docker.io', 'library/busybox', null, DIGEST]],
  ['docker.io/team/app', ['docker.io', 'team/app']],
  ['index.docker.io/busybox', ['docker.io', 'library/busybox']],
  ['index.docker.io/team/app', ['docker.io', 'team/app']],
  ['library/busybox', ['docker.io', 'library/busybox']],
  ['localhost', ['docker.io', 'library/localhost']],
  ['localhost/app', ['localhost', 'app']],
  ['localhost:5000/app', ['localhost:5000', 'app']],
  ['localhost:5000', ['docker.io', 'library/localhost', '5000']],
  ['registry.example', ['docker.io', 'library/registry.example']],
  ['registry.example/app', ['registry.example', 'app']],
  ['registry.example/team/app:v1', ['registry.example', 'team/app', 'v1']],
  ['registry.example:5000/team/app:v1', ['registry.example:5000', 'team/app', 'v1']],
  ['registry:5000/app', ['registry:5000', 'app']],
  ['registry/app', ['docker.io', 'registry/app']],
  ['REGISTRY/app', ['REGISTRY', 'app']],
  ['Registry.Example/app', ['Registry.Example', 'app']],
  ['127.0.0.1/app', ['127.0.0.1', 'app']],
  ['127.0.0.1:5000/app:x', ['127.0.0.1:5000', 'app', 'x']],
  ['[::1]/app', ['[::1]', 'app']],
  ['[::1]:5000/team/app:v1', ['[::1]:5000', 'team/app', 'v1']],
  ['[2001:DB8::1]/app', ['[2001:DB8::1]', 'app']],
  ['xn--n3h.example/app', ['xn--n3h.example', 'app']],
  ['a-b.example/app', ['a-b.example', 'app']],
  ['registry.example/a.b_c__d-e--f/x', ['registry.example', 'a.b_c__d-e--f/x']],
  ['registry.example/app:V1.0_x-Y', ['registry.example', 'app', 'V1.0_x-Y']],
  ['registry.example/app:_', ['registry.example', 'app', '_']],
  [`registry.example/app:${'t'.repeat(128)}`, ['registry.example', 'app', 't'.repeat(128)]],
  [`registry.example/app@sha512:${HEX}`, ['registry.example', 'app', null, `sha512:${HEX}`]],
  [
    `registry.example/app@sha384:${HEX.slice(0, 96)}`,
    ['registry.example', 'app', null, `sha384:${HEX.slice(0, 96)}`],
  ],
  [`registry.example/${HEX256}`, ['registry.example', HEX256]],
  [`${HEX256}:v1`, ['docker.io', `library/${HEX256}`, 'v1']],
  [HEX256.slice(1), ['docker.io', `library/${HEX256.slice(1)}`]],
  [`h.io/${'a'.repeat(250)}`, ['h.io', 'a'.repeat(250)]],
  [
    'quay.io/openshift-release-dev/ocp-release:4.14.0-x86_64',
    ['quay.io', 'openshift-release-dev/ocp-release', '4.14.0-x86_64'],
  ],
];

const REFUSED: readonly (readonly [title: string, text: string])[] = [
  ['an empty text', ''],
  ['an image ID', HEX256],
  ['a capital in the path', 'registry.example/Team/app'],
  ['a capital in a familiar name', 'Busybox'],
  ['a capital behind docker.io', 'docker.io/Busybox'],
  ['no path behind the domain', 'registry.example/'],
  ['no path behind docker.io', 'docker.io/'],
  ['no domain before the slash', '/app'],
  ['a slash at the end', 'registry.example/app/'],
  ['two slashes', 'registry.example//app'],
  ['a scheme', 'https://registry.example/app'],
  ['a transport', 'docker://registry.example/app'],
  ['an empty tag', 'registry.example/app:'],
  ['a tag that begins with a dash', 'registry.example/app:-x'],
  ['a tag that begins with a dot', 'registry.example/app:.x'],
  ['a tag of 129 characters', `registry.example/app:${'t'.repeat(129)}`],
  ['two tags', 'registry.example/app:a:b'],
  ['a tag before the path', 'registry.example/app:a/b'],
  ['a tag behind the digest', `registry.example/app@${DIGEST}:v1`],
  ['an empty digest', 'registry.example/app@'],
  ['two digests', `registry.example/app@${DIGEST}@${DIGEST}`],
  ['a digest in upper case', `registry.example/app@sha256:${HEX256.toUpperCase()}`],
  ['an algorithm in upper case', `registry.example/app@SHA256:${HEX256}`],
  ['a short digest', `registry.example/app@${DIGEST.slice(0, -1)}`],
  ['a long digest', `registry.example/app@${DIGEST}0`],
  ['an unknown algorithm', `registry.example/app@md5:${HEX.slice(0, 32)}`],
  ['a digest without algorithm', `registry.example/app@${HEX256}`],
  ['a digest in the form of a path', `registry.example/app@sha256=${HEX256}`],
  ['a dot at the front of a component', 'registry.example/.app'],
  ['a dot at the end of a component', 'registry.example/app.'],
  ['two dots', 'registry.example/a..b'],
  ['a parent folder', 'registry.example/../app'],
  ['three underscores', 'registry.example/a___b'],
  ['a mix of separators', 'registry.example/a._b'],
  ['an underscore at the front', '_app'],
  ['a dash at the front', '-app'],
  ['a dash at the end', 'registry.example/app-'],
  ['a host with an underscore', 'my_host.example/app'],
  ['a host that begins with a dash', '-host.example/app'],
  ['a host that ends in a dash', 'host-.example/app'],
  ['a host with an empty label', 'host..example/app'],
  ['a host that ends in a dot', 'host.example./app'],
  ['a port that is no number', 'registry.example:port/app'],
  ['an empty port', 'registry.example:/app'],
  ['a user in the host', 'user@registry.example/app'],
  ['IPv6 without brackets', '::1/app'],
  ['IPv6 with a zone', '[fe80::1%25eth0]/app'],
  ['empty brackets', '[]/app'],
  ['an open bracket', '[::1/app'],
  ['a blank at the front', ' busybox'],
  ['a blank at the end', 'busybox '],
  ['a line feed at the end', 'busybox\n'],
  ['a line feed behind the tag', 'busybox:v1\n'],
  ['a line feed behind the digest', `busybox@${DIGEST}\n`],
  ['a NUL', 'busy\0box'],
  ['a letter outside ASCII', 'registry.example/äpp'],
  ['a digit outside ASCII', 'registry.example/app:١'],
  ['a backslash', 'registry.example\\app'],
  ['a percent escape', 'registry.example/a%2fb'],
  ['a query', 'registry.example/app?x'],
  ['a plus sign in the tag', 'registry.example/app:1+2'],
  ['a name of 256 characters', `h.io/${'a'.repeat(251)}`],
  ['a familiar name of 238 characters, 256 with what is added', 'a'.repeat(238)],
  ['a megabyte of dots', '.'.repeat(1024 * 1024)],
  ['a megabyte of slashes', 'a/'.repeat(512 * 1024)],
];

describe('docker references', () => {
  for (const [text, [domain, path, tag = null, digest = null]] of PARSED) {
    test(`${text.slice(0, 80)} is parsed`, () => {
      assert.deepEqual(parseReference(text), { domain, path, tag, digest });
    });
  }

  for (const [title, text] of REFUSED) {
    test(`${title} is refused`, () => assert.equal(parseReference(text), null));
  }

  test('a familiar name of 237 characters, 255 with what is added, is parsed', () => {
    assert.equal(parseReference('a'.repeat(237))?.path, `library/${'a'.repeat(237)}`);
  });

  const component = fc.stringMatching(/^[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,8}){0,3}$/);
  const reference = fc.record(
    {
      domain: fc.stringMatching(
        /^(?:[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?\.[a-z]{2,5}|localhost|\[[0-9a-f]{0,4}:[0-9a-f:]{1,8}\])(:[0-9]{1,5})?$/,
      ),
      path: fc.array(component, { minLength: 1, maxLength: 4 }).map((components) => components.join('/')),
      tag: fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/)),
      digest: fc.option(fc.constantFrom(DIGEST, `sha512:${HEX}`)),
    },
    { noNullPrototype: true },
  );

  test('a whole reference is parsed into the parts that it was made of', () => {
    fc.assert(
      fc.property(reference, (parts) => {
        assert.deepEqual(parseReference(textOf(parts)), parts);
      }),
    );
  });

  test('what is parsed is, written out, parsed into the same', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.stringMatching(/^[a-zA-Z0-9.:/@_[\]-]{0,40}$/),
      fc.tuple(reference.map(textOf), fc.nat(60), fc.string({ maxLength: 2 })).map(([whole, at, put]) => {
        return whole.slice(0, at) + put + whole.slice(at + 1);
      }),
    );
    fc.assert(
      fc.property(text, (each) => {
        const parsed = parseReference(each);
        if (parsed !== null) assert.deepEqual(parseReference(textOf(parsed)), parsed);
      }),
      { numRuns: 5000 },
    );
  });
});

function textOf(parts: { domain: string; path: string; tag: string | null; digest: string | null }): string {
  const { domain, path, tag, digest } = parts;
  return `${domain}/${path}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`;
}

test('a reference is written out in full, with the domain that it does not name', () => {
  const written = (text: string) => {
    const reference = parseReference(text);
    assert.ok(reference !== null);
    return formatReference(reference);
  };
  assert.equal(written('busybox'), 'docker.io/library/busybox');
  assert.equal(written('index.docker.io/team/app:v1'), 'docker.io/team/app:v1');
  const full = `localhost:5000/a/b:v1@sha256:${'0'.repeat(64)}`;
  assert.equal(written(full), full);
});

test('a reference that is too long, and only that, is told which length it may have', () => {
  const name = (length: number) => `reg.example/${'a'.repeat(length - 'reg.example/'.length)}`;
  for (const ending of ['', ':v1', `@${DIGEST}`, `:v1@${DIGEST}`]) {
    assert.equal(whyReferenceTooLong(`${name(255)}${ending}`), null);
    assert.match(
      whyReferenceTooLong(`${name(256)}${ending}`) ?? '',
      /^the name "reg\.example\/a+…" has 256 characters, and clients take 255 at most: /,
    );
  }
  assert.match(whyReferenceTooLong(name(2000)) ?? '', /has 2000 characters/);
  assert.equal(whyReferenceTooLong(`reg.example/app:${'v'.repeat(128)}`), null);
  for (const ending of ['', `@${DIGEST}`])
    assert.match(
      whyReferenceTooLong(`reg.example/app:${'v'.repeat(129)}${ending}`) ?? '',
      /^the tag of "reg\.example\/app:v+…" has 129 characters, and registries take 128 at most/,
    );
  for (const other of [
    '',
    'A b',
    'reg.example/',
    `Reg_x.y/${'a'.repeat(300)}`,
    `reg.example/${'A'.repeat(300)}`,
  ])
    assert.equal(whyReferenceTooLong(other), null, other);
});
