import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { LookasideError } from '../../src/domain/errors.ts';
import type { ImageId } from '../../src/domain/image.ts';
import { remapOf, repositoryRefusal } from '../../src/domain/placement.ts';
import { fittingRemap, isRemapped, parseRemap, type Remap, remapWarning } from '../../src/domain/remap.ts';
import type { Claim } from '../../src/domain/verdict.ts';

const HEX = 'a'.repeat(64);

const claimOf = (dockerReference: string): Claim => ({
  algorithm: 'sha256',
  hex: HEX,
  dockerReference,
  creator: null,
});

const imageAt = (path: string): ImageId => ({
  site: 'default',
  layout: 'repository',
  path,
  algorithm: 'sha256',
  hex: HEX,
});

const remap = (text: string): Remap => parseRemap(text) ?? assert.fail(text);

describe('a remap', () => {
  const TAKEN: readonly (readonly [string, string, string])[] = [
    ['mirror/quay=quay.io', 'mirror/quay', 'quay.io'],
    ['mirror.example:5000/mirror/quay=quay.io/team', 'mirror/quay', 'quay.io/team'],
    ['mirror.example:5000=registry.redhat.io', '', 'registry.redhat.io'],
    ['localhost=quay.io/org', '', 'quay.io/org'],
    ['hub=docker.io/library', 'hub', 'docker.io/library'],
    ['hub=docker.io', 'hub', 'docker.io'],
    ['app=127.0.0.1:5000/other/app', 'app', '127.0.0.1:5000/other/app'],
  ];
  for (const [text, prefix, signedPrefix] of TAKEN) {
    test(`is ${text}`, () => assert.deepEqual(parseRemap(text), { text, prefix, signedPrefix }));
  }

  for (const text of [
    '',
    '=',
    'mirror/quay',
    '=quay.io', // an empty shell variable must not stand for everything
    'mirror/quay=',
    'mirror=quay=quay.io',
    'mirror/quay/=quay.io',
    '/mirror=quay.io',
    'mirror//quay=quay.io',
    'Mirror/Quay=quay.io/UPPER',
    'mirror=team', // no registry
    'mirror=team/app',
    'mirror=quay.io/',
    'mirror:v1=quay.io',
    'mirror=quay.io/team/app:v1',
    `mirror=quay.io/app@sha256:${HEX}`,
    `mirror@sha256:${HEX}=quay.io`,
    'mirror/..=quay.io',
    'mirror=*.quay.io',
    ' mirror=quay.io',
  ]) {
    test(`is not ${JSON.stringify(text)}`, () => assert.equal(parseRemap(text), null));
  }

  const FITS: readonly (readonly [string, string, string, boolean])[] = [
    ['mirror/quay=quay.io', 'mirror/quay/team/app', 'quay.io/team/app:v1', true],
    ['mirror/quay=quay.io', 'mirror/quayx/team/app', 'quay.io/x/team/app:v1', false],
    ['mirror/quay=quay.io', 'mirror/quayteam/app', 'quay.ioteam/app:v1', false],
    ['mirror/quay=quay.io', 'other/mirror/quay/team/app', 'quay.io/team/app:v1', false],
    ['mirror/quay=quay.io', 'mirror/quay/team/app', 'quay.io/team/app2:v1', false],
    ['mirror/quay=quay.io', 'mirror/quay/team/app', 'quay.io/team/app/x:v1', false],
    ['mirror/quay=quay.io', 'mirror/quay/team/app', 'quay.io:443/team/app:v1', false],
    ['mirror/quay=quay.io', 'mirror/quay/team/app', 'evil.example/team/app:v1', false],
    ['mirror/quay=quay.io', 'mirror/quay/team/app', 'quay.io', false],
    ['mirror=quay.io/team', 'mirror/app', 'quay.io/team/app', true],
    ['mirror=quay.io/team', 'mirrorapp', 'quay.io/teamapp', false],
    ['mirror=quay.io/team', 'mirror/app', 'quay.io/teamapp', false],
    ['app=quay.io/org/app', 'app', 'quay.io/org/app:v1', true],
    ['app=quay.io/org/app', 'app/x', 'quay.io/org/app/x:v1', true],
    ['app=quay.io/org/app', 'apps', 'quay.io/org/apps:v1', false],
    ['localhost=quay.io/org', 'app', 'quay.io/org/app:v1', true],
    ['hub=docker.io', 'hub/library/busybox', 'busybox:1', true],
  ];
  for (const [text, path, reference, wanted] of FITS) {
    test(`${text} ${wanted ? 'makes' : 'does not make'} ${reference} a name for ${path}`, () => {
      assert.equal(isRemapped(path, claimOf(reference), remap(text)), wanted);
    });
  }

  test('the one that is advised is as wide as it may be, is a remap, and fits', () => {
    assert.equal(fittingRemap('mirror/quay/team/app', 'quay.io/team/app:v1'), 'mirror/quay=quay.io');
    assert.equal(fittingRemap('app', 'quay.io/org/app:v1'), 'app=quay.io/org/app');
    assert.equal(fittingRemap('build/x', 'prod.example/team/app:v1'), 'build/x=prod.example/team/app');
    assert.equal(fittingRemap('build/x', 'No Reference'), null);
    const part = fc.constantFrom('a', 'b', 'team', 'app');
    const path = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(path, path, (placed, signed) => {
        const reference = `registry.example/${signed}:v1`;
        const advised = remap(fittingRemap(placed, reference) ?? assert.fail());
        assert.ok(isRemapped(placed, claimOf(reference), advised), advised.text);
      }),
    );
  });

  test('the warning says what the policy of clients needs to accept it', () => {
    assert.deepEqual(remapWarning(null), []);
    const [warning] = remapWarning('mirror/quay=quay.io');
    assert.equal(warning?.code, 'REMAPPED');
    assert.match(
      warning?.message ?? '',
      /"type":"remapIdentity","prefix":"<registry>\/mirror\/quay","signedPrefix":"quay.io"/,
    );
  });
});

