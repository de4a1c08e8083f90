// Repositories and images as people name them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { namesOf, parseNamed } from '../../src/cli/image-name.ts';
import { isLookasideError } from '../../src/domain/errors.ts';

const HEX = 'ab'.repeat(32);
const DIGEST = `sha256:${HEX}`;

describe('a name on the command line', () => {
  const NAMES: readonly (readonly [written: string, meant: readonly string[]])[] = [
    ['team/app', ['team/app']],
    ['app', ['app']],
    [`team/app@${DIGEST}`, [`team/app@${DIGEST}`]],
    [`team/app@sha256=${HEX}`, [`team/app@${DIGEST}`]],
    [`team/app:v1@${DIGEST}`, [`team/app@${DIGEST}`]],
    [`docker://team/app@${DIGEST}`, [`team/app@${DIGEST}`]],
    [`localhost:5000/team/app@${DIGEST}`, [`team/app@${DIGEST}`]],
    [`localhost/app@${DIGEST}`, [`localhost/app@${DIGEST}`, `app@${DIGEST}`]],
    [`docker://reg.example/app:v1@sha256=${HEX}`, [`reg.example/app@${DIGEST}`, `app@${DIGEST}`]],
    ['reg.example/team/app', ['reg.example/team/app', 'team/app']],
    [`/team/app@${DIGEST}`, [`team/app@${DIGEST}`]],
    [`/team/app@sha256=${HEX}/signature-2`, [`team/app@${DIGEST}`]],
    [`/sha256=${HEX}/signature-1`, [DIGEST]],
    ['team/signature-1', ['team/signature-1']],
    [DIGEST, [DIGEST]],
    [`sha256=${HEX}`, [DIGEST]],
    [`openshift/release/sha256=${HEX}`, [`openshift/release/${DIGEST}`]],
    [`team/app@sha512:${HEX}${HEX}`, [`team/app@sha512:${HEX}${HEX}`]],
  ];
  for (const [written, meant] of NAMES) {
    test(`${written.replaceAll(HEX, '…')} means ${meant.join(' or ').replaceAll(HEX, '…')}`, () => {
      assert.deepEqual(namesOf(written), meant);
    });
  }

  for (const written of [
    '',
    '/',
    'a//b',
    '../etc',
    `team/app@${DIGEST}0`,
    `@${DIGEST}`,
    'a b',
    'docker://',
    '\u001b[2J',
  ]) {
    test(`${JSON.stringify(written)} means nothing`, () => {
      assert.throws(
        () => namesOf(written),
        (error) =>
          isLookasideError(error, 'CONFIG_INVALID') && /names no repository and no image/.test(error.message),
      );
    });
  }

  test('that is too long says so', () => {
    const long = 'c/'.repeat(130);
    for (const written of [
      `${long}c`,
      `docker://registry.example/${long}c@${DIGEST}`,
      `n${'n'.repeat(199)}@${DIGEST}`,
    ]) {
      assert.throws(
        () => namesOf(written),
        (error) =>
          isLookasideError(error, 'CONFIG_INVALID') &&
          /has 261 bytes, and registries take 255|name of 272 bytes, and file systems take 255/.test(
            error.message,
          ),
      );
    }
    assert.deepEqual(namesOf(`registry.example/${'c'.repeat(255)}`), ['c'.repeat(255)]);
  });

  const TAGGED: readonly (readonly [written: string, names: readonly string[], tag: string | null])[] = [
    ['team/app:v1', ['team/app'], 'v1'],
    ['app:1.2_3-x', ['app'], '1.2_3-x'],
    ['localhost:5000/team/app:latest', ['team/app'], 'latest'],
    ['docker://reg.example/app:v1', ['reg.example/app', 'app'], 'v1'],
    ['localhost:5000/team/app', ['team/app'], null],
    [`team/app:v1@${DIGEST}`, [`team/app@${DIGEST}`], null],
    [DIGEST, [DIGEST], null],
    [`openshift/release/${DIGEST}`, [`openshift/release/${DIGEST}`], null],
    ['docker://team/app', ['team/app'], null],
  ];
  for (const [written, names, tag] of TAGGED) {
    test(`${written.replaceAll(HEX, '…')} has the tag ${tag}`, () => {
      assert.deepEqual(parseNamed(written), { names, tag });
    });
  }

  test('with what is no tag behind its colon says so', () => {
    for (const written of ['team/app:v 1', 'team/app:-v', `team/app:${'v'.repeat(129)}`]) {
      assert.throws(
        () => parseNamed(written),
        (error) =>
          isLookasideError(error, 'CONFIG_INVALID') && /is not a tag; wanted letters/.test(error.message),
      );
    }
  });
});