describe('a signature below another name than the signed one', () => {
  const image = imageAt('mirror/quay/team/app');
  const claim = claimOf('quay.io/team/app:v1');
  const decide = (asked: readonly string[], allowed: readonly string[], at = image) =>
    remapOf(at, claim, { asked: asked.map(remap), allowed: allowed.map(remap) })?.text ?? null;
  const refused = (code: string, asked: readonly string[], allowed: readonly string[], said: RegExp) =>
    assert.throws(
      () => decide(asked, allowed),
      (error) => error instanceof LookasideError && error.code === code && said.test(error.message),
    );

  test('is told both ways in which clients may pull it', () => {
    const { message = '' } = repositoryRefusal(image, claim) ?? {};
    assert.match(
      message,
      /names quay\.io\/team\/app:v1, whose repository path is team\/app, not mirror\/quay/,
    );
    assert.match(message, /lookaside push --as-signed/);
    assert.match(message, /remapIdentity.*--signed-for mirror\/quay=quay\.io/);
  });

  test('is taken when it is asked for and allowed, by a narrower or wider remap too', () => {
    for (const allowed of [
      'mirror/quay=quay.io',
      'mirror/quay/team=quay.io/team',
      'mirror/quay/team/app=quay.io/team/app',
    ])
      for (const asked of ['mirror/quay=quay.io', 'mirror/quay/team=quay.io/team'])
        assert.equal(decide([asked], ['x=y.example', allowed]), asked);
  });

  test('needs no remap where the name is that of the place', () => {
    assert.equal(decide([], [], imageAt('team/app')), null);
    assert.equal(decide(['mirror/quay=quay.io'], ['mirror/quay=quay.io'], imageAt('team/app')), null);
  });

  test('is refused when nobody asks, although it is allowed', () => {
    refused('REPOSITORY_MISMATCH', [], ['mirror/quay=quay.io'], /--signed-for/);
    refused('REPOSITORY_MISMATCH', ['mirror/other=quay.io'], ['mirror/quay=quay.io'], /--signed-for/);
  });

  test('is refused when it is asked for and not allowed, with who can allow it and how', () => {
    for (const allowed of [
      [],
      ['mirror/quay=quay.example'],
      ['mirror=quay.io'],
      ['mirror/quay/team/app2=quay.io/team/app2'],
    ])
      refused(
        'REMAP_NOT_ALLOWED',
        ['mirror/quay=quay.io'],
        allowed,
        /operator to set LOOKASIDE_REMAP=mirror\/quay=quay\.io/,
      );
  });
});
